"""Nodes that ask: two questions at once, each answered by whoever knows, and one more at the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database

ALLERGY, KIDNEYS, CONFIRM = "Any allergy?", "Creatinine clearance?", "Give it?"


class Check(TypedDict):
    """The state of one check before a drug is given."""

    drug: str
    allergy: str
    clearance: int
    outcome: str


def ask_allergy(state: Check) -> dict[str, object]:
    """Ask the patient's nurse. A node runs again once it is answered, so it does nothing before it asks."""
    return {"allergy": interrupt({"question": ALLERGY, "drug": state["drug"]})}


def ask_kidneys(state: Check) -> dict[str, object]:
    """Ask the laboratory."""
    return {"clearance": interrupt({"question": KIDNEYS, "drug": state["drug"]})}


def confirm(state: Check) -> dict[str, object]:
    """Ask the physician, who sees both answers."""
    seen = {"allergy": state["allergy"], "clearance": state["clearance"]}
    agreed = interrupt({"question": CONFIRM, "drug": state["drug"], **seen})
    return {"outcome": f"{'give' if agreed == 'yes' else 'withhold'} {state['drug']}"}


def check_workflow() -> StateGraph[Check]:
    """Return ask_allergy and ask_kidneys at the same time, then confirm."""
    builder = StateGraph(Check)
    for name, node in (("ask_allergy", ask_allergy), ("ask_kidneys", ask_kidneys), ("confirm", confirm)):
        builder.add_node(name, node)
    builder.add_edge(START, "ask_allergy")
    builder.add_edge(START, "ask_kidneys")
    builder.add_edge(["ask_allergy", "ask_kidneys"], "confirm")
    builder.add_edge("confirm", END)
    return builder


def check_graph(saver: AsyncAuditedPostgresSaver) -> Any:
    """Return the graph. It needs no pauses of its own: the nodes ask."""
    return attach(check_workflow().compile(), saver, name="check-before-giving", version="1")


async def start(graph: Any, check_id: str, drug: str) -> dict[str, str]:
    """Start a check; return the open questions."""
    with acting_as("ward-3", role="nurse"):
        await graph.ainvoke(Check(drug=drug, allergy="", clearance=0, outcome=""), _config(check_id))
    return await open_questions(graph, check_id)


async def open_questions(graph: Any, check_id: str) -> dict[str, str]:
    """Return the open questions with the ids they are answered by."""
    snapshot = await graph.aget_state(_config(check_id))
    return {item.value["question"]: item.id for task in snapshot.tasks for item in task.interrupts}


async def answer(graph: Any, check_id: str, person: str, answers: Mapping[str, object]) -> Check:
    """Answer open questions by their ids, one or several; the others stay open."""
    return await _resume(graph, check_id, person, dict(answers))


async def answer_the_only_one(graph: Any, check_id: str, person: str, said: str) -> Check:
    """Answer without an id, which works while exactly one question is open."""
    return await _resume(graph, check_id, person, said)


async def _resume(graph: Any, check_id: str, person: str, said: object) -> Check:
    with acting_as(person):
        state: Check = await graph.ainvoke(Command(resume=said), _config(check_id))
    return state


def _config(check_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": check_id}}


async def main() -> None:
    """Have three people answer."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
            graph = check_graph(saver)
            check_id = f"check-{uuid.uuid4()}"
            asked = await start(graph, check_id, "ibuprofen")
            print(f"open: {', '.join(asked)}")
            await answer(graph, check_id, "lab-2", {asked[KIDNEYS]: 85})
            await answer(graph, check_id, "nurse-5", {asked[ALLERGY]: "none"})
            print(f"open: {', '.join(await open_questions(graph, check_id))}")
            print((await answer_the_only_one(graph, check_id, "physician-6", "yes"))["outcome"])


if __name__ == "__main__":
    asyncio.run(main())
