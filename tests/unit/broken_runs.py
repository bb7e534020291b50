"""Runs that no entry allows: past a gate, from elsewhere, by nobody, and what they save."""

from __future__ import annotations

from typing import Any

from countersign.audit.entry import UNATTRIBUTED, Actor, CheckpointRef
from countersign.audit.mandates import actor_of
from unit.breaking import APPROVED, CROSSED, TWO, breaks
from unit.governing import World, asking, policy, question_gate, waiting
from unit.honest_paths import AFTER, approved
from unit.samples import GRAPH


@breaks("goto", "goes on with goto, and entry 12 says no more than that")
def goto() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.begin(mandate, detail={"command": ["goto"]}, payload={"goto": "order"})
    return world


@breaks("goto under no decision", "was made by unattributed (unattributed), and under no entry")
def goto_by_nobody() -> World:
    world = waiting()
    world.begin(1, actor=UNATTRIBUTED, detail={"command": ["goto"]}, payload={"goto": "review"})
    world.writes("", "branch:to:review", detail={"path": "", "task": "0"})
    world.step("review")
    return world


@breaks("goto under no decision, and the node ran", CROSSED)
def goto_crossed() -> World:
    return goto_by_nobody()


@breaks("goto elsewhere", "goes on at another node than entry 10 says, 'analyze'")
def goto_elsewhere() -> World:
    world = waiting()
    mandate = world.act("case.redirected", "u-sup", detail={"to": "analyze"}, payload={"reason": "again"})
    world.update(mandate, None, "__end__")
    world.begin(mandate, detail={"command": ["goto"]}, payload={"goto": "order"})
    return world


@breaks("redirected to a node that the policy does not name", "a case may not be made to go on at 'order'")
def redirected_elsewhere() -> World:
    world = waiting()
    world.act("case.redirected", "u-sup", detail={"to": "order"}, payload={"reason": "now"})
    return world


@breaks("plain run", "was made by u-pha (application), and under no entry of this case that allows it")
def plain_resume() -> World:
    world = waiting()
    world.begin(1, actor=Actor("u-pha", "application"))
    world.step("review")
    world.end()
    return world


@breaks("plain run, and the node ran", CROSSED)
def plain_resume_crossed() -> World:
    return plain_resume()


@breaks("a node's writes passed off as an edit", "is part of an edit that no entry of this case allows")
def ran_as_an_edit() -> World:
    world = World()
    world.open()
    world.start()
    world.step("analyze")
    world.writes("review", detail={"path": "~__interrupt__, 0000000000"}, actor=actor_of(1))
    world.checkpoint()
    world.end()
    return world


@breaks("a node's writes passed off as those of a decision", "is part of an edit that no entry of this case allows")
def ran_as_an_edit_of_a_decision() -> World:
    world = waiting(TWO)
    world.sign("u-pha")
    mandate = world.decide(outcome="approved")
    world.writes("review", detail={"path": "~__interrupt__, 0000000000"}, actor=actor_of(mandate), run="run-9")
    return world


@breaks("checkpoints saved past the graph", "to which no node wrote anything")
def saved_directly() -> World:
    world = World()
    world.open()
    world.start()
    world.step("analyze")
    world.checkpoint()
    world.end()
    return world


@breaks("a checkpoint saved past the graph, and a pause at it", "to which no node wrote anything")
def paused_at_what_was_saved_directly() -> World:
    world = World()
    world.open()
    world.start()
    world.checkpoint()
    world.pause("review")
    return world


@breaks("an answer left beforehand", "leaves an answer for whoever asks next")
def answer_left() -> World:
    world = asking()
    world.writes("", "__resume__", detail={"path": "", "task": "0"})
    return world


@breaks("an answer left beforehand for the task", "holds an answer that no decision gave")
def answer_left_for_the_task() -> World:
    world = asking()
    world.writes("ask", "__resume__")
    return world


@breaks("a decision by the policy of another version", "acts once more under entry 12, which is used up")
def decided_by_another_policy() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate, before = world.decide(), world.workflow.version
    registered = world.register(TWO)
    detail = {"registered": registered, "from": before}
    world.act("case.moved", "u-sup", detail=detail, payload={"reason": "two from now on"})
    world.update(mandate, APPROVED)
    world.begin(mandate)
    world.step("review")
    world.end()
    return world


@breaks("a decision by the policy of another version, and the node ran", CROSSED)
def decided_by_another_policy_crossed() -> World:
    return decided_by_another_policy()


@breaks("run without the pause", CROSSED)
def no_pause() -> World:
    world = World()
    world.open()
    world.start()
    world.step("analyze")
    world.step("review")
    world.end()
    return world


@breaks("run without the pause behind a node", "the gate 'checked' was crossed without sufficient sign-off")
def no_pause_behind() -> World:
    world = World(AFTER)
    world.open()
    world.start()
    world.step("analyze")
    world.step("order")
    world.end()
    return world


@breaks("completed with a gate unreleased", "came to its end although the gate 'checked' was not released")
def completed_unreleased() -> World:
    world = World(AFTER)
    world.open()
    world.start()
    world.step("analyze")
    world.end()
    return world


@breaks("completed with a question open", "came to its end although it waits for an answer")
def completed_asking() -> World:
    world = asking()
    world.end()
    return world


@breaks("a gated node in a subgraph", CROSSED)
def within_a_subgraph() -> World:
    world = World()
    world.open()
    world.start()
    world.writes("inner", ns="review:1")
    return world


