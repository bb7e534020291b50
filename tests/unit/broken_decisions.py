"""Decisions that nobody came to, edits that signatures were not given for, and times that are not over."""

from __future__ import annotations

from countersign.audit.canonical import Json
from countersign.audit.entry import UNATTRIBUTED, CheckpointRef
from unit.breaking import APPROVED, CROSSED, breaks, carried_out
from unit.governing import World, asking, finish, waiting
from unit.honest_paths import TWO_GATES, answer


@breaks("value decided is not the value signed", "writes something else than what was signed")
def write_differs() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide(write={"update": {"decision": "rejected", "notes": ""}})
    finish(world, mandate)
    return world


@breaks("value resumed with differs", "answers otherwise than entry 11 says")
def answer_differs() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": "no"})
    answer(world, world.decide(), "yes")
    world.end()
    return world


@breaks("True for 1", "answers otherwise than entry 11 says")
def answer_differs_by_type() -> World:
    world = asking()
    world.sign("u-pha", values={"answer": 1})
    answer(world, world.decide(), value=True)
    world.end()
    return world


@breaks("answer of a question that was not decided", "goes on with resume, and entry")
def answer_under_another() -> World:
    world = asking()
    world.begin(
        world.act("case.retried", "u-sup", payload={"reason": "x"}),
        detail={"command": ["resume"]},
        payload={"resume": {"q1": "yes"}},
    )
    return world


@breaks("answer under a decision that does not suffice", "answers a question under entry 9, whose decision does not")
def answer_insufficient() -> World:
    world = asking()
    mandate = world.decide(outcome="approved", signed=[], write={"resume": "yes"})
    answer(world, mandate, "yes")
    world.end()
    return world


@breaks("update differs", "writes other values than entry 12 says")
def update_differs() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, {"decision": "approved", "notes": "", "dose": 60})
    world.begin(mandate)
    world.step("review")
    world.end()
    return world


@breaks("as_node", "edits the state as review, which entry 12 does not say")
def as_node() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED, "review")
    return world


@breaks("an edit by nobody", "was made by unattributed (unattributed), and under no entry of this case that allows it")
def edit_by_nobody() -> World:
    world = waiting()
    world.update(1, {"dose": 60}, actor=UNATTRIBUTED)
    return world


@breaks("an edit by nobody, of which only the writes are there", "is part of an edit that no entry of this case allows")
def writes_by_nobody() -> World:
    return edit_by_nobody()


@breaks("an edit of an older checkpoint", "edits another checkpoint than the latest")
def edit_of_an_older() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3}, parent="c2")
    return world


@breaks("an edit twice", "edits the state a second time under entry")
def edit_twice() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    world.update(mandate, {"dose": 3})
    return world


@breaks("going on without the edit", "goes on before the edit was made that entry 12 says")
def without_the_edit() -> World:
    world = waiting()
    world.sign("u-pha")
    world.begin(world.decide())
    return world


@breaks("going on where a gate is left", "lets the case go on, and the gates still due there are: chief")
def gate_left() -> World:
    world = waiting(TWO_GATES)
    world.sign("u-pha")
    world.decide(resume=True)
    return world


@breaks("a second gate crossed", "the gate 'chief' was crossed without sufficient sign-off")
def second_gate_crossed() -> World:
    world = waiting(TWO_GATES)
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.begin(mandate)
    world.step("review")
    world.end()
    return world


@breaks("going on under a decision that does not say so", "which does not let the case go on")
def does_not_resume() -> World:
    return second_gate_crossed()


@breaks("a decision of a review that was decided", "decides a review that is not open")
def decided_twice() -> World:
    world = waiting()
    world.sign("u-pha")
    world.decide()
    world.decide()
    return world


@breaks("a signature behind the decision", "(closed): the review is decided")
def signed_afterwards() -> World:
    world = waiting()
    world.sign("u-pha")
    world.decide()
    world.sign("u-pha2", "rejected", text="wait")
    return world


@breaks("a signature of entries that do not count", "and rests on entries 11, 99 where 11 are what counts")
def rests_on_others() -> World:
    world = waiting()
    number = world.sign("u-pha")
    world.decide(signed=[number, 99])
    return world


@breaks("another outcome than signed", "and the signatures come to 'rejected'")
def another_outcome() -> World:
    world = waiting()
    world.sign("u-pha", "rejected", text="no")
    world.decide(outcome="approved", write={"update": APPROVED})
    return world


@breaks("withdrawn signature counted", "without sufficient sign-off: stage 1 is not complete")
def withdrawn_counted() -> World:
    world = waiting()
    number = world.sign("u-pha")
    world.act("review.withdrawn", "u-pha", detail={"review": "r-1", "signed": number}, payload={"reason": "misread"})
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("withdrawn by somebody else", "takes back entry 11, which somebody else signed")
def withdrawn_by_another() -> World:
    world = waiting()
    number = world.sign("u-pha")
    world.act("review.withdrawn", "u-pha2", detail={"review": "r-1", "signed": number}, payload={"reason": "x"})
    return world


@breaks("withdrawn after the decision", "which is no signature that counts in an open review")
def withdrawn_late() -> World:
    world = waiting()
    number = world.sign("u-pha")
    world.decide()
    world.act("review.withdrawn", "u-pha", detail={"review": "r-1", "signed": number}, payload={"reason": "x"})
    return world


