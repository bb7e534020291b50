"""What of one thread is handed over at the same moment is committed together: one statement, one commit, in order.

LangGraph hands over what tasks wrote and, in the same turn of the event loop, the checkpoint made from it. While one
statement is on its way, what comes up waits and goes with the next. So a checkpoint never overtakes the writes it was
made from, and it is not saved if one of those failed.

Of an attached graph nobody waits for a save by itself. Whatever must not be done before it is committed waits for all
that was handed over before: a node that begins, a question or a pause that is shown, a read of the thread, the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from .append import MOST
from .core import Core
from .effects import Keep, Plan
from .entry import Entry
from .errors import AppendError
from .pending import AsyncPending
from .plans import keep_plan, together_plan
from .save import WritesSave

_SOON = 0.002  # seconds until what nobody waits for is committed all the same
Drive = Callable[[Plan[Any]], Coroutine[Any, Any, Any]]


class _Waiting(NamedTuple):
    keep: Keep
    done: asyncio.Future[Sequence[Entry]]


class Together:
    """What waits to be committed, per thread, of one saver on one event loop."""

    def __init__(self, core: Core, pending: AsyncPending, drive: Drive) -> None:
        self._core = core
        self._pending = pending
        self._drive = drive
        self._waiting: dict[str, list[_Waiting]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._last: dict[str, asyncio.Future[Sequence[Entry]]] = {}

    async def keep(self, keep: Keep) -> Sequence[Entry]:
        """Commit, and return the entries; at once, and none, where the caller may go on. Raises as `keep_plan`.

        A caller that is cancelled does not wait any longer; what it handed over is committed all the same.
        """
        trail = keep.what.trail
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Sequence[Entry]] = loop.create_future()
        waiting = self._waiting.setdefault(trail, [])
        waiting.append(_Waiting(keep, done))
        self._last[trail] = done
        if keep.later and keep.call is not None:
            if len(waiting) == 1 and trail not in self._working:
                loop.call_later(_SOON, self._begin, trail)
            return ()
        self._begin(trail)
        return await done

    async def kept(self, trail: str | None) -> None:
        """Return when all of `trail` (None: of every trail) is committed, or has failed, that was handed over."""
        for name in [*self._last] if trail is None else [trail]:
            if (last := self._last.get(name)) is not None:
                self._begin(name)
                await asyncio.wait([last])

    def _begin(self, trail: str) -> None:
        if trail not in self._working and trail in self._waiting:
            # A task of its own begins in the next turn of the loop: by then all that belongs together is here.
            self._working[trail] = asyncio.create_task(self._work(trail))

    async def _work(self, trail: str) -> None:
        try:
            while waiting := self._waiting.get(trail):
                size = _size(waiting)
                batch, self._waiting[trail] = waiting[:size], waiting[size:]
                await self._commit(trail, batch)
        finally:
            del self._working[trail]
            self._last.pop(trail, None)
            for left in self._waiting.pop(trail, ()):
                left.done.cancel()

    async def _commit(self, trail: str, batch: list[_Waiting]) -> None:
        """Commit a batch together, or one by one where that cannot be; nobody is left without an answer."""
        try:
            if len(batch) > 1 and not any(self._stopped(trail, item) for item in batch):
                plan = together_plan(self._core, [item.keep.what for item in batch])
                if (saved := await self._drive(plan)) is not None:
                    for item, entries in zip(batch, saved, strict=True):
                        _answer(item, entries)
                    return
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            for item in batch:
                self._fail(trail, item, error)
            return
        except BaseException:
            for item in batch:
                item.done.cancel()
            raise
        for item in batch:
            await self._commit_alone(trail, item)

    async def _commit_alone(self, trail: str, item: _Waiting) -> None:
        if stopped := self._stopped(trail, item):
            self._fail(trail, item, stopped)
            return
        try:
            _answer(item, await self._drive(keep_plan(self._core, item.keep.what)))
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            self._fail(trail, item, error)
        except BaseException:
            item.done.cancel()
            raise

    def _stopped(self, trail: str, item: _Waiting) -> AppendError | None:
        """Return why an item must not be committed: something before it failed, or the very opening of its run."""
        call = item.keep.call
        unopened = call is not None and call.opened and not call.recorded
        return self._pending.failure(trail, _run(item)) if item.keep.behind or unopened else None

    def _fail(self, trail: str, item: _Waiting, error: Exception) -> None:
        # Noted here, not only when somebody comes to know: what waits behind it comes first.
        if item.keep.call is not None and item.keep.call.broken is None:
            item.keep.call.broken = error
        if item.keep.call is not None or isinstance(item.keep.what, WritesSave):
            self._pending.fail(trail, _run(item), error)
        if not item.done.done():
            item.done.set_exception(error)
            item.done.exception()  # nobody need ask: what failed is noted


def _size(waiting: Sequence[_Waiting]) -> int:
    """Return how many of those that wait are committed together: of one run, up to a question.

    What is said of a question depends on which are on record; how a run opens, on what others did.
    """
    size = 0
    for item in waiting[: MOST // 2]:
        if size and _run(item) != _run(waiting[0]):
            break
        size += 1
        if isinstance(item.keep.what, WritesSave) and item.keep.what.interrupts:
            break
    return size


def _run(item: _Waiting) -> str | None:
    """Return what tells the runs of this process apart, or None without `attach`."""
    return item.keep.call.token if item.keep.call else None


def _answer(item: _Waiting, entries: Sequence[Entry]) -> None:
    item.keep.then(entries)
    if not item.done.done():
        item.done.set_result(entries)
