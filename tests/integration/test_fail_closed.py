"""What cannot be recorded does not happen: no next node, no resume, no pause that is reported."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.types import Command, interrupt

from conftest import DEPLOYMENT, GRAPH, Database
from countersign.audit import AppendError, AsyncAuditedPostgresSaver, AuditedPostgresSaver, ConfigurationError, attach
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.kinds import GRAPH_KINDS
from graphs import NEW_ORDER, Order, order_graph, thread
from integration.faults import assert_honest, let_entries_pass, make_entries_fail, rows_of

Invoke = Callable[..., Awaitable[Any]]


def three_nodes(saver: Any, ran: list[str], **compiled: Any) -> Any:
    """Return analyze -> order -> note -> last attached, where the last two say that they ran."""
    builder = order_graph()
    for before, name in (("order", "note"), ("note", "last")):

        def note(state: Order, name: str = name) -> dict[str, Any]:
            ran.append(name)
            return {"steps": [name]}

        builder.add_node(name, note)
        builder.add_edge(before, name)
    return attach(builder.compile(**compiled), saver)


async def in_the_loop(graph: Any, *args: Any, **kwargs: Any) -> Any:
    return await graph.ainvoke(*args, **kwargs)


async def in_a_thread(graph: Any, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(graph.invoke, *args, **kwargs)


ways = pytest.mark.parametrize("invoke", [in_the_loop, in_a_thread])


@ways
@pytest.mark.parametrize("kind", ["run.started", "checkpoint.saved", "writes.saved", "%"])
async def test_a_full_disk_stops_the_run(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke, kind: str
) -> None:
    """The server's error 53100, raised by a trigger, and no disk that is really full."""
    trail, config = thread()
    ran: list[str] = []
    make_entries_fail(database, kind, state="disk_full", message="could not extend file: No space left on device")
    with pytest.raises(AppendError, match="disk is full") as stopped:
        await invoke(three_nodes(saver, ran), NEW_ORDER, config)

    assert stopped.value.remedy
    assert ran == []
    assert rows_of(database, trail) == 0 or kind in ("checkpoint.saved", "writes.saved")
    assert_honest(database)


