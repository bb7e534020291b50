"""Honest cases that are edited, redirected, lost, retried, moved or stopped on their way, or decided by time."""

from __future__ import annotations

from countersign.audit.canonical import Json
from unit.governing import World, asking, finish, gate, policy, question_gate, waiting
from unit.honest_paths import AFTER, ATTESTED, STOPS, TWO_GATES, answer, approved


def edited_by_signature() -> World:
    """An edit at a static pause: the signature of another is void, the review is opened again, and signed anew."""
    world = waiting(policy(gate(stages=[{"role": "pharmacist", "count": 2}])))
    world.grant("u-chi", "pharmacist")
    world.sign("u-pha")
    number = world.sign("u-pha2", "edit", values={"dose": 3})
    mandate = world.act("case.corrected", "u-pha2", detail={"signed": number}, payload={"values": {"dose": 3}})
    world.update(mandate, {"dose": 3})
    world.pause("review", run=None)
    world.reopen()
    world.sign("u-pha")
    world.sign("u-chi", role="pharmacist")
    finish(world, world.decide())
    return world


def corrected_from_outside() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    world.pause("review")
    world.reopen()
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def corrected_at_the_second_gate() -> World:
    """All gates of a pause are due again when the state has changed, from the first on."""
    world = waiting(TWO_GATES)
    world.sign("u-pha")
    first = world.decide()
    world.update(first, {"decision": "approved", "notes": ""})
    world.pause("review")
    world.settle("r-2")
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    cause = world.last
    world.pause("review")
    world.add("review.closed", detail={"review": "r-2", "cause": cause})
    world.settle("r-3")
    world.sign("u-pha", review="r-3")
    world.update(world.decide("r-3"), {"decision": "approved", "notes": ""})
    world.pause("review")
    world.settle("r-4")
    world.sign("u-chi", review="r-4")
    finish(world, world.decide("r-4"))
    return world


def corrected_at_a_question() -> World:
    world = asking()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    world.begin(mandate)
    world.ask("q2")
    world.reopen()
    world.sign("u-pha", values={"answer": "yes"})
    answer(world, world.decide(), "yes", "q2")
    world.end()
    return world


def corrected_at_a_question_behind_a_gate() -> World:
    """The node that asks stands behind a gate: it was released for another state."""
    world = waiting(policy(gate(), question_gate(name="asked", node="review")))
    world.sign("u-pha")
    first = world.decide()
    world.update(first, {"decision": "approved", "notes": ""})
    world.begin(first)
    world.ask("q1", "review")
    world.settle("r-2")
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    cause = world.last
    world.pause("review")
    world.add("review.closed", detail={"review": "r-2", "cause": cause})
    world.settle("r-3")
    world.sign("u-pha", review="r-3")
    second = world.decide("r-3")
    world.update(second, {"decision": "approved", "notes": ""})
    world.begin(second)
    world.step("review")
    world.end()
    return world


def redirected() -> World:
    world = waiting()
    mandate = world.act("case.redirected", "u-sup", detail={"to": "analyze"}, payload={"reason": "look again"})
    world.update(mandate, None, "__end__")
    world.add("review.closed", detail={"review": "r-1", "cause": mandate})
    world.begin(mandate, detail={"command": ["goto"]}, payload={"goto": "analyze"})
    world.writes("", "branch:to:analyze", detail={"path": "", "task": "0"})
    world.step("analyze")
    world.pause("review")
    world.settle("r-2")
    world.sign("u-pha", review="r-2")
    finish(world, world.decide("r-2"))
    return world


def redirected_from_behind_a_node() -> World:
    world = World(AFTER)
    world.open()
    world.start()
    world.step("analyze")
    world.pause("order", when="after")
    world.settle()
    mandate = world.act("case.redirected", "u-sup", detail={"to": "analyze"}, payload={"reason": "look again"})
    world.update(mandate, None, "__end__")
    world.add("review.closed", detail={"review": "r-1", "cause": mandate})
    world.begin(mandate, detail={"command": ["goto"]}, payload={"goto": "analyze"})
    world.writes("", "branch:to:analyze", detail={"path": "", "task": "0"})
    world.step("analyze")
    world.pause("order", when="after")
    return world


def failed_and_retried() -> World:
    world = World()
    world.open()
    world.start()
    world.writes("analyze", "__error__")
    world.end("run.failed", error="builtins.RuntimeError")
    world.begin(world.act("case.retried", "u-sup", payload={"reason": "the printer is on"}))
    world.step("analyze")
    world.pause("review")
    world.settle()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, {"decision": "approved", "notes": ""})
    world.begin(mandate)
    world.writes("review", "__error__")
    world.end("run.failed", error="builtins.RuntimeError")
    world.begin(world.act("case.retried", "u-sup", payload={"reason": "once more"}))
    world.step("review")
    world.end()
    return world


def answer_failed_and_retried() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": "yes"})
    mandate = world.decide()
    world.begin(mandate, detail={"command": ["resume"], "answers": ["q1"]}, payload={"resume": {"q1": "yes"}})
    world.writes("ask", "__error__")
    world.end("run.failed", error="builtins.RuntimeError")
    answer(world, world.act("case.retried", "u-sup", payload={"reason": "once more"}), "yes")
    world.end()
    return world


