"""Honest cases of every shape, each written step by step as the service and its workers would."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from countersign.audit.canonical import Json
from countersign.audit.gates import fallback_gate
from unit import honest_order, honest_views
from unit.governing import World, asking, decision, finish, gate, policy, question_gate, waiting

TWO_STAGES = policy(gate(stages=[{"role": "pharmacist", "count": 2}, {"role": "chief", "count": 1}]))
TWO_GATES = policy(gate(), gate("chief", stages=[{"role": "chief", "count": 1}]))
AFTER = policy(gate("checked", "after", "analyze"))
AFTER_AND_BEFORE = policy(gate("checked", "after", "analyze"), gate("final", "before", "review"))
ATTESTED = policy(gate(accept="attested"))
STOPS = policy(gate(on_expiry="stop"))
NOT_WRITTEN = policy(gate(decisions=[decision("approved", releases=True, write=None)], on_expiry="stop"))


def approved() -> World:
    world = waiting()
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def rejected() -> World:
    world = waiting()
    world.sign("u-pha", "rejected", text="the dose is too high")
    finish(world, world.decide())
    return world


def written_nothing() -> World:
    world = waiting(NOT_WRITTEN)
    world.sign("u-pha")
    world.begin(world.decide())
    world.step("review")
    world.end()
    return world


def two_stages() -> World:
    world = waiting(TWO_STAGES)
    world.sign("u-pha", text="weighed")
    world.sign("u-pha2", text="counted")
    world.sign("u-chi")
    finish(world, world.decide())
    return world


def two_gates() -> World:
    world = waiting(TWO_GATES)
    world.sign("u-pha")
    first = world.decide()
    world.update(first, {"decision": "approved", "notes": ""})
    world.pause("review")
    world.settle("r-2")
    world.sign("u-chi", review="r-2")
    finish(world, world.decide("r-2"))
    return world


def two_gates_writing_nothing() -> World:
    rules: list[Json] = [decision("approved", releases=True, write=None)]
    document = policy(
        gate(decisions=rules, on_expiry="stop"),
        gate("chief", stages=[{"role": "chief", "count": 1}], decisions=rules, on_expiry="stop"),
    )
    world = waiting(document)
    world.sign("u-pha")
    world.decide()
    world.settle("r-2")
    world.sign("u-chi", review="r-2")
    world.begin(world.decide("r-2"))
    world.step("review")
    world.end()
    return world


def after_a_node() -> World:
    world = World(AFTER)
    world.open()
    world.start()
    world.step("analyze")
    world.pause("order", when="after")
    world.settle()
    world.sign("u-pha")
    finish(world, world.decide(), "order")
    return world


def after_one_and_before_the_next() -> World:
    world = World(AFTER_AND_BEFORE)
    world.open()
    world.start()
    world.step("analyze")
    world.pause("review", when="after")
    world.settle()
    world.sign("u-pha")
    first = world.decide()
    world.update(first, {"decision": "approved", "notes": ""})
    world.pause("review", when="before")
    world.settle("r-2")
    world.sign("u-pha2", review="r-2")
    finish(world, world.decide("r-2"))
    return world


def decision_that_leads_to_another_gate() -> World:
    """The fields that a decision writes lead to a node before which another gate stands."""
    document = policy(gate("checked", "after", "analyze"), gate("final", "before", "order"))
    world = World(document)
    world.open()
    world.start()
    world.step("analyze")
    world.pause("discard", when="after")
    world.settle()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, {"decision": "approved", "notes": ""})
    world.pause("order")
    world.settle("r-2")
    world.sign("u-pha2", review="r-2")
    finish(world, world.decide("r-2"), "order")
    return world


def in_a_loop() -> World:
    """Two rounds: what was rejected comes to the same gate again."""
    world = waiting()
    world.sign("u-pha", "rejected", text="again, please")
    mandate = world.decide()
    world.update(mandate, {"decision": "rejected", "notes": "again, please"})
    world.begin(mandate)
    world.step("review")
    world.step("analyze")
    world.pause("review")
    world.settle("r-2")
    world.sign("u-pha", review="r-2")
    finish(world, world.decide("r-2"))
    return world


def answered() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": {"$float": "0.5"}})
    answer(world, world.decide(), {"$float": "0.5"})
    world.end()
    return world


def answer(world: World, mandate: int, value: Json, question: str = "q1", *, last: bool = True) -> None:
    """Deliver an answer by the question's id."""
    world.begin(mandate, detail={"command": ["resume"], "answers": [question]}, payload={"resume": {question: value}})
    world.writes("ask", "__resume__", "steps")
    if last:
        world.checkpoint()


