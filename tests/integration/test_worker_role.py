"""A worker's role in the database: what graph code could do with it, were it to take the pool for itself."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from conftest import Database

ENTRY = "INSERT INTO audit.entries VALUES ({trail}, 1, '{kind}', now(), '{{}}', sha256('k'), sha512('s'))"
PAYLOAD = "INSERT INTO audit.payloads VALUES ({trail}, 1, sha256('salt'), 'x')"
ALLOWED = [
    *(ENTRY.format(trail="'case'", kind=kind) for kind in ("checkpoint.saved", "run.started", "state.updated")),
    PAYLOAD.format(trail="'case'"),
    "SELECT * FROM audit.entries WHERE trail = '@keys'",
    "SELECT * FROM checkpoints",
]
REFUSED = [
    *(
        ENTRY.format(trail="'case'", kind=kind)
        for kind in ("review.signed", "review.decided", "case.opened", "key.introduced", "runs.started", "x.run.y")
    ),
    ENTRY.format(trail="'@system'", kind="run.started"),
    ENTRY.format(trail="'@keys'", kind="run.started"),
    PAYLOAD.format(trail="'@system'"),
    "UPDATE audit.entries SET kind = kind",
    "DELETE FROM audit.payloads",
    "INSERT INTO audit.leaves VALUES ('case', 1, 7, sha256('x'))",
    "INSERT INTO audit.heads VALUES (9, 9, 'x')",
    *(
        f"SELECT * FROM countersign.{table}"
        for table in (
            "users", "credentials", "grants", "sessions", "api_keys", "workflows", "cases", "reviews", "views",
            "signings", "answers",
        )
    ),
    "DELETE FROM countersign.unsealed",
    "DELETE FROM checkpoints",
    "SET ROLE countersign_service",
    "SET ROLE countersign_app",
    "ALTER TABLE audit.entries DISABLE ROW LEVEL SECURITY",
    "CREATE POLICY mine ON audit.entries FOR INSERT WITH CHECK (true)",
]  # fmt: skip


@pytest.fixture(scope="module")
def worker(shared_database: Database) -> Iterator[psycopg.Connection]:
    shared_database.as_admin(ENTRY.format(trail="'@system'", kind="user.created"))
    with psycopg.connect(shared_database.worker_url, autocommit=True) as conn:
        yield conn


@pytest.mark.parametrize("statement", ALLOWED)
def test_what_a_graph_does_can_be_written(worker: psycopg.Connection, statement: str) -> None:
    with worker.transaction(force_rollback=True):
        worker.execute(statement.encode())


@pytest.mark.parametrize("statement", REFUSED)
def test_everything_else_is_refused(worker: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), worker.transaction(force_rollback=True):
        worker.execute(statement.encode())


def test_what_the_service_says_of_people_is_not_seen(worker: psycopg.Connection, shared_database: Database) -> None:
    seen = "SELECT DISTINCT trail FROM audit.entries WHERE left(trail, 1) = '@' ORDER BY trail"

    assert worker.execute(seen.encode()).fetchall() == [("@keys",)]
    assert shared_database.query(seen) == [("@keys",), ("@system",)]
