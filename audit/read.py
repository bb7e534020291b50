"""SELECT only: entries with their payloads, and LangGraph's rows as the bytes their digests cover."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from .entry import Entry
from .rows import BLOBS, CHECKPOINTS, WRITES, Table
from .steps import Statement

# Row digests cover jsonb as PostgreSQL prints it: no reader's parser comes in between.
ROW_COLUMNS: dict[str, LiteralString] = {
    CHECKPOINTS.name: (
        "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint::text, metadata::text"
    ),
    BLOBS.name: "thread_id, checkpoint_ns, channel, version, type, blob",
    WRITES.name: "thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path",
}

# A time that Python cannot hold (infinity, year 20000) was not written by us: it reads as NULL, which no body says.
ENTRY_COLUMNS: LiteralString = """e.trail, e.seq, e.kind,
CASE WHEN e.occurred_at BETWEEN '0001-01-02 00:00Z' AND '9999-12-30 00:00Z' THEN e.occurred_at END,
e.body, e.keyid, e.signature"""

_ENTRIES: LiteralString = f"""
SELECT {ENTRY_COLUMNS}, p.salt, p.data
FROM audit.entries e LEFT JOIN audit.payloads p ON p.trail = e.trail AND p.seq = e.seq
WHERE e.trail = %s AND e.seq > %s ORDER BY e.seq
"""

_SEVERAL: LiteralString = f"""
SELECT {ENTRY_COLUMNS}, p.salt, p.data
FROM unnest(%s::text[], %s::bigint[]) AS wanted (trail, seq)
JOIN audit.entries e ON e.trail = wanted.trail AND e.seq > wanted.seq
LEFT JOIN audit.payloads p ON p.trail = e.trail AND p.seq = e.seq
ORDER BY e.trail, e.seq
"""


EVERYTHING = -(2**63)
"""Every `seq` is behind this one, also what nobody could have appended."""


def entries_statement(trail: str, after: int = EVERYTHING) -> Statement:
    """Return the statement for all entries of `trail`, or for those behind `seq` number `after`, in order."""
    return Statement(_ENTRIES, (trail, after))


def several_statement(places: Sequence[tuple[str, int]]) -> Statement:
    """Return the statement for the entries of some trails, each behind a `seq`: of one moment, trail by trail."""
    return Statement(_SEVERAL, ([trail for trail, _ in places], [seq for _, seq in places]))


def entry_of(row: tuple[Any, ...]) -> Entry:
    """Return the entry in a row of `entries_statement`."""
    return Entry(*row)


def rows_statement(table: Table) -> LiteralString:
    """Return the SELECT of a table's columns in digest order, without a WHERE."""
    return "SELECT " + ROW_COLUMNS[table.name] + " FROM " + _FROM[table.name]


_FROM: dict[str, LiteralString] = {
    CHECKPOINTS.name: "checkpoints",
    BLOBS.name: "checkpoint_blobs",
    WRITES.name: "checkpoint_writes",
}


LARGE = 65_536
"""Bytes from which a value is fetched by itself where many are streamed."""
PLACE: LiteralString = "ARRAY[tableoid::bigint::text, ctid::text]"
"""Where a row lies: enough to find it again in the same snapshot."""


def light_rows_statement(table: Table) -> LiteralString:
    """Return the SELECT of PLACE and a table's columns in digest order, without a WHERE.

    PLACE is NULL, and the row complete, unless it is large; then what may be large of it is NULL.
    """
    large, values = _WEIGHT[table.name]
    columns: LiteralString = ROW_COLUMNS[table.name]
    for value in values:
        columns = columns.replace(value, f"CASE WHEN {large} THEN NULL ELSE {value} END")
    return f"SELECT CASE WHEN {large} THEN {PLACE} END, {columns} FROM " + _FROM[table.name]


# A document's size is what it takes on disk, compressed: to print it only to measure it would cost more.
_WEIGHT: dict[str, tuple[LiteralString, tuple[LiteralString, ...]]] = {
    CHECKPOINTS.name: (
        f"pg_column_size(checkpoint) + pg_column_size(metadata) > {LARGE // 4}",
        ("checkpoint::text", "metadata::text"),
    ),
    BLOBS.name: (f"octet_length(blob) > {LARGE}", ("blob",)),
    WRITES.name: (f"octet_length(blob) > {LARGE}", ("blob",)),
}
