"""A case under its lock: read to its end, so that what is decided is decided on what is there, and by nobody else
meanwhile. Everything of one act commits together, or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from countersign.audit.append import Appender
from countersign.audit.chain import Checked, Link
from countersign.audit.entry import SYSTEM_TRAIL, Entry, EntryDraft
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.standing import Directory
from countersign.audit.steps import arun
from countersign.service.clock import Clock
from countersign.service.errors import UnavailableError

from .following import DamagedError, Followed, Trails

_DAMAGED = """
UPDATE countersign.cases SET status = 'damaged', problem = %s, changed_at = %s WHERE id = %s AND status <> 'damaged'
"""
_UNTIMED = """
UPDATE countersign.reviews SET remind_at = NULL, escalate_at = NULL, expire_at = NULL
WHERE case_id = %s AND (remind_at, escalate_at, expire_at) IS DISTINCT FROM (NULL, NULL, NULL)
"""
Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Room:
    """What all acts share: the server's connections, its keys, what it has read, and the world's clock and dice."""

    pool: AsyncConnectionPool[AsyncConnection[Any]]
    appender: Appender
    saver: AsyncAuditedPostgresSaver
    trails: Trails
    clock: Clock
    random: Random

    def new_id(self, kind: str) -> str:
        """Return an id that nobody has had: 128 bits of chance behind the letter of its kind."""
        return f"{kind}-{self.random(16).hex()}"

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Yield a connection for reading. Each statement sees its own moment, and no transaction is paid for.

        What has to be of one moment is one statement, or is asked again under the lock.
        """
        async with self.pool.connection() as conn:
            if conn.autocommit:
                yield conn
                return
            await conn.set_autocommit(True)
            try:
                yield conn
            finally:
                if conn.info.transaction_status == TransactionStatus.IDLE:
                    await conn.set_autocommit(False)
                else:
                    await conn.close()

    @asynccontextmanager
    async def holding(self, case: str, *, new: bool = False) -> AsyncIterator[Held]:
        """Yield `case` under its lock, in a transaction that commits when the block ends and vanishes when it raises.

        Nobody's standing changes meanwhile. Raises AbsentError unless there is such a case (or it is `new`), and
        ConflictError where its trail does not verify; the case's row then says that it is damaged.
        """
        try:
            async with self._locked(case, new=new) as held:
                yield held
        except DamagedError as error:
            await self._mark(error)
            raise

    @asynccontextmanager
    async def _locked(self, case: str, *, new: bool) -> AsyncIterator[Held]:
        async with self.pool.connection() as conn:
            async with conn.transaction():
                heads = await arun(conn, self.appender.lock_steps([case], [SYSTEM_TRAIL]))
                followed = await self.trails.case(conn, case)
                if not new:
                    followed.sound()
                held = Held(self, conn, followed.fork(), self.trails.directory, heads[case], self.clock())
                yield held
            self.appender.committed(held.appended)
            self.trails.keep(held.followed, held.checked)

    async def _mark(self, error: DamagedError) -> None:
        """Have the rows say it, so that lists show it and nobody is reminded of what cannot be decided."""
        async with self.pool.connection() as conn, conn.transaction():
            await conn.execute(_DAMAGED, (error.message, self.clock(), error.case))
            await conn.execute(_UNTIMED, (error.case,))


class Held:
    """A case that nobody else changes until the transaction ends."""

    def __init__(
        self,
        room: Room,
        conn: AsyncConnection[Any],
        followed: Followed,
        directory: Directory,
        head: Link,
        now: datetime,
    ) -> None:
        self.room = room
        self.conn = conn
        self.followed = followed
        self.directory = directory
        self.now = now
        self.appended: list[Entry] = []
        self.checked: list[Checked] = []
        self.first = head.seq + 1
        """The seq of what is appended first."""
        self._head = head

    @property
    def case(self) -> str:
        """The id of the case."""
        return self.followed.case

    async def append(self, *drafts: EntryDraft) -> list[Entry]:
        """Append entries to the case's trail, and hold each against the rules as a verifier will.

        Raises UnavailableError, so that nothing of the transaction stays, where the rules do not allow what was about
        to be committed: that is a defect of this program, and no entry may come of it.
        """
        entries = await arun(self.conn, self.room.appender.insert_steps({self.case: self._head}, drafts))
        self._head = Link(entries[-1].seq, entries[-1].leaf_hash)
        self.appended += entries
        self.checked += self.followed.extend(entries, self.room.appender)
        if self.followed.finding is not None:
            raise UnavailableError(
                f"This would not verify, and was not done: {self.followed.finding}",
                remedy="Report this as a defect, with the case's id.",
                facts={"cause": "defect", "case": self.case},
            )
        return entries

    async def tell(self) -> None:
        """Wake, when this commits, whoever waits for something new of the case."""
        await self.conn.execute("SELECT pg_notify('countersign_case', %s)", (self.case,))
