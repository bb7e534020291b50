"""A change of who is who: the row and its entry in @system, in one transaction, one such transaction at a time.

The lock of @system is held exclusively from before the first look until the commit. So what a change was decided on is
still so when it commits, and whoever relies on standing under the shared lock sees all of it or nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from countersign.audit.append import Appender
from countersign.audit.canonical import Json
from countersign.audit.chain import Link
from countersign.audit.entry import SYSTEM_TRAIL, Actor, Entry, EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.standing import Directory, Place
from countersign.audit.steps import arun

from ..clock import Clock
from ..errors import ForbiddenError
from .caller import Caller
from .directory import DirectoryReader
from .names import ADMINISTRATOR, AUDITOR, EVERY_WORKFLOW
from .passwords import Passwords

By = Caller | Actor
"""Who changes something: a caller, who has to be an administrator, or the operator at the command line."""
Pool = AsyncConnectionPool[AsyncConnection[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a session lasts: without any request, and at all."""

    idle: timedelta = timedelta(minutes=15)
    absolute: timedelta = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Room:
    """What everything here works with. Connections of `pool` are the service's."""

    pool: Pool
    appender: Appender
    directory: DirectoryReader
    passwords: Passwords
    clock: Clock
    random: Callable[[int], bytes]
    limits: Limits

    def new_id(self, letter: str) -> str:
        """Return an id that was never used: a letter, `-`, and 20 random hex digits."""
        return f"{letter}-{self.random(10).hex()}"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Yield a connection for reading, or for one statement that changes something.

        Where the pool's connections commit each statement, no transaction is paid for.
        """
        async with self.pool.connection() as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Yield a connection in a transaction of its own."""
        async with self.pool.connection() as conn, conn.transaction():
            yield conn

    async def may_read(self, conn: AsyncConnection[Any], by: By, of: str | None = None) -> None:
        """Raise ForbiddenError unless `by` may read about `of`: themselves; the others as administrator or auditor."""
        if isinstance(by, Caller) and (by.is_api_key or by.id != of):
            require(await self.directory.current(conn), by, (ADMINISTRATOR, AUDITOR), self.clock())

    @asynccontextmanager
    async def administering(self, by: By) -> AsyncIterator[Change]:
        """Yield the change that `by` makes. Raises ForbiddenError unless they are an administrator, or the operator."""
        actor = by.actor(ADMINISTRATOR) if isinstance(by, Caller) else by
        async with self.changing(actor) as change:
            if isinstance(by, Caller):
                require(change.directory, by, (ADMINISTRATOR,), change.now)
            yield change

    @asynccontextmanager
    async def changing(self, actor: Actor) -> AsyncIterator[Change]:
        """Yield a change under the lock of @system, which commits with the block or vanishes with its exception."""
        async with self.transaction() as conn:
            heads = await arun(conn, self.appender.lock_steps((SYSTEM_TRAIL,)))
            directory = await self.directory.current(conn)
            change = Change(conn, self.appender, directory, heads[SYSTEM_TRAIL], actor, self.clock())
            yield change
        self.appender.committed(change.entries)


class Change:
    """A change under way: `conn` in its transaction, the lock of @system held; `now` was read behind the lock."""

    def __init__(
        self,
        conn: AsyncConnection[Any],
        appender: Appender,
        directory: Directory,
        end: Link,
        actor: Actor,
        now: datetime,
    ) -> None:
        self.conn = conn
        self.directory = directory
        self.actor = actor
        self.now = now
        self.entries: list[Entry] = []
        self._appender = appender
        self._end = end
        self._places: dict[str, Place] = {}

    async def record(
        self, kind: Kind, subject: str, detail: Mapping[str, Json], payload: Mapping[str, Json] | None = None
    ) -> None:
        """Append an entry about the user or API key `subject`, with the place of the one before about them."""
        place = self._places.get(subject)
        if place is None and (standing := self.directory.latest(subject)) is not None:
            place = standing.place
        before = place.as_json() if place is not None else None
        draft = EntryDraft(SYSTEM_TRAIL, kind, self.actor, detail={**detail, "before": before}, payload=payload)
        entries = await arun(self.conn, self._appender.insert_steps({SYSTEM_TRAIL: self._end}, [draft]))
        self._end = Link(entries[0].seq, entries[0].leaf_hash)
        self._places[subject] = Place(self._end.seq, self._end.leaf_hash.hex())
        self.entries += entries

    async def one(self, sql: LiteralString, *params: Any) -> tuple[Any, ...] | None:
        """Return the first row of a statement."""
        return await one(self.conn, sql, *params)

    async def run(self, sql: LiteralString, *params: Any) -> None:
        """Run a statement that returns nothing."""
        await self.conn.execute(sql, params)


def require(directory: Directory, by: Caller, roles: tuple[str, ...], now: datetime) -> None:
    """Raise ForbiddenError unless `by` is a person who is active and holds one of the system's `roles` now."""
    standing = None if by.is_api_key else directory.latest(by.id)
    if standing is not None and standing.active and any(standing.holds(role, EVERY_WORKFLOW, now) for role in roles):
        return
    raise ForbiddenError(
        f"Only somebody with the role {' or '.join(roles)} may do this.",
        remedy="Ask an administrator.",
        facts={"cause": "role"},
    )


async def one(conn: AsyncConnection[Any], sql: LiteralString, *params: Any) -> tuple[Any, ...] | None:
    """Return the first row of a statement."""
    cursor = await conn.execute(sql, params)
    return await cursor.fetchone()


async def rows(conn: AsyncConnection[Any], sql: LiteralString, *params: Any) -> list[tuple[Any, ...]]:
    """Return all rows of a statement."""
    cursor = await conn.execute(sql, params)
    return await cursor.fetchall()


def utc(moment: datetime) -> datetime:
    """Return a moment of the database's in UTC, whatever zone the connection has."""
    return moment.astimezone(UTC)