@breaks("a review where the case waits for none", "opens a review where the case waits for none")
def opened_for_nothing() -> World:
    world = World()
    world.open()
    world.start()
    detail: dict[str, Json] = {"review": "r-1", "gate": "pharmacist", "when": "before", "nodes": ["review"]}
    world.add("review.opened", checkpoint=CheckpointRef("c2"), detail=detail)
    return world


@breaks(
    "the fallback role in place of the gate", "opens a review for the fallback role where it is the turn of the gate"
)
def fallback_opened() -> World:
    world = World()
    world.open()
    world.start()
    world.pause("review")
    world.settle(gate=None)
    world.sign("u-sup", "proceed")
    mandate = world.decide(outcome="proceed")
    world.begin(mandate)
    world.step("review")
    return world


@breaks("the fallback role in place of the gate, and the node ran", CROSSED)
def fallback_crossed() -> World:
    return fallback_opened()


@breaks("the second gate first", "opens a review for the gate 'chief' where it is the turn of the gate 'pharmacist'")
def second_first() -> World:
    world = World(TWO_GATES)
    world.open()
    world.start()
    world.pause("review")
    world.settle(gate="chief")
    return world


@breaks("a review opened twice", "opens the review r-1 again")
def opened_twice() -> World:
    world = waiting()
    detail: dict[str, Json] = {"review": "r-1", "gate": "pharmacist", "when": "before", "nodes": ["review"]}
    world.add("review.opened", checkpoint=CheckpointRef(world.tip or ""), detail=detail)
    return world


@breaks("a review of other nodes", "opens a review of other nodes (print)")
def other_nodes() -> World:
    world = World()
    world.open()
    world.start()
    world.pause("review")
    world.settle(nodes=["print"])
    return world


@breaks("a review closed for no cause", "closes a review without a cause")
def closed_without_cause() -> World:
    world = waiting()
    world.add("review.closed", detail={"review": "r-1", "cause": 1})
    return world


@breaks("a review closed twice", "closes a review that is not open")
def closed_twice() -> World:
    world = waiting()
    number = world.act("case.stopped", "u-sup", payload={"reason": "x"})
    for _ in range(2):
        world.add("review.closed", detail={"review": "r-1", "cause": number})
    return world


@breaks("decided though it goes on elsewhere", "decides a pause that the case is no longer at")
def decided_elsewhere() -> World:
    world = waiting()
    world.sign("u-pha")
    world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "x"})
    return carried_out(world)


# Edits


@breaks("edit after approval without voiding", "decides a review of what was edited since")
def edited_after_approval() -> World:
    world = waiting()
    number = world.sign("u-pha")
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.update(mandate, {"dose": 60})
    world.pause("review")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("edit after the decision", CROSSED)
def edited_after_decision() -> World:
    """The approval was given for another state than the one that ran."""
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.update(mandate, {"dose": 60}, actor=UNATTRIBUTED)
    world.begin(mandate)
    world.step("review")
    return world


@breaks("reopened without naming what is void", "does not name exactly the signatures that the edit voided (11)")
def not_voided() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.update(mandate, {"dose": 60})
    world.pause("review")
    world.reopen(voided=[])
    return world


@breaks("reopened for another cause", "names another cause than the edit at entry")
def another_cause() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.update(mandate, {"dose": 60})
    world.pause("review")
    world.reopen(cause=1)
    return world


@breaks("reopened for nothing", "reopens a review that no edit had changed")
def reopened_for_nothing() -> World:
    world = waiting()
    detail: dict[str, Json] = {"review": "r-1", "cause": 7, "voided": []}
    world.add("review.reopened", checkpoint=CheckpointRef(world.tip or ""), detail=detail)
    return world


@breaks("signed between an edit and its end", "(digest): the case goes on from what is under review, or is edited")
def signed_while_edited() -> World:
    world = waiting()
    world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.sign("u-pha")
    return world


@breaks("signed before it was reopened", "(digest): what was under review was edited")
def signed_before_reopened() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.update(mandate, {"dose": 60})
    world.pause("review")
    world.sign("u-pha")
    return world


@breaks("a view of before the edit", "(not-viewed)")
def view_of_before() -> World:
    world = waiting()
    digest = world.look("u-pha")
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.update(mandate, {"dose": 60})
    world.pause("review")
    world.reopen()
    world.sign("u-pha", looks=False, shown=digest)
    return world


@breaks("an edit otherwise than signed", "edits otherwise than entry 11 was signed for")
def edit_otherwise() -> World:
    world = waiting()
    number = world.sign("u-pha", "edit", values={"dose": 3})
    world.act("case.corrected", "u-pha", detail={"signed": number}, payload={"values": {"dose": 60}})
    return world


@breaks("an edit under no signature", "rests on entry 8, which is no signature for an edit that counts")
def edit_unsigned() -> World:
    world = waiting()
    world.act("case.corrected", "u-pre", detail={"signed": 8}, payload={"values": {"dose": 60}})
    return world


@breaks("an edit under one signature twice", "which is no signature for an edit that counts")
def edit_used_twice() -> World:
    world = waiting()
    number = world.sign("u-pha", "edit", values={"dose": 3})
    mandate = world.act("case.corrected", "u-pha", detail={"signed": number}, payload={"values": {"dose": 3}})
    world.update(mandate, {"dose": 3})
    world.pause("review")
    world.act("case.corrected", "u-pha", detail={"signed": number}, payload={"values": {"dose": 3}})
    return world


# Time
