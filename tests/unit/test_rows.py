"""Rows of LangGraph's tables as bytes: one digest for one content, and lists of bound rows in one order."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.canonical import parse
from countersign.audit.errors import MalformedError
from countersign.audit.rows import (
    BLOBS,
    CHECKPOINTS,
    JSONB_COLUMNS,
    TABLES,
    WRITES,
    BoundRow,
    Column,
    Table,
    bind,
    parse_rows,
    row_hash,
    rows_member,
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# What is digested, written out byte by byte from the format.
BY_HAND: list[tuple[tuple[Column, ...], bytes]] = [
    ((), b""),
    ((None,), b"\x00"),
    (("",), b"\x01\x00\x00\x00\x00"),
    ((b"",), b"\x01\x00\x00\x00\x00"),
    ((None, None), b"\x00\x00"),
    (("\x00",), b"\x01\x00\x00\x00\x01\x00"),
    (("a",), b"\x01\x00\x00\x00\x01a"),
    (("\u00e9",), b"\x01\x00\x00\x00\x02\xc3\xa9"),
    (("\U0001f600",), b"\x01\x00\x00\x00\x04\xf0\x9f\x98\x80"),
    ((b"\xff\x00",), b"\x01\x00\x00\x00\x02\xff\x00"),
    ((0,), b"\x01\x00\x00\x00\x010"),
    ((-12,), b"\x01\x00\x00\x00\x03-12"),
    ((2**63 - 1,), b"\x01\x00\x00\x00\x139223372036854775807"),
    (("x" * 256,), b"\x01\x00\x00\x01\x00" + b"x" * 256),
    (
        ("t", "", "c2", "c1", None, '{"v": 1}', "{}"),
        (
            b"\x01\x00\x00\x00\x01t\x01\x00\x00\x00\x00\x01\x00\x00\x00\x02c2\x01\x00\x00\x00\x02c1\x00"
            b'\x01\x00\x00\x00\x08{"v": 1}\x01\x00\x00\x00\x02{}'
        ),
    ),
]


@pytest.mark.parametrize(("row", "data"), BY_HAND, ids=[repr(item[0])[:40] for item in BY_HAND])
def test_the_digest_of_a_row_covers_exactly_these_bytes(row: tuple[Column, ...], data: bytes) -> None:
    assert row_hash(row) == sha256(data)


def test_two_digests_are_what_they_always_were() -> None:
    assert row_hash((None,)) == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert row_hash(("",)) == "957b88b12730e646e0f33d3618b77dfa579e8231e3c59c7104be7165611c8027"


DIFFERENT: list[tuple[tuple[Column, ...], tuple[Column, ...]]] = [
    ((None,), ("",)),
    ((None,), ("\x00",)),
    ((None,), ()),
    ((None, ""), ("", None)),
    (("ab", "c"), ("a", "bc")),
    (("a", ""), ("", "a")),
    (("a",), ("a", None)),
    (('{"n": 9007199254740993}',), ('{"n": 9007199254740992}',)),
    (("\u00e9",), ("e\u0301",)),
    (("\x01\x00\x00\x00\x00",), ("", "")),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=repr)
def test_rows_that_differ_have_different_digests(one: tuple[Column, ...], other: tuple[Column, ...]) -> None:
    assert row_hash(one) != row_hash(other)


def literally(row: tuple[Column, ...]) -> str:
    """Digest a row by the words of the format."""
    data = b""
    for column in row:
        if column is None:
            data += bytes([0x00])
            continue
        value = column.encode("utf-8") if isinstance(column, str) else column
        value = str(value).encode("ascii") if isinstance(value, int) else value
        data += bytes([0x01]) + len(value).to_bytes(4, "big") + value
    return sha256(data)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
columns = st.none() | text | st.binary(max_size=20) | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(columns, max_size=9).map(tuple))
def test_the_digest_of_any_row_is_the_formats(row: tuple[Column, ...]) -> None:
    assert row_hash(row) == literally(row)


@given(st.lists(st.none() | text, max_size=4), st.lists(st.none() | text, max_size=4))
def test_equal_digests_mean_equal_rows(one: list[Column], other: list[Column]) -> None:
    assert (row_hash(one) == row_hash(other)) is (one == other)


COLUMNS = {
    "checkpoints": (
        "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata",
        "thread_id, checkpoint_ns, checkpoint_id",
    ),
    "checkpoint_blobs": (
        "thread_id, checkpoint_ns, channel, version, type, blob",
        "thread_id, checkpoint_ns, channel, version",
    ),
    "checkpoint_writes": (
        "thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path",
        "thread_id, checkpoint_ns, checkpoint_id, task_id, idx",
    ),
}


def test_the_tables_have_the_columns_of_the_format_in_its_order() -> None:
    described = {name: (", ".join(table.columns), ", ".join(table.key)) for name, table in TABLES.items()}
    assert described == COLUMNS
    assert frozenset({"checkpoint", "metadata"}) == JSONB_COLUMNS


ROWS: list[tuple[Table, tuple[Column, ...], tuple[str, ...]]] = [
    (CHECKPOINTS, ("t", "ns", "c", "p", None, "{}", "{}"), ("t", "ns", "c")),
    (BLOBS, ("t", "", "dose", "2", "msgpack", None), ("t", "", "dose", "2")),
    (WRITES, ("t", "", "c", "task", -1, "dose", None, b"x", ""), ("t", "", "c", "task", "-1")),
]


@pytest.mark.parametrize(("table", "row", "key"), ROWS, ids=[item[0].name for item in ROWS])
def test_a_row_is_known_by_its_primary_key_as_text(table: Table, row: tuple[Column, ...], key: tuple[str, ...]) -> None:
    assert bind(table, row) == BoundRow((table.name, key), literally(row))
    assert bind(table, row).as_json() == {"table": table.name, "key": list(key), "sha256": literally(row)}


@pytest.mark.parametrize("change", [slice(0, -1), slice(1, None)], ids=["one short", "shifted"])
def test_a_row_with_another_number_of_columns_has_no_key(change: slice) -> None:
    with pytest.raises(ValueError, match="columns, not"):
        CHECKPOINTS.key_of(ROWS[0][1][change])


DIGEST = "0a" * 32
GOOD: dict[str, Any] = {"table": "checkpoints", "key": ["t", "", "c1"], "sha256": DIGEST}
LATER: dict[str, Any] = GOOD | {"key": ["t", "", "c2"]}
NOT_ROWS: list[tuple[str, Any]] = [
    ("nothing", None),
    ("an object", {}),
    ("a string", "rows"),
    ("a row that is no object", [["checkpoints"]]),
    ("an empty object", [{}]),
    ("a row with more members", [GOOD | {"was": 1}]),
    ("a row without a digest", [{"table": "checkpoints", "key": ["t", "", "c1"]}]),
    ("an unknown table", [GOOD | {"table": "entries"}]),
    ("a table in capitals", [GOOD | {"table": "Checkpoints"}]),
    ("a table with a schema", [GOOD | {"table": "public.checkpoints"}]),
    ("a table that is a number", [GOOD | {"table": 1}]),
    ("a table that is a list", [GOOD | {"table": []}]),
    ("a key that is a string", [GOOD | {"key": "t"}]),
    ("a short key", [GOOD | {"key": ["t", ""]}]),
    ("a long key", [GOOD | {"key": ["t", "", "c1", "x"]}]),
    ("a number in a key", [GOOD | {"key": ["t", "", 1]}]),
    ("null in a key", [GOOD | {"key": ["t", None, "c1"]}]),
    ("the key of another table", [GOOD | {"table": "checkpoint_blobs"}]),
    ("a short digest", [GOOD | {"sha256": DIGEST[:-1]}]),
    ("a long digest", [GOOD | {"sha256": DIGEST + "0"}]),
    ("a digest in capitals", [GOOD | {"sha256": DIGEST.upper()}]),
    ("a digest with another letter inside", [GOOD | {"sha256": "0" * 31 + "g" + "0" * 32}]),
    ("a digest with a space", [GOOD | {"sha256": "0" * 31 + " " + "0" * 32}]),
    ("a digest that is null", [GOOD | {"sha256": None}]),
    ("unsorted keys", [LATER, GOOD]),
    ("unsorted tables", [GOOD, GOOD | {"table": "checkpoint_blobs", "key": ["t", "", "x", "1"]}]),
    ("a row twice", [GOOD, GOOD]),
    ("a key with two digests", [GOOD, GOOD | {"sha256": "0b" * 32}]),
]


@pytest.mark.parametrize("member", [item[1] for item in NOT_ROWS], ids=[item[0] for item in NOT_ROWS])
def test_a_list_of_rows_in_another_form_is_refused(member: Any) -> None:
    with pytest.raises(MalformedError):
        parse_rows(member)


def test_a_list_of_rows_in_order_is_read() -> None:
    assert [row.key[1][2] for row in parse_rows([GOOD, LATER])] == ["c1", "c2"]
    assert parse_rows([]) == []


bound_rows = st.dictionaries(
    st.sampled_from(list(TABLES.values())).flatmap(
        lambda table: st.tuples(st.just(table.name), st.tuples(*[text] * len(table.key)))
    ),
    st.binary(min_size=32, max_size=32),
    max_size=8,
).map(lambda rows: [BoundRow(key, digest.hex()) for key, digest in rows.items()])


@given(bound_rows)
def test_bound_rows_are_written_in_the_order_of_their_utf8_bytes_and_read_back(rows: list[BoundRow]) -> None:
    written = rows_member(rows).text.encode()
    member: Any = parse(written)
    order = [(item["table"].encode(), [part.encode() for part in item["key"]]) for item in member]
    assert order == sorted(order)
    again = parse_rows(member)
    assert sorted(again, key=repr) == sorted(rows, key=repr)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | text | st.sampled_from([*TABLES, DIGEST]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["table", "key", "sha256", "x"]), inner, max_size=4)
        | st.fixed_dictionaries({"table": inner, "key": inner, "sha256": inner})
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_a_list_of_rows_or_malformed(member: Any) -> None:
    try:
        rows = parse_rows(member)
    except MalformedError:
        return
    assert [row.as_json() for row in rows] == member
