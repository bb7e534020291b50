"""What is committed together (docs/adr/0011): nothing is acted on, shown or concluded before it is there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from conftest import Database
from countersign.audit import AppendError, AsyncAuditedPostgresSaver, attach
from countersign.audit.recent import Recent
from events.reading import bodies
from graphs import NEW_ORDER, Order, order_graph, thread
from integration.faults import assert_honest, let_entries_pass, make_entries_fail, rows_of


async def test_a_case_is_five_commits(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver)
    trail, config = thread()
    told: list[list[str]] = []
    committed = saver.core.committed

    def note(saved: Any) -> None:
        told.append([entry.kind for one in saved for entry in one.entries])
        committed(saved)

    saver.core.committed = note  # type: ignore[assignment, method-assign]
    await graph.ainvoke(NEW_ORDER, config)
    await graph.aupdate_state(config, {"decision": "approved"})
    await graph.ainvoke(None, config)

    assert told == [
        ["run.started", "checkpoint.saved", "writes.saved", "checkpoint.saved"],
        ["writes.saved", "checkpoint.saved", "interrupt.raised"],
        ["writes.saved", "state.updated"],
        ["run.resumed"],
        ["writes.saved", "checkpoint.saved", "run.completed"],
    ]
    assert database.kinds(trail) == [kind for kinds in told for kind in kinds]


async def test_a_node_finds_committed_what_came_before_it(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    found: dict[str, list[str]] = {}

    def look(name: str) -> Any:
        def node(state: Order) -> dict[str, Any]:
            found[name] = database.kinds(trail)
            return {"steps": [name]}

        return node

    builder = order_graph()
    builder.add_node("look", look("look"))
    builder.add_node("again", look("again"))
    builder.add_edge("order", "look")
    builder.add_edge("look", "again")
    await attach(builder.compile(), saver).ainvoke(NEW_ORDER, config)

    assert found["look"][-2:] == found["again"][-2:] == ["writes.saved", "checkpoint.saved"]
    assert len(found["again"]) == len(found["look"]) + 2


@pytest.mark.parametrize("mode", ["values", "updates", "checkpoints", "debug", "tasks"])
async def test_a_chunk_is_handed_out_when_what_it_shows_is_committed(
    database: Database, saver: AsyncAuditedPostgresSaver, mode: str
) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(), saver)
    alone: Any = order_graph().compile(checkpointer=saver)
    rows = [rows_of(database, trail) async for _ in graph.astream(NEW_ORDER, config, stream_mode=mode)]
    other, elsewhere = thread()
    expected = [
        rows_of(database, other) async for _ in alone.astream(NEW_ORDER, elsewhere, stream_mode=mode, durability="sync")
    ]
    assert [here >= there for here, there in zip(rows, expected, strict=True)] == [True] * len(rows)


async def test_an_edit_from_a_thread_that_cannot_be_recorded_is_told(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver)
    await graph.ainvoke(NEW_ORDER, config)
    make_entries_fail(database, "state.updated")
    with pytest.raises(AppendError, match="the test says no"):
        await asyncio.to_thread(graph.update_state, config, {"dose": 60})
    let_entries_pass(database)
    await asyncio.to_thread(graph.update_state, config, {"dose": 60})
    assert database.kinds(trail)[-1] == "state.updated"
    assert (await graph.ainvoke(None, config))["steps"][-1] == "ordered 60 mg: "
    assert_honest(database)


async def test_what_fell_out_of_memory_is_read_again_before_an_answer_is_taken(database: Database) -> None:
    """Both know the question; one acts on an answer; the other's answer is late, though it remembers few threads."""
    cases = [thread() for _ in range(6)]
    async with database.saver() as one, database.saver() as other:
        graphs: list[Any] = [attach(order_graph(ask=True).compile(), saver) for saver in (one, other)]
        for saver in (one, other):
            saver.core._ledgers = Recent(2)
        await asyncio.gather(*(graphs[0].ainvoke(NEW_ORDER, config) for _, config in cases))
        found = await asyncio.gather(
            *(graph.ainvoke(Command(resume=name), config) for _, config in cases for name, graph in zip("ab", graphs)),  # noqa: B905
            return_exceptions=True,
        )
    assert all(isinstance(result, (dict, AppendError)) for result in found)
    for trail, _ in cases:
        report = database.verify(trail)
        assert {finding.check for finding in report.findings} <= {"overlap"}
        # Who comes when all is over resumes a finished thread, and acts on nothing.
        ordered = [body for body in bodies(database, trail) if body["detail"].get("node") == "order"]
        assert len(ordered) == 1 or report.findings, "two answers were acted on, and nothing tells"


@pytest.mark.parametrize("reads", [True, False])
async def test_a_look_at_a_thread_does_not_make_its_run_forget_what_failed(
    database: Database, saver: AsyncAuditedPostgresSaver, *, reads: bool
) -> None:
    """The saver alone: a slow node beside one whose writes could not be recorded."""
    _, config = thread()
    ran: list[str] = []
    slow, go = asyncio.Event(), asyncio.Event()

    async def wait(state: Order) -> dict[str, Any]:
        slow.set()
        await go.wait()
        return {"steps": ["waited"]}

    async def note(state: Order) -> dict[str, Any]:
        ran.append("note")
        return {"steps": ["noted"]}

    async def quick(state: Order) -> dict[str, Any]:
        await slow.wait()
        return {"steps": ["quick"]}

    builder = StateGraph(Order)
    for name, node in (("wait", wait), ("quick", quick), ("note", note)):
        builder.add_node(name, node)
    builder.add_edge(START, "wait")
    builder.add_edge(START, "quick")
    builder.add_edge(["wait", "quick"], "note")
    builder.add_edge("note", END)
    graph: Any = builder.compile(checkpointer=saver)
    run = asyncio.create_task(graph.ainvoke(NEW_ORDER, config, durability="sync"))
    make_entries_fail(database, "writes.saved")
    while saver.pending.failure(config["configurable"]["thread_id"], None) is None:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.001)
    let_entries_pass(database)
    if reads:
        await graph.aget_state(config)
    go.set()
    with pytest.raises(AppendError):
        await run
    assert ran == []


@pytest.mark.parametrize("pauses", [[], ["order"]])
async def test_a_graph_on_a_saver_of_its_own_that_a_node_calls_is_not_the_run(
    database: Database, saver: AsyncAuditedPostgresSaver, pauses: list[str]
) -> None:
    trail, config = thread()
    inner: Any = order_graph(ask=not pauses).compile(checkpointer=InMemorySaver(), interrupt_before=pauses)

    async def call(state: Order) -> dict[str, Any]:
        await inner.ainvoke(NEW_ORDER, {"configurable": {"thread_id": "inner"}})
        return {"steps": ["called"]}

    builder = order_graph()
    builder.add_node("call", call)
    builder.add_edge("order", "call")
    await attach(builder.compile(), saver).ainvoke(NEW_ORDER, config)

    kinds = database.kinds(trail)
    assert kinds[-1] == "run.completed"
    assert not {"interrupt.raised", "run.paused"} & {*kinds}
