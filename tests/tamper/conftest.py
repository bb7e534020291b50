"""Databases to attack. Each worker keeps two and restores them: to make and drop one takes longer than a test."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from conftest import ORIGIN, Database, copied, drop
from countersign.audit.keyfolder import KeyFolder
from countersign.service.embedded import EmbeddedDatabase
from tamper.cases import run_honest_cases
from tamper.tools import TABLES, seal_in_batches

HONEST = "countersign_honest"
_LOCK = 7_260_042
_SHAPE = """
WITH mine AS (SELECT to_regclass(name) AS oid FROM unnest(%(tables)s::text[]) name)
SELECT md5(string_agg(line, '' ORDER BY line)) FROM (
    SELECT concat(attrelid::regclass, attname, atttypid, attnotnull, attisdropped) AS line FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM mine)
    UNION ALL SELECT conname FROM pg_constraint WHERE conrelid IN (SELECT oid FROM mine)
    UNION ALL SELECT concat(tgname, tgenabled) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM mine)
    UNION ALL SELECT concat(relname, relkind) FROM pg_class
    WHERE relnamespace IN ('audit'::regnamespace, 'public'::regnamespace)
    UNION ALL SELECT concat(proname, prosrc, prosecdef, proconfig) FROM pg_proc
    WHERE pronamespace IN ('countersign'::regnamespace, 'public'::regnamespace)
) shape
"""


class Copies(Protocol):
    """Makes copies of a template."""

    def __call__(self) -> AbstractContextManager[Database]: ...


class Stand:
    """A database that is as it was at the start of every test: made anew only after an attack on its schema."""

    def __init__(self, copies: Copies, stack: ExitStack) -> None:
        self._copies = copies
        self._stack = stack
        self.database = self._make()
        self._shape = self._shape_now()

    def restore(self) -> None:
        if self._shape_now() != self._shape:
            self._stack.close()
            self.database = self._make()
            return
        self.database.as_admin(
            "; ".join(
                f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM pristine.{_bare(table)}" for table in TABLES
            )
        )

    def _make(self) -> Database:
        database = self._stack.enter_context(self._copies())
        kept = (f"CREATE TABLE pristine.{_bare(table)} AS SELECT * FROM {table}" for table in TABLES)
        database.as_admin("; ".join(("CREATE SCHEMA pristine", *kept)))
        return database

    def _shape_now(self) -> object:
        return self.database.query(_SHAPE, {"tables": list(TABLES)})


@pytest.fixture(scope="session")
def new_stand(server: EmbeddedDatabase, template: str, home: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(partial(_copy, server, template, home), stack)


@pytest.fixture(scope="session")
def honest_stand(server: EmbeddedDatabase, honest_template: str, home: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(partial(_copy, server, honest_template, home / HONEST), stack)


@pytest.fixture
def database(new_stand: Stand) -> Iterator[Database]:
    """A migrated database without a case in it."""
    yield new_stand.database
    new_stand.restore()


@pytest.fixture
def honest(honest_stand: Stand) -> Iterator[Database]:
    """A database with three honest cases in it, and without constraints."""
    yield honest_stand.database
    honest_stand.restore()


@pytest.fixture(scope="session")
def honest_template(server: EmbeddedDatabase, template: str, home: Path) -> str:
    """The first worker builds it, the others wait. No constraint is left: an administrator drops them first."""
    name = f"{HONEST}_new"
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (HONEST,)).fetchone():
            shutil.copytree(KeyFolder.of(home, ORIGIN).path, KeyFolder.of(home / HONEST, ORIGIN).path)
            database = _create(conn, server, template, home / HONEST, name)
            asyncio.run(run_honest_cases(database))
            seal_in_batches(database, 8)
            _drop_constraints(database)
            database.leave()
            conn.execute(f"ALTER DATABASE {name} RENAME TO {HONEST}")
    return HONEST


@contextmanager
def _copy(server: EmbeddedDatabase, template: str, home: Path) -> Iterator[Database]:
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        database = _create(conn, server, template, home, f"h_{uuid.uuid4().hex}")
        yield database
        drop(conn, database)


def _create(conn: psycopg.Connection, server: EmbeddedDatabase, template: str, home: Path, name: str) -> Database:
    database = copied(conn, server, template, home, name)
    # Whether commits survive a power cut is not in question here.
    conn.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    return database


def _drop_constraints(database: Database) -> None:
    for table in TABLES:
        for (constraint,) in database.query(
            "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass ORDER BY contype <> 'p'", (table,)
        ):
            database.as_admin(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {constraint} CASCADE")
        for (column,) in database.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnotnull AND attnum > 0", (table,)
        ):
            database.as_admin(f"ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL")


def _bare(table: str) -> str:
    return table.rpartition(".")[2]
