"""The rules of a pause: state outlives the process, an id is used once, and None resumes while an input starts over."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

from langgraph.types import StateSnapshot

from countersign.audit import AuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database
from countersign.service.order_workflow import MedicationOrder, new_order, order_workflow


class UsedIdError(ValueError):
    """An id that has a case already."""


def order_graph(saver: AuditedPostgresSaver) -> Any:
    """Return the order workflow with a pause before each review."""
    return attach(order_workflow().compile(interrupt_before=["review"]), saver, name="medication-order", version="1")


def start(graph: Any, case: str, patient: str, drug: str) -> MedicationOrder:
    """Start a new case. Raises UsedIdError rather than starting over a case that has the same id."""
    if waiting(graph, case).created_at is not None:
        raise UsedIdError(f"the id {case!r} is used already; take a new one")
    return start_over(graph, case, patient, drug)


def start_over(graph: Any, case: str, patient: str, drug: str) -> MedicationOrder:
    """Run from the beginning with a new input, even if the case waits for somebody."""
    with acting_as("ward-3", role="prescriber"):
        state: MedicationOrder = graph.invoke(new_order(patient, drug), _config(case))
    return state


def decide(graph: Any, case: str, decision: str) -> MedicationOrder:
    """Record a decision and resume: None as input means to go on from the pause."""
    with acting_as("pharmacist-17", role="pharmacist"):
        graph.update_state(_config(case), {"decision": decision})
        state: MedicationOrder = graph.invoke(None, _config(case))
    return state


def waiting(graph: Any, case: str) -> StateSnapshot:
    """Return where the case stands."""
    snapshot: StateSnapshot = graph.get_state(_config(case))
    return snapshot


def _config(case: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": case}}


def step(what: str, case: str) -> str:
    """Do one step in this process, on a connection of its own; return what there is to say."""
    with (
        database() as target,
        AuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver,
    ):
        graph = order_graph(saver)
        if what == "start":
            return f"{start(graph, case, 'P-9', 'heparin')['dose_mg']} mg proposed"
        return decide(graph, case, what)["order"]


def main() -> None:
    """Start a case in one process and approve it in another: nothing but the database connects them."""
    if len(sys.argv) > 1:
        print(step(*sys.argv[1:]))
        return
    with database() as target:
        migrate(target.owner_url, target.home)
        case = f"order-{uuid.uuid4()}"
        for what in ("start", "approved"):
            subprocess.run([sys.executable, __file__, what, case], check=True)  # noqa: S603 - this very file


if __name__ == "__main__":
    main()
