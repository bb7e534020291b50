"""Preparing a database: idempotent, without superuser rights, and never making keys for a database that has entries."""

from __future__ import annotations

import importlib.util
import io
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row

from .append import _KEYS_LOCK, Appender
from .canonical import Json
from .deployment import claimed_origin_steps
from .entry import KEYS_TRAIL, EntryDraft, check_origin
from .errors import ConfigurationError, MalformedError
from .home import os_user
from .keyfolder import DEPLOYMENT, GRAPH, LOG, KeyFolder
from .keys import introduction, log_introduction
from .kinds import GRAPH_KINDS, Kind
from .memory import Memory
from .note import Note
from .schema import REVISION, check_langgraph_steps, check_revision_steps, revision_steps
from .seal import empty_head, first_head_steps, log_key
from .steps import Statement, Steps, run
from .trouble import explain

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "60s"
INDEX_TIMEOUT = "15min"
_MIGRATE_LOCK = 0x6D696772
_GRANTS: tuple[LiteralString, ...] = (
    "GRANT SELECT, INSERT, UPDATE ON checkpoints, checkpoint_writes TO countersign_app, countersign_worker",
    "GRANT SELECT, INSERT ON checkpoint_blobs TO countersign_app, countersign_worker",
    "GRANT SELECT ON checkpoint_migrations TO countersign_app, countersign_auditor, countersign_worker",
    "GRANT SELECT ON checkpoints, checkpoint_blobs, checkpoint_writes TO countersign_auditor",
)
_USED = """
SELECT EXISTS (SELECT FROM audit.entries) OR EXISTS (SELECT FROM audit.heads) OR EXISTS (SELECT FROM audit.leaves)
"""
_GRANTED = """
SELECT has_table_privilege('countersign_app', 'checkpoints', 'INSERT')
   AND has_table_privilege('countersign_auditor', 'checkpoint_writes', 'SELECT')
   AND has_table_privilege('countersign_worker', 'checkpoint_writes', 'SELECT')
"""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did: whether it changed the schema, whether it made keys, and for which origin."""

    origin: str
    keys: Path
    schema_changed: bool
    keys_created: bool


def migrate(url: str, home: Path, origin: str | None = None) -> Migrated:
    """Bring the database at `url` to this version, and introduce the keys of a new deployment. Repeating it is free.

    `origin` names the log of a new deployment (default `countersign.invalid/<16 hex>`); for one that exists it must
    match. Raises ConfigurationError with the remedy; whatever fails, the database is as it was or fully a step further.
    """
    with _connect(url, STATEMENT_TIMEOUT) as conn, _one_at_a_time(conn):
        try:
            changed = _migrate_schema(conn, url)
            changed = _migrate_langgraph(conn, url) or changed
            run(conn, check_langgraph_steps())
            folder, created = _keys(conn, home, origin)
        except CommandError as error:
            raise ConfigurationError(
                f"The schema of this database is of a revision that this version does not know: {error}",
                remedy="Use the version of this project that migrated it, or a newer one.",
            ) from error
        except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
            cause = error if isinstance(error, psycopg.Error) else error.orig
            what, remedy = explain(cause) if isinstance(cause, psycopg.Error) else (str(error), "")
            if getattr(cause, "sqlstate", None) == "42501":
                remedy = (
                    "Let a database administrator run what `countersign migrate --sql` prints, then "
                    "`GRANT countersign_app TO` the role that migrates, and migrate again."
                )
            raise ConfigurationError(what, remedy=remedy) from error
    return Migrated(folder.trust().origin, folder.path, changed, created)


def migration_sql() -> str:
    """Return what a database administrator would run, on a new database, in place of the schema part of `migrate`."""
    buffer = io.StringIO()
    config = _alembic(buffer)
    command.upgrade(config, "head", sql=True)
    langgraph = [
        statement + f"\nINSERT INTO checkpoint_migrations (v) VALUES ({version}) ON CONFLICT DO NOTHING;"
        for version, text in enumerate(PostgresSaver.MIGRATIONS)
        for statement in [text.strip().rstrip(";") + ";"]
    ]
    return "\n".join(
        [
            "-- Countersign: run as the owner of the database (CREATEROLE is needed, superuser is not),",
            "-- with psql and outside a transaction; then run `countersign migrate`, which makes the keys.",
            f"SET lock_timeout = '{LOCK_TIMEOUT}';",
            f"SET statement_timeout = '{INDEX_TIMEOUT}';",
            "CREATE SCHEMA IF NOT EXISTS countersign;",
            "",
            buffer.getvalue().strip(),
            "",
            "-- LangGraph's own tables",
            *langgraph,
            "",
            *(grant + ";" for grant in _GRANTS),
            "",
        ]
    )


def _migrate_schema(conn: psycopg.Connection[Any], url: str) -> bool:
    revision = run(conn, revision_steps())
    if revision == REVISION:
        return False
    if revision is not None and revision > REVISION:
        run(conn, check_revision_steps())
    if not run(conn, _truth_steps("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'countersign')")):
        conn.execute("CREATE SCHEMA IF NOT EXISTS countersign")
    # The driver's own connection: SQLAlchemy's URL knows fewer of libpq's spellings than libpq does.
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: _raw_connect(url, STATEMENT_TIMEOUT, autocommit=False),
        poolclass=sqlalchemy.pool.NullPool,
    )
    config = _alembic(io.StringIO())
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return True


def _migrate_langgraph(conn: psycopg.Connection[Any], url: str) -> bool:
    wanted = len(PostgresSaver.MIGRATIONS) - 1
    current = run(conn, _langgraph_version_steps())
    changed = current < wanted
    if changed:
        # CREATE INDEX CONCURRENTLY: no transaction, and longer than anything else here on a database in use.
        with _connect(url, INDEX_TIMEOUT) as own:
            PostgresSaver(own).setup()
    if not run(conn, _truth_steps(_GRANTED)):
        with conn.transaction():
            for grant in _GRANTS:
                conn.execute(grant)
        changed = True
    return changed


def _keys(conn: psycopg.Connection[Any], home: Path, origin: str | None) -> tuple[KeyFolder, bool]:
    claimed = run(conn, claimed_origin_steps())
    if claimed is not None:
        return _existing_keys(conn, home, claimed, origin), False
    if run(conn, _truth_steps(_USED)):
        raise ConfigurationError(
            "This database has entries or signed heads but no @keys: somebody removed them, and new keys would cover "
            "that up.",
            remedy="Restore a backup, and run `countersign verify` on it.",
        )
    try:
        name = check_origin(origin or f"countersign.invalid/{secrets.token_hex(8)}")
    except MalformedError as error:
        raise ConfigurationError(error.message, remedy="Set COUNTERSIGN_ORIGIN to another name.") from error
    return _new_keys(conn, home, name), True


def _existing_keys(conn: psycopg.Connection[Any], home: Path, claimed: str, origin: str | None) -> KeyFolder:
    if origin is not None and origin != claimed:
        raise ConfigurationError(
            f"This database belongs to {claimed}, and COUNTERSIGN_ORIGIN says {origin}.",
            remedy="An origin is fixed at the first migration: unset COUNTERSIGN_ORIGIN, or use another database.",
        )
    folder = KeyFolder.of(home, claimed)
    pending = _pending(folder)
    if not folder.path.exists() and pending.path.exists():
        # The first migration ended between its commit and this rename.
        pending.move_to(folder)
    if not folder.path.exists():
        raise ConfigurationError(
            f"This database belongs to {claimed}, whose keys are not here: {folder.path} does not exist.",
            remedy="Set COUNTERSIGN_HOME to the folder that the first migration filled, or copy it here.",
        )
    run(conn, Appender(folder.trust(), ()).ring_steps())
    return folder


def _new_keys(conn: psycopg.Connection[Any], home: Path, origin: str) -> KeyFolder:
    """Make the keys, introduce them, commit, and only then give their folder its name: each step can be repeated."""
    folder = KeyFolder.of(home, origin)
    pending = _pending(folder)
    if folder.path.exists():
        raise ConfigurationError(
            f"{folder.path} holds the keys of {origin}, but this database has no entries: it is another database, or "
            "it was emptied.",
            remedy="Restore its backup, or choose another COUNTERSIGN_ORIGIN for a new one.",
        )
    try:
        if not _is_whole(pending):
            # Left over from a migration that was killed half-way: nothing was ever signed with what is in there.
            shutil.rmtree(pending.path, ignore_errors=True)
            pending.create(origin)
        note = _begin_log(pending)
    except OSError as error:
        raise ConfigurationError(
            f"The key folder {pending.path} cannot be made: {error.strerror}.",
            remedy="Set COUNTERSIGN_HOME to a folder that this user may write.",
        ) from error
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", (_KEYS_LOCK,))
        appender = Appender(pending.trust(), [(("*",), pending.key(DEPLOYMENT))])
        appender.append(
            conn,
            _introducing(introduction(pending.key(DEPLOYMENT).public, ("*",))),
            _introducing(introduction(pending.key(GRAPH).public, GRAPH_KINDS)),
            _introducing(log_introduction(pending.key(LOG).public)),
        )
        run(conn, first_head_steps(note))
    return pending.move_to(folder)


def _begin_log(folder: KeyFolder) -> Note:
    """Sign the head of the empty tree and begin the log's memory with it: in a folder of keys that were never used."""
    memory = Memory.of(folder)
    shutil.rmtree(memory.path, ignore_errors=True)
    note = empty_head(log_key(folder), folder.key(LOG))
    memory.create(note)
    return note


