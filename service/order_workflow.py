"""The examples' workflow: a medication order that a pharmacist approves, rejects or sends back.

An ordinary LangGraph graph: nothing in it knows of the audit.
"""

from __future__ import annotations

import operator
import re
from typing import Annotated, Literal, TypedDict

from langgraph.graph import END, START, StateGraph

DECISIONS = ("approved", "rejected", "needs_revision")
_USUAL_DOSE_MG = {"warfarin": 5, "methotrexate": 15, "vancomycin": 2000, "heparin": 60}


class MedicationOrder(TypedDict):
    """The state of one order."""

    patient: str
    drug: str
    dose_mg: int
    flags: list[str]
    decision: str
    notes: str
    order: str
    history: Annotated[list[str], operator.add]


def new_order(patient: str, drug: str) -> MedicationOrder:
    """Return the input of a new case."""
    return MedicationOrder(patient=patient, drug=drug, dose_mg=0, flags=[], decision="", notes="", order="", history=[])


def analyze(state: MedicationOrder) -> dict[str, object]:
    """Propose a dose, as a model would: the usual one, or what the pharmacist's notes make of the last proposal.

    Clears the decision, so that the one of the last round can never let the next proposal pass.
    """
    dose = state["dose_mg"] or _USUAL_DOSE_MG[state["drug"]]
    if reduction := re.search(r"by (\d+) ?%", state["notes"]):
        dose -= dose * int(reduction[1]) // 100
    flags = ["narrow therapeutic index", "check INR"] if state["drug"] == "warfarin" else ["check renal function"]
    return {
        "dose_mg": dose,
        "flags": flags,
        "decision": "",
        "notes": "",
        "history": [f"proposed {dose} mg of {state['drug']}" + (f", told: {state['notes']}" if state["notes"] else "")],
    }


def review(state: MedicationOrder) -> dict[str, object]:
    """Take the decision that was recorded during the pause; without one the order does not go on."""
    if state["decision"] not in DECISIONS:
        raise ValueError(f"an order goes on with one of {', '.join(DECISIONS)}, not with {state['decision']!r}")
    return {"history": [f"pharmacist: {state['decision']}"]}


def route(state: MedicationOrder) -> Literal["analyze", "issue"]:
    """Send the order back for another proposal, or on."""
    return "analyze" if state["decision"] == "needs_revision" else "issue"


def issue(state: MedicationOrder) -> dict[str, object]:
    """Write the order, or its refusal."""
    if state["decision"] == "approved":
        order = f"GIVE {state['dose_mg']} mg {state['drug']} to {state['patient']}"
    else:
        order = f"DO NOT GIVE {state['drug']} to {state['patient']}: {state['notes'] or 'no reason given'}"
    return {"order": order, "history": [order]}


def order_workflow() -> StateGraph[MedicationOrder]:
    """Return the graph's builder; compile it with `interrupt_before=["review"]`."""
    builder = StateGraph(MedicationOrder)
    for name, node in (("analyze", analyze), ("review", review), ("issue", issue)):
        builder.add_node(name, node)
    builder.add_edge(START, "analyze")
    builder.add_edge("analyze", "review")
    builder.add_conditional_edges("review", route)
    builder.add_edge("issue", END)
    return builder
