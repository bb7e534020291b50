"""What a server does beside answering: it looks after cases whose run is over, and lets time pass for reviews."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import LiteralString

from ..engine.repair import Outstanding, defer_missing, repair
from .hub import SETTLE
from .parts import Service

_HOUR = 3_600.0
_PATIENCE = timedelta(seconds=10)
"""How long a case may be due without a job before it is given one."""
_WAITING: LiteralString = """
SELECT id, mandate, workflow, version FROM countersign.cases WHERE status IN ('starting', 'running') AND changed_at < %s
ORDER BY changed_at LIMIT 500
"""
_log = logging.getLogger("countersign.api")


@asynccontextmanager
async def at_work(service: Service) -> AsyncIterator[None]:
    """Do all of it until the block ends, then let what is under way finish or be taken back."""
    sweep = service.settings.sweep
    tasks = [
        asyncio.create_task(_settle(service)),
        asyncio.create_task(_again(service.desk.sweep, sweep)),
        asyncio.create_task(_again(service.desk.keep_time, sweep)),
        asyncio.create_task(_again(lambda: _repair(service), sweep)),
        asyncio.create_task(_again(service.answers.clean, _HOUR)),
    ]
    try:
        yield
    finally:
        service.hub.close()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _settle(service: Service) -> None:
    """Settle each case as soon as a worker says that its run is over. What is missed, the sweep finds."""
    with service.hub.ear(SETTLE) as ear:
        while True:
            _, cases = await ear.wait(_HOUR)
            for case in cases:
                try:
                    await service.desk.settle(case)
                except Exception:  # noqa: BLE001 - one case does not keep the others from it
                    _log.warning("Case %s could not be settled; it is tried again.", case, exc_info=True)


async def _repair(service: Service) -> None:
    """Give the work of workers that are gone to others, and jobs to cases that have lost theirs."""
    async with service.pool.connection() as conn, conn.transaction():
        await repair(conn)
        waiting = await (await conn.execute(_WAITING, (service.settings.clock() - _PATIENCE,))).fetchall()
        await defer_missing(conn, [Outstanding(*row) for row in waiting])


async def _again(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Do `work` every so many seconds. What it raises is logged, and it is tried again."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it is, the server goes on
            _log.exception("What is done beside answering failed; it is tried again.")
        await asyncio.sleep(seconds)
