"""Mandates that are used otherwise than they allow, and acts that do not stand where a case is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.entry import Actor, Workflow
from unit.breaking import APPROVED, CROSSED, Make, breaks, carried_out
from unit.governing import World, gate, policy, waiting
from unit.honest_paths import approved


@breaks("mandate used twice", "acts once more under entry 12, which is used up")
def mandate_used_twice() -> World:
    world = approved()
    world.begin(12)
    return world


@breaks("mandate used behind a later one", "acts once more under entry 1, which is used up")
def mandate_used_late() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.begin(1)
    return world


@breaks("mandate of another kind", "edits the state under entry 1, which allows no edit")
def another_mandate() -> World:
    world = World()
    world.open()
    world.update(1, {"dose": 60})
    return world


@breaks("a correction that goes on", "goes on under entry 10, which allows an edit and no more")
def correction_goes_on() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    world.update(mandate, {"dose": 60})
    world.begin(mandate)
    world.step("review")
    return world


@breaks("a correction that goes on, and the node ran", CROSSED)
def correction_crossed() -> World:
    return correction_goes_on()


@breaks("mandate that is an entry of another kind", "was made by entry:9 (mandate), and under no entry of this case")
def no_mandate() -> World:
    world = waiting()
    world.act("review.claimed", "u-pha", detail={"review": "r-1"})
    world.begin(9)
    return world


@breaks("mandate of somebody who says so", "was made by entry:1 (application), and under no entry")
def said_mandate() -> World:
    world = World()
    world.open()
    world.start(actor=Actor("entry:1", "application"))
    return world


@breaks("another version of the workflow ran", "runs orders 1, and the case is one of orders ")
def another_version_ran() -> World:
    world = World()
    world.open()
    world.start(workflow=Workflow("orders", "1"))
    return world


@breaks("a Command that nobody recorded", "delivers what no recorded Command brought")
def unrecorded_command() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.update(mandate, APPROVED)
    world.begin(mandate)
    world.writes("", "branch:to:order", detail={"path": "", "task": "0"})
    return world


# The case


@breaks("run behind case.stopped", "goes on with a case that was stopped")
def run_behind_stop() -> World:
    world = waiting()
    world.sign("u-pha")
    mandate = world.decide()
    world.act("case.stopped", "u-sup", payload={"reason": "x"})
    world.update(mandate, APPROVED)
    return world


@breaks("a review behind case.stopped", "stands behind the stop of the case")
def review_behind_stop() -> World:
    world = waiting()
    world.act("case.stopped", "u-sup", payload={"reason": "x"})
    world.act("review.claimed", "u-pha", detail={"review": "r-1"})
    return world


@breaks("a correction behind the end", "stands behind the end of the case")
def correction_behind_end() -> World:
    world = approved()
    world.act("case.corrected", "u-pha2", payload={"values": {"dose": 60}, "reason": "more"})
    return world


def acting(kind: str, who: str, **detail: Any) -> Make:
    def make() -> World:
        world = waiting()
        world.act(kind, who, detail=detail, payload={"reason": "x", "values": {"dose": 1}})
        return world

    return make


ACTS: Sequence[tuple[str, str, str, dict[str, Any]]] = [
    ("case.corrected", "u-pre", "the role 'prescriber' may not correct a case", {}),
    ("case.redirected", "u-pha", "the role 'pharmacist' may not redirect a case", {"to": "analyze"}),
    ("case.stopped", "u-pha", "the role 'pharmacist' may not stop a case", {}),
    ("case.retried", "u-sup", "no run of the case has failed", {}),
]
for kind, who, sentence, detail in ACTS:
    breaks(f"{kind} by {who}", sentence)(acting(kind, who, **detail))


@breaks("started by a role that may not", "the role 'pharmacist' may not start a case")
def started_by_pharmacist() -> World:
    world = World()
    world.open("u-pha")
    return world


@breaks("started by somebody deactivated", "(inactive): they are not active")
def started_by_inactive() -> World:
    world = World()
    world.about("user.deactivated", "u-pre")
    world.open()
    return world


@breaks("corrected while a run is under way", "the case is running: it has to wait or to have failed")
def corrected_in_mid_run() -> World:
    world = World()
    world.open()
    world.start()
    world.act("case.corrected", "u-pha", payload={"values": {"dose": 60}, "reason": "more"})
    return world


@breaks("policy swapped", "rests on a policy that is not shown")
def policy_swapped() -> World:
    world = World()
    world.open(registered={"seq": 3, "leaf_hash": "05" * 32})
    return world


@breaks("wrong version", "names another version than entry")
def wrong_version() -> World:
    world = World()
    other = world.registered
    world.register(policy(gate(separation=[])))
    world.open(registered=other)
    return world


@breaks("an entry of another version", "names another version of the workflow than the case is of")
def entry_of_another_version() -> World:
    world = waiting()
    world.register(policy(gate(separation=[])))
    world.act("review.claimed", "u-pha", detail={"review": "r-1"})
    return world


@breaks("moved from another version", "moves the case from another version than it is of")
def moved_from_elsewhere() -> World:
    world = waiting()
    registered = world.register(policy(gate(separation=[])))
    detail: dict[str, Json] = {"registered": registered, "from": "0" * 32}
    world.act("case.moved", "u-sup", detail=detail, payload={"reason": "x"})
    return world


@breaks("moved by a role that may not", "the role 'pharmacist' may not move a case")
def moved_by_pharmacist() -> World:
    world = waiting()
    was = world.workflow.version
    registered = world.register(policy(gate(separation=[])))
    detail: dict[str, Json] = {"registered": registered, "from": was}
    world.act("case.moved", "u-pha", detail=detail, payload={"reason": "x"})
    return world


@breaks("signed under the version before", "without sufficient sign-off")
def signed_before_moved() -> World:
    world = waiting()
    number = world.sign("u-pha")
    was = world.workflow.version
    registered = world.register(policy(gate(), title="Orders, revised"))
    detail: dict[str, Json] = {"registered": registered, "from": was}
    world.act("case.moved", "u-sup", detail=detail, payload={"reason": "mended"})
    world.reopen()
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("opened twice", "is not the first of its case")
def case_opened_twice() -> World:
    world = waiting()
    world.open()
    return world