@breaks("another version of the state ran", CROSSED)
def another_checkpoint() -> World:
    """The node runs from the checkpoint before the edit that was decided: not from what was released."""
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.begin(mandate)
    world.checkpoint()
    world.writes("review")
    return world


@breaks("new input", "starts the graph with an input under entry 12, which allows none")
def new_input() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.begin(mandate, "run.started", detail={"continues": True}, payload={"input": {"dose": 60}})
    return world


@breaks("another input", "starts the graph with another input than entry 1 says")
def another_input() -> World:
    world = World()
    world.open()
    world.start(given={"dose": 60})
    return world


@breaks("started anew", "acts once more under entry 1, which is used up")
def started_anew() -> World:
    world = waiting()
    world.begin(1, "run.started", detail={"continues": True}, payload={"input": {"dose": 5}})
    return world


@breaks("started anew in mid run", "starts the graph anew: the case has taken in its input already")
def started_anew_in_mid_run() -> World:
    world = World()
    world.open()
    world.start()
    world.begin(1, "run.started", detail={"continues": True}, payload={"input": {"dose": 5}})
    return world


@breaks("started with a Command", "starts the graph with a Command")
def started_with_a_command() -> World:
    world = World()
    world.open()
    world.begin(1, "run.started", detail={"command": ["goto"]}, payload={"goto": "review", "input": {"dose": 5}})
    return world


@breaks("fork", "leaves the latest checkpoint aside (a fork)")
def fork() -> World:
    world = waiting()
    detail = {"latest": world.tip}
    world.add("run.forked", GRAPH, actor=actor_of(1), run="run-9", checkpoint=CheckpointRef("c2"), detail=detail)
    return world


@breaks("fork of a checkpoint", "is a checkpoint of another origin (fork)")
def forked_checkpoint() -> World:
    world = World()
    world.open()
    world.start()
    world.checkpoint("fork")
    return world


@breaks("an older checkpoint gone on from", "goes on from checkpoint c2, which is not the latest")
def older_checkpoint() -> World:
    world = World()
    world.open()
    world.start()
    world.step("analyze")
    world.checkpoint(checkpoint=CheckpointRef("c9", "", "c2"))
    return world


@breaks("writes to an older checkpoint", "writes to checkpoint c1, which is not the latest")
def older_writes() -> World:
    world = World()
    world.open()
    world.start()
    world.step("analyze")
    world.writes("analyze", at="c1")
    return world


@breaks("an input in a run without one", "takes in an input in a run that was begun without one")
def sudden_input() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.begin(mandate)
    world.checkpoint("input")
    return world


@breaks("direct saver write", "was saved outside of any run that was recorded")
def direct_write() -> World:
    world = waiting()
    world.checkpoint(run=None)
    return world


@breaks("saved by a run that had paused", "was saved by a run that had ended (interrupt.raised)")
def saved_late() -> World:
    world = waiting()
    world.writes("print")
    return world


@breaks("a hostile node that asks for nothing to be asked", "pauses although no run was under way")
def made_up_pause() -> World:
    world = approved()
    world.pause("print")
    return world


@breaks("a node that writes by the name of another", "names the node 'print', and a path of the node 'review'")
def another_name() -> World:
    world = World()
    world.open()
    world.start()
    world.writes("review", detail={"node": "print"})
    return world


@breaks("a node that a Send made, without a name", "does not name the node of a task whose path names none")
def without_a_name() -> World:
    world = World()
    world.open()
    world.start()
    place = CheckpointRef(world.tip or "")
    detail: dict[str, Any] = {"task": "t-1", "path": "~__pregel_push, 0000000000, 0000000000", "channels": ["steps"]}
    world.add("writes.saved", GRAPH, run=world.run, checkpoint=place, detail=detail)
    return world


@breaks("a task that writes by two names", "names the node 'print', and an entry before of the same task 'check'")
def two_names() -> World:
    world = World()
    world.open()
    world.start()
    for node in ("check", "print"):
        push = {"task": "t-1", "path": "~__pregel_push, 0000000000, 0000000000", "node": node}
        world.writes(node, "steps", detail=push)
    return world


@breaks("a question by the name of another node", "names the node 'print', and a path of the node 'ask'")
def asked_by_another_name() -> World:
    """The gate at the node that asks would then not be the one that decides."""
    world = World(policy(question_gate()))
    world.open()
    world.start()
    world.writes("ask", "__interrupt__")
    detail = {"when": "dynamic", "interrupt": "q1", "task": f"t-ask-{world.tip}", "node": "print"}
    detail["path"] = "~__pregel_pull, ask"
    place = CheckpointRef(world.tip or "")
    world.add("interrupt.raised", GRAPH, run=world.run, checkpoint=place, detail=detail, payload={"value": "q1?"})
    return world


@breaks("a pause at an older checkpoint", "pauses at checkpoint c2, which is not the latest")
def older_pause() -> World:
    world = World()
    world.open()
    world.start()
    world.step("analyze")
    world.pause("review", at="c2")
    return world


@breaks("an end that comes twice", "ends a run that had ended before")
def ended_twice() -> World:
    world = waiting()
    world.end()
    return world


@breaks("run with interrupt_before that drops the gate", "(interrupt_before) that leave out the gate 'pharmacist'")
def pauses_dropped() -> World:
    world = World()
    world.open()
    world.start(detail={"interrupt_before": ["print"]})
    return world


@breaks("run with interrupt_after that drops the gate", "(interrupt_after) that leave out the gate 'checked'")
def pauses_behind_dropped() -> World:
    world = World(AFTER)
    world.open()
    world.start(detail={"interrupt_after": ["print"]})
    return world
