"""Ways around the audit that somebody found: each is closed, on both savers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import MemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from conftest import Database
from countersign.audit import (
    AppendError,
    AsyncAuditedPostgresSaver,
    AuditedPostgresSaver,
    ConfigurationError,
    VerificationError,
    attach,
)
from countersign.audit.canonical import parse
from graphs import NEW_ORDER, order_graph, thread
from integration.faults import let_entries_pass, make_entries_fail


class State(TypedDict, total=False):
    x: Any
    interrupts: Any


@pytest.fixture(params=["await", "threads"])
async def graph_of(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[Any]:
    """Yield a function that attaches a builder and returns something to call with `await`, on either saver."""
    if request.param == "await":
        async with AsyncAuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
            yield lambda builder, **options: attach(builder.compile(**options), saver)
        return
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as sync_saver:
        yield lambda builder, **options: Awaited(attach(builder.compile(**options), sync_saver))


class Awaited:
    """A graph on the sync saver, called as if it were async."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: asyncio.to_thread(getattr(self.graph, name.removeprefix("a")), *arguments)

    def with_config(self, **options: Any) -> Awaited:
        return Awaited(self.graph.with_config(**options))


def one_node(node: Any) -> Any:
    builder: Any = StateGraph(State)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder


def bodies(database: Database, trail: str) -> list[Any]:
    rows = database.query("SELECT body FROM audit.entries WHERE trail = %s ORDER BY seq", (trail,))
    return [parse(row[0]) for row in rows]


def payload_of(database: Database, trail: str, kind: str) -> Any:
    sql = "SELECT p.data FROM audit.entries e JOIN audit.payloads p USING (trail, seq) WHERE trail = %s AND kind = %s"
    return parse(database.query(sql, (trail, kind))[-1][0])


