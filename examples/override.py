"""Triage: the agent chooses a branch, and a person may send the patient down another one."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database

Branch = Literal["discharge", "admit"]


class Triage(TypedDict):
    """The state of one patient's triage."""

    patient: str
    pulse: int
    branch: Branch
    outcome: str


def assess(state: Triage) -> dict[str, object]:
    """Choose a branch, as a model would."""
    return {"branch": "admit" if state["pulse"] > 120 else "discharge"}  # noqa: PLR2004 - a stand-in for a model


def route(state: Triage) -> Branch:
    """Follow the branch in the state."""
    return state["branch"]


def discharge(state: Triage) -> dict[str, object]:
    """Send the patient home."""
    return {"outcome": f"{state['patient']} goes home"}


def admit(state: Triage) -> dict[str, object]:
    """Keep the patient."""
    return {"outcome": f"{state['patient']} stays"}


def triage_workflow() -> StateGraph[Triage]:
    """Return assess -> discharge or admit."""
    builder = StateGraph(Triage)
    for name, node in (("assess", assess), ("discharge", discharge), ("admit", admit)):
        builder.add_node(name, node)
    builder.add_edge(START, "assess")
    builder.add_conditional_edges("assess", route)
    builder.add_edge("discharge", END)
    builder.add_edge("admit", END)
    return builder


def triage_graph(saver: AsyncAuditedPostgresSaver) -> Any:
    """Return the graph; it pauses before either branch."""
    compiled = triage_workflow().compile(interrupt_before=["discharge", "admit"])
    return attach(compiled, saver, name="triage", version="1")


async def assess_patient(graph: Any, case_id: str, patient: str, pulse: int) -> tuple[str, ...]:
    """Run to the pause; return the branch the agent chose."""
    given = {"patient": patient, "pulse": pulse, "branch": "discharge", "outcome": ""}
    with acting_as("ward-3", role="nurse"):
        await graph.ainvoke(given, _config(case_id))
    coming: tuple[str, ...] = (await graph.aget_state(_config(case_id))).next
    return coming


async def agree(graph: Any, case_id: str, physician: str) -> Triage:
    """Let the agent's branch run."""
    with acting_as(physician, role="physician"):
        state: Triage = await graph.ainvoke(None, _config(case_id))
    return state


async def redirect(graph: Any, case_id: str, physician: str, branch: Branch) -> Triage:
    """Choose another branch in the name of `assess`, so that the graph routes once more; then let it run.

    `Command(goto=branch)` would not do: it runs a branch beside the one that waits, not instead of it.
    """
    with acting_as(physician, role="physician"):
        await graph.aupdate_state(_config(case_id), {"branch": branch}, as_node="assess")
    return await agree(graph, case_id, physician)


def _config(case_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": case_id}}


async def main() -> None:
    """Keep a patient whom the agent would send home."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
            graph = triage_graph(saver)
            case_id = f"triage-{uuid.uuid4()}"
            print(f"the agent says: {', '.join(await assess_patient(graph, case_id, 'P-8', 90))}")
            print((await redirect(graph, case_id, "physician-6", "admit"))["outcome"])


if __name__ == "__main__":
    asyncio.run(main())
