"""Worker processes as children: started with what they need and no more, again when one dies, stopped with us."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path

from .settings import WorkerSettings

_FIRST_WAIT, _LONGEST_WAIT = 0.2, 30.0
_GOOD_LIFE = 60.0
"""Seconds after which a worker that dies is started again at once."""


class Workers:
    """Some worker processes, alike."""

    def __init__(
        self,
        settings: WorkerSettings,
        environment: Mapping[str, str],
        *,
        number: int,
        grace: float,
    ) -> None:
        self.settings = settings
        self.number = number
        self.grace = grace
        self._environment = dict(environment)
        self._processes: dict[int, Process] = {}
        self._stopping = asyncio.Event()

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [process.pid for process in self._processes.values() if process.returncode is None]

    async def run(self) -> None:
        """Keep all of them running until `stop`, then return when the last one has ended."""
        async with asyncio.TaskGroup() as group:
            for place in range(self.number):
                group.create_task(self._keep(place))

    def stop(self) -> None:
        """Have them finish what is under way, and end."""
        self._stopping.set()

    async def _keep(self, place: int) -> None:
        wait = _FIRST_WAIT
        while not self._stopping.is_set():
            began = time.monotonic()
            process = self._processes[place] = await self._start()
            await self._until_ended(process)
            if time.monotonic() - began > _GOOD_LIFE:
                wait = _FIRST_WAIT
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "countersign.service.engine.worker_main",
            stdin=PIPE, env=self._environment, cwd=Path(self.settings.config).parent, close_fds=True,
            start_new_session=True,
        )  # fmt: skip
        if process.stdin is not None:
            process.stdin.write(self.settings.text().encode())
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
        return process

    async def _until_ended(self, process: Process) -> None:
        """Wait for a worker to end; once we are to stop, ask it to, and after its time of grace make it."""
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                _signal(process, signal.SIGTERM)
                await asyncio.wait({ended}, timeout=self.grace + 5)
        finally:
            stopping.cancel()
            if not ended.done():
                _signal(process, signal.SIGKILL)
            await ended


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
