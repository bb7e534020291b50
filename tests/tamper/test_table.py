"""One value changed, anywhere: the verdict is failed, and the first finding names the place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import Database
from countersign.audit.verify import Verdict
from tamper.cases import DYNAMIC, STATIC
from tamper.columns import CHANGES, COLUMNS, EVERY, TARGETS, Target, place
from tamper.tools import Place, assert_found

EVERY_TABLE = pytest.mark.parametrize("target", list(EVERY.values()), ids=list(EVERY))
EACH_TABLE = pytest.mark.parametrize("target", list(TARGETS.values()), ids=list(TARGETS))


def _changes() -> Iterator[object]:
    for target in EVERY.values():
        for column, kind in target.types.items():
            for name, expression in CHANGES[kind].items():
                yield pytest.param(target, column, expression, id=f"{target.name}.{column}-{name}")


def _ctid(database: Database, target: Target, where: str) -> str:
    ((ctid,),) = database.query(f"SELECT ctid::text FROM {target.name} WHERE {where}")
    return str(ctid)


def _copy_columns(
    database: Database, target: Target, columns: tuple[str, ...], source: str, to: str, *, exchange: bool = False
) -> None:
    a, b = _ctid(database, target, source), _ctid(database, target, to)
    assignments = ", ".join(f"{column} = other.{column}" for column in columns)
    which = f"(mine.ctid = '{b}' AND other.ctid = '{a}')"
    if exchange:
        which += f" OR (mine.ctid = '{a}' AND other.ctid = '{b}')"
    touched = database.as_admin(f"UPDATE {target.name} mine SET {assignments} FROM {target.name} other WHERE {which}")
    assert touched == 1 + exchange


def _insert_copy(database: Database, target: Target, column: str, value: str) -> None:
    """Insert the target row once more, with another value in one column."""
    columns = ", ".join(target.types)
    copied = ", ".join(value if name == column else name for name in target.types)
    sql = f"INSERT INTO {target.name} ({columns}) SELECT {copied} FROM {target.name} WHERE {target.row}"
    assert database.as_admin(sql) == 1


def test_the_honest_database_passes_without_any_of_its_constraints(honest: Database) -> None:
    assert not honest.query(
        "SELECT conname FROM pg_constraint WHERE conrelid = ANY(%s::regclass[])", (list(TARGETS.keys()),)
    )
    report = honest.verify()
    assert (report.verdict, report.findings) == (Verdict.PASSED, [])
    assert report.counts.rows > 60
    assert report.counts.payloads > 30


def test_there_is_no_column_but_those_listed(honest: Database) -> None:
    columns = honest.query(
        """
        SELECT CASE table_schema WHEN 'audit' THEN 'audit.' ELSE '' END || table_name, column_name
        FROM information_schema.columns WHERE table_schema = 'audit'
        OR table_schema = 'public' AND table_name IN ('checkpoints', 'checkpoint_blobs', 'checkpoint_writes')
        """
    )
    assert sorted(columns) == sorted((name, column) for name in COLUMNS for column in COLUMNS[name])


@pytest.mark.parametrize(("target", "column", "expression"), list(_changes()))
def test_a_changed_value_is_found(honest: Database, target: Target, column: str, expression: str) -> None:
    new = expression.format(column)
    differs = f"{column}::text IS DISTINCT FROM ({new})::text"
    assert honest.as_admin(f"UPDATE {target.name} SET {column} = {new} WHERE {target.row} AND {differs}") == 1
    assert_found(honest.verify(), place(target, column))


@pytest.mark.parametrize(
    "spelling",
    [
        "jsonb_pretty(checkpoint)::jsonb",
        "replace(checkpoint::text, '\"dose\": 5', '\"dose\": 5e0')::jsonb",
        'replace(checkpoint::text, \'"dose": 5\', \'"dose": 7, "dose": 5\')::jsonb',
        "(SELECT jsonb_object_agg(key, value ORDER BY key DESC) FROM jsonb_each(checkpoint))",
    ],
    ids=["white space", "exponent", "duplicate key", "order of keys"],
)
def test_the_same_jsonb_in_another_spelling_is_stored_as_the_same_row(honest: Database, spelling: str) -> None:
    row = TARGETS["checkpoints"].row
    before = honest.query(f"SELECT checkpoint::text FROM checkpoints WHERE {row}")
    assert honest.as_admin(f"UPDATE checkpoints SET checkpoint = {spelling} WHERE {row}") == 1
    assert honest.query(f"SELECT checkpoint::text FROM checkpoints WHERE {row}") == before
    assert honest.verify().findings == []


@EVERY_TABLE
def test_a_deleted_row_is_found(honest: Database, target: Target) -> None:
    assert honest.as_admin(f"DELETE FROM {target.name} WHERE {target.row}") == 1
    assert_found(honest.verify(), place(target))


@EVERY_TABLE
def test_a_row_that_stands_twice_is_found(honest: Database, target: Target) -> None:
    assert honest.as_admin(f"INSERT INTO {target.name} SELECT * FROM {target.name} WHERE {target.row}") == 1
    assert_found(honest.verify(), place(target))


@EVERY_TABLE
def test_two_rows_that_exchange_their_content_are_found(honest: Database, target: Target) -> None:
    _copy_columns(honest, target, target.content, target.other, target.row, exchange=True)
    assert_found(honest.verify(), place(target, target.content[0]))


@EACH_TABLE
def test_a_row_moved_to_another_thread_is_found(honest: Database, target: Target) -> None:
    assert honest.as_admin(f"UPDATE {target.name} SET {target.thread} = '{DYNAMIC}' WHERE {target.row}") == 1
    assert_found(honest.verify(), place(target))


@EACH_TABLE
def test_a_row_copied_to_another_thread_is_found(honest: Database, target: Target) -> None:
    _insert_copy(honest, target, target.thread, f"'{DYNAMIC}'")
    assert_found(honest.verify(), Place((target.table,), (DYNAMIC,)))


@pytest.mark.parametrize("thread", ["nobody", "@system", "@keys", "@other", ""])
@pytest.mark.parametrize("name", ["checkpoints", "checkpoint_blobs", "checkpoint_writes"])
def test_a_row_hidden_in_a_thread_of_no_case_is_found(honest: Database, name: str, thread: str) -> None:
    target = TARGETS[name]
    _insert_copy(honest, target, target.thread, f"'{thread}'")
    assert_found(honest.verify(), Place((name,), (thread,), checks=("unbound",)))


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("checkpoints", "checkpoint_id", "'ffffffff-ffff-6fff-bfff-ffffffffffff'"),
        ("checkpoints", "checkpoint_ns", "'sub:1'"),
        ("checkpoint_blobs", "version", "'99999999999999999999999999999999.0.1'"),
        ("checkpoint_blobs", "channel", "'new'"),
        ("checkpoint_writes", "idx", "99"),
        ("checkpoint_writes", "task_id", "'00000000-0000-0000-0000-000000000000'"),
    ],
)
def test_a_row_written_behind_the_savers_back_is_found(honest: Database, name: str, column: str, value: str) -> None:
    target = TARGETS[name]
    _insert_copy(honest, target, column, value)
    assert_found(honest.verify(), Place((name,), (STATIC,), checks=("unbound",)))


@pytest.mark.parametrize("columns", [("body",), ("body", "signature"), ("body", "signature", "keyid")], ids="-".join)
def test_two_entries_that_exchange_bodies_are_found(honest: Database, columns: tuple[str, ...]) -> None:
    target = TARGETS["audit.entries"]
    _copy_columns(honest, target, columns, target.other, target.row, exchange=True)
    assert_found(honest.verify(), Place(("entries",), (STATIC,), (6,)))


@pytest.mark.parametrize(
    "columns",
    [("body",), ("body", "signature", "keyid"), ("kind", "occurred_at", "body", "signature", "keyid")],
    ids="-".join,
)
def test_the_oldest_entrys_body_over_the_newest_is_found(honest: Database, columns: tuple[str, ...]) -> None:
    target = TARGETS["audit.entries"]
    _copy_columns(honest, target, columns, f"trail = '{STATIC}' AND seq = 1", f"trail = '{STATIC}' AND seq = 13")
    assert_found(honest.verify(), Place(("entries",), (STATIC,), (13,)))


@pytest.mark.parametrize("name", ["checkpoints", "checkpoint_blobs", "checkpoint_writes"])
def test_the_oldest_state_copied_over_the_newest_is_found(honest: Database, name: str) -> None:
    target = TARGETS[name]
    order = {"checkpoints": "checkpoint_id", "checkpoint_blobs": "version", "checkpoint_writes": "checkpoint_id"}[name]
    only = f"thread_id = '{STATIC}'" + ("" if name == "checkpoints" else " AND channel = 'steps'")
    end = f"{only} AND {order} = (SELECT {{}}({order}) FROM {name} WHERE {only})"
    _copy_columns(honest, target, target.content, end.format("min"), end.format("max"))
    assert_found(honest.verify(), Place((name,), (STATIC,), checks=("row",)))


def test_a_row_set_back_to_what_an_earlier_entry_bound_is_found(honest: Database) -> None:
    # The input's drug, carried by two checkpoints: the older one's document is validly bound, but elsewhere.
    honest.as_admin(
        "UPDATE checkpoints c SET checkpoint = p.checkpoint, metadata = p.metadata FROM checkpoints p "
        f"WHERE p.thread_id = c.thread_id AND p.checkpoint_id = c.parent_checkpoint_id AND c.thread_id = '{STATIC}' "
        "AND c.metadata ->> 'source' = 'update'"
    )
    assert_found(honest.verify(), Place(("checkpoints",), (STATIC,), checks=("row",)))


def test_a_payload_nobody_has_is_found(honest: Database) -> None:
    for trail in (STATIC, "nobody", "@keys"):
        honest.as_admin(
            "INSERT INTO audit.payloads (trail, seq, salt, data) VALUES (%s, 99, %s, '{}')", (trail, b"s" * 32)
        )
        assert_found(honest.verify(), Place(("payloads",), (trail,), (99,), ("payload",)))
        honest.as_admin("DELETE FROM audit.payloads WHERE seq = 99")


@pytest.mark.parametrize("table", ["audit.entries", "audit.payloads", "audit.leaves"])
@pytest.mark.parametrize("column", ["trail", "seq"])
def test_a_row_added_at_no_place_at_all_is_found(honest: Database, table: str, column: str) -> None:
    target = TARGETS[table]
    _insert_copy(honest, target, column, "NULL")
    assert_found(honest.verify(), Place((target.table,)))


def test_everything_deleted_is_found(honest: Database) -> None:
    for name in TARGETS:
        honest.as_admin(f"DELETE FROM {name}")
    assert_found(honest.verify(), Place(("entries",), ("@keys",)))
