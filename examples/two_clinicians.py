"""A dose that two people must see: a clinician checks its safety, then a senior clinician releases it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database


class Plan(TypedDict):
    """The state of one treatment plan."""

    patient: str
    weight_kg: int
    dose_mg: int
    checked_by: str
    released_by: str
    plan: str


def propose(state: Plan) -> dict[str, object]:
    """Propose a dose by weight, as a model would."""
    return {"dose_mg": state["weight_kg"] // 2}


def safety_check(state: Plan) -> dict[str, object]:
    """Go on only with a clinician's name on the dose."""
    if not state["checked_by"]:
        raise ValueError("a clinician must check the dose first")
    return {}


def release(state: Plan) -> dict[str, object]:
    """Write the plan, once a second person released it."""
    if state["released_by"] in ("", state["checked_by"]):
        raise ValueError("a second person, a senior clinician, must release the dose")
    return {
        "plan": f"{state['dose_mg']} mg for {state['patient']}: "
        f"checked by {state['checked_by']}, released by {state['released_by']}"
    }


def plan_workflow() -> StateGraph[Plan]:
    """Return propose -> safety_check -> release."""
    builder = StateGraph(Plan)
    builder.add_sequence([propose, safety_check, release])
    builder.add_edge(START, "propose")
    builder.add_edge("release", END)
    return builder


def plan_graph(saver: AsyncAuditedPostgresSaver) -> Any:
    """Return the graph with its two pauses."""
    compiled = plan_workflow().compile(interrupt_before=["safety_check", "release"])
    return attach(compiled, saver, name="treatment-plan", version="1")


async def start(graph: Any, plan_id: str, patient: str, weight_kg: int) -> Plan:
    """Run to the first pause."""
    given = Plan(patient=patient, weight_kg=weight_kg, dose_mg=0, checked_by="", released_by="", plan="")
    with acting_as("ward-3", role="prescriber"):
        state: Plan = await graph.ainvoke(given, _config(plan_id))
    return state


async def check(graph: Any, plan_id: str, clinician: str, dose_mg: int) -> Plan:
    """Correct the dose, take responsibility for it, and go on to the second pause."""
    return await _decide(graph, plan_id, clinician, "clinician", {"dose_mg": dose_mg, "checked_by": clinician})


async def sign_off(graph: Any, plan_id: str, senior: str) -> Plan:
    """Release the dose and go on to the end."""
    return await _decide(graph, plan_id, senior, "senior-clinician", {"released_by": senior})


async def _decide(graph: Any, plan_id: str, person: str, role: str, decision: dict[str, object]) -> Plan:
    with acting_as(person, role=role):
        await graph.aupdate_state(_config(plan_id), decision)
        state: Plan = await graph.ainvoke(None, _config(plan_id))
    return state


def _config(plan_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": plan_id}}


async def main() -> None:
    """Take one plan past both clinicians."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
            graph = plan_graph(saver)
            plan_id = f"plan-{uuid.uuid4()}"
            print(f"{(await start(graph, plan_id, 'P-7', 80))['dose_mg']} mg proposed")
            await check(graph, plan_id, "clinician-2", 30)
            print((await sign_off(graph, plan_id, "senior-1"))["plan"])


if __name__ == "__main__":
    asyncio.run(main())
