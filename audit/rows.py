"""What a row of LangGraph's tables is, as bytes: its identity (key) and its digest (docs/formats.md, section 3)."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from .canonical import Json, Rendered, quoted
from .errors import MalformedError

Column = str | bytes | int | None
RowKey = tuple[str, tuple[str, ...]]
"""Table name, and the primary-key columns as text."""

_NULL = b"\x00"
_MEMBERS = {"table", "key", "sha256"}
_DIGEST = re.compile("[0-9a-f]{64}")
_length = struct.Struct(">BI").pack
_HEADS = tuple(_length(1, size) for size in range(256))


@dataclass(frozen=True, slots=True)
class Table:
    """One of LangGraph's tables: all its columns and their types, in the order they are digested, and its key."""

    name: str
    types: Mapping[str, str]
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()
    """The columns in the order they are digested."""
    _places: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        columns = tuple(self.types)
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "_places", tuple(columns.index(column) for column in self.key))

    def key_of(self, row: Sequence[Column]) -> RowKey:
        """Return the identity of a row given in the order of `columns`."""
        if len(row) != len(self.columns):
            raise ValueError(f"a row of {self.name} has {len(self.columns)} columns, not {len(row)}")
        return self.name, tuple([str(row[place]) for place in self._places])


def _typed(texts: str, **others: str) -> dict[str, str]:
    return dict.fromkeys(texts.split(), "text") | others


CHECKPOINTS = Table(
    "checkpoints",
    _typed("thread_id checkpoint_ns checkpoint_id parent_checkpoint_id type", checkpoint="jsonb", metadata="jsonb"),
    ("thread_id", "checkpoint_ns", "checkpoint_id"),
)
BLOBS = Table(
    "checkpoint_blobs",
    _typed("thread_id checkpoint_ns channel version type", blob="bytea"),
    ("thread_id", "checkpoint_ns", "channel", "version"),
)
WRITES = Table(
    "checkpoint_writes",
    {
        **_typed("thread_id checkpoint_ns checkpoint_id task_id", idx="integer"),
        **_typed("channel type", blob="bytea", task_path="text"),
    },
    ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx"),
)
TABLES: Mapping[str, Table] = {table.name: table for table in (CHECKPOINTS, BLOBS, WRITES)}
JSONB_COLUMNS = frozenset({"checkpoint", "metadata"})


def row_digest(row: Sequence[Column]) -> bytes:
    """Return the SHA-256 over the columns of `row`: text as UTF-8, bytea raw, integers in decimal.

    `jsonb` columns must come as PostgreSQL's own text output: it alone keeps 2^60 and 2^53+1 apart.
    """
    parts: list[bytes] = []
    for column in row:
        if column is None:
            parts.append(_NULL)
            continue
        data = column.encode() if type(column) is str else column if isinstance(column, bytes) else str(column).encode()
        size = len(data)
        parts.append(_HEADS[size] if size < len(_HEADS) else _length(1, size))
        parts.append(data)
    return hashlib.sha256(b"".join(parts)).digest()


def row_hash(row: Sequence[Column]) -> str:
    """Return `row_digest` in hex, as payloads have it."""
    return row_digest(row).hex()


def named(key: RowKey) -> str:
    """Return a row's identity for readers: the table, and its key with the names of the columns."""
    table, parts = key
    columns = zip(TABLES[table].key, parts, strict=True)
    return f"{table} ({', '.join(f'{column}={part!r}' for column, part in columns)})"


@dataclass(frozen=True, slots=True)
class BoundRow:
    """A row as an entry bound it."""

    key: RowKey
    sha256: str

    def as_json(self) -> dict[str, Json]:
        """Return the item of the payload's `rows`."""
        return {"table": self.key[0], "key": list(self.key[1]), "sha256": self.sha256}

    def text(self) -> str:
        """Return the same in canonical form."""
        table, key = self.key
        return f'{{"key":[{",".join(map(quoted, key))}],"sha256":"{self.sha256}","table":"{table}"}}'


def bind(table: Table, row: Sequence[Column]) -> BoundRow:
    """Return what an entry says of `row`."""
    return BoundRow(table.key_of(row), row_hash(row))


def rows_member(rows: Sequence[BoundRow]) -> Rendered:
    """Return the payload's `rows`, sorted by (table, key) in UTF-8 bytes, which for Python is code-point order."""
    ordered = sorted(rows, key=_key) if len(rows) > 1 else rows
    return Rendered(f"[{','.join([row.text() for row in ordered])}]")


_key = attrgetter("key")


def parse_rows(member: Any) -> list[BoundRow]:
    """Return the rows that a payload's `rows` binds. Raises MalformedError when it is anything but that."""
    if not isinstance(member, list):
        raise MalformedError("The payload's member `rows` is not a list.")
    rows = [_parse_row(item) for item in member]
    keys = [row.key for row in rows]
    if keys != sorted(set(keys)):
        raise MalformedError("The payload's member `rows` is not sorted by table and key, or binds a row twice.")
    return rows


def _parse_row(item: Any) -> BoundRow:
    if not isinstance(item, dict) or item.keys() != _MEMBERS:
        raise MalformedError("A bound row has other members than table, key and sha256.")
    table, key, digest = item["table"], item["key"], item["sha256"]
    known = TABLES.get(table) if isinstance(table, str) else None
    if known is None:
        raise MalformedError(f"An entry binds a row of a table that is not LangGraph's: {table!r}.")
    if not isinstance(key, list) or len(key) != len(known.key) or not all(isinstance(part, str) for part in key):
        raise MalformedError(f"The key of a bound row of {table} is not {len(known.key)} strings.")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise MalformedError(f"The digest of a bound row of {table} is not 64 hex digits.")
    return BoundRow((table, tuple(key)), digest)
