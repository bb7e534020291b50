"""An agent reads a lab value. When it is not sure it says so, and a person supplies the value."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.migrate import migrate
from countersign.service.database import database

SURE = 90
"""From this confidence on, in per cent, nobody is asked."""


class Reading(TypedDict):
    """The state of one reading. Per cent and hundredths, since an exact trail has no use for rounding errors."""

    text: str
    inr_hundredths: int | None
    confidence: int
    result: str


def read(state: Reading) -> dict[str, object]:
    """Find the value in the text, as a model would; smudged digits cost confidence."""
    found = re.search(r"INR (\d)[.,](\d{1,2})(\?)?", state["text"])
    if found is None:
        return {"inr_hundredths": None, "confidence": 0}
    value = int(found[1]) * 100 + int(found[2].ljust(2, "0"))
    return {"inr_hundredths": value, "confidence": 40 if found[3] else 99}


def route(state: Reading) -> Literal["correct", "report"]:
    """Ask a person when the agent is not sure."""
    return "report" if state["confidence"] >= SURE else "correct"


def correct(state: Reading) -> dict[str, object]:
    """Take the value that a person supplied. An unanswered question does not count as an answer."""
    if state["confidence"] < SURE or state["inr_hundredths"] is None:
        raise ValueError(f"the reading is not sure ({state['confidence']} %); a person must supply the value")
    return {}


def report(state: Reading) -> dict[str, object]:
    """Write the result."""
    value = state["inr_hundredths"] or 0
    return {"result": f"INR {value // 100}.{value % 100:02}"}


def reading_workflow() -> StateGraph[Reading]:
    """Return read -> report, by way of `correct` where the agent is not sure."""
    builder = StateGraph(Reading)
    for name, node in (("read", read), ("correct", correct), ("report", report)):
        builder.add_node(name, node)
    builder.add_edge(START, "read")
    builder.add_conditional_edges("read", route)
    builder.add_edge("correct", "report")
    builder.add_edge("report", END)
    return builder


def reading_graph(saver: AsyncAuditedPostgresSaver) -> Any:
    """Return the graph; it pauses only where a person is needed."""
    return attach(reading_workflow().compile(interrupt_before=["correct"]), saver, name="lab-reading", version="1")


async def read_text(graph: Any, reading_id: str, text: str) -> Reading:
    """Read a text. The result is empty while a person is asked."""
    given = Reading(text=text, inr_hundredths=None, confidence=0, result="")
    with acting_as("lab-system", role="device"):
        state: Reading = await graph.ainvoke(given, _config(reading_id))
    return state


async def supply(graph: Any, reading_id: str, person: str, inr_hundredths: int) -> Reading:
    """Put a person's value in place of the agent's, and go on."""
    with acting_as(person, role="technician"):
        await graph.aupdate_state(_config(reading_id), {"inr_hundredths": inr_hundredths, "confidence": 100})
    return await go_on(graph, reading_id, person)


async def go_on(graph: Any, reading_id: str, person: str) -> Reading:
    """Go on with what is in the state."""
    with acting_as(person, role="technician"):
        state: Reading = await graph.ainvoke(None, _config(reading_id))
    return state


def _config(reading_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": reading_id}}


async def main() -> None:
    """Read a clear text and a smudged one."""
    with database() as target:
        migrate(target.owner_url, target.home)
        async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
            graph = reading_graph(saver)
            print((await read_text(graph, f"reading-{uuid.uuid4()}", "INR 2.4"))["result"])
            smudged = f"reading-{uuid.uuid4()}"
            state = await read_text(graph, smudged, "INR 8.1?")
            print(f"not sure ({state['confidence']} %): {state['inr_hundredths']} hundredths?")
            print((await supply(graph, smudged, "technician-5", 310))["result"])


if __name__ == "__main__":
    asyncio.run(main())
