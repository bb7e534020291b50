"""No false alarm: whatever LangGraph does honestly verifies, while it happens and afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.verify import Report, Verdict
from graphs import NEW_ORDER, Order, order_graph
from tamper.cases import DYNAMIC, STATIC, Case, config_of, run_dynamic, run_static
from tamper.tools import Place, assert_found

TRAIL = "case"
ROUNDS = 8
CONFIG = config_of(TRAIL)


async def test_a_database_that_grows_meanwhile_passes_each_time(database: Database) -> None:
    done = asyncio.Event()

    async def write() -> int:
        cases = 0
        async with database.saver() as saver:
            while not done.is_set():
                await (run_static if cases % 2 else run_dynamic)(saver, str(uuid.uuid4()))
                cases += 1
        return cases

    writer = asyncio.create_task(write())
    reports: list[Report] = []
    while len(reports) < ROUNDS or reports[-1].counts.entries == reports[0].counts.entries:
        reports.append(await asyncio.to_thread(database.verify))
        assert reports[-1].findings == []
        assert not writer.done()
    done.set()
    assert await writer > 0
    assert {report.verdict for report in (*reports, database.verify())} == {Verdict.PASSED}


async def _two_questions(saver: AsyncAuditedPostgresSaver) -> Any:
    def ask(state: Order) -> dict[str, Any]:
        return {"decision": f"{interrupt('first?')} and {interrupt('second?')}"}

    builder = StateGraph(Order)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph: Any = attach(builder.compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, CONFIG)
    await graph.ainvoke(Command(resume="one"), CONFIG)
    result = await graph.ainvoke(Command(resume="two"), CONFIG)
    assert result["decision"] == "one and two"
    return graph


async def _two_questions_open(saver: AsyncAuditedPostgresSaver) -> Any:
    def ask(state: Order) -> dict[str, Any]:
        return {"decision": f"{interrupt('first?')} and {interrupt('second?')}"}

    builder = StateGraph(Order)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    graph: Any = attach(builder.compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, CONFIG)
    await graph.ainvoke(Command(resume="one"), CONFIG)
    return graph


def _parallel(saver: AsyncAuditedPostgresSaver) -> Any:
    builder = StateGraph(Order)
    for name in ("left", "right"):

        def ask(state: Order, name: str = name) -> dict[str, Any]:
            return {"steps": [f"{name}: {interrupt(name)}"]}

        builder.add_node(name, ask)
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    return attach(builder.compile(), saver, name="order")


async def _parallel_answered_one_by_one(saver: AsyncAuditedPostgresSaver) -> Any:
    graph = _parallel(saver)
    await graph.ainvoke(NEW_ORDER, CONFIG)
    for _ in range(2):
        question = (await graph.aget_state(CONFIG)).interrupts[0]
        result = await graph.ainvoke(Command(resume={question.id: "yes"}), CONFIG)
    assert sorted(result["steps"]) == ["left: yes", "right: yes"]
    return graph


async def _parallel_one_answered(saver: AsyncAuditedPostgresSaver) -> Any:
    graph = _parallel(saver)
    await graph.ainvoke(NEW_ORDER, CONFIG)
    question = (await graph.aget_state(CONFIG)).interrupts[1]
    await graph.ainvoke(Command(resume={question.id: "yes"}), CONFIG)
    assert len((await graph.aget_state(CONFIG)).interrupts) == 1
    return graph


async def _edited_twice(saver: AsyncAuditedPostgresSaver) -> Any:
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order")
    with acting_as("pharmacist-17"):
        await graph.ainvoke(NEW_ORDER, CONFIG)
        await graph.aupdate_state(CONFIG, {"dose": 6})
        await graph.aupdate_state(CONFIG, {"dose": 7, "decision": "approved"})
        result = await graph.ainvoke(None, CONFIG)
    assert result["steps"][-1] == "ordered 7 mg: approved"
    return graph


async def _edited_while_it_asks(saver: AsyncAuditedPostgresSaver) -> Any:
    graph: Any = attach(order_graph(ask=True).compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, CONFIG)
    await graph.aupdate_state(CONFIG, {"dose": 6})
    await graph.ainvoke(None, CONFIG)
    await graph.ainvoke(Command(resume="yes"), CONFIG)
    return graph


async def _forked(saver: AsyncAuditedPostgresSaver) -> Any:
    graph: Any = attach(order_graph(ask=True).compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, CONFIG)
    await graph.ainvoke(Command(resume="yes"), CONFIG)
    snapshots = [snapshot async for snapshot in graph.aget_state_history(CONFIG)]
    asking = next(snapshot for snapshot in snapshots if snapshot.next == ("ask",))
    await graph.ainvoke(None, asking.config)
    edited = await graph.aupdate_state(asking.config, {"dose": 9})
    await graph.ainvoke(None, edited)
    await graph.ainvoke(Command(resume="no"), CONFIG)
    return graph


async def _run_again(saver: AsyncAuditedPostgresSaver) -> Any:
    graph: Any = attach(order_graph().compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, CONFIG)
    await graph.ainvoke({"dose": 3}, CONFIG)
    return graph


async def _failed_and_tried_again(saver: AsyncAuditedPostgresSaver) -> Any:
    attempts: list[int] = []

    def order(state: Order) -> dict[str, Any]:
        attempts.append(1)
        if len(attempts) < 3:
            raise RuntimeError("the printer is off")
        return {"steps": ["ordered"]}

    builder = StateGraph(Order)
    builder.add_node("order", order)
    builder.add_edge(START, "order")
    graph: Any = attach(builder.compile(), saver, name="order")
    with pytest.raises(RuntimeError):
        await graph.ainvoke(NEW_ORDER, CONFIG)
    with pytest.raises(RuntimeError):
        await graph.ainvoke(None, CONFIG)
    await graph.ainvoke(None, CONFIG)
    return graph


async def _subgraph(saver: AsyncAuditedPostgresSaver) -> Any:
    builder = StateGraph(Order)
    builder.add_node("inner", order_graph(ask=True).compile(checkpointer=True))
    builder.add_edge(START, "inner")
    graph: Any = attach(builder.compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, CONFIG)
    await graph.ainvoke(Command(resume="yes"), CONFIG)
    return graph


async def _waiting(saver: AsyncAuditedPostgresSaver) -> Any:
    return await Case(None, TRAIL).pause(saver)  # type: ignore[arg-type]


SCENARIOS: dict[str, Callable[[AsyncAuditedPostgresSaver], Awaitable[Any]]] = {
    function.__name__.strip("_"): function
    for function in (
        _two_questions,
        _two_questions_open,
        _parallel_answered_one_by_one,
        _parallel_one_answered,
        _edited_twice,
        _edited_while_it_asks,
        _forked,
        _run_again,
        _failed_and_tried_again,
        _subgraph,
        _waiting,
    )
}


@pytest.mark.parametrize("name", list(SCENARIOS))
async def test_what_langgraph_does_honestly_verifies_and_can_be_read(database: Database, name: str) -> None:
    async with database.saver() as saver, database.saver() as fresh:
        graph = await SCENARIOS[name](saver)
        report = database.verify()
        assert (report.verdict, report.findings) == (Verdict.PASSED, [])
        seen = [await _shown(graph, reader) for reader in (saver, fresh)]
        assert seen[0] == seen[1]
        assert len(seen[0]) > 1
    assert "run.refused" not in database.kinds(TRAIL)
    assert database.verify().findings == []


async def _shown(graph: Any, saver: AsyncAuditedPostgresSaver) -> list[Any]:
    """Return what the whole history shows, the latest first, read through `saver`."""
    state = await graph.copy({"checkpointer": saver}).aget_state(CONFIG)
    found = [item async for item in saver.alist(CONFIG)]
    return [state.values, *((item.checkpoint, item.metadata, item.pending_writes) for item in found)]


async def test_a_put_and_its_writes_sent_again_verify(database: Database) -> None:
    checkpoint: Any = {
        **empty_checkpoint(),
        "channel_values": {"dose": 5, "flags": ["INR"]},
        "channel_versions": {"dose": "1", "flags": "1"},
    }
    config: Any = {"configurable": {"thread_id": TRAIL, "checkpoint_ns": ""}}
    async with database.saver() as saver, database.saver() as fresh:
        for again in (saver, saver, fresh, saver):
            at = await again.aput(config, checkpoint, {"source": "input", "step": -1}, {"dose": "1", "flags": "1"})
            await again.aput_writes(at, [("steps", ["a"]), ("dose", 6)], "task")
            await again.aput_writes(at, [("__interrupt__", ["a"])], "task")
            assert database.verify().findings == []
        for reader in (saver, fresh):
            found = await reader.aget_tuple(CONFIG)
            assert found is not None
            assert len(found.pending_writes or []) == 3


async def test_a_special_write_replaced_by_another_verifies(database: Database) -> None:
    checkpoint: Any = {**empty_checkpoint(), "channel_versions": {}}
    config: Any = {"configurable": {"thread_id": TRAIL, "checkpoint_ns": ""}}
    async with database.saver() as saver, database.saver() as fresh:
        at = await saver.aput(config, checkpoint, {"source": "input", "step": -1}, {})
        for value, writer in enumerate((saver, saver, fresh, saver)):
            await writer.aput_writes(at, [("__resume__", value)], "task")
            assert database.verify().findings == []
        found = await fresh.aget_tuple(CONFIG)
        assert found is not None
        assert [write[2] for write in found.pending_writes or []] == [3]


def test_one_trail_is_verified_alone(honest: Database) -> None:
    report = honest.verify(STATIC)
    assert (report.findings, report.counts.entries) == ([], 13 + 3)
    assert honest.verify(DYNAMIC).findings == []
    for trail in ("@keys", "@system", "never heard of"):
        assert honest.verify(trail).findings == []


def test_one_trail_is_found_damaged_and_another_not(honest: Database) -> None:
    honest.as_admin("UPDATE checkpoint_blobs SET blob = '\\x90' WHERE thread_id = %s AND channel = 'steps'", (STATIC,))
    assert_found(honest.verify(STATIC), Place(("checkpoint_blobs",), (STATIC,), checks=("row",)))
    assert honest.verify(DYNAMIC).findings == []