def two_questions_at_once() -> World:
    document = policy(question_gate())
    world = World(document)
    world.open()
    world.start()
    world.ask("q1", "ask")
    world.ask("q2", "other")
    world.settle("r-1")
    world.settle("r-2")
    world.sign("u-sup", "proceed", "r-2", values={"resume": "no"})
    second = world.decide("r-2")
    world.sign("u-pha", values={"answer": "yes"})
    first = world.decide()
    world.begin(second, detail={"command": ["resume"], "answers": ["q2"]}, payload={"resume": {"q2": "no"}})
    world.writes("other", "__resume__", "steps")
    world.writes("ask", "__interrupt__")
    world.end("run.paused", interrupts=["q1"])
    answer(world, first, "yes")
    world.end()
    return world


def two_questions_in_one_node() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": "5"})
    first = world.decide()
    world.begin(first, detail={"command": ["resume"], "answers": ["q1"]}, payload={"resume": {"q1": "5"}})
    world.writes("ask", "__interrupt__", "__resume__")
    world.ask("q2")
    world.settle("r-2")
    world.sign("u-pha", review="r-2", values={"answer": "oral"})
    answer(world, world.decide("r-2"), "oral", "q2")
    world.end()
    return world


def question_in_a_subgraph() -> World:
    world = World(policy(question_gate()))
    world.open()
    world.start()
    world.ask("q1", "ask", "inner:1")
    world.writes("inner", "__interrupt__")
    world.settle()
    assert world.known("r-1").gate == fallback_gate("supervisor", "interrupt")
    world.sign("u-sup", "proceed", values={"resume": True})
    mandate = world.decide()
    world.begin(mandate, detail={"command": ["resume"], "answers": ["q1"]}, payload={"resume": {"q1": True}})
    world.writes("ask", "__resume__", "steps", ns="inner:1")
    world.step("inner")
    world.end()
    return world


def pause_in_a_subgraph() -> World:
    world = World()
    world.open()
    world.start()
    world.pause("order", ns="inner:1", at="i1")
    world.settle()
    world.sign("u-sup", "proceed")
    world.begin(world.decide())
    world.step("inner")
    world.end()
    return world


def pause_that_no_gate_names() -> World:
    world = World()
    world.open()
    world.start()
    world.pause("print")
    world.settle()
    world.sign("u-sup", "proceed")
    world.begin(world.decide())
    world.step("print")
    world.end()
    return world


def stopped_by_the_fallback_role() -> World:
    world = World()
    world.open()
    world.start()
    world.pause("print")
    world.settle()
    number = world.sign("u-sup", "stop", text="not this one")
    world.act("case.stopped", "u-sup", detail={"cause": number}, payload={"reason": "not this one"})
    return world


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


def moved_on(world: World, document: Mapping[str, Json] | None = None) -> None:
    """Move the case to another version, before what was decided is carried out."""
    before = world.workflow.version
    registered = world.register(document or world.policy, node="new")
    detail = {"registered": registered, "from": before}
    world.act("case.moved", "u-sup", detail=detail, payload={"reason": "a newer one"})


def moved_when_decided() -> World:
    """What was decided by the old policy is asked anew by the new one."""
    world = waiting()
    world.sign("u-pha")
    world.decide()
    moved_on(world, policy(gate(stages=[{"role": "pharmacist", "count": 2}])))
    world.settle("r-2")
    world.sign("u-pha", review="r-2")
    world.sign("u-pha2", review="r-2")
    finish(world, world.decide("r-2"))
    return world


