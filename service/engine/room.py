"""A room that many share, or one has alone: who may have ended its process before is run with nobody beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Lets many in together, or one alone; who waits to be alone comes before those who come later."""

    def __init__(self) -> None:
        self._inside = 0
        self._waiting = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Be inside with others."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._waiting)
            self._inside += 1
        try:
            yield
        finally:
            await self._leave()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside with nobody else."""
        self._waiting += 1
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._inside)
                self._inside += 1
            try:
                yield
            finally:
                await self._leave()
        finally:
            self._waiting -= 1
            async with self._changed:
                self._changed.notify_all()

    async def _leave(self) -> None:
        async with self._changed:
            self._inside -= 1
            self._changed.notify_all()