@ways
async def test_a_write_that_fails_late_stops_the_next_node(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    """LangGraph goes on while `put_writes` runs, and forgets that it failed: the next checkpoint has to wait for it."""
    make_entries_fail(database, "writes.saved", late=0.05)
    for _ in range(5):
        ran: list[str] = []
        with pytest.raises(AppendError, match="the test says no"):
            await invoke(three_nodes(saver, ran), NEW_ORDER, thread()[1])
        assert ran == []
    assert_honest(database)


@ways
async def test_a_checkpoint_that_fails_late_stops_the_next_node(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    make_entries_fail(database, "checkpoint.saved", late=0.05)
    for _ in range(5):
        ran: list[str] = []
        with pytest.raises(AppendError, match="the test says no"):
            await invoke(three_nodes(saver, ran), NEW_ORDER, thread()[1])
        assert ran == []
    assert_honest(database)


@ways
async def test_the_first_node_does_not_run_on_an_input_that_is_not_recorded(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    ran: list[str] = []
    builder = order_graph()

    def first(state: Order) -> dict[str, Any]:
        ran.append("first")
        return {"dose": 5}

    builder.add_node("first", first)
    builder.set_entry_point("first")
    graph = attach(builder.compile(), saver)
    make_entries_fail(database, "checkpoint.saved", late=0.05)
    with pytest.raises(AppendError, match="the test says no"):
        await invoke(graph, NEW_ORDER, thread()[1])

    assert ran == []


@ways
async def test_an_answer_whose_delivery_is_not_recorded_is_not_acted_upon(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    acted: list[str] = []
    builder = order_graph()

    def ask_and_act(state: Order) -> None:
        acted.append(interrupt("approve?"))

    builder.add_node("act", ask_and_act)
    builder.add_edge("order", "act")
    graph = attach(builder.compile(), saver)
    _, config = thread()
    await invoke(graph, NEW_ORDER, config)
    make_entries_fail(database, "writes.saved", late=0.05)
    with pytest.raises(AppendError, match="the test says no"):
        await invoke(graph, Command(resume="yes"), config)

    assert acted == []


@ways
async def test_no_node_runs_when_the_resume_cannot_be_recorded(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke
) -> None:
    trail, config = thread()
    ran: list[str] = []
    graph = three_nodes(saver, ran, interrupt_before=["note"])
    await invoke(graph, NEW_ORDER, config)
    before = database.kinds(trail), rows_of(database, trail)
    make_entries_fail(database, "run.resumed")
    with pytest.raises(AppendError, match="the test says no"):
        await invoke(graph, None, config)

    assert ran == []
    assert (database.kinds(trail), rows_of(database, trail)) == before
    assert_honest(database)
    let_entries_pass(database)
    await invoke(graph, None, config)
    assert ran == ["note", "last"]
    assert_honest(database)


PAUSES: dict[str, tuple[bool, dict[str, Any]]] = {
    "interrupt_before": (False, {"interrupt_before": ["order"]}),
    "interrupt_after": (False, {"interrupt_after": ["analyze"]}),
    "interrupt()": (True, {}),
}
pauses = pytest.mark.parametrize(("ask", "compiled"), PAUSES.values(), ids=PAUSES)


@ways
@pauses
async def test_no_pause_is_reported_that_has_no_entry(
    database: Database, saver: AsyncAuditedPostgresSaver, invoke: Invoke, *, ask: bool, compiled: dict[str, Any]
) -> None:
    trail, config = thread()
    graph = attach(order_graph(ask=ask).compile(**compiled), saver)
    make_entries_fail(database, "interrupt.raised")
    with pytest.raises(AppendError, match="the test says no"):
        await invoke(graph, NEW_ORDER, config)

    assert "interrupt.raised" not in database.kinds(trail)
    assert_honest(database)


MODES: list[Any] = ["values", "updates", "tasks", "debug", "checkpoints", ["values", "updates"], ["debug", "updates"]]


@pauses
@pytest.mark.parametrize("mode", MODES, ids=str)
async def test_no_pause_is_streamed_that_has_no_entry(
    database: Database, saver: AsyncAuditedPostgresSaver, *, ask: bool, compiled: dict[str, Any], mode: Any
) -> None:
    graph: Any = attach(order_graph(ask=ask).compile(**compiled), saver)
    make_entries_fail(database, "interrupt.raised", late=0.05)
    chunks: list[Any] = []
    with pytest.raises(AppendError, match="the test says no"):
        await stream_into(chunks, graph, mode)

    assert [chunk for chunk in chunks if shows_a_pause(chunk)] == []


@pytest.mark.parametrize("mode", ["values", "updates", "tasks", "debug"])
async def test_no_question_is_streamed_to_another_thread_that_has_no_entry(
    database: Database, saver: AsyncAuditedPostgresSaver, mode: str
) -> None:
    graph: Any = attach(order_graph(ask=True).compile(), saver)
    make_entries_fail(database, "interrupt.raised", late=0.05)
    seen: list[Any] = []
    with pytest.raises(AppendError, match="the test says no"):
        await asyncio.to_thread(stream_one_by_one, seen, graph, mode)

    assert [chunk for chunk in seen if shows_a_pause(chunk)] == []


def stream_one_by_one(chunks: list[Any], graph: Any, mode: str) -> None:
    for chunk in graph.stream(NEW_ORDER, thread()[1], stream_mode=mode):
        chunks.append(chunk)  # noqa: PERF402 - what came before an error counts


async def stream_into(chunks: list[Any], graph: Any, mode: Any) -> None:
    async for chunk in graph.astream(NEW_ORDER, thread()[1], stream_mode=mode):
        chunks.append(chunk)  # noqa: PERF401 - what came before an error counts


def shows_a_pause(chunk: Any) -> bool:
    """Tell whether any part of a chunk, in any stream format, speaks of a pause."""
    if isinstance(chunk, dict):
        if "__interrupt__" in chunk or chunk.get("interrupts"):
            return True
        return any(shows_a_pause(value) for value in chunk.values())
    return isinstance(chunk, (list, tuple)) and any(shows_a_pause(part) for part in chunk)


@pauses
@pytest.mark.parametrize("mode", ["values", "updates", "tasks", "debug"])
async def test_a_pause_that_has_its_entry_is_streamed(
    database: Database, saver: AsyncAuditedPostgresSaver, *, ask: bool, compiled: dict[str, Any], mode: str
) -> None:
    """So that the test above can tell: it is the failure that keeps a pause back."""
    trail, config = thread()
    graph: Any = attach(order_graph(ask=ask).compile(**compiled), saver)
    shown = [chunk async for chunk in graph.astream(NEW_ORDER, config, stream_mode=mode) if shows_a_pause(chunk)]

    assert database.kinds(trail).count("interrupt.raised") == 1
    assert shown or (not ask and mode != "updates")


def test_a_pause_whose_entry_was_lost_is_recovered_before_the_thread_goes_on(database: Database) -> None:
    """Promise 1: LangGraph writes nothing at a static pause, so the entry is all there is, and a crash can lose it."""
    trail, config = thread()
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver)
        make_entries_fail(database, "%ai_ed")  # interrupt.raised and run.failed, as after a crash
        with pytest.raises(AppendError):
            graph.invoke(NEW_ORDER, config)
        let_entries_pass(database)
        graph.invoke(None, config)

    kinds = database.kinds(trail)
    assert "interrupt.raised" in kinds
    assert kinds.index("interrupt.raised") < kinds.index("run.resumed")
    detail = "SELECT convert_from(body, 'UTF8')::json #>> '{detail,recovered}' FROM audit.entries"
    assert database.query(detail + " WHERE trail = %s AND kind = 'interrupt.raised'", (trail,)) == [("true",)]


@asynccontextmanager
async def saver_with_other_keys(database: Database, home: Path) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    async with AsyncAuditedPostgresSaver.from_conn_string(database.app_url, home=home) as saver:
        yield saver


@pytest.fixture
def keys(database: Database, tmp_path: Path) -> KeyFolder:
    """Return a copy of the deployment's key folder, under `tmp_path` as its home."""
    copy = KeyFolder(tmp_path / database.folder.path.name)
    shutil.copytree(database.folder.path, copy.path)
    return copy


def gone(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    """A folder in its place: unlike mode 0000 it cannot be read by root either."""
    path.unlink()
    path.mkdir()


def open_to_others(path: Path) -> None:
    path.chmod(0o644)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [gone, unreadable, open_to_others, cut_short, empty])
async def test_a_spoilt_signing_key_is_told_when_the_saver_opens(
    database: Database, keys: KeyFolder, spoil: Callable[[Path], None]
) -> None:
    spoil(keys.path / f"{GRAPH}.pem")
    with pytest.raises(ConfigurationError, match=r"graph\.pem") as refused:
        async with saver_with_other_keys(database, keys.path.parent):
            pass

    assert refused.value.remedy


@pytest.mark.parametrize("spoil", [gone, unreadable, cut_short, empty])
async def test_a_spoilt_trust_file_is_told_when_the_saver_opens(
    database: Database, keys: KeyFolder, spoil: Callable[[Path], None]
) -> None:
    spoil(keys.path / "trust.json")
    with pytest.raises(ConfigurationError, match=r"trust\.json") as refused:
        async with saver_with_other_keys(database, keys.path.parent):
            pass

    assert refused.value.remedy


async def test_a_saver_needs_no_deployment_key(database: Database, keys: KeyFolder) -> None:
    """Graph code runs beside the saver's key, so a worker's machine need not have the one that signs decisions."""
    (keys.path / f"{DEPLOYMENT}.pem").unlink()
    async with saver_with_other_keys(database, keys.path.parent) as saver:
        await three_nodes(saver, []).ainvoke(NEW_ORDER, thread()[1])

    assert_honest(database)


class Failing:
    """A hardware module that is pulled out after `good` signatures."""

    def __init__(self, database: Database, good: int) -> None:
        self.key = database.folder.key(GRAPH)
        self.keyid = self.key.keyid
        self.good = good

    def sign(self, message: bytes) -> bytes:
        if not self.good:
            raise OSError("the module is gone")
        self.good -= 1
        return self.key.sign(message)


@ways
async def test_a_signer_that_fails_stops_the_run_with_nothing_stored(database: Database, invoke: Invoke) -> None:
    """run.started, then two checkpoints and the first node's writes: whichever cannot be signed.

    What is committed together is missing together; of the four signatures needed before a node runs, none may fail.
    """
    stored: list[int] = []
    for good in range(4):
        trail, config = thread()
        ran: list[str] = []
        async with database.saver() as saver:
            saver.core.appender._signers = [(GRAPH_KINDS, Failing(database, good))]
            with pytest.raises((OSError, AppendError), match="the module is gone"):
                await invoke(three_nodes(saver, ran), NEW_ORDER, config)
        assert ran == []
        stored.append(len(database.kinds(trail)))
    assert all(kept <= good for good, kept in enumerate(stored))
    assert_honest(database)
