"""Writing LangGraph's rows so that an entry can bind them (docs/formats.md, section 3).

One statement writes and returns what the tables hold before and after it. What came back is compared with what was
sent: a trigger that edits rows on their way in is not signed, it is refused. A row left alone or replaced must equal
its binding first, else a write sent twice would sign somebody's edit.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString

from .canonical import Json, Rendered
from .errors import AppendError, VerificationError
from .ledger import Ledger
from .rows import BLOBS, CHECKPOINTS, JSONB_COLUMNS, WRITES, BoundRow, Column, RowKey, Table, bind, named, rows_member
from .steps import Statement, Steps

Row = tuple[Column, ...]
LedgerSteps = Callable[[], Steps[Ledger]]

_PUT: LiteralString = """
WITH sent AS (
    SELECT * FROM unnest(%(channels)s::text[], %(versions)s::text[], %(types)s::text[], %(blobs)s::bytea[])
        AS t (channel, version, type, blob)
), old_checkpoint AS (
    SELECT * FROM checkpoints
    WHERE thread_id = %(thread)s AND checkpoint_ns = %(ns)s AND checkpoint_id = %(id)s
), old_blobs AS (
    SELECT b.* FROM checkpoint_blobs b JOIN sent ON b.channel = sent.channel AND b.version = sent.version
    WHERE b.thread_id = %(thread)s AND b.checkpoint_ns = %(ns)s
), new_blobs AS (
    INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
    SELECT %(thread)s, %(ns)s, channel, version, type, blob FROM sent
    ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING
    RETURNING *
), new_checkpoint AS (
    INSERT INTO checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
    VALUES (%(thread)s, %(ns)s, %(id)s, %(parent)s, %(checkpoint)s::jsonb, %(metadata)s::jsonb)
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
    DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata
    RETURNING *
)
SELECT false, 'checkpoints', thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,
       checkpoint::text, metadata::text, NULL::bytea FROM old_checkpoint
UNION ALL SELECT true, 'checkpoints', thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,
       checkpoint::text, metadata::text, NULL FROM new_checkpoint
UNION ALL SELECT false, 'checkpoint_blobs', thread_id, checkpoint_ns, channel, version, type, NULL, NULL, blob
       FROM old_blobs
UNION ALL SELECT true, 'checkpoint_blobs', thread_id, checkpoint_ns, channel, version, type, NULL, NULL, blob
       FROM new_blobs
