"""Honest cases whose clocks differ, as far as they may, and whose leaves a restore put into another order."""

from __future__ import annotations

from datetime import timedelta

from unit.governing import World, finish, waiting

MINUTE = timedelta(minutes=1)


def ended_by_a_slower_clock(behind: timedelta = timedelta(seconds=30)) -> World:
    """Somebody signs, and then the grant is revoked by a server whose clock is so far behind."""
    world = waiting()
    name = world.grant("u-chi", "pharmacist")
    world.sign("u-chi", role="pharmacist")
    now = world.now
    world.dated(now - behind)
    world.about("grant.revoked", "u-chi", grant=name)
    world.now = now
    finish(world, world.decide())
    return world


def ended_by_a_clock_a_minute_behind() -> World:
    return ended_by_a_slower_clock(MINUTE)


def signed_at_a_clock_a_minute_behind(behind: timedelta = MINUTE) -> World:
    """The server at which somebody signs is that far behind the one that showed them the review."""
    world = waiting()
    world.later(100)
    world.look("u-pha")
    now = world.now
    world.dated(now - behind)
    world.sign("u-pha", looks=False)
    world.now = now
    finish(world, world.decide())
    return world


def signed_and_decided_in_the_last_minute() -> World:
    """A minute behind the end of the review's time nobody is refused for their clock, and no decision for theirs."""
    world = waiting()
    due = world.known("r-1").due("expire")
    assert due is not None
    world.look("u-pha")
    world.dated(due + MINUTE - timedelta(seconds=1))
    world.sign("u-pha", looks=False)
    finish(world, world.decide())
    return world


def sealed_by_a_restore() -> World:
    """With its record a restore seals what waits of @system, and only then what waits of cases."""
    world = waiting()
    name = world.grant("u-chi", "pharmacist")
    world.sign("u-chi", role="pharmacist")
    signed = [entry for entry in world.order if entry.trail != "@system"][-1]
    world.about("grant.revoked", "u-chi", grant=name)
    begin = world.order.index(signed) - 1
    world.log_event("log.restored", **{"from": 1, "to": begin, "lost": 0})
    world.order.remove(signed)
    world.order.append(signed)
    finish(world, world.decide())
    return world


def signed_in_a_role_that_another_gave_as_well() -> World:
    """Who gave themselves a role signs with it once somebody else has given it to them."""
    world = waiting()
    world.grant("u-chi", "pharmacist", by="u-chi")
    world.grant("u-chi", "pharmacist")
    world.sign("u-chi", role="pharmacist")
    finish(world, world.decide())
    return world
