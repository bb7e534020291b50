"""A medication order that a pharmacist approves, rejects or sends back for another proposal, as often as it takes."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database
from countersign.service.order_workflow import MedicationOrder, new_order, order_workflow


def order_graph(saver: AsyncAuditedPostgresSaver) -> Any:
    """Return the order workflow with a pause before each review; its code knows nothing of the audit."""
    return attach(order_workflow().compile(interrupt_before=["review"]), saver, name="medication-order", version="1")


async def propose(graph: Any, order_id: str, patient: str, drug: str) -> MedicationOrder:
    """Start a case; it pauses with the first proposal."""
    with acting_as("ward-3", role="prescriber"):
        state: MedicationOrder = await graph.ainvoke(new_order(patient, drug), _config(order_id))
    return state


async def decide(graph: Any, order_id: str, pharmacist: str, decision: str, notes: str = "") -> MedicationOrder:
    """Record a decision and go on: to the order, to its refusal, or to the next proposal."""
    with acting_as(pharmacist, role="pharmacist"):
        await graph.aupdate_state(_config(order_id), {"decision": decision, "notes": notes})
    return await go_on(graph, order_id, pharmacist)


async def go_on(graph: Any, order_id: str, pharmacist: str) -> MedicationOrder:
    """Go on with what was decided. Without a decision on this very proposal the order does not pass."""
    with acting_as(pharmacist, role="pharmacist"):
        state: MedicationOrder = await graph.ainvoke(None, _config(order_id))
    return state


def _config(order_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": order_id}}


async def main() -> None:
    """Send one order back twice, then approve it."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
            graph = order_graph(saver)
            order_id = f"order-{uuid.uuid4()}"
            state = await propose(graph, order_id, "P-103", "vancomycin")
            for decision, notes in (
                ("needs_revision", "renal function: reduce by 50%"),
                ("needs_revision", "still high: reduce by 25%"),
                ("approved", "as adjusted"),
            ):
                print(f"{state['dose_mg']} mg proposed; {decision}: {notes}")
                state = await decide(graph, order_id, "pharmacist-17", decision, notes)
            print(state["order"])


if __name__ == "__main__":
    asyncio.run(main())
