"""Small graphs the tests share."""

from __future__ import annotations

import operator
import uuid
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class Order(TypedDict):
    """A medication order on its way."""

    drug: str
    dose: int
    decision: str
    flags: list[str]
    steps: Annotated[list[str], operator.add]


def _analyze(state: Order) -> dict[str, Any]:
    return {"dose": 5, "flags": ["INR"], "steps": ["analyzed"]}


def _order(state: Order) -> dict[str, Any]:
    return {"steps": [f"ordered {state['dose']} mg: {state['decision']}"]}


def _ask(state: Order) -> dict[str, Any]:
    return {"decision": interrupt({"question": "approve?", "dose": state["dose"]}), "steps": ["asked"]}


def order_graph(*, ask: bool = False) -> StateGraph[Order]:
    """Return analyze -> order, or with `ask` analyze -> ask (a dynamic interrupt) -> order."""
    builder = StateGraph(Order)
    builder.add_node("analyze", _analyze)
    builder.add_node("order", _order)
    builder.add_edge(START, "analyze")
    if ask:
        builder.add_node("ask", _ask)
        builder.add_edge("analyze", "ask")
        builder.add_edge("ask", "order")
    else:
        builder.add_edge("analyze", "order")
    builder.add_edge("order", END)
    return builder


NEW_ORDER: Order = {"drug": "warfarin", "dose": 0, "decision": "", "flags": [], "steps": []}


def thread() -> tuple[str, Any]:
    """Return a fresh thread id and the config that addresses it."""
    name = str(uuid.uuid4())
    return name, {"configurable": {"thread_id": name}}


PAUSED_AND_EDITED = [
    "run.started",
    "checkpoint.saved",
    "writes.saved",
    "checkpoint.saved",
    "writes.saved",
    "checkpoint.saved",
    "interrupt.raised",
    "writes.saved",
    "state.updated",
    "run.resumed",
    "writes.saved",
    "checkpoint.saved",
    "run.completed",
]
"""The kinds of a case that pauses before `order`, is edited and resumes."""
