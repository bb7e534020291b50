"""Who is at work, told by session locks: they are gone the moment their process is, however it ended.

A worker holds one for itself and one for each case it runs, on a connection of its own that does nothing else. A pooler
in transaction mode would give them to somebody else: a worker connects to PostgreSQL directly.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg
from psycopg import AsyncConnection

WORKER_CLASS = 0x63737772
"""The first half of a worker's lock; the second is its number, as procrastinate gave it, in 31 bits."""
NUMBERS = 2**31

_TRY = "SELECT pg_try_advisory_lock(%s)"
_TRY_WORKER = "SELECT pg_try_advisory_lock(%s, %s)"
_RELEASE = "SELECT pg_advisory_unlock(%s), pg_notify('countersign_settle', %s)"


class BusyError(Exception):
    """Another run of the same case is under way."""


class Locks:
    """The locks of this process."""

    def __init__(self, conn: AsyncConnection[Any]) -> None:
        self.conn = conn
        self._held: set[str] = set()

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str) -> AsyncIterator[Self]:
        """Yield the locks, on a connection of their own."""
        conn = await AsyncConnection.connect(url, autocommit=True, connect_timeout=10)
        async with conn:
            yield cls(conn)

    async def be(self, worker: int) -> None:
        """Hold the lock of worker number `worker` for as long as this process lives. Raises BusyError if another does.

        Numbers are given once, so another could only be one of 2^31 workers ago.
        """
        async with await self.conn.execute(_TRY_WORKER, (WORKER_CLASS, worker % NUMBERS)) as cursor:
            if await cursor.fetchone() != (True,):
                raise BusyError(f"worker {worker}")

    @asynccontextmanager
    async def of(self, case: str) -> AsyncIterator[None]:
        """Hold the lock of a case inside the block, and say at its end that there may be something to settle.

        Raises BusyError when it is held, here or elsewhere, psycopg.OperationalError when the database is away.
        """
        if case in self._held:
            raise BusyError(case)
        self._held.add(case)
        try:
            async with await self.conn.execute(_TRY, (case_lock(case),)) as cursor:
                if await cursor.fetchone() != (True,):
                    raise BusyError(case)
            try:
                yield
            finally:
                await self.conn.execute(_RELEASE, (case_lock(case), case))
        finally:
            self._held.discard(case)

    async def watch(self, every: float) -> None:
        """Return when the connection is lost, and the locks with it."""
        try:
            while True:
                await asyncio.sleep(every)
                await self.conn.execute("SELECT 1")
        except psycopg.OperationalError:
            return


def case_lock(case: str) -> int:
    """Return the key of a case's lock: 64 bits, signed; another than that of its trail."""
    return int.from_bytes(hashlib.sha256(b"countersign/case\0" + case.encode()).digest()[:8], signed=True)
