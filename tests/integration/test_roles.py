"""What each database role can do: the application adds, the auditor reads, and nobody changes evidence."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from conftest import Database
from countersign.audit import attach
from countersign.audit.verify_database import verify_database
from graphs import NEW_ORDER, order_graph, thread
from integration.faults import assert_honest
from integration.sealing import own_log

ALL = (
    "audit.entries",
    "audit.payloads",
    "audit.leaves",
    "audit.heads",
    "audit.cosignatures",
    "audit.tokens",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
    "checkpoint_migrations",
    "countersign.alembic_version",
    "countersign.unsealed",
)
EVIDENCE = {
    "audit.entries": ("trail, seq", "seq"),
    "audit.payloads": ("trail, seq", "seq"),
    "audit.leaves": ("trail, seq", "leaf_index"),
    "audit.heads": ("number", "tree_size"),
    "audit.cosignatures": ("tree_size, name, key_id", "tree_size"),
    "audit.tokens": ("tree_size", "tree_size"),
}
"""Each table with its primary key and a column to change."""
LANGGRAPH = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")

CHANGES = [
    statement.format(table=table, key=key, column=column)
    for table, (key, column) in EVIDENCE.items()
    for statement in (
        "UPDATE {table} SET {column} = {column}",
        "UPDATE {table} SET {column} = 7 WHERE false",
        "DELETE FROM {table}",
        "DELETE FROM {table} WHERE false",
        "TRUNCATE {table} CASCADE",
        "INSERT INTO {table} SELECT * FROM {table} ON CONFLICT ({key}) DO UPDATE SET {column} = 7",
        "MERGE INTO {table} t USING {table} s ON t.{column} = s.{column} WHEN MATCHED THEN DELETE",
        "WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone",
    )
]
STRUCTURE = [
    "TRUNCATE audit.payloads, audit.entries",
    "TRUNCATE countersign.unsealed",
    "UPDATE countersign.unsealed SET seq = 7",
    *(
        statement.format(table=table, column=column)
        for table, (_, column) in EVIDENCE.items()
        for statement in (
            "DROP TABLE {table} CASCADE",
            "ALTER TABLE {table} ADD COLUMN note text",
            "ALTER TABLE {table} DISABLE TRIGGER ALL",
            "ALTER TABLE {table} DISABLE TRIGGER USER",
            "ALTER TABLE {table} OWNER TO CURRENT_USER",
            "CREATE RULE hide AS ON INSERT TO {table} DO INSTEAD NOTHING",
            "CREATE TRIGGER mine BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION countersign.refuse_change()",
            "CREATE INDEX ON {table} ({column})",
            "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        )
    ),
    "DROP TRIGGER entries_are_evidence ON audit.entries",
    "DROP TRIGGER entries_await_sealing ON audit.entries",
    "DROP SCHEMA audit CASCADE",
    "DROP SCHEMA countersign CASCADE",
    "CREATE TABLE audit.mine (id int)",
    "CREATE TABLE countersign.mine (id int)",
    "CREATE TABLE public.mine (id int)",
    "CREATE VIEW audit.mine AS SELECT 1",
    "CREATE FUNCTION audit.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION countersign.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
    "DROP FUNCTION countersign.append CASCADE",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "SET session_replication_role = replica",
    "SET ROLE countersign_owner",
    "UPDATE countersign.alembic_version SET version_num = '9999'",
    "DELETE FROM countersign.alembic_version",
    "INSERT INTO countersign.alembic_version VALUES ('9999')",
    "INSERT INTO checkpoint_migrations VALUES (99)",
    "UPDATE pg_catalog.pg_trigger SET tgenabled = 'D'",
]
LOSSES = [
    statement.format(table=table)
    for table in LANGGRAPH
    for statement in (
        "DELETE FROM {table}",
        "TRUNCATE {table}",
        "DROP TABLE {table}",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "ALTER TABLE {table} ADD COLUMN note text",
    )
] + ["UPDATE checkpoint_blobs SET blob = NULL"]


@pytest.fixture
async def used(database: Database, tmp_path: Path) -> Database:
    """Return a database in which a case came to a pause, and was sealed."""
    log = own_log(database, tmp_path)
    async with database.saver() as saver:
        await attach(order_graph().compile(interrupt_before=["order"]), saver).ainvoke(NEW_ORDER, thread()[1])
    log.seal()
    log.append("another")
    log.database.as_admin("INSERT INTO audit.cosignatures VALUES (0, 'a witness', '', '')")
    log.database.as_admin("INSERT INTO audit.tokens VALUES (0, '')")
    return log.database


@pytest.fixture
def auditor_url(used: Database) -> Iterator[str]:
    """Yield the address of a person who logs in as a member of countersign_auditor."""
    name = f"auditor_{uuid.uuid4().hex}"
    used.as_admin(f"CREATE ROLE {name} LOGIN IN ROLE countersign_auditor")
    parts = urlsplit(used.app_url)
    yield urlunsplit(parts._replace(netloc=f"{name}@{parts.netloc.partition('@')[2]}"))
    used.as_admin(f"DROP ROLE {name}")


ALLOWED = "it went through"


def answers(url: str, statements: list[str]) -> dict[str, str]:
    """Try each statement in a transaction of its own that is rolled back. Return what the server answered to each."""
    found = {}
    with psycopg.connect(url) as conn:
        for statement in statements:
            try:
                with conn.transaction(force_rollback=True):
                    conn.execute(statement.encode())
                    found[statement] = ALLOWED
            except InsufficientPrivilege as error:
                found[statement] = str(error.diag.message_primary)
    return found


def allowed(url: str, statements: list[str]) -> list[str]:
    return [statement for statement, answer in answers(url, statements).items() if answer == ALLOWED]


async def test_the_application_cannot_change_or_remove_evidence(used: Database) -> None:
    assert allowed(used.app_url, CHANGES + STRUCTURE) == []
    assert_honest(used)


async def test_the_application_cannot_remove_langgraphs_rows(used: Database) -> None:
    assert allowed(used.app_url, LOSSES) == []
    assert_honest(used)


async def test_the_auditor_cannot_write_anywhere(used: Database, auditor_url: str) -> None:
    """Not even DEFAULT VALUES: what is refused is the right, not the row."""
    writes = [
        statement.format(table=table)
        for table in ALL
        for statement in (
            "INSERT INTO {table} DEFAULT VALUES",
            "DELETE FROM {table}",
            "TRUNCATE {table}",
            "LOCK TABLE {table} IN ROW EXCLUSIVE MODE",
        )
    ]
    updates = [f"UPDATE {table} SET thread_id = thread_id" for table in LANGGRAPH]

    assert allowed(auditor_url, CHANGES + STRUCTURE + LOSSES + writes + updates) == []
    assert_honest(used)


async def test_the_auditor_reads_everything(used: Database, auditor_url: str) -> None:
    with psycopg.connect(auditor_url) as conn:
        for table in ALL:
            rows = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
            assert rows
            assert rows[0] > 0


async def test_the_auditor_verifies(used: Database, auditor_url: str) -> None:
    with psycopg.connect(auditor_url, autocommit=True) as conn:
        assert verify_database(conn, used.trust, outside=used.outside).verdict == "passed"
        used.as_admin("UPDATE checkpoints SET metadata = '{}' WHERE metadata ->> 'source' = 'input'")
        assert verify_database(conn, used.trust, outside=used.outside).verdict == "failed"


@pytest.mark.parametrize("who", ["owner_url", "admin_url"])
async def test_triggers_refuse_every_change_even_to_owner_and_superuser(used: Database, who: str) -> None:
    found = answers(getattr(used, who), [*CHANGES, "TRUNCATE audit.payloads, audit.entries"])

    assert {statement: answer for statement, answer in found.items() if "only ever added to" not in answer} == {}
    assert_honest(used)


async def test_a_change_with_triggers_off_is_possible_and_is_found(used: Database) -> None:
    """What the triggers are: a guard against accidents. Against the administrator there are the signatures."""
    assert used.as_admin("DELETE FROM audit.payloads WHERE trail <> '@keys'") > 0
    assert used.verify().verdict == "failed"


async def test_the_roles_own_nothing_and_cannot_become_more(used: Database) -> None:
    roles = "SELECT oid FROM pg_roles WHERE rolname IN ('countersign_app', 'countersign_auditor')"
    powers = "rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls"

    assert len(used.query(roles)) == 2
    assert used.query(f"SELECT rolname FROM pg_roles WHERE oid IN ({roles}) AND ({powers})") == []
    assert used.query(f"SELECT relname FROM pg_class WHERE relowner IN ({roles})") == []
    assert used.query(f"SELECT 1 FROM pg_auth_members WHERE member IN ({roles})") == []
