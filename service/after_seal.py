"""What comes after a head is in the log's memory, in a thread of its own: it delays no append and no batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from countersign.audit.treehead import TreeHead

Pause = Callable[[float], object]
"""Waits so many seconds, or until it is time to end."""
LEAVE = 2.0
"""Seconds at most that a process which was told to end waits for work under way."""


class AfterSeal:
    """Does `work` with the newest head that it was told of, at most every `every` seconds, while it is entered.

    A head that came meanwhile is done when the time is up, and one whose `work` returned False is tried again then;
    between two calls of `work` a head may be replaced by a newer one. `work` runs in one thread, waits with the Pause
    that it is given, and must not raise: what it raises ends that thread, with a traceback.
    """

    def __init__(
        self, work: Callable[[TreeHead, Pause], bool], *, every: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._work = work
        self._every = every
        self._monotonic = monotonic
        self._changed = threading.Condition()  # owns the two below
        self._newest: TreeHead | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(LEAVE)  # it waits for nobody's answer: the thread is a daemon

    def tell(self, head: TreeHead) -> None:
        """Let the thread know of a head. Returns at once."""
        with self._changed:
            self._newest = head
            self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout=seconds)

    def _run(self) -> None:
        done: TreeHead | None = None
        while (head := self._next(done)) is not None:
            due = self._monotonic() + self._every
            done = head if self._work(head, self._pause) else None
            self._pause(max(0.0, due - self._monotonic()))

    def _next(self, done: TreeHead | None) -> TreeHead | None:
        """Return the newest head as soon as there is one that is not done; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._newest not in (None, done))
            return None if self._ended else self._newest
