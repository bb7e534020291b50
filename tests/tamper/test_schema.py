"""Tables and columns that signed bytes do not account for, or that are of another type than they were."""

from __future__ import annotations

import pytest

from conftest import Database
from tamper.columns import COLUMNS, TARGETS
from tamper.tools import Place, assert_found


@pytest.mark.parametrize("name", list(COLUMNS))
def test_an_extra_column_is_found(honest: Database, name: str) -> None:
    honest.as_admin(f"ALTER TABLE {name} ADD COLUMN approved_by text")
    report = honest.verify()
    assert_found(report, Place((name.removeprefix("audit."),), checks=("schema",)))
    assert "approved_by" in report.findings[0].message


@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_column_taken_away_is_found(honest: Database, name: str) -> None:
    column = COLUMNS[name][-1]
    honest.as_admin(f"ALTER TABLE {name} DROP COLUMN {column}")
    assert_found(honest.verify(), Place((name.removeprefix("audit."),), checks=("schema",)))


@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_table_taken_away_is_found(honest: Database, name: str) -> None:
    honest.as_admin(f"DROP TABLE {name}")
    assert_found(honest.verify(), Place((name.removeprefix("audit."),), checks=("schema",)))


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TABLE audit.notes (x int)",
        "CREATE VIEW audit.notes AS SELECT 1 AS x",
        "CREATE MATERIALIZED VIEW audit.notes AS SELECT 1 AS x",
        "CREATE TABLE audit.notes () INHERITS (audit.entries)",
        "CREATE UNLOGGED TABLE audit.notes ()",
    ],
    ids=["table", "view", "materialized view", "child", "no columns"],
)
def test_an_extra_table_among_the_evidence_is_found(honest: Database, create: str) -> None:
    honest.as_admin(create)
    assert_found(honest.verify(), Place(("notes",), checks=("schema",)))


@pytest.mark.parametrize("name", ["checkpoints", "checkpoint_blobs", "checkpoint_writes"])
def test_rows_in_a_child_of_langgraphs_table_are_found(honest: Database, name: str) -> None:
    honest.as_admin(f"CREATE TABLE more () INHERITS ({name})")
    honest.as_admin(f"INSERT INTO more SELECT * FROM {name} WHERE {TARGETS[name].row}")
    assert_found(honest.verify(), Place((name,)))


@pytest.mark.parametrize(
    ("name", "column", "change"),
    [
        ("audit.entries", "body", "text USING convert_from(body, 'UTF8')"),
        ("audit.entries", "seq", "text"),
        ("audit.entries", "seq", "numeric"),
        ("audit.entries", "occurred_at", "text"),
        ("audit.entries", "occurred_at", "timestamp"),
        ("audit.entries", "keyid", "text USING encode(keyid, 'hex')"),
        ("audit.entries", "signature", "text USING encode(signature, 'hex')"),
        ("audit.entries", "trail", 'char(20) COLLATE "C"'),
        ("audit.payloads", "data", "text USING convert_from(data, 'UTF8')"),
        ("audit.payloads", "salt", "text USING encode(salt, 'hex')"),
        ("audit.payloads", "seq", "text"),
        ("checkpoints", "checkpoint", "text"),
        ("checkpoints", "checkpoint", "json"),
        ("checkpoints", "thread_id", "char(20)"),
        ("checkpoint_blobs", "blob", "text USING encode(blob, 'escape')"),
        ("checkpoint_writes", "idx", "text"),
        ("checkpoint_writes", "idx", "numeric"),
    ],
)
def test_a_column_of_another_type_is_found(honest: Database, name: str, column: str, change: str) -> None:
    """A verifier that crashes, or that hashes what no longer can be loaded, would be as good as none."""
    honest.as_admin("DROP INDEX audit.entries_by_person")
    honest.as_admin("DROP POLICY worker_reads ON audit.entries; DROP POLICY worker_adds ON audit.entries")
    honest.as_admin(f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {change}")
    assert_found(honest.verify(), Place((name.removeprefix("audit."),)))


@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_table_replaced_by_a_view_is_found(honest: Database, name: str) -> None:
    """A view may answer a verifier otherwise than a saver."""
    honest.as_admin("CREATE SCHEMA hidden")
    honest.as_admin(f"ALTER TABLE {name} SET SCHEMA hidden")
    honest.as_admin(f"CREATE VIEW {name} AS SELECT * FROM hidden.{name.removeprefix('audit.')}")
    honest.as_admin(f"GRANT SELECT, INSERT ON {name} TO countersign_app")
    assert_found(honest.verify(), Place((name.removeprefix("audit."),), checks=("schema",)))
