"""Honest cases, and a graph that tells which of its nodes ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from graphs import NEW_ORDER, Order, order_graph

STATIC = "case-static"
DYNAMIC = "case-dynamic"
WAITING = "case-waiting"
"""Threads of the honest database: the first two are finished, the third waits for an answer."""


def config_of(trail: str, checkpoint_id: str | None = None) -> Any:
    return {"configurable": {"thread_id": trail, **({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}}


async def run_honest_cases(database: Database) -> None:
    async with database.saver() as saver:
        with acting_as("pharmacist-17", role="pharmacist"):
            await run_static(saver, STATIC)
            await run_dynamic(saver, DYNAMIC)
            waiting: Any = attach(order_graph(ask=True).compile(), saver, name="order")
            await waiting.ainvoke(NEW_ORDER, config_of(WAITING))


async def run_static(saver: AsyncAuditedPostgresSaver, trail: str) -> Any:
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order")
    await graph.ainvoke(NEW_ORDER, config_of(trail))
    await graph.aupdate_state(config_of(trail), {"decision": "approved"})
    return await graph.ainvoke(None, config_of(trail))


async def run_dynamic(saver: AsyncAuditedPostgresSaver, trail: str) -> Any:
    graph: Any = attach(order_graph(ask=True).compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, config_of(trail))
    return await graph.ainvoke(Command(resume="approved"), config_of(trail))


@dataclass
class Case:
    """A case that waits for an answer: one task of its superstep has finished, the other asks."""

    database: Database
    trail: str = "case"
    ran: list[str] = field(default_factory=list)

    def graph(self, saver: AsyncAuditedPostgresSaver) -> Any:
        builder = StateGraph(Order)
        builder.add_node("analyze", self._analyze)
        builder.add_node("stock", self._stock)
        builder.add_node("ask", self._ask)
        builder.add_node("order", self._order)
        builder.add_edge(START, "analyze")
        builder.add_edge("analyze", "stock")
        builder.add_edge("analyze", "ask")
        builder.add_edge(["stock", "ask"], "order")
        builder.add_edge("order", END)
        return attach(builder.compile(), saver, name="order", version="1")

    @property
    def config(self) -> Any:
        return config_of(self.trail)

    async def pause(self, saver: AsyncAuditedPostgresSaver) -> Any:
        """Run to the question; return the graph, and forget what ran until then."""
        graph = self.graph(saver)
        await graph.ainvoke(NEW_ORDER, self.config)
        assert sorted(self.ran) == ["analyze", "ask", "stock"]
        self.ran.clear()
        return graph

    def _analyze(self, state: Order) -> dict[str, Any]:
        self.ran.append("analyze")
        return {"dose": 5, "flags": ["INR"], "steps": ["analyzed"]}

    def _stock(self, state: Order) -> dict[str, Any]:
        self.ran.append("stock")
        return {"steps": ["taken from stock"]}

    def _ask(self, state: Order) -> dict[str, Any]:
        self.ran.append("ask")
        return {"decision": interrupt({"question": "approve?", "dose": state["dose"]})}

    def _order(self, state: Order) -> dict[str, Any]:
        self.ran.append("order")
        return {"steps": [f"ordered {state['dose']} mg: {state['decision']}"]}
