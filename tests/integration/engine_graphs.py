"""The graphs of the tests of the engine; each order leaves its effect at a receiver, which is a folder."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, TypedDict

from langchain_core.runnables.config import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

RECEIVER = "TEST_RECEIVER"
calls: list[str] = []
"""The nodes that ran in this process."""


class Order(TypedDict, total=False):
    dose: int
    decision: str
    path: str
    note: str


def analyze(state: Order) -> dict[str, Any]:
    calls.append("analyze")
    return {"path": "analyzed", "dose": state.get("dose", 0) + 5}


def order(state: Order, config: RunnableConfig) -> dict[str, Any]:
    calls.append("order")
    if state.get("decision") == "fail":
        raise RuntimeError("the pharmacy is closed")
    request(config, "order")
    return {"path": f"ordered {state.get('dose')} {state.get('decision')}"}


def ask(state: Order, config: RunnableConfig) -> dict[str, Any]:
    decision = interrupt({"question": "approve?", "dose": state["dose"]})
    request(config, "answered")
    return {"decision": decision}


def request(config: RunnableConfig, what: str) -> None:
    """Ask the receiver for an effect: it keeps every request by its key, and has each key's effect once."""
    if folder := os.environ.get(RECEIVER):
        key = config["configurable"]["countersign_effect_key"]
        place = Path(folder, what, key)
        place.mkdir(parents=True, exist_ok=True)
        (place / uuid.uuid4().hex).touch()


def effects(folder: Path, what: str) -> list[int]:
    """Return how often each effect was asked for: one number for each that happened."""
    return sorted(len([*place.iterdir()]) for place in Path(folder, what).glob("*"))


def _revise(state: Order) -> str:
    return "analyze" if state.get("decision") == "revise" else "order"


def plain() -> Any:
    """Return analyze -> order; with a decision `revise`, analyze again."""
    builder = StateGraph(Order)
    builder.add_node("analyze", analyze)
    builder.add_node("order", order)
    builder.add_edge(START, "analyze")
    builder.add_conditional_edges("analyze", _revise, ["analyze", "order"])
    builder.add_edge("order", END)
    return builder


def asking() -> Any:
    """Return analyze -> ask -> order."""
    builder = StateGraph(Order)
    builder.add_node("analyze", analyze)
    builder.add_node("ask", ask)
    builder.add_node("order", order)
    builder.add_edge(START, "analyze")
    builder.add_edge("analyze", "ask")
    builder.add_edge("ask", "order")
    builder.add_edge("order", END)
    return builder
