"""One embedded PostgreSQL for the whole test run, one migrated template database, and a copy of it for each test."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from countersign.audit import AsyncAuditedPostgresSaver
from countersign.audit.keyfolder import DEPLOYMENT, GRAPH, KeyFolder
from countersign.audit.keys import Trust
from countersign.audit.memory import Memory
from countersign.audit.migrate import migrate
from countersign.audit.outside import Outside, log_trust, read_outside
from countersign.audit.states import CheckedStates
from countersign.audit.verify import Report
from countersign.audit.verify_database import verify_database
from countersign.service.embedded import EmbeddedDatabase, embedded
from countersign.service.engine.jobs_schema import prepare_jobs

# Whoever turned it off in general has it here, as in `make test`: 480 modules are compiled, and their assertions
# written out, only once, and not again in every worker and every process that a test starts.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

ORIGIN = "test.invalid/suite"
TEMPLATE = "countersign_template"
_LOCK = 7_260_041


# An administrator's connections that nobody uses, by address: to begin one costs more than most questions.
_idle: dict[str, list[psycopg.Connection[Any]]] = {}

# Databases that are to be dropped, and that may still have a backend which is about to end.
_left: list[str] = []


def on_database(url: str, name: str) -> str:
    """Return `url` with another database name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@dataclass(frozen=True)
class Database:
    """A migrated database of one test's own."""

    name: str
    home: Path
    app_url: str
    owner_url: str
    admin_url: str
    service_url: str
    worker_url: str
    server: EmbeddedDatabase

    @property
    def folder(self) -> KeyFolder:
        return KeyFolder.of(self.home, ORIGIN)

    @property
    def trust(self) -> Trust:
        return self.folder.trust()

    @property
    def outside(self) -> Outside:
        """What the operator's own machine knows outside the database."""
        return read_outside(log_trust(self.trust), Memory.of(self.folder))

    def verify(self, trail: str | None = None, **how: Any) -> Report:
        outside = how.pop("outside", None) or self.outside
        with psycopg.connect(self.app_url, autocommit=True) as conn:
            return verify_database(conn, self.trust, outside=outside, trail=trail, **{"states": CheckedStates(), **how})

    def as_admin(self, sql: str, params: Any = None) -> int:
        """Do what only a dishonest administrator can: superuser, triggers off. Returns the number of rows touched."""
        with self._administrator() as conn:
            conn.execute("SET LOCAL session_replication_role = replica")
            return conn.execute(sql, params).rowcount

    def query(self, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        with self._administrator() as conn:
            return conn.execute(sql, params).fetchall()

    @contextmanager
    def _administrator(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection in a transaction of its own; the next one gets it, unless this one failed."""
        idle = _idle.setdefault(self.admin_url, [])
        # Nothing is prepared: the columns may be others the next time.
        conn = idle.pop() if idle else psycopg.connect(self.admin_url, prepare_threshold=None)
        try:
            with conn.transaction():
                yield conn
        except BaseException:
            conn.close()
            raise
        idle.append(conn)

    def leave(self) -> None:
        """Let go of every connection that is kept: a database that is copied must have no user."""
        for conn in _idle.pop(self.admin_url, []):
            conn.close()

    def kinds(self, trail: str) -> list[str]:
        """Return the kinds of a trail's entries, in order."""
        return [row[0] for row in self.query("SELECT kind FROM audit.entries WHERE trail = %s ORDER BY seq", (trail,))]

    @asynccontextmanager
    async def saver(self) -> AsyncIterator[AsyncAuditedPostgresSaver]:
        async with AsyncAuditedPostgresSaver.from_conn_string(self.app_url, home=self.home) as saver:
            yield saver


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where `-n` comes without `--dist`, each worker does a part in order, and then the rest of one that has more left.

    So a module is one worker's, mostly, and what it has set up once is; and no worker ends with a long test alone.
    """
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling  # noqa: PLC0415 - only where it is installed

    return WorkStealingScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: it need not be looked through for garbage again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the one COUNTERSIGN_HOME of this run, shared by all workers; others may traverse it, as root needs."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    # pytest's own folders are 0700 and as root PostgreSQL runs as another account: hence a folder beside them.
    home = Path(tempfile.gettempdir()) / f"countersign-tests-{os.getuid()}-{shared.name}-{shared.stat().st_ino}"
    home.mkdir(mode=0o711, exist_ok=True)
    return home


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[EmbeddedDatabase]:
    with embedded(home) as server:
        _spare_the_disk(server)
        yield server


def _spare_the_disk(server: EmbeddedDatabase) -> None:
    """No test of this server cuts its power: what it commits is kept in the system's memory."""
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        for setting in ("fsync", "full_page_writes"):
            conn.execute(f"ALTER SYSTEM SET {setting} = off")
        conn.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def template(server: EmbeddedDatabase, home: Path) -> str:
    """Return the name of a migrated database; the first worker makes it, the others wait."""
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (TEMPLATE,)).fetchone():
            conn.execute(f"CREATE DATABASE {TEMPLATE}_new OWNER countersign_owner")
            migrate(on_database(server.owner_url, f"{TEMPLATE}_new"), home, ORIGIN)
            prepare_jobs(on_database(server.owner_url, f"{TEMPLATE}_new"))
            conn.execute(f"ALTER DATABASE {TEMPLATE}_new RENAME TO {TEMPLATE}")
    return TEMPLATE


@contextmanager
def fresh_database(server: EmbeddedDatabase, template: str, home: Path) -> Iterator[Database]:
    """Yield a fresh copy of the template."""
    name = f"t_{uuid.uuid4().hex}"
    with ExitStack() as stack:
        conn = stack.enter_context(psycopg.connect(server.admin_url, autocommit=True))
        database = copied(conn, server, template, home, name)
        yield database
        drop(conn, database)


def copied(conn: psycopg.Connection[Any], server: EmbeddedDatabase, template: str, home: Path, name: str) -> Database:
    """Return a copy of a database: by its files, which takes the server a third of what its own way takes."""
    conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))  # a template must have no other user while it is copied
    conn.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER countersign_owner STRATEGY file_copy".encode())
    conn.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
    app, owner, admin = (on_database(url, name) for url in (server.app_url, server.owner_url, server.admin_url))
    service, worker = on_database(server.service_url, name), on_database(server.worker_url, name)
    return Database(name, home, app, owner, admin, service, worker, server)


def drop(conn: psycopg.Connection[Any], database: Database) -> None:
    """Remove a database, whoever still uses it: behind the next one, since its server waits for who has just left."""
    database.leave()
    _left.append(database.name)
    while len(_left) > 1:
        conn.execute(f"DROP DATABASE {_left.pop(0)} WITH (FORCE)".encode())


@pytest.fixture
def database(server: EmbeddedDatabase, template: str, home: Path) -> Iterator[Database]:
    """Yield a fresh copy of the template."""
    with fresh_database(server, template, home) as database:
        yield database


@pytest.fixture(scope="module")
def shared_database(server: EmbeddedDatabase, template: str, home: Path) -> Iterator[Database]:
    """Yield a copy of the template for all tests of a module, each with threads of its own."""
    with fresh_database(server, template, home) as database:
        yield database


@pytest.fixture
async def saver(database: Database) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    async with database.saver() as saver:
        yield saver


__all__ = ["DEPLOYMENT", "GRAPH", "ORIGIN", "Database", "on_database"]
