"""What the database announces, handed to whoever waits for it in this process: one connection listens for all.

An announcement is only a hint that something may be different now: it names a case and says nothing else, and whoever
hears it reads for themselves. While the connection is broken announcements are lost; when it is there again everybody
is told that anything may have changed. Whoever cannot bear to wait that long also looks by themselves now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection, sql

CASE, SETTLE, PEOPLE = "countersign_case", "countersign_settle", "countersign_people"
"""Channels: a case changed; a run of a case is over; somebody's session or standing ended (without a name)."""
_MOST = 1_000
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
_log = logging.getLogger("countersign.api")
_PRESENT: LiteralString = "SELECT pg_advisory_lock(%s)"
_ANNOUNCE: LiteralString = "SELECT pg_notify(%s, %s)"


class Ear:
    """What one listener has not looked at yet: names of cases, each once, in the order they were first announced.

    `everything` says that announcements were missed, or were too many to keep.
    """

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._cases: dict[str, None] = {}
        self.everything = False

    def tell(self, case: str | None) -> None:
        """Note a case; None: anything may have changed."""
        if case is None or len(self._cases) >= _MOST:
            self.everything = True
            self._cases.clear()
        else:
            self._cases[case] = None
        self._woken.set()

    def wake(self) -> None:
        """Let the listener look around without a case."""
        self._woken.set()

    async def wait(self, seconds: float) -> tuple[bool, list[str]]:
        """Return (`everything`, cases) as soon as there is something, and after `seconds` whatever there is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()
        heard = self.everything, list(self._cases)
        self.everything = False
        self._cases.clear()
        return heard


class Hub:
    """Listens on a connection of its own while `running`. `listening` tells whether it hears anything just now.

    The connection holds the lock of `instance`, a number of this process: who finds it free knows that it ended.
    """

    def __init__(self, url: str, instance: int) -> None:
        self._url = url
        self._instance = instance
        self._ears: dict[str, set[Ear]] = {CASE: set(), SETTLE: set(), PEOPLE: set()}
        self.listening = asyncio.Event()
        self.closing = asyncio.Event()

    @contextmanager
    def ear(self, *channels: str) -> Iterator[Ear]:
        """Yield what hears these channels until the block ends."""
        ear = Ear()
        for channel in channels:
            self._ears[channel].add(ear)
        try:
            yield ear
        finally:
            for channel in channels:
                self._ears[channel].discard(ear)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen until the block ends; then let everybody who waits look around, and see that it is `closing`."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            self.close()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def close(self) -> None:
        """Say that this process ends: streams end, and waiting requests answer with what there is."""
        self.closing.set()
        self._everybody(Ear.wake)

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                async with await AsyncConnection.connect(self._url, autocommit=True, connect_timeout=10) as conn:
                    await conn.execute(_PRESENT, (self._instance,))
                    for channel in self._ears:
                        await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    self.listening.set()
                    self._everybody(lambda ear: ear.tell(None))
                    pause = _FIRST_PAUSE
                    async for notice in conn.notifies():
                        self._heard(notice.channel, notice.payload)
            except psycopg.Error as error:
                _log.warning("The connection that listens is gone: %s", error)
            finally:
                self.listening.clear()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    def _heard(self, channel: str, payload: str) -> None:
        for ear in tuple(self._ears[channel]):
            if payload:
                ear.tell(payload)
            else:
                ear.wake()

    def _everybody(self, say: Callable[[Ear], None]) -> None:
        for ear in {ear for ears in self._ears.values() for ear in ears}:
            say(ear)


async def announce_people(conn: AsyncConnection) -> None:
    """Let every server look again at who is still signed in, when the caller's transaction commits."""
    await conn.execute(_ANNOUNCE, (PEOPLE, ""))
