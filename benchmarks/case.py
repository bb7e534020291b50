"""What an audited case costs: start, pause, edit, resume, end, over the same on LangGraph's own saver.

Both sides run with `sync` durability on one embedded PostgreSQL. The floor is a plain case plus as many bare commits as
`attach` needs of its own.
"""

from __future__ import annotations

import asyncio
import operator
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from measure import Goal, in_turns, report
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from countersign.audit import AsyncAuditedPostgresSaver, attach
from countersign.audit.migrate import migrate
from countersign.service.embedded import EmbeddedDatabase, embedded

ROUNDS = 25
CLIENTS = 4
OWN_COMMITS = 4
OPTIONS: dict[str, Any] = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": 2}


class Order(TypedDict):
    """A small state: primitives inline, a list as a blob."""

    drug: str
    dose: int
    decision: str
    flags: list[str]
    steps: Annotated[list[str], operator.add]


NEW: Order = {"drug": "warfarin", "dose": 0, "decision": "", "flags": [], "steps": []}


def builder() -> StateGraph[Order]:
    """Return analyze -> order."""
    graph = StateGraph(Order)
    graph.add_node("analyze", lambda _: {"dose": 5, "flags": ["INR"], "steps": ["analyzed"]})
    graph.add_node("order", lambda state: {"steps": [f"ordered {state['dose']} mg: {state['decision']}"]})
    graph.add_edge(START, "analyze")
    graph.add_edge("analyze", "order")
    graph.add_edge("order", END)
    return graph


async def case(graph: Any) -> None:
    """Run one case from start to end."""
    await case_on(graph, str(uuid.uuid4()))


async def case_on(graph: Any, thread: str) -> None:
    """Run one case on this thread."""
    config = {"configurable": {"thread_id": thread}}
    await graph.ainvoke(NEW, config, durability="sync")
    await graph.aupdate_state(config, {"decision": "approved"})
    await graph.ainvoke(None, config, durability="sync")


def graphs(plain: Any, audited: AsyncAuditedPostgresSaver, attached: AsyncAuditedPostgresSaver) -> dict[str, Any]:
    """Return the three sides."""
    return {
        "plain": builder().compile(checkpointer=plain, interrupt_before=["order"]),
        "saver": builder().compile(checkpointer=audited, interrupt_before=["order"]),
        "attach": attach(builder().compile(interrupt_before=["order"]), attached, name="order"),
    }


def one(graph: Any) -> Callable[[], Awaitable[None]]:
    """Return a side that runs one case."""
    return lambda: case(graph)


def many(own: list[Any]) -> Callable[[], Awaitable[None]]:
    """Return a side on which each client runs a case at the same time."""

    async def side() -> None:
        await asyncio.gather(*(case(graph) for graph in own))

    return side


async def with_floor(graph: Any, conn: AsyncConnection[Any]) -> None:
    """Run a plain case and the bare commits that an attached one makes besides."""
    await case(graph)
    for _ in range(OWN_COMMITS):
        await conn.execute("INSERT INTO bare VALUES (%s)", (uuid.uuid4().hex,))


async def measure(server: EmbeddedDatabase, home: Path) -> list[Goal]:
    """Return what was measured, beside the goals."""
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(await AsyncConnection.connect(server.owner_url, autocommit=True))
        await owner.execute("CREATE TABLE bare (id text PRIMARY KEY)")
        await owner.execute("GRANT INSERT ON bare TO countersign_app")
        pool: AsyncConnectionPool[Any] = await stack.enter_async_context(
            AsyncConnectionPool(server.app_url, min_size=CLIENTS, max_size=CLIENTS, kwargs=OPTIONS, open=False)
        )
        conns = [
            await stack.enter_async_context(await AsyncConnection.connect(server.app_url, **OPTIONS))
            for _ in range(CLIENTS)
        ]
        pooled = graphs(
            AsyncPostgresSaver(pool),
            AsyncAuditedPostgresSaver(pool, home=home),
            AsyncAuditedPostgresSaver(pool, home=home),
        )
        plain_each = [graphs(AsyncPostgresSaver(conn), *_audited(conn, home)) for conn in conns]
        single = await in_turns(
            {name: one(graph) for name, graph in plain_each[0].items()}
            | {"floor": lambda: with_floor(plain_each[0]["plain"], conns[0])},
            rounds=ROUNDS,
        )
        four = await in_turns(
            {
                "plain on one pool": many([pooled["plain"]] * CLIENTS),
                "plain, each its own": many([each["plain"] for each in plain_each]),
                "saver": many([pooled["saver"]] * CLIENTS),
                "attach": many([pooled["attach"]] * CLIENTS),
            },
            rounds=ROUNDS,
        )
    return [
        Goal("case, 1 client: saver alone / plain", 1.15, single["saver"] / single["plain"], "x"),
        Goal("case, 1 client: attach / plain", 1.40, single["attach"] / single["plain"], "x"),
        Goal("case, 1 client: floor / plain (no goal of ours)", 9.99, single["floor"] / single["plain"], "x"),
        Goal("case, 4 clients: saver alone / plain on one pool", 1.15, four["saver"] / four["plain on one pool"], "x"),
        Goal("case, 4 clients: attach / plain on one pool", 1.40, four["attach"] / four["plain on one pool"], "x"),
        Goal(
            "case, 4 clients: saver alone / plain, a saver each", 1.15, four["saver"] / four["plain, each its own"], "x"
        ),
        Goal("case, 4 clients: attach / plain, a saver each", 1.40, four["attach"] / four["plain, each its own"], "x"),
    ]


def _audited(conn: AsyncConnection[Any], home: Path) -> tuple[AsyncAuditedPostgresSaver, AsyncAuditedPostgresSaver]:
    return AsyncAuditedPostgresSaver(conn, home=home), AsyncAuditedPostgresSaver(conn, home=home)


def main() -> None:
    """Measure on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with embedded(home) as server:
            migrate(server.owner_url, home)
            report(asyncio.run(measure(server, home)))


if __name__ == "__main__":
    main()
