"""Which database to work on: the one COUNTERSIGN_DATABASE_URL names, or the embedded one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from countersign.audit.home import home_folder

from .embedded import EmbeddedDatabase, embedded


@dataclass(frozen=True, slots=True)
class Database:
    """Where to connect: as the application, for migrations as the owner of the schema, and as service and worker."""

    app_url: str
    owner_url: str
    home: Path
    embedded: EmbeddedDatabase | None = None
    service_url: str = ""
    worker_url: str = ""


@contextmanager
def database(url: str | None = None) -> Iterator[Database]:
    """Yield the database of this process, started if it is the embedded one and not running."""
    home = home_folder()
    configured = url or os.environ.get("COUNTERSIGN_DATABASE_URL")
    if configured:
        worker = os.environ.get("COUNTERSIGN_WORKER_DATABASE_URL") or configured
        yield Database(configured, configured, home, None, configured, worker)
        return
    with embedded(home) as server:
        yield Database(server.app_url, server.owner_url, home, server, server.service_url, server.worker_url)
