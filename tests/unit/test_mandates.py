"""What is still to be done under each mandate, at each point at which a worker may begin, or begin again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from countersign.audit.caseruns import CaseRuns
from countersign.audit.entry import Actor, Workflow
from countersign.audit.mandates import Act, actor_of, named_mandate
from countersign.audit.policy import parse_policy
from unit.governing import World, asking, gate, policy, question_gate, waiting, walked
from unit.honest_cases import HONEST
from unit.honest_paths import AFTER, TWO_GATES

APPROVED: Any = {"decision": "approved", "notes": ""}


def decided(make: Callable[[], World] = waiting, **signs: Any) -> World:
    world = make()
    world.sign("u-pha", **signs)
    world.decide()
    return world


def then(make: Callable[[], World], *steps: Callable[[World], Any]) -> World:
    world = make()
    for step in steps:
        step(world)
    return world


def opened() -> World:
    world = World()
    world.open()
    return world


def answered() -> World:
    return decided(asking, values={"answer": "yes"})


def two_gates() -> World:
    return decided(lambda: waiting(TWO_GATES))


def lost_at_once() -> World:
    world = opened()
    world.begin(1, "run.started", payload={"input": {"dose": 5}})
    return world


def corrected(make: Callable[[], World] = waiting) -> World:
    world = make()
    world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    return world


def redirected() -> World:
    world = waiting()
    world.act("case.redirected", "u-sup", detail={"to": "analyze"}, payload={"reason": "again"})
    return world


def failed() -> World:
    world = opened()
    world.start()
    world.end("run.failed", error="builtins.RuntimeError")
    return world


def failed_answer() -> World:
    world = answered()
    last = world.last
    world.begin(last, detail={"command": ["resume"]}, payload={"resume": {"q1": "yes"}})
    world.end("run.failed", error="builtins.RuntimeError")
    world.act("case.retried", "u-sup", payload={"reason": "once more"})
    return world


def failed_and_corrected() -> World:
    world = answered()
    last = world.last
    world.begin(last, detail={"command": ["resume"]}, payload={"resume": {"q1": "yes"}})
    world.end("run.failed", error="builtins.RuntimeError")
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    return world


def nothing_recorded_and_retried() -> World:
    world = opened()
    world.act("case.retried", "u-sup", payload={"reason": "no worker took it"})
    return world


def retried_long_ago_and_lost_now() -> World:
    """A run failed and was retried long ago; the one that was lost just now is what is to be repeated."""
    world = World(policy(question_gate()))
    world.open()
    world.start()
    world.end("run.failed", error="builtins.RuntimeError")
    world.begin(world.act("case.retried", "u-sup", payload={"reason": "once more"}))
    world.ask()
    world.settle()
    world.sign("u-pha", values={"answer": "yes"})
    answers(then(lambda: world, World.decide))
    world.act("case.retried", "u-sup", payload={"reason": "the worker is gone"})
    return world


def resumes(world: World) -> None:
    mandate = list(world.replay().runs.mandates)[-1]
    world.begin(mandate)


def answers(world: World) -> None:
    mandate = list(world.replay().runs.mandates)[-1]
    world.begin(mandate, detail={"command": ["resume"]}, payload={"resume": {"q1": "yes"}})


def goes_to(world: World) -> None:
    mandate = list(world.replay().runs.mandates)[-1]
    world.begin(mandate, detail={"command": ["goto"]}, payload={"goto": "analyze"})


def delivers_goto(world: World) -> None:
    world.writes("", "branch:to:analyze", detail={"path": "", "task": "0"})


def updates(values: Any, as_node: str | None = None) -> Callable[[World], None]:
    return lambda world: world.update(list(world.replay().runs.mandates)[-1], values, as_node)


DOSE = {"dose": 3}
Row = tuple[str, Callable[[], World], Sequence[str], Act, Any]
ROWS: list[Row] = [
    ("a case", opened, (), Act.START, {"dose": 5}),
    ("lost before its first checkpoint", lost_at_once, (), Act.START, {"dose": 5}),
    ("lost in mid run", lambda: then(opened, World.start), ("analyze",), Act.RESUME, None),
    ("lost before its pause was told", lambda: then(opened, World.start), ("review",), Act.PAUSE, "before"),
    ("paused", lambda: then(opened, World.start, lambda w: w.pause("review")), ("review",), Act.NOTHING, None),
    ("completed", lambda: then(opened, World.start, World.end), (), Act.NOTHING, None),
    ("failed", failed, ("analyze",), Act.NOTHING, None),
    ("a decision", decided, ("review",), Act.UPDATE, APPROVED),
    ("written", lambda: then(decided, updates(APPROVED)), ("review",), Act.RESUME, None),
    ("resumed and lost", lambda: then(decided, updates(APPROVED), resumes), ("review",), Act.RESUME, None),
    ("written, and the next gate is due", lambda: then(two_gates, updates(APPROVED)), ("review",), Act.PAUSE, "before"),
    ("an answer", answered, ("ask",), Act.ANSWER, {"q1": "yes"}),
    ("an answer that was lost", lambda: then(answered, answers), ("ask",), Act.ANSWER, {"q1": "yes"}),
    (
        "an answer that arrived",
        lambda: then(answered, answers, lambda w: w.writes("ask", "__resume__", "steps")),
        ("order",),
        Act.RESUME,
        None,
    ),
    ("a correction", corrected, ("review",), Act.UPDATE, DOSE),
    ("corrected", lambda: then(corrected, updates(DOSE)), ("review",), Act.PAUSE, "before"),
    (
        "corrected, and the pause told",
        lambda: then(corrected, updates(DOSE), lambda w: w.pause("review")),
        ("review",),
        Act.NOTHING,
        None,
    ),
    ("corrected at a question", lambda: then(lambda: corrected(asking), updates(DOSE)), ("ask",), Act.RESUME, None),
    ("corrected after a failure", failed_and_corrected, ("ask",), Act.NOTHING, None),
    ("a redirection", redirected, ("review",), Act.END, None),
    ("ended", lambda: then(redirected, updates(None, "__end__")), (), Act.GOTO, "analyze"),
    ("a goto that was lost", lambda: then(redirected, updates(None, "__end__"), goes_to), (), Act.GOTO, "analyze"),
    (
        "a goto that arrived",
        lambda: then(redirected, updates(None, "__end__"), goes_to, delivers_goto),
        ("analyze",),
        Act.RESUME,
        None,
    ),
    ("retried", lambda: then(failed, lambda w: w.act("case.retried", "u-sup")), ("analyze",), Act.RESUME, None),
    ("an answer retried", failed_answer, ("ask",), Act.ANSWER, {"q1": "yes"}),
    ("retried before anything", nothing_recorded_and_retried, (), Act.START, {"dose": 5}),
    ("a lost answer retried", retried_long_ago_and_lost_now, ("ask",), Act.ANSWER, {"q1": "yes"}),
    ("stopped", lambda: then(decided, lambda w: w.act("case.stopped", "u-sup")), ("review",), Act.NOTHING, None),
]


@pytest.mark.parametrize(("make", "due", "act", "values"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_a_worker_does_next(make: Callable[[], World], due: Sequence[str], act: Act, values: Any) -> None:
    runs = make().replay().runs
    todo = runs.todo(list(runs.mandates)[-1], due)
    assert (todo.act, todo.values) == (act, values)


def test_a_failed_run_is_tried_again_when_that_is_asked_for() -> None:
    runs = failed().replay().runs
    assert runs.todo(1, ("analyze",), again=True).act is Act.RESUME


def test_a_mandate_behind_which_a_later_one_was_acted_on_allows_nothing() -> None:
    world = decided()
    world.update(world.last, APPROVED)
    assert world.replay().runs.todo(1).act is Act.NOTHING


def test_a_gate_behind_a_node_is_a_pause_of_its_kind() -> None:
    world = World(AFTER)
    world.open()
    world.start()
    world.step("analyze")
    todo = world.replay().runs.todo(1, ("order",))
    assert (todo.act, todo.values) == (Act.PAUSE, "after")


@pytest.mark.parametrize("name", HONEST)
def test_a_worker_needs_no_more_than_the_policy_and_the_trail(name: str) -> None:
    """It cannot read `@system`, and finds nothing to object to in an honest case."""
    world = HONEST[name]()
    runs = CaseRuns(parse_policy(world.policy))
    said = [sentence for checked in walked(world.entries) for sentence in runs.feed(checked)]
    assert said == []
    assert runs.status is world.replay().runs.status


ACTORS: list[tuple[Actor, int | None]] = [
    (actor_of(7), 7),
    (Actor("entry:7", "application"), None),
    (Actor("entry:", "mandate"), None),
    (Actor("entry:07", "mandate"), None),
    (Actor("entry:-7", "mandate"), None),
    (Actor("entry:\u0667", "mandate"), None),
    (Actor("u-pha", "mandate"), None),
    (Actor("7", "mandate"), None),
]


@pytest.mark.parametrize(("actor", "seq"), ACTORS)
def test_an_actor_stands_for_a_mandate_in_one_spelling(actor: Actor, seq: int | None) -> None:
    assert named_mandate(actor) == seq


def test_runs_have_to_name_the_version_where_one_is_known() -> None:
    world = waiting()
    runs = CaseRuns(parse_policy(policy(gate())), Workflow("orders", "1"))
    said = [sentence for checked in walked(world.entries) for sentence in runs.feed(checked)]
    assert said == [f"runs orders {world.workflow.version}, and the case is one of orders 1"]
