"""How a broken rule is written down: a case in which all is signed with the rightful key, and what must be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from countersign.audit.canonical import Json
from unit.governing import World, gate, policy, waiting


class Broken(NamedTuple):
    """A rule, a case that breaks it, and part of what verification says."""

    rule: str
    make: Callable[[], World]
    sentence: str


BROKEN: list[Broken] = []
Make = Callable[[], World]
TWO = policy(gate(stages=[{"role": "pharmacist", "count": 2}]))
STAGES = policy(gate(stages=[{"role": "pharmacist", "count": 1}, {"role": "chief", "count": 1}]))
CROSSED = "the gate 'pharmacist' was crossed without sufficient sign-off"
APPROVED: dict[str, Json] = {"decision": "approved", "notes": ""}


def breaks(rule: str, sentence: str) -> Callable[[Make], Make]:
    def put(make: Make) -> Make:
        BROKEN.append(Broken(rule, make, sentence))
        return make

    return put


def carried_out(world: World, **changes: Any) -> World:
    """Record the decision, as forged, and let the worker carry it out."""
    mandate = world.decide(**changes)
    world.update(mandate, APPROVED)
    world.begin(mandate)
    world.step("review")
    world.end()
    return world


def signed_by(who: str, role: str = "pharmacist", before: Callable[[World], Any] | None = None, **how: Any) -> World:
    """Let one person sign, behind what was done `before`, and have that carried out as if it sufficed."""
    world = waiting()
    if before is not None:
        before(world)
    number = world.sign(who, role=role, **how)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})
