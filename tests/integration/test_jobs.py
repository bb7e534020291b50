"""Jobs: their tables, who may do what with them, and that one commits with the mandate it is about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection

from conftest import Database
from countersign.audit.errors import AppendError, ConfigurationError
from countersign.service.engine.jobs import defer_mandate, queue_of
from countersign.service.engine.jobs_schema import jobs_sql, prepare_jobs

JOBS = "SELECT queue_name, task_name, lock, args, status::text FROM procrastinate_jobs ORDER BY id"


@pytest.mark.parametrize(
    ("workflow", "version", "expected"),
    [
        ("orders", "1", "orders@1"),
        ("orders", "a" * 32, "orders@" + "a" * 32),
        ("medication-order", "a" * 32, "medicationorder@"),
        ("ärzte", "1", "rzte@"),
    ],
)
def test_a_queue_has_a_name_that_can_be_listened_to(workflow: str, version: str, expected: str) -> None:
    name = queue_of(workflow, version)

    assert name.startswith(expected)
    assert len(f"procrastinate_queue_v1#{name}".encode()) <= 63


def test_queues_differ_where_workflows_or_versions_do() -> None:
    names = [("a" * 200, "1"), ("a" * 200, "2"), ("a" * 201, "1"), ("a@1", "1"), ("ä", "1"), ("ö", "1"), ("", "1")]

    assert len({queue_of(*name) for name in names}) == len(names)


async def test_a_job_commits_with_the_callers_transaction(shared_database: Database) -> None:
    async with await AsyncConnection.connect(shared_database.service_url) as conn:
        await defer_mandate(conn, case="case-1", mandate=1, workflow="orders", version="1")
        assert shared_database.query(JOBS) == []
        await conn.rollback()
        await defer_mandate(conn, case="case-2", mandate=7, workflow="orders", version="1")
        await conn.commit()

    found = shared_database.query(JOBS)
    assert found == [("orders@1", "countersign.run", "case-2", {"case": "case-2", "mandate": 7}, "todo")]


async def test_no_job_is_deferred_outside_a_transaction(shared_database: Database) -> None:
    before = shared_database.query(JOBS)

    async with await AsyncConnection.connect(shared_database.service_url, autocommit=True) as conn:
        with pytest.raises(AppendError, match="outside a transaction"):
            await defer_mandate(conn, case="case-3", mandate=1, workflow="orders", version="1")
        async with conn.transaction(force_rollback=True):
            await defer_mandate(conn, case="case-3", mandate=1, workflow="orders", version="1")

    assert shared_database.query(JOBS) == before


async def test_the_drivers_error_is_what_the_caller_gets(shared_database: Database) -> None:
    async with await AsyncConnection.connect(shared_database.app_url) as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await defer_mandate(conn, case="case-4", mandate=1, workflow="orders", version="1")


ALLOWED = {
    "countersign_service": [
        "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')",
        "UPDATE procrastinate_jobs SET status = 'todo'",
        "SELECT * FROM procrastinate_workers",
    ],
    "countersign_worker": [
        "SELECT procrastinate_register_worker_v1()",
        "SELECT procrastinate_update_heartbeat_v1(1)",
        "SELECT procrastinate_prune_stalled_workers_v1(30)",
        "SELECT * FROM procrastinate_fetch_job_v2(ARRAY['q'], NULL)",
        "DELETE FROM procrastinate_jobs",
    ],
}
REFUSED = {
    "countersign_service": ["DELETE FROM procrastinate_jobs", "SELECT procrastinate_register_worker_v1()"],
    "countersign_worker": [
        "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')",
        "UPDATE procrastinate_jobs SET args = '{}'",
        "UPDATE procrastinate_jobs SET task_name = 'x'",
        "SELECT * FROM procrastinate_events",
    ],
    "countersign_app": ["SELECT * FROM procrastinate_jobs"],
    "countersign_auditor": ["SELECT * FROM procrastinate_jobs"],
}


def _cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(role, statement) for role, statements in table.items() for statement in statements]


@pytest.fixture(scope="module")
def admin(shared_database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(shared_database.admin_url, autocommit=True) as conn:
        yield conn


def _as_role(admin: psycopg.Connection, role: str, statement: str) -> None:
    with admin.transaction(force_rollback=True):
        admin.execute(f"SET LOCAL ROLE {role}".encode())
        admin.execute(statement.encode())


@pytest.mark.parametrize(("role", "statement"), _cases(ALLOWED))
def test_each_role_may_do_what_it_needs(admin: psycopg.Connection, role: str, statement: str) -> None:
    _as_role(admin, role, statement)


@pytest.mark.parametrize(("role", "statement"), _cases(REFUSED))
def test_and_nothing_else(admin: psycopg.Connection, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _as_role(admin, role, statement)


@pytest.fixture
def bare(database: Database) -> Database:
    """Return a database with everything but the tables of jobs."""
    with psycopg.connect(database.admin_url) as conn:
        conn.execute("DROP TABLE procrastinate_jobs, procrastinate_workers, procrastinate_events CASCADE")
        conn.execute("DROP TABLE procrastinate_periodic_defers")
        conn.execute("DROP TYPE procrastinate_job_status, procrastinate_job_event_type CASCADE")
        conn.execute("DROP TYPE procrastinate_job_to_defer_v1 CASCADE")
        for (name,) in conn.execute("SELECT oid::regprocedure::text FROM pg_proc WHERE proname ~ '^procrastinate'"):
            conn.execute(f"DROP FUNCTION {name} CASCADE".encode())
    return database


def _schema(database: Database) -> list[tuple[Any, ...]]:
    return database.query(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), array_to_string(c.relacl, ' '),
               array_to_string(a.attacl, ' ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relname ~ '^procrastinate' AND a.attnum > 0
        UNION ALL SELECT proname, md5(prosrc), '', '', '' FROM pg_proc WHERE proname ~ '^procrastinate'
        UNION ALL SELECT obj_description('procrastinate_jobs'::regclass), '', '', '', ''
        ORDER BY 1, 2
        """
    )


