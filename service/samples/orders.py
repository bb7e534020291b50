"""Two ordinary LangGraph graphs: a medication order, and a chemotherapy that two professions release.

Nothing in them knows of Countersign. Who signs where stands in countersign.toml.
"""

from __future__ import annotations

import operator
import re
from typing import Annotated, Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

DECISIONS = ("approved", "rejected", "needs_revision")
USUAL_DOSE_MG = {"warfarin": 5, "methotrexate": 15, "vancomycin": 2000, "heparin": 60}


class Order(TypedDict, total=False):
    """The state of a medication order. A case starts with `patient` and `drug`."""

    patient: str
    drug: str
    dose_mg: int
    flags: list[str]
    decision: str
    notes: str
    order: str
    history: Annotated[list[str], operator.add]


def analyze(state: Order) -> dict[str, Any]:
    """Propose a dose, as a model would: the usual one, or what the notes make of the last proposal."""
    dose = state.get("dose_mg") or USUAL_DOSE_MG.get(state["drug"], 100)
    notes = state.get("notes", "")
    if reduction := re.search(r"by (\d+) ?%", notes):
        dose -= dose * int(reduction[1]) // 100
    flags = ["narrow therapeutic index", "check INR"] if state["drug"] == "warfarin" else ["check renal function"]
    return {
        "dose_mg": dose,
        "flags": flags,
        "decision": "",  # so that the last round's decision never lets this proposal pass
        "notes": "",
        "history": [f"proposed {dose} mg of {state['drug']}" + (f", told: {notes}" if notes else "")],
    }


def review(state: Order) -> dict[str, Any]:
    """Take the decision that was written while the graph paused in front of this node."""
    if state["decision"] not in DECISIONS:
        raise ValueError(f"an order goes on with one of {', '.join(DECISIONS)}, not with {state['decision']!r}")
    return {"history": [f"review: {state['decision']}"]}


def route(state: Order) -> Literal["analyze", "issue", "refuse"]:
    """Send the order back for another proposal, or to its end."""
    branches: dict[str, Literal["analyze", "issue", "refuse"]] = {"approved": "issue", "needs_revision": "analyze"}
    return branches.get(state["decision"], "refuse")


def issue(state: Order) -> dict[str, Any]:
    """Write the order. In life this is the call that must not happen twice."""
    order = f"GIVE {state['dose_mg']} mg {state['drug']} to {state['patient']}"
    return {"order": order, "history": [order]}


def refuse(state: Order) -> dict[str, Any]:
    """Write the refusal."""
    order = f"DO NOT GIVE {state['drug']} to {state['patient']}: {state['notes'] or 'nobody approved it'}"
    return {"order": order, "history": [order]}


class Therapy(TypedDict, total=False):
    """The state of a chemotherapy. A case starts with `patient` and `protocol`."""

    patient: str
    protocol: str
    cycles: int
    dose_percent: int
    release: str
    notes: str
    order: str


def plan(state: Therapy) -> dict[str, Any]:
    """Ask a physician how many cycles there shall be; the answer is what interrupt() returns."""
    answer = interrupt({"question": "How many cycles, at which dose?", "protocol": state["protocol"]})
    return {"cycles": answer["cycles"], "dose_percent": answer["dose_percent"]}


def prepare(state: Therapy) -> dict[str, Any]:
    """Order the preparation, or note that it was refused."""
    what = f"{state['cycles']} cycles of {state['protocol']} at {state['dose_percent']} % for {state['patient']}"
    return {"order": f"PREPARE {what}" if state.get("release") == "released" else f"DO NOT PREPARE {what}"}


def _medication_order() -> StateGraph[Order]:
    builder = StateGraph(Order)
    for name, node in (("analyze", analyze), ("review", review), ("issue", issue), ("refuse", refuse)):
        builder.add_node(name, node)
    builder.add_edge(START, "analyze")
    builder.add_edge("analyze", "review")
    builder.add_conditional_edges("review", route)
    builder.add_edge("issue", END)
    builder.add_edge("refuse", END)
    return builder


def _chemotherapy() -> StateGraph[Therapy]:
    builder = StateGraph(Therapy)
    builder.add_node("plan", plan)
    builder.add_node("prepare", prepare)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "prepare")
    builder.add_edge("prepare", END)
    return builder


medication_order = _medication_order().compile(interrupt_before=["review"], name="medication-order")
chemotherapy = _chemotherapy().compile(name="chemotherapy")
