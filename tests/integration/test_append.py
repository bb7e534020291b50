"""An entry joins the caller's own transaction, whoever opened it, and is refused where it could not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import AsyncConnection, Connection, IsolationLevel
from psycopg_pool import AsyncConnectionPool

from conftest import GRAPH, Database
from countersign.audit import AppendError
from countersign.audit.append import Appender
from countersign.audit.entry import EntryDraft
from integration.faults import assert_honest, open_appender

SCRATCH = sa.Table("scratch", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
DRAFT = EntryDraft("case-1", "review.opened", detail={"gate": "order"}, payload={"shown": "5 mg"})
Transaction = Callable[[Database, Appender, "Leave"], Awaitable[None]]


class RolledBackError(Exception):
    """Ends a transaction from inside."""


class Leave:
    """How a transaction ends: commits, or is rolled back by an error."""

    def __init__(self, *, commits: bool) -> None:
        self.commits = commits

    def now(self) -> None:
        if not self.commits:
            raise RolledBackError


@pytest.fixture
def appender(database: Database) -> Appender:
    database.as_admin("CREATE TABLE scratch (id int PRIMARY KEY); GRANT ALL ON scratch TO countersign_app")
    return open_appender(database)


@asynccontextmanager
async def shared_pool(url: str) -> AsyncIterator[AsyncConnectionPool[AsyncConnection[Any]]]:
    async with AsyncConnectionPool[AsyncConnection[Any]](url, min_size=1, close_returns=True, open=False) as pool:
        yield pool


async def on_psycopg(database: Database, appender: Appender, leave: Leave) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as conn, conn.transaction():
        conn.execute("INSERT INTO scratch VALUES (1)")
        appender.append(conn, DRAFT)
        leave.now()


async def on_async_psycopg(database: Database, appender: Appender, leave: Leave) -> None:
    async with await AsyncConnection.connect(database.app_url, autocommit=True) as conn, conn.transaction():
        await conn.execute("INSERT INTO scratch VALUES (1)")
        await appender.aappend(conn, DRAFT)
        leave.now()


async def on_an_implicit_transaction(database: Database, appender: Appender, leave: Leave) -> None:
    with psycopg.connect(database.app_url) as conn:
        appender.append(conn, DRAFT)
        conn.execute("INSERT INTO scratch VALUES (1)")
        leave.now()


async def on_sqlalchemy(database: Database, appender: Appender, leave: Leave) -> None:
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.app_url), poolclass=sa.pool.NullPool
    )
    with engine.begin() as conn:
        conn.execute(SCRATCH.insert().values(id=1))
        raw: Any = conn.connection.driver_connection
        appender.append(raw, DRAFT)
        leave.now()


async def on_async_sqlalchemy(database: Database, appender: Appender, leave: Leave) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - needs greenlet already at its import

    async with shared_pool(database.app_url) as pool:
        engine = create_async_engine("postgresql+psycopg://", poolclass=sa.pool.NullPool, async_creator=pool.getconn)
        async with engine.begin() as conn:
            await conn.execute(SCRATCH.insert().values(id=1))
            raw: Any = (await conn.get_raw_connection()).driver_connection
            await appender.aappend(raw, DRAFT)
            leave.now()


WAYS: list[Transaction] = [
    on_psycopg,
    on_async_psycopg,
    on_an_implicit_transaction,
    on_sqlalchemy,
    on_async_sqlalchemy,
]


def scratch(database: Database) -> list[int]:
    return [row[0] for row in database.query("SELECT id FROM scratch")]


@pytest.mark.parametrize("way", WAYS)
async def test_entry_and_the_callers_row_commit_together(
    database: Database, appender: Appender, way: Transaction
) -> None:
    await way(database, appender, Leave(commits=True))

    assert (scratch(database), database.kinds("case-1")) == ([1], ["review.opened"])
    assert_honest(database)


@pytest.mark.parametrize("way", WAYS)
async def test_entry_and_the_callers_row_vanish_together(
    database: Database, appender: Appender, way: Transaction
) -> None:
    with pytest.raises(RolledBackError):
        await way(database, appender, Leave(commits=False))
    assert (scratch(database), database.kinds("case-1")) == ([], [])

    await way(database, appender, Leave(commits=True))
    assert database.query("SELECT seq FROM audit.entries WHERE trail = 'case-1'") == [(1,)]
    assert_honest(database)


async def test_a_rolled_back_savepoint_takes_only_its_own_entry(database: Database, appender: Appender) -> None:
    with psycopg.connect(database.app_url) as conn:
        appender.append(conn, DRAFT)
        with conn.transaction(force_rollback=True):
            appender.append(conn, DRAFT, DRAFT)
        appender.append(conn, DRAFT)

    assert database.query("SELECT max(seq), count(*) FROM audit.entries WHERE trail = 'case-1'") == [(2, 2)]
    assert_honest(database)


async def test_several_drafts_of_several_trails_are_one_append(database: Database, appender: Appender) -> None:
    trails = ["b", "@system", "a", "b", "a", "b"]
    with psycopg.connect(database.app_url) as conn:
        entries = appender.append(conn, *(EntryDraft(trail, "review.opened") for trail in trails))

    assert [(entry.trail, entry.seq) for entry in entries] == [
        ("b", 1), ("@system", 1), ("a", 1), ("b", 2), ("a", 2), ("b", 3)
    ]  # fmt: skip
    assert_honest(database)


async def test_two_appends_in_one_transaction_follow_each_other(database: Database, appender: Appender) -> None:
    with psycopg.connect(database.app_url) as conn:
        appender.append(conn, DRAFT)
        open_appender(database).append(conn, DRAFT)
        appender.append(conn, DRAFT)

    assert database.kinds("case-1") == ["review.opened"] * 3
    assert_honest(database)


def outside_any_transaction(conn: Connection[Any]) -> None:
    conn.autocommit = True


def under_repeatable_read(conn: Connection[Any]) -> None:
    conn.isolation_level = IsolationLevel.REPEATABLE_READ


def under_serializable(conn: Connection[Any]) -> None:
    conn.isolation_level = IsolationLevel.SERIALIZABLE


def in_an_aborted_transaction(conn: Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute("SELECT 1/0")


def on_a_closed_connection(conn: Connection[Any]) -> None:
    conn.close()


@pytest.mark.parametrize(
    "spoil",
    [
        outside_any_transaction,
        under_repeatable_read,
        under_serializable,
        in_an_aborted_transaction,
        on_a_closed_connection,
    ],
)
async def test_no_entry_is_appended(
    database: Database, appender: Appender, spoil: Callable[[Connection[Any]], None]
) -> None:
    with psycopg.connect(database.app_url) as conn:
        spoil(conn)
        with pytest.raises(AppendError) as refused:
            appender.append(conn, DRAFT)

    assert refused.value.remedy
    assert database.kinds("case-1") == []


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
async def test_a_strict_isolation_is_refused_on_async_connections_too(
    database: Database, appender: Appender, level: IsolationLevel
) -> None:
    async with await AsyncConnection.connect(database.app_url) as conn:
        await conn.set_isolation_level(level)
        with pytest.raises(AppendError, match="isolation"):
            await appender.aappend(conn, DRAFT)

    assert database.kinds("case-1") == []


@pytest.mark.parametrize("kind", ["review.signed", "key.introduced", "policy.changed", "runs.started"])
async def test_the_graph_key_signs_no_decision(database: Database, appender: Appender, kind: str) -> None:
    graph = open_appender(database, GRAPH)
    with psycopg.connect(database.app_url) as conn, pytest.raises(AppendError, match="No key here may sign") as refused:
        graph.append(conn, EntryDraft("case-1", "run.started"), EntryDraft("case-1", kind))

    assert refused.value.remedy
    assert database.kinds("case-1") == []


UNWRITABLE = {
    "a body over 65,535 bytes": EntryDraft("case-1", "review.opened", detail={"note": "x" * 65_535}),
    "a float": EntryDraft("case-1", "review.opened", detail={"dose": 0.5}),  # type: ignore[dict-item]
    "a number beyond 2^53": EntryDraft("case-1", "review.opened", payload={"n": 2**60}),
    "a lone surrogate": EntryDraft("case-1", "review.opened", payload={"note": "\ud800"}),
    "an endless trail": EntryDraft("c" * 256, "review.opened"),
    "a trail of ours": EntryDraft("@mine", "review.opened"),
}


@pytest.mark.parametrize("draft", UNWRITABLE.values(), ids=UNWRITABLE)
async def test_what_cannot_be_written_down_is_not_written_at_all(
    database: Database, appender: Appender, draft: EntryDraft
) -> None:
    with psycopg.connect(database.app_url) as conn, conn.transaction():
        conn.execute("INSERT INTO scratch VALUES (1)")
        with pytest.raises(AppendError) as refused:
            appender.append(conn, DRAFT, draft)

    assert refused.value.remedy
    assert scratch(database) == [1], "the caller decides what becomes of its own transaction"
    assert database.kinds("case-1") == []
    assert_honest(database)


async def test_the_largest_body_that_fits_is_appended(database: Database, appender: Appender) -> None:
    with psycopg.connect(database.app_url) as conn:
        [probe] = appender.append(conn, EntryDraft("case-1", "review.opened", detail={"note": ""}))
        room = 65_535 - len(probe.body)
        [entry] = appender.append(conn, EntryDraft("case-1", "review.opened", detail={"note": "x" * room}))
        with pytest.raises(AppendError, match="would be 65536 bytes"):
            appender.append(conn, EntryDraft("case-1", "review.opened", detail={"note": "x" * (room + 1)}))

    assert len(entry.body) == 65_535
    assert_honest(database)


async def test_nothing_is_appended_behind_a_forged_entry(database: Database, appender: Appender) -> None:
    with psycopg.connect(database.app_url) as conn:
        appender.append(conn, DRAFT)
    database.as_admin("UPDATE audit.entries SET signature = sha512(body) WHERE trail = 'case-1'")

    with psycopg.connect(database.app_url) as conn, pytest.raises(AppendError, match="damaged") as refused:
        open_appender(database).append(conn, DRAFT)
    assert "countersign verify" in refused.value.remedy
    assert len(database.kinds("case-1")) == 1


async def test_an_append_behind_one_that_is_not_committed_waits_for_it(database: Database, appender: Appender) -> None:
    with (
        psycopg.connect(database.app_url) as first,
        psycopg.connect(database.app_url, options="-c lock_timeout=50ms") as second,
    ):
        appender.append(first, DRAFT)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            appender.append(second, DRAFT)
        second.rollback()
        first.commit()
        [entry] = appender.append(second, DRAFT)

    assert entry.seq == 2
    assert_honest(database)