def moved_when_decided_and_written() -> World:
    """The edit is made, and stays; the gate stands at it again."""
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, {"decision": "approved", "notes": ""})
    moved_on(world)
    world.pause("review")
    world.settle("r-2")
    world.sign("u-pha", review="r-2")
    finish(world, world.decide("r-2"))
    return world


def moved_when_answered() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": "yes"})
    world.decide()
    moved_on(world)
    world.settle("r-2")
    world.sign("u-pha", review="r-2", values={"answer": "no"})
    answer(world, world.decide("r-2"), "no")
    world.end()
    return world


def moved_when_opened() -> World:
    world = World()
    world.open()
    moved_on(world)
    world.start()
    world.pause("review")
    world.settle()
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def attested_beside() -> World:
    """An API key's word where the gate accepts none stands in nobody's way, not in that of who made the key either."""
    rules: list[Json] = [decision(name, releases=True) for name in ("approved", "waived")]
    world = waiting(policy(gate(decisions=[*rules, decision("rejected", releases=False)])))
    world.key("k-1", ["pharmacist"], by="u-pha")
    world.attest("k-1", name="waived")
    world.sign("u-pha")
    finish(world, world.decide())
    return world


def told_out_of_order() -> World:
    """On the sync saver, a checkpoint may be told beside the writes that led to it, and before those it began with."""
    world = World()
    world.open()
    world.begin(1, "run.started", payload={"input": {"dose": 5}})
    world.writes("__start__", at="c1")
    world.checkpoint("input")
    world.checkpoint()
    at = world.tip
    world.checkpoint()
    world.writes("analyze", at=at)
    world.pause("review")
    return world


def fan_out() -> World:
    world = World(policy(question_gate(node="check")))
    world.open()
    world.start()
    world.step("plan")
    push = {"path": "~__pregel_push, 0000000000, 0000000000"}
    world.writes("check", "steps", detail=push)
    world.ask("q1", "check")
    world.settle()
    world.sign("u-pha", "rejected", text="no")
    mandate = world.decide()
    world.begin(mandate, detail={"command": ["resume"], "answers": ["q1"]}, payload={"resume": {"q1": "no"}})
    world.writes("check", "__resume__", "steps")
    world.checkpoint()
    world.end()
    return world


HONEST: Mapping[str, Callable[[], World]] = {
    made.__name__.replace("_", " "): made
    for made in (
        approved, rejected, written_nothing, two_stages, two_gates, two_gates_writing_nothing, after_a_node,
        after_one_and_before_the_next, decision_that_leads_to_another_gate, in_a_loop, answered, two_questions_at_once,
        two_questions_in_one_node, question_in_a_subgraph, pause_in_a_subgraph, pause_that_no_gate_names,
        stopped_by_the_fallback_role, edited_by_signature, corrected_from_outside, corrected_at_the_second_gate,
        corrected_at_a_question, corrected_at_a_question_behind_a_gate, redirected, redirected_from_behind_a_node,
        failed_and_retried, answer_failed_and_retried, lost_and_repeated, answer_lost_and_repeated,
        failed_and_tried_again_by_itself, withdrawn, reminded_and_escalated, expired, expired_and_stopped, stopped,
        stopped_in_mid_run, attested, attested_where_only_signatures_count, started_by_a_key, moved,
        revoked_afterwards, annotated_under_signature, claimed_commented_and_refused, pauses_of_the_caller,
        told_out_of_order, fan_out, moved_when_decided, moved_when_decided_and_written, moved_when_answered,
        moved_when_opened, attested_beside,
        honest_order.ended_by_a_slower_clock, honest_order.ended_by_a_clock_a_minute_behind,
        honest_order.signed_at_a_clock_a_minute_behind, honest_order.sealed_by_a_restore,
        honest_order.signed_in_a_role_that_another_gave_as_well, honest_order.signed_and_decided_in_the_last_minute,
        honest_views.a_number_that_a_database_writes_out, honest_views.a_zero_without_its_sign,
        honest_views.an_object_that_only_the_worker_knows, honest_views.bytes_that_are_shown_by_their_digest,
    )
}  # fmt: skip
