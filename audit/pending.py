"""Task writes under way, per thread: so that a checkpoint never overtakes the writes it was made from.

LangGraph submits `put_writes` in the background and does not stop when one fails. Whoever saves the next checkpoint of
the thread therefore waits for the writes before it, and fails if one of them did.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from langchain_core.runnables import RunnableConfig

from .call import call_of
from .errors import AppendError
from .recent import Recent

_PATIENCE = 30


class _Failures:
    """Which writes failed, per thread and run (None without `attach`)."""

    def __init__(self) -> None:
        self._failed: Recent[tuple[str, str | None], BaseException] = Recent(4096)

    def forget(self, config: RunnableConfig) -> None:
        """Start over where a load without `attach` begins a new run; with it, each run has a name of its own."""
        configurable = config["configurable"]
        if call_of(config) is None and not configurable.get("checkpoint_ns"):
            self._failed.discard((str(configurable["thread_id"]), None))

    def _raise(self, thread: str, run: str | None) -> None:
        if (error := self._failed.get((thread, run))) is not None:
            raise AppendError(
                f"The run stops, since an earlier write of thread {thread!r} could not be recorded: {error}",
                remedy="Resume the run when what failed is mended.",
                trail=thread,
            ) from error


class AsyncPending(_Failures):
    """The writes under way of one saver on one event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._running: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    @contextmanager
    def write(self, thread: str, run: str | None) -> Iterator[None]:
        """Count the block as a write of `thread` in `run`, from its first statement on."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[thread].add(ticket)
        try:
            yield
        except BaseException as error:
            self._failed[thread, run] = error
            raise
        finally:
            self._running[thread].discard(ticket)
            if not self._running[thread]:
                del self._running[thread]
            if not ticket.done():
                ticket.set_result(None)

    async def settled(
        self,
        thread: str,
        run: str | None,
        done: Callable[[], bool] = lambda: True,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """Wait for the thread's writes under way, and until `done`.

        Raises AppendError if one of this run's writes failed, or when `done` does not come true in 30 seconds in which
        the run was not `busy`.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            while running := self._running.get(thread):
                await asyncio.wait(running)
            self._raise(thread, run)
            if done():
                return
            if busy():
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise _overdue(thread)
            await asyncio.sleep(0.001)


class Pending(_Failures):
    """The writes under way of one saver used from threads."""

    def __init__(self) -> None:
        super().__init__()
        self._running: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def write(self, thread: str, run: str | None) -> Iterator[None]:
        """Count the block as a write of `thread` in `run`."""
        with self._changed:
            self._running[thread] += 1
        try:
            yield
        except BaseException as error:
            self._failed[thread, run] = error
            raise
        finally:
            with self._changed:
                self._running[thread] -= 1
                if not self._running[thread]:
                    del self._running[thread]
                self._changed.notify_all()

    def settled(
        self,
        thread: str,
        run: str | None,
        done: Callable[[], bool] = lambda: True,
        busy: Callable[[], bool] = lambda: False,
    ) -> None:
        """As AsyncPending's."""

        def over() -> bool:
            return not self._running.get(thread) and (done() or self._failed.get((thread, run)) is not None)

        with self._changed:
            in_time = self._changed.wait_for(over, _PATIENCE)
            while not in_time and busy():
                in_time = self._changed.wait_for(over, _PATIENCE)
        self._raise(thread, run)
        if not in_time:
            raise _overdue(thread)


def _overdue(thread: str) -> AppendError:
    return AppendError(
        f"The run stops, since what thread {thread!r} asks was not recorded in {_PATIENCE} seconds.",
        remedy="Look at the database's load and locks, then resume.",
        trail=thread,
    )
