"""What runs beside a server: the processes that run cases, and a thread that seals what was committed into the log."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg

from countersign.audit.errors import AuditError
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.trouble import explain

from ..config.model import Config
from ..database import Database
from ..engine.children import Workers
from ..engine.settings import WorkerSettings, worker_environment
from ..engine.worker_home import prepare_worker_home
from ..seal_command import seal_until

_AGAIN = 30.0
"""Seconds after which sealing is tried again that something kept from going on."""
_log = logging.getLogger("countersign.api")


@asynccontextmanager
async def working(
    config: Config, target: Database, folder: KeyFolder, environ: Mapping[str, str]
) -> AsyncIterator[None]:
    """Have the configuration's workers run cases until the block ends, then let them finish what is under way."""
    if config.service.workers == 0:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="countersign-worker-") as place:
        home = prepare_worker_home(folder, Path(place))
        workers = Workers(
            WorkerSettings(target.worker_url, str(home), str(config.file)),
            worker_environment(config, environ),
            number=config.service.workers,
            grace=config.service.engine.grace.total_seconds(),
        )
        task = asyncio.create_task(workers.run())
        try:
            yield
        finally:
            workers.stop()
            await task


@contextmanager
def sealing(target: Database) -> Iterator[None]:
    """Seal until the block ends. Any number of servers may: one at a time does, and the others look."""
    stop = threading.Event()
    thread = threading.Thread(target=_seal, args=(target, stop), name="sealing")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _seal(target: Database, stop: threading.Event) -> None:
    # What keeps it from sealing keeps nobody from working: entries wait, and `verify` says how many are not sealed.
    while not stop.is_set():
        try:
            seal_until(target, stop, say=_log.info)
        except AuditError as error:
            _log.error("The log is not sealed: %s %s", error.message, error.remedy)
        except psycopg.Error as error:
            _log.error("The log is not sealed: %s", " ".join(explain(error)))
        except Exception:  # noqa: BLE001 - the server goes on
            _log.exception("The log is not sealed; it is tried again.")
        stop.wait(_AGAIN)
