"""A report on a drug: research it, pause for a reader's feedback before or after a node, then write it up."""

from __future__ import annotations

import asyncio
import operator
import uuid
from typing import Annotated, Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database

_KNOWN = {
    "warfarin": "Inhibits vitamin K recycling. Interacts with NSAIDs.",
    "metformin": "Lowers glucose production in the liver. Stop before contrast media.",
}


class Report(TypedDict):
    """The state of one report."""

    drug: str
    draft: str
    feedback: str
    report: str
    steps: Annotated[list[str], operator.add]


def new_report(drug: str) -> Report:
    """Return the input of a new report."""
    return Report(drug=drug, draft="", feedback="", report="", steps=[])


def research(state: Report) -> dict[str, object]:
    """Write a draft, as a model would."""
    return {"draft": f"{state['drug']}: {_KNOWN[state['drug']]}", "steps": ["researched"]}


def finalize(state: Report) -> dict[str, object]:
    """Work the reader's feedback into the draft."""
    added = f" Added on review: {state['feedback']}" if state["feedback"] else ""
    return {"report": state["draft"] + added, "steps": ["finalized"]}


def report_workflow() -> StateGraph[Report]:
    """Return research -> finalize."""
    builder = StateGraph(Report)
    builder.add_node("research", research)
    builder.add_node("finalize", finalize)
    builder.add_edge(START, "research")
    builder.add_edge("research", "finalize")
    builder.add_edge("finalize", END)
    return builder


def report_graph(saver: AsyncAuditedPostgresSaver, pause: Literal["before", "after"] = "before") -> Any:
    """Return the graph with its pause: before `finalize`, or after `research`, whatever comes next."""
    if pause == "before":
        compiled = report_workflow().compile(interrupt_before=["finalize"])
    else:
        compiled = report_workflow().compile(interrupt_after=["research"])
    return attach(compiled, saver, name="research-report", version="1")


async def draft(graph: Any, report_id: str, drug: str) -> tuple[tuple[str, ...], Report]:
    """Run to the pause; return which nodes come next and the state they will find."""
    with acting_as("author-4", role="author"):
        await graph.ainvoke(new_report(drug), _config(report_id))
    return await look(graph, report_id)


async def look(graph: Any, report_id: str) -> tuple[tuple[str, ...], Report]:
    """Return which nodes come next, and the state."""
    snapshot = await graph.aget_state(_config(report_id))
    return snapshot.next, snapshot.values


async def give_feedback(graph: Any, report_id: str, reader: str, feedback: str) -> None:
    """Leave feedback in the waiting state; nothing runs yet."""
    with acting_as(reader, role="reader"):
        await graph.aupdate_state(_config(report_id), {"feedback": feedback})


async def finish(graph: Any, report_id: str, reader: str) -> Report:
    """Go on from the pause."""
    with acting_as(reader, role="reader"):
        state: Report = await graph.ainvoke(None, _config(report_id))
    return state


def _config(report_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": report_id}}


async def main() -> None:
    """Write one report with a reader's feedback."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
            graph = report_graph(saver)
            report_id = f"report-{uuid.uuid4()}"
            coming, state = await draft(graph, report_id, "warfarin")
            print(f"waits before {', '.join(coming)} with the draft: {state['draft']}")
            await give_feedback(graph, report_id, "reader-9", "Contraindicated in pregnancy.")
            print((await finish(graph, report_id, "reader-9"))["report"])


if __name__ == "__main__":
    asyncio.run(main())
