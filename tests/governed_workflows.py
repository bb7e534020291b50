"""Workflows for tests of governed cases: small graphs that ask, fail, nest and pause, each with its policy."""

from __future__ import annotations

from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from countersign.audit.canonical import Json
from governing import decision, gate, orders, policy

ANSWER: dict[str, Json] = {
    "type": "object",
    "required": ["dose"],
    "properties": {"dose": {"type": "number", "maximum": 10}},
    "additionalProperties": False,
}


class Dose(TypedDict, total=False):
    dose: float
    scan: bytes
    given: str


def ask(state: Dose) -> dict[str, Any]:
    answer = interrupt({"which": "dose?", "now": state.get("dose")})
    return {"dose": answer["dose"] if isinstance(answer, dict) else answer}


def give(state: Dose) -> dict[str, Any]:
    return {"given": f"{state.get('dose')} mg"}


def refuse_to(state: Dose) -> dict[str, Any]:
    if state.get("dose", 0.0) > 9:
        raise ValueError("too much")
    return give(state)


def questions(*, last: Any = give) -> Any:
    """A graph whose one node asks, and one that acts on the answer."""
    builder = StateGraph(Dose)
    builder.add_node("ask", ask)
    builder.add_node("give", last)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "give")
    builder.add_edge("give", END)
    return builder.compile()


class Sides(TypedDict, total=False):
    left: str
    right: str


def two_questions() -> Any:
    """A graph of which two nodes ask at once."""
    builder: Any = StateGraph(Sides)
    for side in ("left", "right"):

        def ask_side(_: Sides, side: str = side) -> dict[str, Any]:
            return {side: interrupt(f"{side}?")}

        builder.add_node(side, ask_side)
        builder.add_edge(START, side)
        builder.add_edge(side, END)
    return builder.compile()


def nested() -> Any:
    """A graph with a subgraph that pauses by itself."""
    inner: Any = StateGraph(Dose)
    inner.add_node("think", lambda _: {})
    inner.add_node("give", give)
    inner.add_edge(START, "think")
    inner.add_edge("think", "give")
    builder = StateGraph(Dose)
    builder.add_node("inner", inner.compile(interrupt_before=["give"]))
    builder.add_edge(START, "inner")
    return builder.compile()


NO_TIMES: dict[str, Any] = {
    "times": {"remind": None, "escalate": None, "expire": None},
    "escalate_to": None,
    "on_expiry": None,
    "edit": None,
}
ANSWERED = decision(
    "answered",
    releases=True,
    reason=False,
    write="$values.answer",
    values={"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}},
)
SIDES = [
    gate(f"the-{side}", when="interrupt", node=side, decisions=[ANSWERED], **NO_TIMES) for side in ("left", "right")
]
ASKS = gate(
    "dose",
    when="interrupt",
    node="ask",
    decisions=[
        decision("given", releases=True, reason=False, write="$values", values=ANSWER),
        decision("none", releases=False, reason=True, write={"dose": {"$float": "0.5"}}),
    ],
    edit=None,
    times={"remind": None, "escalate": None, "expire": None},
    escalate_to=None,
    on_expiry=None,
)
TWO_STAGES = gate(
    decisions=[
        decision("approved", releases=True, reason=False, write={"decision": "approved", "notes": "$reason"}),
        decision("watched", releases=True, reason=False, write={"decision": "approved", "notes": "watch"}),
        decision("rejected", releases=False, reason=True, write={"decision": "rejected", "notes": "$reason"}),
    ],
    stages=[{"role": "pharmacist", "count": 2}, {"role": "chief", "count": 1}],
    times={"remind": None, "escalate": None, "expire": None},
    escalate_to=None,
    on_expiry=None,
)
WORKFLOWS = [
    (policy(), orders()),
    (policy("two-stages", [TWO_STAGES]), orders()),
    (policy("two-gates", [gate("first"), gate("second", stages=[{"role": "chief", "count": 1}])]), orders()),
    (policy("asks", [ASKS]), questions()),
    (policy("fails", [ASKS]), questions(last=refuse_to)),
    (policy("unnamed", []), questions()),
    (policy("side-by-side", SIDES), two_questions()),
    (policy("nested", []), nested()),
]
PEOPLE = (
    ("pat", "prescriber"),
    ("ada", "pharmacist"),
    ("bo", "pharmacist"),
    ("eve", "pharmacist"),
    ("sue", "supervisor"),
    ("cleo", "chief"),
    ("both", "prescriber", "pharmacist"),
    ("nobody", "gardener"),
    ("audrey", "auditor"),
)
