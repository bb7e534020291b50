"""Ways to watch a connection and to make a database fail at a chosen moment, shared by the tests of this folder."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self
from unittest.mock import patch

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, steps
from countersign.audit.append import Appender
from countersign.audit.deployment import open_steps
from countersign.audit.entry import EntryDraft
from countersign.audit.keyfolder import DEPLOYMENT, GRAPH
from countersign.audit.steps import run


class Watch(Protocol):
    """Is told of every statement a connection sends."""

    def before(self, conn: AsyncConnection[Any]) -> None: ...

    def after(self, conn: AsyncConnection[Any]) -> None: ...


@dataclass
class Count:
    """Counts statements."""

    sent: int = 0

    def before(self, conn: AsyncConnection[Any]) -> None:
        self.sent += 1

    def after(self, conn: AsyncConnection[Any]) -> None:
        """Statements are counted as they go out."""


class Act(Count):
    """Does `deed` right before or right after the `nth` statement, once."""

    def __init__(self, nth: int, when: str, deed: Callable[[AsyncConnection[Any]], None]) -> None:
        super().__init__()
        self.nth, self.when, self.deed = nth, when, deed
        self.done = False

    def before(self, conn: AsyncConnection[Any]) -> None:
        super().before(conn)
        self._act("before", conn)

    def after(self, conn: AsyncConnection[Any]) -> None:
        self._act("after", conn)

    def _act(self, moment: str, conn: AsyncConnection[Any]) -> None:
        if moment == self.when and self.sent == self.nth and not self.done:
            self.done = True
            self.deed(conn)


class MeddlingCursor(AsyncRawCursor[Any]):
    """Lets the connection's `meddle` do something before the first save of each sort goes out as one statement."""

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Self:
        conn = self.connection
        save = " ".join(re.findall(r"countersign[.]\w+", str(query)))
        outside = conn.info.transaction_status == TransactionStatus.IDLE  # inside, the trail's lock is held
        if isinstance(conn, WatchedConnection) and conn.meddle and outside and save not in conn.meddled:
            conn.meddled.add(save)
            conn.meddle()
        return await super().execute(query, *args, **kwargs)


class WatchedConnection(AsyncConnection[Any]):
    """Tells its watch of every statement, BEGIN and COMMIT included: psycopg sends all of them through `wait`."""

    watch: Watch | None = None
    meddle: Callable[[], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.meddled: set[str] = set()

    async def wait(self, *args: Any, **kwargs: Any) -> Any:
        watch = self.watch
        if watch is not None:
            watch.before(self)
        result = await super().wait(*args, **kwargs)
        if watch is not None:
            watch.after(self)
        return result

    @contextmanager
    def watched(self, watch: Watch) -> Iterator[None]:
        self.watch = watch
        try:
            yield
        finally:
            self.watch = None


@asynccontextmanager
async def watched_saver(url: str, home: Path) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    """Yield a saver on a watched connection of its own, which has checked schema and keys."""
    conn = await WatchedConnection.connect(url, autocommit=True, row_factory=dict_row)
    with patch.object(steps, "AsyncRawCursor", MeddlingCursor):
        async with conn:
            saver = AsyncAuditedPostgresSaver(conn, home=home)
            await saver.setup()
            yield saver


@contextmanager
def going_on_elsewhere(url: str, home: Path, trail: str) -> Iterator[Callable[[], None]]:
    """Yield what another process does that goes on with a trail: the next save must then take the long way."""
    with psycopg.connect(url, autocommit=True) as conn:
        appender = run(conn, open_steps(home, (DEPLOYMENT,)))

        def append() -> None:
            with conn.transaction():
                appender.append(conn, EntryDraft(trail, "review.opened"))

        yield append


def open_appender(database: Database, *names: str) -> Appender:
    """Return an appender with the keys `names`, by default both."""
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        return run(conn, open_steps(database.home, names or (GRAPH, DEPLOYMENT)))


def make_entries_fail(
    database: Database, kind: str, *, state: str = "raise_exception", message: str = "the test says no", late: float = 0
) -> None:
    """Make the server raise whenever an entry of `kind` (a LIKE pattern) is inserted, `late` seconds late."""
    database.as_admin(
        f"""
        CREATE FUNCTION test_fails() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_sleep({late});
            RAISE EXCEPTION '{message}' USING ERRCODE = '{state}';
        END $$;
        CREATE TRIGGER test_fails BEFORE INSERT ON audit.entries
        FOR EACH ROW WHEN (NEW.kind LIKE '{kind}') EXECUTE FUNCTION test_fails()
        """
    )


def let_entries_pass(database: Database) -> None:
    """Undo `make_entries_fail`."""
    database.as_admin("DROP TRIGGER test_fails ON audit.entries; DROP FUNCTION test_fails()")


def rows_of(database: Database, trail: str) -> int:
    """Return how many rows LangGraph's tables hold of a thread."""
    tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    return sum(
        int(database.query(f"SELECT count(*) FROM {table} WHERE thread_id = %s", (trail,))[0][0]) for table in tables
    )


def assert_honest(database: Database, trail: str | None = None) -> None:
    """Fail unless every row (of one thread) has its entry, and every entry its rows."""
    report = database.verify(trail)
    assert [finding.message for finding in report.findings] == []
    assert report.verdict == "passed"
