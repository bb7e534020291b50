"""Calls and options under which the promises could not hold: refused in words, and nothing is half-written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.memory import MemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from conftest import Database, fresh_database
from countersign.audit import (
    AppendError,
    AsyncAuditedPostgresSaver,
    AuditError,
    ConfigurationError,
    acting_as,
    attach,
)
from countersign.audit.append import trail_lock
from countersign.service.embedded import EmbeddedDatabase
from graphs import NEW_ORDER, Order, order_graph, thread
from integration.faults import assert_honest, rows_of

Invoke = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def shared(server: EmbeddedDatabase, template: str, home: Path) -> Iterator[Database]:
    with fresh_database(server, template, home) as shared:
        yield shared


@pytest.fixture
async def saver(shared: Database) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    async with shared.saver() as saver:
        yield saver


def attached(saver: Any, **compiled: Any) -> Any:
    return attach(order_graph().compile(**compiled), saver, name="order")


async def in_the_loop(graph: Any, *args: Any, **kwargs: Any) -> Any:
    return await graph.ainvoke(*args, **kwargs)


async def in_a_thread(graph: Any, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(graph.invoke, *args, **kwargs)


ways = pytest.mark.parametrize("invoke", [in_the_loop, in_a_thread])


@ways
async def test_a_durability_other_than_sync_is_refused(
    shared: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    graph = attached(saver)
    trail, config = thread()
    for durability in ("async", "exit"):
        with pytest.raises(ConfigurationError, match=durability) as refused:
            await invoke(graph, NEW_ORDER, config, durability=durability)
        assert refused.value.remedy
        private = {"configurable": config["configurable"] | {"__pregel_durability": durability}}
        with pytest.raises(ConfigurationError, match=durability):
            await invoke(graph, NEW_ORDER, private)
        with pytest.raises(ConfigurationError, match=durability):
            await invoke(graph.with_config(configurable={"__pregel_durability": durability}), NEW_ORDER, config)
    assert (shared.kinds(trail), rows_of(shared, trail)) == ([], 0)

    await invoke(graph, NEW_ORDER, config, durability="sync")
    assert shared.kinds(trail)[-1] == "run.completed"


@ways
async def test_a_caller_cannot_swap_the_saver(
    shared: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    memory = MemorySaver()
    trail, config = thread()
    private = {"configurable": config["configurable"] | {"__pregel_checkpointer": memory}}
    await invoke(attached(saver), NEW_ORDER, private)

    assert list(memory.list(config)) == []
    assert shared.kinds(trail).count("checkpoint.saved") == 4
    assert_honest(shared)


@ways
async def test_a_bound_config_cannot_swap_the_saver(
    shared: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    memory = MemorySaver()
    trail, config = thread()
    await invoke(attached(saver).with_config(configurable={"__pregel_checkpointer": memory}), NEW_ORDER, config)

    assert list(memory.list(config)) == []
    assert shared.kinds(trail).count("checkpoint.saved") == 4
    assert_honest(shared)


async def test_an_edit_cannot_swap_the_saver_either(shared: Database, saver: AsyncAuditedPostgresSaver) -> None:
    memory = MemorySaver()
    trail, config = thread()
    graph = attached(saver, interrupt_before=["order"])
    await graph.ainvoke(NEW_ORDER, config)
    private = {"configurable": config["configurable"] | {"__pregel_checkpointer": memory}}
    await graph.aupdate_state(private, {"dose": 7})
    await graph.with_config(configurable={"__pregel_checkpointer": memory}).aupdate_state(config, {"dose": 8})

    assert list(memory.list(config)) == []
    assert shared.kinds(trail).count("state.updated") == 2


async def test_a_pipeline_is_refused(shared: Database) -> None:
    async with await AsyncConnection.connect(shared.app_url, autocommit=True) as conn, conn.pipeline() as pipeline:
        with pytest.raises(ConfigurationError, match="pipeline") as refused:
            AsyncAuditedPostgresSaver(conn, pipeline, home=shared.home)
        assert refused.value.remedy
    with pytest.raises(ConfigurationError, match="pipeline"):
        async with AsyncAuditedPostgresSaver.from_conn_string(shared.app_url, pipeline=True, home=shared.home):
            pass


async def test_a_connection_that_does_not_commit_by_itself_is_refused(shared: Database) -> None:
    async with await AsyncConnection.connect(shared.app_url, row_factory=dict_row) as conn:
        trail, config = thread()
        with pytest.raises(ConfigurationError, match="autocommit") as refused:
            await attached(AsyncAuditedPostgresSaver(conn, home=shared.home)).ainvoke(NEW_ORDER, config)

    assert refused.value.remedy
    assert (shared.kinds(trail), rows_of(shared, trail)) == ([], 0)


async def test_a_connection_inside_somebody_elses_transaction_is_refused(shared: Database) -> None:
    trail, config = thread()
    async with await AsyncConnection.connect(shared.app_url, autocommit=True, row_factory=dict_row) as conn:
        graph = attached(AsyncAuditedPostgresSaver(conn, home=shared.home))
        async with conn.transaction():
            with pytest.raises(AuditError, match="transaction") as refused:
                await graph.ainvoke(NEW_ORDER, config)
        assert refused.value.remedy
        await graph.ainvoke(NEW_ORDER, config)

    assert shared.kinds(trail)[-1] == "run.completed"


async def test_a_database_of_strict_isolation_is_refused(database: Database) -> None:
    database.as_admin(f"ALTER DATABASE {database.name} SET default_transaction_isolation = 'repeatable read'")
    trail, config = thread()
    async with database.saver() as saver:
        with pytest.raises(AppendError, match="isolation") as refused:
            await attached(saver).ainvoke(NEW_ORDER, config)

    assert refused.value.remedy
    assert (database.kinds(trail), rows_of(database, trail)) == ([], 0)


async def test_a_closed_pool_and_a_closed_connection_are_told(shared: Database) -> None:
    trail, config = thread()
    pool = AsyncConnectionPool[AsyncConnection[Any]](shared.app_url, open=False)
    conn = await AsyncConnection.connect(shared.app_url, autocommit=True, row_factory=dict_row)
    await conn.close()
    for closed in (pool, conn):
        with pytest.raises(AuditError) as refused:
            await attached(AsyncAuditedPostgresSaver(closed, home=shared.home)).ainvoke(NEW_ORDER, config)
        assert refused.value.remedy
    assert shared.kinds(trail) == []


async def test_a_database_out_of_reach_is_told(shared: Database) -> None:
    with pytest.raises(ConfigurationError, match="cannot be reached") as refused:
        async with AsyncAuditedPostgresSaver.from_conn_string("host=/nowhere dbname=x", home=shared.home):
            pass
    assert refused.value.remedy


async def test_serializers_that_build_whatever_is_named_are_refused(shared: Database) -> None:
    for serde in (JsonPlusSerializer(pickle_fallback=True), JsonPlusSerializer(allowed_msgpack_modules=True)):
        with pytest.raises(ConfigurationError) as refused:
            async with AsyncAuditedPostgresSaver.from_conn_string(shared.app_url, serde=serde, home=shared.home):
                pass
        assert refused.value.remedy


async def test_attach_refuses_what_it_cannot_attach(saver: AsyncAuditedPostgresSaver) -> None:
    compiled = order_graph().compile()
    wrong: list[tuple[Any, Any]] = [
        (order_graph(), saver),
        (lambda state: state, saver),
        (attach(compiled, saver), saver),
        (compiled, MemorySaver()),
        (compiled, None),
        (compiled, AsyncAuditedPostgresSaver),
    ]
    for graph, with_saver in wrong:
        with pytest.raises(ConfigurationError) as refused:
            attach(graph, with_saver)
        assert refused.value.remedy


async def test_attach_leaves_the_graph_as_it_was(shared: Database, saver: AsyncAuditedPostgresSaver) -> None:
    compiled: Any = order_graph().compile()
    attach(compiled, saver)
    trail, config = thread()
    await compiled.ainvoke(NEW_ORDER, config)

    assert compiled.checkpointer is None
    assert shared.kinds(trail) == []


def called_in_a_node(inner: Any, config: Any) -> StateGraph[Order]:
    async def call(state: Order) -> Any:
        return await inner.ainvoke(NEW_ORDER, config)

    return outer(call)


def added_as_a_node(inner: Any, config: Any) -> StateGraph[Order]:
    return outer(inner)


def outer(node: Any) -> StateGraph[Order]:
    builder = StateGraph(Order)
    builder.add_node("inner", node)
    builder.add_edge(START, "inner")
    return builder


@pytest.mark.parametrize("nest", [called_in_a_node, added_as_a_node])
@pytest.mark.parametrize("outermost", ["attached", "plain"])
async def test_an_attached_graph_inside_another_graphs_node_is_refused(
    shared: Database, saver: AsyncAuditedPostgresSaver, nest: Callable[[Any, Any], StateGraph[Order]], outermost: str
) -> None:
    trail, config = thread()
    compiled: Any = nest(attached(saver), config).compile()
    graph = attach(compiled, saver) if outermost == "attached" else compiled
    with pytest.raises(ConfigurationError, match="inside a node") as refused:
        await graph.ainvoke(NEW_ORDER, thread()[1])

    assert "outermost" in refused.value.remedy
    assert shared.kinds(trail) == []
    assert_honest(shared)


SYNC_CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "invoke": lambda graph, config: graph.invoke(NEW_ORDER, config),
    "stream": lambda graph, config: list(graph.stream(NEW_ORDER, config)),
    "resume": lambda graph, config: graph.invoke(None, config),
    "update_state": lambda graph, config: graph.update_state(config, {"dose": 1}, as_node="analyze"),
    "get_state": lambda graph, config: graph.get_state(config),
    "get_state_history": lambda graph, config: list(graph.get_state_history(config)),
    "delete_thread": lambda graph, config: graph.checkpointer.delete_thread(config["configurable"]["thread_id"]),
    "list": lambda graph, config: list(graph.checkpointer.list(config)),
    "get_tuple": lambda graph, config: graph.checkpointer.get_tuple(config),
}


@pytest.mark.parametrize("call", SYNC_CALLS.values(), ids=SYNC_CALLS)
async def test_a_sync_call_on_the_event_loops_thread_is_refused_and_does_not_hang(
    shared: Database, saver: AsyncAuditedPostgresSaver, call: Callable[[Any, Any], Any]
) -> None:
    """Some are refused by LangGraph's own saver already, in words as clear."""
    trail, config = thread()
    graph = attached(saver)
    with pytest.raises((AuditError, asyncio.InvalidStateError), match=r"async|await"):
        call(graph, config)

    assert (shared.kinds(trail), rows_of(shared, trail)) == ([], 0)


