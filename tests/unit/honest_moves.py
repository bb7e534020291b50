"""Honest cases that are moved to another version of their workflow on their way, and two that look odd."""

from __future__ import annotations

from collections.abc import Mapping

from countersign.audit.canonical import Json
from unit.governing import World, asking, decision, finish, gate, policy, question_gate, waiting
from unit.honest_paths import answer


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
