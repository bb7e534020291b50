"""State and thread ids that cannot be recorded: an error with a remedy, and never half of anything."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from conftest import Database, fresh_database
from countersign.audit import AppendError, AsyncAuditedPostgresSaver, AuditError, attach
from countersign.service.embedded import EmbeddedDatabase
from graphs import thread
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


class Anything(TypedDict, total=False):
    """A state that takes what it is given."""

    given: Any
    made: Any
    last: str


def carrier(made: Any = None, ran: list[str] | None = None) -> StateGraph[Anything]:
    """Return make -> last, where the first node puts `made` into the state."""

    def make(state: Anything) -> dict[str, Any]:
        return {"made": made() if callable(made) else made}

    def last(state: Anything) -> dict[str, Any]:
        if ran is not None:
            ran.append("last")
        return {"last": "ran"}

    builder = StateGraph(Anything)
    builder.add_node("make", make)
    builder.add_node("last", last)
    builder.add_edge(START, "make")
    builder.add_edge("make", "last")
    builder.add_edge("last", END)
    return builder


async def in_the_loop(graph: Any, *args: Any) -> Any:
    return await graph.ainvoke(*args)


async def in_a_thread(graph: Any, *args: Any) -> Any:
    return await asyncio.to_thread(graph.invoke, *args)


ways = pytest.mark.parametrize("invoke", [in_the_loop, in_a_thread])

BAD_THREADS = {
    "with NUL": "case\0",
    "of 256 characters": "c" * 256,
    "of ours": "@keys",
    "with a leading @": "@mine",
    "empty": "",
    "with a line break": "a\nb",
    "with DEL": "a\x7f",
    "with a C1 control": "a\x85",
    "with a lone surrogate": "a\ud800",
}
bad_threads = pytest.mark.parametrize("name", BAD_THREADS.values(), ids=BAD_THREADS)


def counts(database: Database) -> list[tuple[Any, ...]]:
    return database.query(
        "SELECT (SELECT count(*) FROM audit.entries), (SELECT count(*) FROM audit.payloads), "
        "(SELECT count(*) FROM checkpoints), (SELECT count(*) FROM checkpoint_blobs), "
        "(SELECT count(*) FROM checkpoint_writes)"
    )


USES: dict[str, Callable[[Any, Any], Awaitable[Any]]] = {
    "ainvoke": lambda graph, config: graph.ainvoke({"given": 1}, config),
    "resume": lambda graph, config: graph.ainvoke(None, config),
    "invoke": lambda graph, config: asyncio.to_thread(graph.invoke, {"given": 1}, config),
    "aupdate_state": lambda graph, config: graph.aupdate_state(config, {"given": 1}, as_node="make"),
    "aget_state": lambda graph, config: graph.aget_state(config),
}
WRITING = ("ainvoke", "resume", "invoke", "aupdate_state")


@bad_threads
async def test_a_thread_id_that_no_trail_can_have_is_refused(
    shared: Database, saver: AsyncAuditedPostgresSaver, name: str
) -> None:
    graph = attach(carrier().compile(), saver)
    before = counts(shared)
    for use in WRITING:
        with pytest.raises(AuditError) as refused:
            await USES[use](graph, {"configurable": {"thread_id": name}})
        assert refused.value.remedy

    assert counts(shared) == before


@bad_threads
async def test_reading_a_thread_that_cannot_be_finds_nothing_or_is_refused_in_words(
    shared: Database, saver: AsyncAuditedPostgresSaver, name: str
) -> None:
    graph = attach(carrier().compile(), saver)
    before = counts(shared)
    try:
        state = await USES["aget_state"](graph, {"configurable": {"thread_id": name}})
    except AuditError as error:
        assert error.remedy  # noqa: PT017
    else:
        assert (state.values, state.next) == ({}, ()) or name == "@keys"

    assert counts(shared) == before


@pytest.mark.parametrize("name", [*BAD_THREADS.values(), "@system"], ids=[*BAD_THREADS, "of the system"])
async def test_a_saver_without_attach_refuses_such_thread_ids_too(database: Database, name: str) -> None:
    before = counts(database)
    async with database.saver() as saver:
        graph: Any = carrier().compile(checkpointer=saver)
        with pytest.raises(AuditError) as refused:
            await graph.ainvoke({"given": 1}, {"configurable": {"thread_id": name}})

    assert refused.value.remedy
    assert counts(database) == before
    async with database.saver():
        pass  # still opens


@pytest.mark.parametrize("name", ["c" * 255, "Fall 7/é", "🩺", "a b", "'; DROP TABLE checkpoints; --", "%s", "{0}"])
async def test_any_other_thread_id_works(shared: Database, saver: AsyncAuditedPostgresSaver, name: str) -> None:
    graph: Any = attach(carrier().compile(), saver)
    await graph.ainvoke({"given": 1}, {"configurable": {"thread_id": name}})

    assert shared.kinds(name)[-1] == "run.completed"
    assert_honest(shared)


async def test_a_missing_thread_id_is_refused(shared: Database, saver: AsyncAuditedPostgresSaver) -> None:
    graph = attach(carrier().compile(), saver)
    before = counts(shared)
    missing: list[Any] = [None, {}, {"configurable": {}}, {"configurable": {"thread_id": None}}]
    for config in missing:
        for use in WRITING:
            with pytest.raises(AuditError, match="thread") as refused:
                await USES[use](graph, config)
            assert refused.value.remedy

    assert counts(shared) == before


def a_file() -> Any:
    return sys.__stdout__


def a_generator() -> Any:
    return (number for number in range(3))


UNSERIALIZABLE: dict[str, Callable[[], Any]] = {
    "a lock": threading.Lock,
    "a file": a_file,
    "a generator": a_generator,
    "a lock in a list": lambda: [1, threading.Lock()],
    "a lock in a dict": lambda: {"lock": threading.Lock()},
    "an endless integer": lambda: 10**5000,
}
unserializable = pytest.mark.parametrize("value", UNSERIALIZABLE.values(), ids=UNSERIALIZABLE)


@ways
@unserializable
async def test_input_that_cannot_be_serialized_starts_nothing(
    shared: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke, value: Callable[[], Any]
) -> None:
    trail, config = thread()
    with pytest.raises(AppendError) as refused:
        await invoke(attach(carrier().compile(), saver), {"given": value()}, config)

    assert refused.value.remedy
    assert (shared.kinds(trail), rows_of(shared, trail)) == ([], 0)


@ways
@unserializable
async def test_what_a_node_makes_that_cannot_be_serialized_stops_the_run(
    shared: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke, value: Callable[[], Any]
) -> None:
    trail, config = thread()
    ran: list[str] = []
    with pytest.raises(AppendError) as refused:
        await invoke(attach(carrier(value, ran).compile(), saver), {"given": 1}, config)

    assert refused.value.remedy
    assert ran == []
    assert shared.kinds(trail)[-1] == "run.failed"
    assert_honest(shared)


@unserializable
async def test_an_edit_that_cannot_be_serialized_changes_nothing(
    shared: Database, saver: AsyncAuditedPostgresSaver, value: Callable[[], Any]
) -> None:
    trail, config = thread()
    graph: Any = attach(carrier().compile(interrupt_before=["last"]), saver)
    await graph.ainvoke({"given": 1}, config)
    before = shared.kinds(trail), rows_of(shared, trail)
    with pytest.raises(AppendError) as refused:
        await graph.aupdate_state(config, {"given": value()})

    assert refused.value.remedy
    assert (shared.kinds(trail), rows_of(shared, trail)) == before
    assert_honest(shared)
    await graph.ainvoke(None, config)


REFUSED_BY_JSONB = {"NUL": "a\0b", "NaN": math.nan, "infinity": math.inf, "a lone surrogate": "\ud800"}


@pytest.mark.parametrize("value", REFUSED_BY_JSONB.values(), ids=REFUSED_BY_JSONB)
async def test_a_plain_value_that_postgresql_cannot_hold_is_refused(
    shared: Database, saver: AsyncAuditedPostgresSaver, value: Any
) -> None:
    """LangGraph keeps plain strings and numbers in jsonb; the same values inside a list go to bytea and are kept."""
    ran: list[str] = []
    for made, given in ((None, value), (value, 1)):
        with pytest.raises(AppendError) as refused:
            await attach(carrier(made, ran).compile(), saver).ainvoke({"given": given}, thread()[1])
        assert refused.value.remedy
    assert ran == []
    assert_honest(shared)


KEPT = {
    "NUL in a list": ["a\0b"],
    "NUL in a dict": {"a\0": "\0"},
    "NaN in a list": [math.nan, math.inf, -math.inf],
    "numbers": [2**60, 2**53 + 1, -0.0, 1e22, 5e-324, 1.7976931348623157e308],
    "a large number": 2**60,
    "a tiny float": 5e-324,
    "a large float": 1.7976931348623157e308,
    "minus zero": -0.0,
    "emoji": "🩺 \u202e \U0010ffff",
    "quotes": "\"'\\\n\t\x01\x1f\x7f\u2028",
    "keys with dollars": {"$bytes": "x", "$$": 1, "": None},
    "keys that are no strings": {1: "a", (1, 2): "b", None: "c"},
    "deep": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],
}


def alike(read: Any, written: Any) -> bool:
    """Compare, where NaN is NaN, and a plain float may come back from jsonb as the integer it was printed as."""
    if isinstance(written, float):
        return float(read) == written
    return repr(read) == repr(written)


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
async def test_a_strange_value_is_kept_and_read_back(
    shared: Database, saver: AsyncAuditedPostgresSaver, value: Any
) -> None:
    trail, config = thread()
    graph: Any = attach(carrier(value).compile(interrupt_before=["last"]), saver)
    await graph.ainvoke({"given": value}, config)
    await graph.aupdate_state(config, {"given": value})
    async with shared.saver() as other:
        elsewhere: Any = attach(carrier(value).compile(interrupt_before=["last"]), other)
        state = await elsewhere.aget_state(config)
        assert alike(state.values["made"], value)
        await elsewhere.ainvoke(None, config)

    assert shared.kinds(trail)[-1] == "run.completed"
    assert_honest(shared)


@pytest.mark.parametrize("value", ["x" * 5_000_000, ["x" * 1000] * 5000], ids=["one string", "a list"])
async def test_five_megabytes_of_state_work(shared: Database, saver: AsyncAuditedPostgresSaver, value: Any) -> None:
    trail, config = thread()
    graph: Any = attach(carrier(value).compile(), saver)
    result = await graph.ainvoke({"given": value}, config)

    assert (result["given"], result["made"]) == (value, value)
    assert shared.kinds(trail)[-1] == "run.completed"
    assert_honest(shared)


async def test_two_hundred_channels_written_at_once_are_counted_in_the_entry_and_listed_in_its_payload(
    shared: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    fields = {f"field_{number}": int for number in range(200)}
    builder = StateGraph(TypedDict("Wide", fields))  # type: ignore[operator]
    builder.add_node("fill", lambda _: dict.fromkeys(fields, 1))
    builder.add_edge(START, "fill")
    trail, config = thread()
    graph: Any = attach(builder.compile(), saver)
    await graph.ainvoke(dict.fromkeys(fields, 0), config)
    await graph.aupdate_state(config, dict.fromkeys(fields, 2))

    counted = "SELECT convert_from(body, 'UTF8')::json #>> '{detail,channels_count}' FROM audit.entries"
    assert ("200",) in shared.query(counted + " WHERE trail = %s AND kind = 'state.updated'", (trail,))
    assert_honest(shared)
