"""Task writes under way, per thread: so that a checkpoint never overtakes the writes it was made from.

LangGraph submits `put_writes` in the background and does not stop when one fails. Whoever saves the next checkpoint of
the thread therefore waits for the writes before it, and fails if one of them did.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from langchain_core.runnables import RunnableConfig

from .call import call_of
from .errors import AppendError
from .recent import Recent

_PATIENCE = 30
_RUNTIME = "__pregel_runtime"  # LangGraph puts it into the config of a run, and of nothing else
Kept = Callable[[str], Awaitable[None]]


class _Failures:
    """Which writes failed, per thread and run (None without `attach`)."""

    def __init__(self) -> None:
        self._failed: Recent[tuple[str, str | None], BaseException] = Recent(4096)

    def forget(self, config: RunnableConfig) -> None:
        """Start over where a load without `attach` begins a new run; with it, each run has a name of its own."""
        configurable = config["configurable"]
        begins = _RUNTIME in configurable and not configurable.get("checkpoint_ns")  # anybody else only looks
        if begins and call_of(config) is None:
            self._failed.discard((str(configurable["thread_id"]), None))

    def fail(self, thread: str, run: str | None, error: BaseException) -> None:
        """Note that a write of `run` failed."""
        self._failed[thread, run] = error

    def failure(self, thread: str, run: str | None) -> AppendError | None:
        """Return why nothing more of `run` may be saved, or None."""
        if (error := self._failed.get((thread, run))) is None:
            return None
        stop = AppendError(
            f"The run stops, since an earlier write of thread {thread!r} could not be recorded: {error}",
            remedy="Resume the run when what failed is mended.",
            trail=thread,
        )
        stop.__cause__ = error
        return stop

    def _raise(self, thread: str, run: str | None) -> None:
        if stop := self.failure(thread, run):
            raise stop


class AsyncPending(_Failures):
    """What failed of the runs of one saver on one event loop."""

    @contextmanager
    def write(self, thread: str, run: str | None) -> Iterator[None]:
        """Note it when the block, which hands over a write of `thread` in `run`, fails."""
        try:
            yield
        except BaseException as error:
            self.fail(thread, run, error)
            raise

    async def settled(
        self, thread: str, run: str | None, done: Callable[[], bool], busy: Callable[[], bool], kept: Kept
    ) -> None:
        """Wait until all is `kept` that was handed over, and until `done`.

        Raises AppendError if something of this run failed, or when `done` does not come true in 30 seconds in which the
        run was not `busy`.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            await kept(thread)
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
            self.fail(thread, run, error)
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
