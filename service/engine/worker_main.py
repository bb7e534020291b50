"""The worker process: reads its settings from its input, works until it is told to stop, and ends.

Its input stays open for as long as the process lives that started it: when that is gone, the worker stops.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading

COULD_NOT_RUN = 2


def main() -> None:
    """Work. Never returns."""
    settings_line = sys.stdin.readline()
    from countersign.audit.errors import AuditError  # noqa: PLC0415 - what imports say is said by this process

    from .settings import WorkerSettings  # noqa: PLC0415
    from .worker import leave, run_worker  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="countersign worker: %(message)s")
    if not settings_line:
        leave(0)

    async def work() -> None:
        stop = asyncio.Event()
        _stop_with_parent(asyncio.get_running_loop(), stop)
        code = COULD_NOT_RUN
        try:
            code = await run_worker(WorkerSettings.of(settings_line), stop=stop)
        except AuditError as error:
            sys.stderr.write(f"countersign worker: {error.message}\n  {error.remedy}\n")
        finally:
            leave(code)

    asyncio.run(work())


def _stop_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def wait() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()
