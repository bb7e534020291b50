"""Honest cases on every path through gates and questions, step by step as the service and its workers go."""

from __future__ import annotations

from countersign.audit.canonical import Json
from countersign.audit.gates import fallback_gate
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