def _is_whole(folder: KeyFolder) -> bool:
    try:
        return folder.trust().entry == (folder.key(DEPLOYMENT).public,) and all((folder.key(GRAPH), log_key(folder)))
    except ConfigurationError:
        return False


def _introducing(detail: dict[str, Json]) -> EntryDraft:
    return EntryDraft(KEYS_TRAIL, Kind.KEY_INTRODUCED, actor=os_user(), detail=detail)


def _pending(folder: KeyFolder) -> KeyFolder:
    return KeyFolder(folder.path.with_name(folder.path.name + ".pending"))


def _truth_steps(sql: LiteralString, *params: object) -> Steps[bool]:
    rows = yield Statement(sql, params)
    return bool(rows[0][0])


def _langgraph_version_steps() -> Steps[int]:
    rows = yield Statement("SELECT to_regclass('checkpoint_migrations') IS NOT NULL")
    if not rows[0][0]:
        return -1
    rows = yield Statement("SELECT coalesce(max(v), -1) FROM checkpoint_migrations")
    return int(rows[0][0])


def _alembic(output: io.StringIO) -> Config:
    spec = importlib.util.find_spec("countersign.migrations")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "The migrations are not installed.", remedy="Install the package again: pip install countersign"
        )
    config = Config(output_buffer=output, stdout=io.StringIO())
    config.set_main_option("script_location", next(iter(spec.submodule_search_locations)).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _raw_connect(url: str, statement_timeout: str, *, autocommit: bool) -> psycopg.Connection[Any]:
    conn = psycopg.connect(url, autocommit=True, connect_timeout=10)
    conn.execute("SELECT set_config('lock_timeout', %s, false)", (LOCK_TIMEOUT,))
    conn.execute("SELECT set_config('statement_timeout', %s, false)", (statement_timeout,))
    conn.autocommit = autocommit
    return conn


@contextmanager
def _connect(url: str, statement_timeout: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        conn = _raw_connect(url, statement_timeout, autocommit=True)
    except psycopg.Error as error:
        what, remedy = explain(error)
        raise ConfigurationError(what, remedy=remedy) from error
    with conn:
        conn.row_factory = dict_row if statement_timeout == INDEX_TIMEOUT else conn.row_factory
        yield conn


@contextmanager
def _one_at_a_time(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold off other migrations. Tries again and again: a session that waits for a lock inside a statement would hold a
    snapshot, for which CREATE INDEX CONCURRENTLY in the session that has the lock would wait in turn.
    """
    deadline = time.monotonic() + 60
    while not run(conn, _truth_steps("SELECT pg_try_advisory_lock(%s)", _MIGRATE_LOCK)):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                "Another migration has been running for a minute.", remedy="Wait for it to end, then try again."
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        with suppress(psycopg.Error):
            conn.execute("SELECT pg_advisory_unlock(%s)", (_MIGRATE_LOCK,))