def decided(graph: Any, config: Any) -> Any:
    with acting_as("person-1"):
        list(graph.stream(NEW_ORDER, config))
        assert graph.get_state(config).next == ("order",)
        graph.update_state(config, {"decision": "approved"})
        return graph.invoke(None, config)


async def adecided(graph: Any, config: Any) -> Any:
    with acting_as("person-1"):
        await graph.ainvoke(NEW_ORDER, config)
        assert (await graph.aget_state(config)).next == ("order",)
        await graph.aupdate_state(config, {"decision": "approved"})
        return await graph.ainvoke(None, config)


def said(database: Database, trail: str) -> list[tuple[Any, ...]]:
    """Return (kind, actor) of each entry; in which order a step's writes and checkpoint commit is LangGraph's."""
    sql = "SELECT kind, convert_from(body, 'UTF8')::json #>> '{actor,id}' FROM audit.entries WHERE trail = %s"
    return sorted(database.query(sql, (trail,)))


async def test_sync_calls_from_another_thread_leave_the_same_entries(
    shared: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    (one, config), (other, other_config) = thread(), thread()
    graph = attached(saver, interrupt_before=["order"])
    results = await asyncio.to_thread(decided, graph, config), await adecided(graph, other_config)

    assert results[0] == results[1]
    assert said(shared, one) == said(shared, other)
    assert ("state.updated", "person-1") in said(shared, one)
    assert_honest(shared)


async def test_many_threads_may_share_the_async_saver(shared: Database, saver: AsyncAuditedPostgresSaver) -> None:
    graph = attached(saver, interrupt_before=["order"])
    threads = [thread() for _ in range(6)]
    await asyncio.gather(*(asyncio.to_thread(decided, graph, config) for _, config in threads))

    assert len({str(said(shared, trail)) for trail, _ in threads}) == 1
    assert_honest(shared)


async def test_a_caller_who_stops_listening_leaves_an_entry(shared: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    chunks = attached(saver).astream(NEW_ORDER, config)
    await anext(chunks)
    await chunks.aclose()

    assert shared.kinds(trail)[-1] == "run.failed"
    assert_honest(shared)


async def test_a_run_that_is_cancelled_leaves_an_entry(shared: Database, saver: AsyncAuditedPostgresSaver) -> None:
    reached = asyncio.Event()

    async def wait(state: Order) -> None:
        reached.set()
        await asyncio.Event().wait()

    builder = order_graph()
    builder.add_node("wait", wait)
    builder.add_edge("order", "wait")
    trail, config = thread()
    running = asyncio.create_task(attach(builder.compile(), saver).ainvoke(NEW_ORDER, config))
    await reached.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert shared.kinds(trail)[-1] == "run.failed"
    assert_honest(shared)


async def test_an_error_in_a_node_is_the_error_the_caller_sees(
    shared: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    def fail(state: Order) -> None:
        raise LookupError("no such patient")

    builder = order_graph()
    builder.add_node("fail", fail)
    builder.add_edge("order", "fail")
    trail, config = thread()
    with pytest.raises(LookupError, match="no such patient"):
        await attach(builder.compile(), saver).ainvoke(NEW_ORDER, config)

    assert shared.kinds(trail)[-1] == "run.failed"
    assert_honest(shared)


async def test_the_lock_of_a_trail_that_is_held_is_an_error_and_not_a_hang(shared: Database) -> None:
    trail, config = thread()
    async with AsyncAuditedPostgresSaver.from_conn_string(
        shared.app_url + "&options=-c%20lock_timeout%3D20ms", home=shared.home
    ) as saver:
        with psycopg.connect(shared.app_url) as conn:
            conn.execute("SELECT pg_advisory_xact_lock(%s)", (trail_lock(trail),))
            with pytest.raises(AppendError, match="lock was not obtained") as refused:
                await attached(saver).ainvoke(NEW_ORDER, config)
        assert refused.value.remedy
        await attached(saver).ainvoke(NEW_ORDER, config)
    assert_honest(shared)
