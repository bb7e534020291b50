"""What a server does beside answering: it looks after cases whose run is over, and lets time pass for reviews."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from .parts import Service

_HOUR = 3_600.0
_log = logging.getLogger("countersign.api")


@asynccontextmanager
async def at_work(service: Service) -> AsyncIterator[None]:
    """Do all of it until the block ends, then let what is under way finish."""
    tasks = [asyncio.create_task(_again(service.answers.clean, _HOUR))]
    try:
        yield
    finally:
        service.hub.close()
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _again(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    """Do `work` every so many seconds. What it raises is logged, and it is tried again."""
    while True:
        try:
            await work()
        except Exception:  # noqa: BLE001 - whatever it is, the server goes on
            _log.exception("What is done beside answering failed; it is tried again.")
        await asyncio.sleep(seconds)
