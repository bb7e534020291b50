"""Reviews that the end of their time decides otherwise than it may, and a stop by nobody."""

from __future__ import annotations

from countersign.audit.canonical import Json
from countersign.audit.entry import SYSTEM
from unit.breaking import APPROVED, breaks, carried_out
from unit.governing import World, gate, policy, waiting


@breaks("decision after expiry", "(expired): the time of the review is over")
def after_expiry() -> World:
    world = waiting()
    world.later(3600)
    world.timed("review.expired")
    number = world.sign("u-pha")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("signatures counted after expiry", "counts signatures although entry 12 says that the time was over")
def counted_after_expiry() -> World:
    world = waiting()
    world.sign("u-pha")
    world.later(3600)
    world.timed("review.expired")
    world.decide()
    return world


@breaks("decided behind the end, on a signature in time", "counts signatures behind the end of the time, 2025-")
def decided_late() -> World:
    world = waiting()
    world.sign("u-pha")
    world.later(3700)
    return carried_out(world)


@breaks("decided when something else was done since", "counts signatures later than with the last of them, entry 11")
def decided_afterwards() -> World:
    world = waiting()
    world.sign("u-pha")
    world.act("review.claimed", "u-pha2", detail={"review": "r-1"})
    return carried_out(world)


@breaks("decided when another node had written since", "counts signatures later than with the last of them, entry 11")
def decided_in_between() -> World:
    world = waiting()
    world.sign("u-pha")
    world.writes("print")
    return carried_out(world)


@breaks("expiry before due", "comes before it is due at")
def expiry_before_due() -> World:
    world = waiting()
    world.later(60)
    world.timed("review.expired")
    world.decide(by="expiry")
    return world


@breaks("expiry at another moment", "names another moment than the policy")
def another_moment() -> World:
    world = waiting()
    world.later(60)
    world.timed("review.expired", world.now)
    return world


@breaks("expiry decides without having expired", "decides by the end of a time that no entry says is over")
def not_expired() -> World:
    world = waiting()
    world.decide(by="expiry")
    return world


@breaks("on_expiry another decision", "decides 'approved' at the end of the time, and the policy says 'rejected'")
def expiry_approves() -> World:
    world = waiting()
    world.later(3600)
    world.timed("review.expired")
    world.decide(by="expiry", outcome="approved", write={"update": APPROVED})
    return world


@breaks("reminded twice", "tells a second time what happens once")
def reminded_twice() -> World:
    world = waiting()
    world.later(60)
    world.timed("review.reminded")
    world.timed("review.reminded")
    return world


@breaks("reminded where there is no time for it", "is one for which the gate 'pharmacist' has no time")
def no_time() -> World:
    times: Json = {"remind": None, "escalate": None, "expire": None}
    world = waiting(policy(gate(times=times, escalate_to=None, on_expiry=None)))
    world.timed("review.reminded")
    return world


@breaks("escalated to another role", "escalates to 'pharmacist', and the policy to 'chief'")
def escalated_elsewhere() -> World:
    world = waiting()
    world.later(120)
    world.timed("review.escalated", to="pharmacist")
    return world


@breaks("expired behind the end", "tells that the time of a review is over that is not open")
def expired_late() -> World:
    world = waiting()
    world.sign("u-pha")
    world.decide()
    world.later(3600)
    world.timed("review.expired")
    return world


@breaks("stopped by nobody", "stops the case by nobody, and no review has expired whose policy says so")
def stopped_by_nobody() -> World:
    world = waiting()
    world.add("case.stopped", actor=SYSTEM)
    return world