"""

_WRITES_HEAD: LiteralString = """
WITH sent AS (
    SELECT * FROM unnest(%(idxs)s::int[], %(channels)s::text[], %(types)s::text[], %(blobs)s::bytea[])
        AS t (idx, channel, type, blob)
), old AS (
    SELECT w.* FROM checkpoint_writes w JOIN sent ON w.idx = sent.idx
    WHERE w.thread_id = %(thread)s AND w.checkpoint_ns = %(ns)s AND w.checkpoint_id = %(id)s AND w.task_id = %(task)s
), new AS (
    INSERT INTO checkpoint_writes
        (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
    SELECT %(thread)s, %(ns)s, %(id)s, %(task)s, %(path)s, idx, channel, type, blob FROM sent
    ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
"""
_WRITES_TAIL: LiteralString = """
    RETURNING *
)
SELECT false, thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path FROM old
UNION ALL SELECT true, thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path FROM new
"""
_UPSERT_WRITES: LiteralString = (
    _WRITES_HEAD + "DO UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob" + _WRITES_TAIL
)
_INSERT_WRITES: LiteralString = _WRITES_HEAD + "DO NOTHING" + _WRITES_TAIL


@dataclass(frozen=True, slots=True)
class Written:
    """What a statement did to LangGraph's tables: the rows it inserted or replaced, and what those held before."""

    rows: tuple[BoundRow, ...]
    replaced: tuple[Json, ...]
    before: dict[RowKey, Row]

    def members(self) -> dict[str, Json | Rendered]:
        """Return the payload members that bind the rows."""
        members: dict[str, Json | Rendered] = {"rows": rows_member(self.rows)}
        if self.replaced:
            members["replaced"] = list(self.replaced)
        return members


@dataclass(frozen=True, slots=True)
class CheckpointWrite:
    """A `put` as SQL values. `blobs` are (channel, version, type, blob);"""

    thread: str
    ns: str
    id: str
    parent: str | None
    checkpoint: Mapping[str, Any]
    metadata: Mapping[str, Any]
    blobs: Sequence[tuple[str, str, str, bytes | None]]


@dataclass(frozen=True, slots=True)
class TaskWrites:
    """A `put_writes` as SQL values. `rows` are (idx, channel, type, blob), one for each idx."""

    thread: str
    ns: str
    checkpoint: str
    task: str
    path: str
    replace: bool
    rows: Sequence[tuple[int, str, str, bytes]]


def put_steps(write: CheckpointWrite, ledger: LedgerSteps) -> Steps[Written]:
    """Write a checkpoint and its blobs. Raises AppendError if a row is not what was sent, or was edited before."""
    checkpoint, metadata = json.dumps(write.checkpoint), json.dumps(write.metadata)
    found = yield Statement(
        _PUT,
        {
            "thread": write.thread,
            "ns": write.ns,
            "id": write.id,
            "parent": write.parent,
            "checkpoint": checkpoint,
            "metadata": metadata,
            "channels": [blob[0] for blob in write.blobs],
            "versions": [blob[1] for blob in write.blobs],
            "types": [blob[2] for blob in write.blobs],
            "blobs": [blob[3] for blob in write.blobs],
        },  # type: ignore[arg-type]
    )
    old: dict[RowKey, tuple[Table, Row]] = {}
    new: dict[RowKey, tuple[Table, Row]] = {}
    for is_new, table_name, *columns in found:
        table, row = (
            (CHECKPOINTS, tuple(columns[:7])) if table_name == CHECKPOINTS.name else (BLOBS, (*columns[:5], columns[7]))
        )
        (new if is_new else old)[table.key_of(row)] = (table, row)
    key = (CHECKPOINTS.name, (write.thread, write.ns, write.id))
    # An upsert leaves the parent and the type as they were: that is LangGraph's own statement.
    parent, kind = old[key][1][3:5] if key in old else (write.parent, None)
    sent: dict[RowKey, Row] = {key: (write.thread, write.ns, write.id, parent, kind, checkpoint, metadata)}
    for blob in write.blobs:
        row = (write.thread, write.ns, *blob)
        sent[BLOBS.key_of(row)] = row
    return (yield from _settle_steps(sent, old, new, ledger))


def writes_steps(writes: TaskWrites, ledger: LedgerSteps) -> Steps[Written]:
    """Write a task's pending writes. Raises AppendError if a row is not what was sent, or was edited before."""
    found = yield Statement(
        _UPSERT_WRITES if writes.replace else _INSERT_WRITES,
        {
            "thread": writes.thread,
            "ns": writes.ns,
            "id": writes.checkpoint,
            "task": writes.task,
            "path": writes.path,
            "idxs": [row[0] for row in writes.rows],
            "channels": [row[1] for row in writes.rows],
            "types": [row[2] for row in writes.rows],
            "blobs": [row[3] for row in writes.rows],
        },  # type: ignore[arg-type]
    )
    old: dict[RowKey, tuple[Table, Row]] = {}
    new: dict[RowKey, tuple[Table, Row]] = {}
    for is_new, *columns in found:
        row = tuple(columns)
        (new if is_new else old)[WRITES.key_of(row)] = (WRITES, row)
    sent: dict[RowKey, Row] = {}
    for idx, channel, kind, blob in writes.rows:
        path: Column = writes.path
        key = WRITES.key_of((writes.thread, writes.ns, writes.checkpoint, writes.task, idx, "", "", b"", ""))
        if key in old:
            path = old[key][1][8]
        sent[key] = (writes.thread, writes.ns, writes.checkpoint, writes.task, idx, channel, kind, blob, path)
    return (yield from _settle_steps(sent, old, new, ledger))


def _settle_steps(
    sent: dict[RowKey, Row],
    old: dict[RowKey, tuple[Table, Row]],
    new: dict[RowKey, tuple[Table, Row]],
    ledger_steps: LedgerSteps,
) -> Steps[Written]:
    """Compare before, sent and after; the ledger is read only when a row was there before, which is rare."""
    for key, row in sent.items():
        if key in new:
            if not _same(new[key][0], row, new[key][1]):
                raise AppendError(
                    f"The database stored something else than was sent in row {named(key)}.",
                    remedy="Look for a trigger or rule on this table: somebody changes state on its way in.",
                    trail=key[1][0],
                )
        elif key not in old:
            raise AppendError(
                f"Row {named(key)} was neither written nor found.",
                remedy="Look for a trigger, a rule or row security on this table.",
                trail=key[1][0],
            )
    replaced: list[Json] = []
    if old:
        ledger = yield from ledger_steps()
        for key, (table, row) in sorted(old.items()):
            _check_before(ledger, table, row)
            if key in new and bind(table, row) != bind(*new[key]):
                binding = ledger.binding(key)
                was: list[Json] = [_text(column) for column in row]
                if binding is not None:
                    replaced.append({"table": key[0], "key": list(key[1]), "was": was, "seq": binding.seq})
    return Written(
        tuple(bind(table, row) for table, row in new.values()),
        tuple(replaced),
        {key: row for key, (_, row) in old.items()},
    )


def _check_before(ledger: Ledger, table: Table, row: Row) -> None:
    try:
        ledger.check_row(table, row)
    except VerificationError as error:
        raise AppendError(
            f"Nothing was written, since what is there is not what was recorded. {error.message}",
            remedy=f"Run: countersign verify --trail {ledger.trail}",
            trail=ledger.trail,
            seq=error.seq,
        ) from error


def _same(table: Table, sent: Row, stored: Row) -> bool:
    for column, a, b in zip(table.columns, sent, stored, strict=True):
        if a == b:
            continue
        if column in JSONB_COLUMNS and isinstance(a, str) and isinstance(b, str) and _numbers(a) == _numbers(b):
            continue
        return False
    return True


def _numbers(document: str) -> Any:
    """Parse with exact numbers: jsonb writes 1e22 out in digits and keeps 2^53+1, which a float would not."""
    return json.loads(document, parse_float=Decimal, parse_int=Decimal)


def _text(column: Column) -> Json:
    if isinstance(column, bytes):
        return base64.b64encode(column).decode("ascii")
    return column if column is None else str(column)
