"""A worker: runs the graphs of the configuration for whatever case has a mandate, with the graph key and nothing else.

It decides nothing and appends nothing but what graphs do. It stops when it is told to, when the process that started it
is gone, and when its locks are: then another worker has its cases.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

from procrastinate.worker import Worker
from psycopg_pool import AsyncConnectionPool

from countersign.audit.entry import Workflow
from countersign.audit.policy import parse_policy
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.shell import OPTIONS

from ..config.graphs import load_workflow
from ..config.load import load_config
from ..config.look import describe
from ..config.model import Config, EngineTimes
from . import effects
from .deliver import Engine
from .fetch import Backoff, make_app
from .gates import Governed, Graph, governed
from .jobs import queue_of
from .locks import Locks
from .settings import WorkerSettings

STOPPED, LOCKS_LOST, STUCK, GIVEN_BACK = 0, 71, 70, 75
"""How a worker process ends: as it was told; without its locks; blocked; with runs under way that others take over."""

_POLL = 1.0  # seconds; only for what no notification tells: a job put back, or deferred while a connection was lost
_HEARTBEAT = 1.0
_log = logging.getLogger(__name__)

Load = Callable[[AsyncAuditedPostgresSaver], Mapping[Workflow, Governed]]


def load(config: Config, saver: AsyncAuditedPostgresSaver) -> dict[Workflow, Governed]:
    """Import the graphs of the configuration, and return each under the version that it is. Runs their authors' code.

    Raises ConfigurationError with the line of what cannot be loaded.
    """
    found: dict[Workflow, Governed] = {}
    for workflow in config.workflows.values():
        loaded = load_workflow(config, workflow)
        graph: Graph = loaded.graph
        version = describe(config, workflow, loaded).version
        one = governed(graph, saver, parse_policy(dict(workflow.policy_document)), version)
        found[one.workflow] = one
    return found


async def run_worker(settings: WorkerSettings, *, stop: asyncio.Event | None = None) -> int:
    """Work until a signal (SIGTERM, SIGINT) or `stop` says to end, and return the code to exit with.

    What is under way is finished, for as long as the configuration's `grace` allows; then it is left to others.
    Raises ConfigurationError when the database or a graph is not ready.
    """
    config = load_config(Path(settings.config))
    return await serve_jobs(settings, config.service.engine, lambda saver: load(config, saver), stop=stop)


async def serve_jobs(
    settings: WorkerSettings, times: EngineTimes, load: Load, *, stop: asyncio.Event | None = None
) -> int:
    """As `run_worker`, for graphs that `load` returns."""
    limit = times.run_limit.total_seconds()
    async with _saver(settings) as saver, Locks.connected(settings.url) as locks:
        effects.install(saver.core.appender.origin)
        graphs = load(saver)
        engine = Engine(saver, locks, graphs, limit, times.attempts)
        app = make_app(settings.url, engine, Backoff(times.first_wait, times.longest_wait))
        async with app.open_async():
            worker = Worker(
                app,
                queues=[queue_of(name.name, name.version) for name in graphs],
                concurrency=settings.concurrency,
                fetch_job_polling_interval=_POLL,
                delete_jobs="successful",
                install_signal_handlers=False,
            )
            return await _until_stopped(worker, engine, stop or asyncio.Event(), times, limit)


async def _until_stopped(worker: Worker, engine: Engine, stop: asyncio.Event, times: EngineTimes, limit: float) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running: asyncio.Task[None] = asyncio.create_task(worker.run())  # type: ignore[no-untyped-call]
    side = {
        asyncio.create_task(stop.wait()): STOPPED,
        asyncio.create_task(engine.locks.watch(_HEARTBEAT)): LOCKS_LOST,
        # Something of a run that was broken off may still be at work: it ends with this process.
        asyncio.create_task(engine.spoiled.wait()): STOPPED,
        asyncio.create_task(_beat(limit)): STUCK,
    }
    try:
        done, _ = await asyncio.wait({running, *side}, return_when=asyncio.FIRST_COMPLETED)
        code = max(side.get(task, STOPPED) for task in done)
        if running in done:
            running.result()
            return code
        if code == LOCKS_LOST:
            leave(code, "The connection that held this worker's locks is lost.")
        worker.stop()  # type: ignore[no-untyped-call]
        finished, _ = await asyncio.wait({running}, timeout=times.grace.total_seconds())
        if not finished:
            leave(GIVEN_BACK, "Runs are under way after the time of grace, and go to another worker.")
        running.result()
        return code
    finally:
        for task in side:
            task.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _saver(settings: WorkerSettings) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    size = settings.concurrency + 2
    async with AsyncConnectionPool(settings.url, min_size=2, max_size=size, kwargs=OPTIONS, open=False) as pool:
        saver = AsyncAuditedPostgresSaver(pool, home=Path(settings.home))
        await saver.setup()
        yield saver


async def _beat(limit: float) -> None:
    """Show a thread that this event loop goes round; when it has not for a run's limit, the process ends."""
    last, over = [time.monotonic()], threading.Event()

    def watch() -> None:
        while not over.wait(_HEARTBEAT):
            if time.monotonic() - last[0] > limit + 10 * _HEARTBEAT:
                leave(STUCK, f"A node has not let go of the event loop for {limit:g} seconds.")

    threading.Thread(target=watch, daemon=True).start()
    try:
        while True:
            last[0] = time.monotonic()
            await asyncio.sleep(_HEARTBEAT)
    finally:
        over.set()


def leave(code: int, why: str = "") -> NoReturn:
    """End this process now: threads of nodes that never return do not hold it up."""
    if why:
        _log.warning(why)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
