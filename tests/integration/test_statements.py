"""How many statements each kind of save costs, BEGIN and COMMIT included: a promise to whoever pays for round trips."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.types import Interrupt
from psycopg import AsyncConnection

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver
from countersign.audit.chain import Checked
from countersign.audit.entry import EntryDraft
from countersign.audit.plans import record_plan, trail_plan
from integration.faults import Count, WatchedConnection, open_appender, watched_saver

CONFIG: Any = {"configurable": {"thread_id": "case-1", "checkpoint_ns": ""}}
Save = Callable[[AsyncAuditedPostgresSaver], Awaitable[object]]


def draft(trail: str = "case-1") -> EntryDraft:
    return EntryDraft(trail, "run.started")


async def put(saver: AsyncAuditedPostgresSaver) -> None:
    checkpoint = empty_checkpoint() | {
        "channel_values": {"drug": "warfarin", "flags": ["INR"], "steps": ["a", "b"]},
        "channel_versions": {"drug": "1", "flags": "1", "steps": "1"},
    }
    await saver.aput(CONFIG, checkpoint, {"source": "loop", "step": 1}, checkpoint["channel_versions"])


async def put_writes(saver: AsyncAuditedPostgresSaver) -> None:
    config: Any = {"configurable": {"thread_id": "case-1", "checkpoint_ns": "", "checkpoint_id": "1"}}
    await saver.aput_writes(config, [("dose", 5), ("flags", ["INR"]), ("steps", ["a"])], "task-1")


async def record(saver: AsyncAuditedPostgresSaver) -> None:
    await saver.adrive(record_plan([draft()]))


async def get(saver: AsyncAuditedPostgresSaver) -> None:
    await saver.aget_tuple(CONFIG)


@pytest.mark.parametrize("save", [put, put_writes, record, get])
async def test_a_save_on_a_trail_this_process_knows_is_one_statement(database: Database, save: Save) -> None:
    async with watched_saver(database.app_url, database.home) as saver:
        await record(saver)
        with saver.conn.watched(count := Count()):
            await save(saver)

    assert count.sent == 1


async def test_a_question_is_saved_with_its_entry_in_one_statement(database: Database) -> None:
    config: Any = {"configurable": {"thread_id": "case-1", "checkpoint_ns": "", "checkpoint_id": "1"}}
    async with watched_saver(database.app_url, database.home) as saver:
        with saver.conn.watched(count := Count()):
            await saver.aput_writes(config, [("__interrupt__", (Interrupt("approve?", id="1"),))], "task-1")

    assert count.sent == 1
    assert database.kinds("case-1") == ["writes.saved", "interrupt.raised"]


@pytest.mark.parametrize("save", [put, put_writes, record, get])
async def test_a_save_on_a_new_trail_is_one_statement(database: Database, save: Save) -> None:
    async with watched_saver(database.app_url, database.home) as saver:
        with saver.conn.watched(count := Count()):
            await save(saver)

    assert count.sent == 1


@pytest.mark.parametrize(
    ("save", "statements"),
    [
        # one try; BEGIN, the locks with the isolation, the trail's end, what went on, rows, entry, COMMIT
        (put, 8),
        (put_writes, 8),
        # the same without rows
        (record, 7),
        # one try; BEGIN, snapshot, the rows, the trail, COMMIT
        (get, 6),
    ],
)
async def test_a_save_on_a_trail_that_went_on_elsewhere_takes_the_long_way_once(
    database: Database, save: Save, statements: int
) -> None:
    async with watched_saver(database.app_url, database.home) as saver, database.saver() as elsewhere:
        await record(saver)
        await record(elsewhere)
        with saver.conn.watched(count := Count()):
            await save(saver)
        with saver.conn.watched(again := Count()):
            await record(saver)

    assert (count.sent, again.sent) == (statements, 1)


def forged(entries: list[Checked]) -> list[Checked]:
    return [one._replace(body=one.body._replace(prev=b"\x00" * 32)) for one in entries]


@pytest.mark.parametrize(
    ("told", "statements"),
    [
        (lambda entries: entries, 1),
        (lambda entries: entries[1:], 1),
        # what does not go on from where the saver is, or not to the end, is read: one try and the long way
        (lambda entries: entries[2:], 6),
        (lambda entries: entries[:2], 6),
        (forged, 6),
    ],
)
async def test_what_somebody_else_has_checked_is_not_read_again(
    database: Database, told: Callable[[list[Checked]], list[Checked]], statements: int
) -> None:
    async with watched_saver(database.app_url, database.home) as saver, database.saver() as elsewhere:
        await record(saver)
        await put(elsewhere)
        await record(elsewhere)
        saver.core.follow(told(await elsewhere.adrive(trail_plan(elsewhere.core, "case-1"))))
        with saver.conn.watched(count := Count()):
            found = await saver.aget_tuple(CONFIG)

    assert count.sent == statements
    assert found is not None
    assert found.checkpoint["channel_values"]["drug"] == "warfarin"


@pytest.mark.parametrize(
    ("drafts", "statements"),
    [
        # all locks, the ends of all trails, and one for eight entries
        ([draft()], 3),
        ([draft()] * 8, 3),
        ([draft()] * 10, 4),
        # one more for each further trail
        ([draft(), draft("case-2"), draft("case-3")], 5),
    ],
)
async def test_statements_of_an_append(database: Database, drafts: list[EntryDraft], statements: int) -> None:
    appender = open_appender(database)
    count = Count()
    async with await WatchedConnection.connect(database.app_url) as conn, conn.transaction():
        assert isinstance(conn, WatchedConnection)
        with conn.watched(count):
            await appender.aappend(conn, *drafts)

    assert count.sent == statements


async def test_the_count_would_see_one_more_statement(database: Database) -> None:
    count = Count()
    async with await WatchedConnection.connect(database.app_url) as conn:
        assert isinstance(conn, WatchedConnection)
        with conn.watched(count):
            async with conn.transaction():
                await conn.execute("SELECT 1")
    assert isinstance(conn, AsyncConnection)
    assert count.sent == 3