def test_preparing_again_changes_nothing(database: Database) -> None:
    before = _schema(database)

    assert not prepare_jobs(database.owner_url)
    assert _schema(database) == before


def test_what_an_administrator_runs_is_the_same(bare: Database, shared_database: Database) -> None:
    with psycopg.connect(bare.owner_url, autocommit=True) as conn:
        conn.execute(jobs_sql().encode())

    assert _schema(bare) == _schema(shared_database)
    assert not prepare_jobs(bare.owner_url)


def test_an_older_schema_is_brought_up(bare: Database, shared_database: Database) -> None:
    """As it was when 3.1 installed it: every migration up to there, which is how procrastinate says it is done."""
    files = sorted(path for path in _migration_files() if path.name < "03.01.01")
    with psycopg.connect(bare.owner_url) as conn:
        for file in files:
            conn.execute(file.read_bytes())
        note = f"countersign: schema of procrastinate up to {files[-1].name}"
        conn.execute(f"COMMENT ON TABLE procrastinate_jobs IS '{note}'".encode())

    assert prepare_jobs(bare.owner_url)
    assert {row[:2] for row in _schema(bare)} >= {row[:2] for row in _schema(shared_database)}
    assert not prepare_jobs(bare.owner_url)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (None, "did not install"),
        ("countersign: schema of procrastinate up to 99.00.00_01.sql", "not known here: 99"),
    ],
)
def test_tables_that_are_not_known_are_left_alone(database: Database, note: str | None, message: str) -> None:
    database.as_admin(f"COMMENT ON TABLE procrastinate_jobs IS {'NULL' if note is None else repr(note)}")
    before = _schema(database)

    with pytest.raises(ConfigurationError, match=message):
        prepare_jobs(database.owner_url)

    assert _schema(database) == before


def test_who_may_not_prepare_is_told_what_to_do(bare: Database) -> None:
    with pytest.raises(ConfigurationError) as failure:
        prepare_jobs(bare.app_url)

    assert "migrate --sql" in failure.value.remedy


def _migration_files() -> list[Path]:
    return list(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