def lost_and_repeated() -> World:
    """Each run is lost once, and repeated from where it stands."""
    world = World()
    world.open()
    world.begin(1, "run.started", payload={"input": {"dose": 5}})
    world.start()
    world.writes("analyze")
    world.begin(1, detail={"unfinished": "run-2"})
    world.checkpoint()
    world.pause("review")
    world.settle()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, {"decision": "approved", "notes": ""})
    world.begin(mandate)
    world.begin(mandate, detail={"unfinished": "run-3"})
    world.step("review")
    world.begin(mandate, detail={"unfinished": "run-4"})
    world.step("order")
    world.end(recovered=True)
    return world


def answer_lost_and_repeated() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": "yes"})
    mandate = world.decide()
    for _ in range(2):
        world.begin(mandate, detail={"command": ["resume"]}, payload={"resume": {"q1": "yes"}})
    world.writes("ask", "__resume__", "steps")
    world.begin(mandate)
    world.checkpoint()
    world.end()
    return world


def failed_and_tried_again_by_itself() -> World:
    world = World()
    world.open()
    world.start()
    world.writes("analyze", "__error__")
    world.end("run.failed", error="builtins.ConnectionError")
    world.begin(1)
    world.step("analyze")
    world.pause("review")
    return world


def withdrawn() -> World:
    world = waiting(policy(gate(stages=[{"role": "pharmacist", "count": 2}])))
    first = world.sign("u-pha")
    world.act("review.withdrawn", "u-pha", detail={"review": "r-1", "signed": first}, payload={"reason": "misread"})
    world.sign("u-pha2")
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def reminded_and_escalated() -> World:
    world = waiting()
    world.later(60)
    world.timed("review.reminded")
    world.later(60)
    world.timed("review.escalated", to="chief")
    world.sign("u-chi")
    finish(world, world.decide())
    return world


def expired() -> World:
    world = waiting()
    world.later(3600)
    world.timed("review.expired")
    finish(world, world.decide(by="expiry"))
    return world


def expired_and_stopped() -> World:
    world = waiting(STOPS)
    world.later(3600)
    cause = world.timed("review.expired")
    world.add("case.stopped", detail={"cause": cause})
    world.add("review.closed", detail={"review": "r-1", "cause": world.last})
    return world


def stopped() -> World:
    world = waiting()
    number = world.act("case.stopped", "u-sup", payload={"reason": "not needed"})
    world.add("review.closed", detail={"review": "r-1", "cause": number})
    world.act("case.annotated", "u-pre", detail={"refers": number}, payload={"text": "a pity"})
    return world


def stopped_in_mid_run() -> World:
    world = World()
    world.open()
    world.start()
    world.act("case.stopped", "u-sup", payload={"reason": "not needed"})
    world.step("analyze")
    world.pause("review")
    return world


def attested() -> World:
    world = waiting(ATTESTED)
    world.key("k-1", ["pharmacist"])
    world.attest("k-1")
    finish(world, world.decide())
    return world


def attested_where_only_signatures_count() -> World:
    world = waiting()
    world.key("k-1", ["pharmacist"])
    world.attest("k-1")
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def started_by_a_key() -> World:
    world = World()
    world.key("k-1", ["prescriber"])
    world.open("k-1", "prescriber", via="api-key")
    world.start()
    world.step("analyze")
    world.pause("review")
    world.settle()
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def moved() -> World:
    """The case goes on with another version; what was signed under the first counts no longer."""
    world = waiting()
    world.sign("u-pha")
    was = world.workflow.version
    registered = world.register(policy(gate(), title="Orders, revised"))
    detail: dict[str, Json] = {"registered": registered, "from": was}
    world.act("case.moved", "u-sup", detail=detail, payload={"reason": "mended"})
    world.reopen()
    world.sign("u-pha2")
    finish(world, world.decide())
    return world


def revoked_afterwards() -> World:
    """What somebody could do is what they could do then."""
    world = approved()
    grant = next(entry for entry in world.system if b"g-u-pha-pharmacist" in entry.body)
    name = f"g-u-pha-pharmacist-{grant.seq - 1}"
    world.about("grant.revoked", "u-pha", grant=name)
    world.about("user.deactivated", "u-pha")
    return world


def annotated_under_signature() -> World:
    world = approved()
    world.annotate("u-pha", 11)
    return world


def claimed_commented_and_refused() -> World:
    world = waiting()
    world.act("review.claimed", "u-pha", detail={"review": "r-1"})
    world.act("review.commented", "u-pha", detail={"review": "r-1"}, payload={"text": "looking"})
    refused: dict[str, Json] = {"review": "r-1", "cause": "starter", "decision": "approved"}
    world.act("review.refused", "u-pre", detail=refused)
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def pauses_of_the_caller() -> World:
    """The worker passes the gates as pauses of its own, with others."""
    world = World()
    world.open()
    world.start(detail={"interrupt_before": ["review", "print"]})
    world.step("analyze")
    world.pause("review")
    world.settle()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, {"decision": "approved", "notes": ""})
    world.begin(mandate, detail={"interrupt_before": "*"})
    world.step("review")
    world.end()
    return world
