"""Task writes under way, per thread: so that a checkpoint never overtakes the writes it was made from.

LangGraph submits `put_writes` in the background and does not stop when one fails. Whoever saves the next checkpoint of
the thread therefore waits for the writes before it, and fails if one of them did.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import AppendError


class Pending:
    """The writes under way and the failures not yet followed by a new run, of one saver on one event loop."""

    def __init__(self) -> None:
        self._running: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._failed: dict[tuple[str, str | None], BaseException] = {}

    @contextmanager
    def write(self, thread: str, run: str | None) -> Iterator[None]:
        """Count the block as a write of `thread` in `run` (None without `attach`), from its first statement on."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[thread].add(ticket)
        try:
            yield
        except BaseException as error:
            self._failed.setdefault((thread, run), error)
            raise
        finally:
            self._running[thread].discard(ticket)
            if not self._running[thread]:
                del self._running[thread]
            if not ticket.done():
                ticket.set_result(None)

    async def settled(self, thread: str, run: str | None) -> None:
        """Wait for the thread's writes under way. Raises AppendError if one of this run's writes failed."""
        while running := self._running.get(thread):
            await asyncio.wait(running)
        if (error := self._failed.get((thread, run))) is not None:
            raise AppendError(
                f"The run stops, since an earlier write of thread {thread!r} could not be recorded: {error}",
                trail=thread,
            ) from error

    def forget(self, thread: str, run: str | None) -> None:
        """Start over: what failed in this run is told, or a new run loads the thread."""
        self._failed.pop((thread, run), None)
