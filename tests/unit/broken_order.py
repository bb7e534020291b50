"""Dates that are not true: acts dated back behind the end of a right, whoever holds the deployment key, and clocks
that went back further than those of two servers may differ.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from unit.breaking import APPROVED, Make, breaks, carried_out
from unit.governing import World, waiting
from unit.honest_order import MINUTE, ended_by_a_slower_clock, signed_at_a_clock_a_minute_behind
from unit.samples import WHEN

LONGER = MINUTE + timedelta(microseconds=1)
OLD = "names an old standing of 'u-chi': entry "
ENDS: dict[str, Callable[[World, str], Any]] = {
    "grant revoked": lambda world, name: world.about("grant.revoked", "u-chi", grant=name),
    "user deactivated": lambda world, _: world.about("user.deactivated", "u-chi"),
    "credential revoked": lambda world, _: world.about("credential.revoked", "u-chi", credential="c-u-chi"),
}


def dated_back(end: Callable[[World, str], Any]) -> World:
    """Behind the end of a right, somebody signs as if it were before: every date in the trail goes on from the last."""
    world = waiting()
    name = world.grant("u-chi", "pharmacist")
    world.look("u-chi")
    old, before = world.places["u-chi"], world.now
    world.later(7200)
    end(world, name)
    world.now = before
    number = world.sign("u-chi", role="pharmacist", standing=old, looks=False)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


def dating_back(end: Callable[[World, str], Any]) -> Make:
    return lambda: dated_back(end)


for ended, end in ENDS.items():
    breaks(f"dated back behind the end: {ended}", OLD)(dating_back(end))


@breaks("dated back behind the end, as the log has it", "@system came before it (that one is leaf ")
def dated_back_in_the_log() -> World:
    return dated_back(ENDS["grant revoked"])


@breaks("a standing that is younger than the act, by the log", "behind it")
def standing_behind() -> World:
    world = waiting()
    world.grant("u-chi", "pharmacist")
    given = world.order[-1]
    number = world.sign("u-chi", role="pharmacist")
    world.order.remove(given)
    world.order.append(given)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("dated back behind the end, and a restore that was later", OLD)
def restored_later() -> World:
    world = dated_back(ENDS["grant revoked"])
    detail: dict[str, Any] = {"from": 1, "to": len(world.order), "lost": 0}
    world.log_event("log.restored", **detail)
    return world


@breaks("a right that was ended more than a minute before, by the clock", OLD)
def ended_more_than_a_minute_before() -> World:
    return ended_by_a_slower_clock(LONGER)


@breaks("dated more than a minute before what was done before it", "and an entry of this case that stands before it")
def clock_went_back() -> World:
    return signed_at_a_clock_a_minute_behind(LONGER)


@breaks("a case dated before it was shown to anybody", "and an entry of this case that stands before it")
def dated_years_back() -> World:
    return signed_at_a_clock_a_minute_behind(timedelta(days=365))


@breaks("decided at a date before the signatures", "and an entry of this case that stands before it")
def decided_before() -> World:
    world = waiting()
    world.sign("u-pha")
    world.dated(WHEN)
    world.later(-MINUTE.total_seconds())
    return carried_out(world)