async def test_an_ambient_config_does_not_swap_the_saver(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    other = MemorySaver()
    graph = graph_of(order_graph(), interrupt_before=["order"])
    calling = RunnableLambda(lambda _: None, afunc=lambda _: graph.ainvoke(NEW_ORDER, config))
    await calling.ainvoke(None, {"configurable": {"__pregel_checkpointer": other}})
    assert list(other.list(None)) == []
    assert database.kinds(trail).count("checkpoint.saved") == 3
    assert database.verify().findings == []


async def test_what_is_recorded_is_the_checkpoint_that_runs(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    graph = graph_of(order_graph(), interrupt_before=["order"])
    await graph.ainvoke(NEW_ORDER, config)
    first = database.query("SELECT min(checkpoint_id) FROM checkpoints WHERE thread_id = %s", (trail,))[0][0]
    await graph.with_config(configurable={"checkpoint_id": first}).ainvoke(None, config)
    resumed = [body for body in bodies(database, trail) if body["kind"] == "run.resumed"]
    assert [body["checkpoint"]["id"] for body in resumed] == [first]
    assert database.verify().findings == []


@pytest.mark.parametrize("answer", [False, 0, "", [], {}], ids=repr)
async def test_a_no_is_recorded_like_any_answer(database: Database, graph_of: Any, answer: Any) -> None:
    trail, config = thread()
    graph = graph_of(one_node(lambda _: {"x": interrupt("sure?")}))
    await graph.ainvoke({"x": 1}, config)
    await graph.ainvoke(Command(resume=answer), config)
    assert payload_of(database, trail, "run.resumed") == {"resume": answer}


async def test_a_command_on_a_fresh_thread_is_a_recorded_run(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    graph = graph_of(one_node(lambda state: {"x": state["x"] + 1}))
    await graph.ainvoke(Command(update={"x": 5}, goto="node"), config)
    kinds = database.kinds(trail)
    assert (kinds[0], kinds[-1]) == ("run.started", "run.completed")
    assert payload_of(database, trail, "run.started") == {"update": {"x": 5}, "goto": "node"}


def swallowing(ran: list[str]) -> tuple[Any, Any]:
    """Return a graph whose first node catches whatever its subgraph raises, and the subgraph."""
    inner = one_node(lambda _: {"x": 2}).compile(checkpointer=True)

    def outer(_: State, config: RunnableConfig) -> State:
        try:
            inner.invoke({"x": 1}, config)
        except Exception:  # noqa: BLE001 - that is the point
            ran.append("swallowed")
        return {"x": 3}

    def after(_: State) -> State:
        ran.append("after")
        return {}

    builder: Any = StateGraph(State)
    builder.add_node("outer", outer)
    builder.add_node("after", after)
    builder.add_edge(START, "outer")
    builder.add_edge("outer", "after")
    return builder, inner


def test_a_node_that_swallows_the_refusal_does_not_open_the_way(database: Database) -> None:
    trail, config = thread()
    ran: list[str] = []
    builder, _ = swallowing(ran)
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(builder.compile(), saver)
        graph.invoke({"x": 0}, config)
        assert ran == ["after"]
        touched = database.as_admin(
            "UPDATE checkpoints SET metadata = metadata || '{\"step\": 77}' "
            "WHERE thread_id = %s AND checkpoint_ns <> '' AND checkpoint_id = "
            "(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %s AND checkpoint_ns <> '')",
            (trail, trail),
        )
        assert touched == 1
        with pytest.raises((AppendError, VerificationError)):
            graph.invoke({"x": 0}, config)
    assert ran == ["after", "swallowed"]
    assert database.kinds(trail).count("run.completed") == 1


async def test_a_state_of_its_own_called_interrupts_is_no_question(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    graph = graph_of(one_node(lambda _: {"interrupts": [{"id": "alarm-1"}, {"id": [1]}]}))
    await graph.ainvoke({"x": 1}, config)
    assert database.kinds(trail)[-1] == "run.completed"


async def test_a_run_id_is_a_uuid_or_refused_before_anything_is_written(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    graph = graph_of(order_graph())
    with pytest.raises(ConfigurationError, match="UUID"):
        await graph.ainvoke(NEW_ORDER, {**config, "run_id": "John Smith 1950"})
    assert database.kinds(trail) == []


async def test_a_run_id_may_be_used_again_after_a_failure(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    config["run_id"] = uuid.uuid4()
    graph = graph_of(order_graph())
    make_entries_fail(database, "writes.saved")
    with pytest.raises(AppendError):
        await graph.ainvoke(NEW_ORDER, config)
    let_entries_pass(database)
    await graph.ainvoke(NEW_ORDER, config)
    assert database.kinds(trail)[-1] == "run.completed"
    assert database.verify().findings == []


async def test_names_that_a_caller_made_up_stay_out_of_bodies(database: Database, graph_of: Any) -> None:
    trail, config = thread()
    graph = graph_of(order_graph(), interrupt_before=["order"])
    await graph.ainvoke(NEW_ORDER, config)
    await graph.ainvoke(Command(goto="Mrs Smith of ward 7", resume="x"), config)
    assert "Smith" not in str(bodies(database, trail))


def test_pauses_at_nodes_that_are_none_are_refused(database: Database) -> None:
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(order_graph().compile(), saver)
        with pytest.raises(ConfigurationError, match="no node of this graph"):
            graph.invoke(NEW_ORDER, thread()[1], interrupt_before=["Mrs Smith"])


def test_a_node_finds_nothing_in_its_config_that_says_who_acts(database: Database) -> None:
    seen: list[Any] = []

    def node(_: State, config: RunnableConfig) -> State:
        seen.extend(value for key, value in config["configurable"].items() if "countersign" in key)
        return {"x": 1}

    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(one_node(node).compile(), saver)
        graph.invoke({"x": 0}, thread()[1])
    assert [type(value) for value in seen] == [str]


def test_who_stops_reading_a_finished_stream_has_not_failed_it(database: Database) -> None:
    trail, config = thread()
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(order_graph(ask=True).compile(), saver)
        for chunk in graph.stream(NEW_ORDER, config):
            if "__interrupt__" in chunk:
                break
        assert "run.failed" not in database.kinds(trail)
        for chunk in graph.stream(Command(resume="yes"), config):
            if "order" in chunk:
                break
    # The last node's writes are saved when the stream is closed, and nothing is left to run.
    assert database.kinds(trail)[-1] == "run.completed"
    assert database.verify().findings == []


@pytest.mark.parametrize("mode", ["updates", "values", "tasks"])
async def test_who_stops_reading_in_mid_run_has_not_completed_it(database: Database, mode: Any) -> None:
    for read in range(1, 4):
        trail, config = thread()
        async with database.saver() as saver:
            graph: Any = attach(order_graph().compile(), saver)
            chunks = graph.astream(NEW_ORDER, config, stream_mode=mode)
            for _ in range(read):
                if "order" in str(await anext(chunks)):
                    break
            await chunks.aclose()
            due = (await graph.aget_state(config)).tasks
        assert database.kinds(trail)[-1] == ("run.failed" if due else "run.completed")


def test_a_run_that_goes_on_is_not_called_lost(database: Database) -> None:
    trail, config = thread()

    def node(_: State) -> State:
        with ThreadPoolExecutor() as pool:  # a thread of its own, as another request would be
            pool.submit(edit).result()
        return {"x": 1}

    def edit() -> None:
        graph.update_state(config, {"x": 9}, as_node="node")

    builder = one_node(node)
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(builder.compile(), saver)
        graph.invoke({"x": 0}, config)
    assert "recovered" not in str(bodies(database, trail))
