"""Reading LangGraph's rows so that nothing unverified is deserialized (docs/formats.md, section 3: checked on read).

One statement reads the end of the trail and the rows, so both come from one snapshot; what is deserialized afterwards
are those very bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, LiteralString

from .chain import Link
from .entry import leaf_hash
from .errors import VerificationError
from .ledger import Ledger
from .rows import BLOBS, CHECKPOINTS, WRITES, Column, RowKey
from .steps import Statement

_LOAD_HEAD: LiteralString = """
SELECT h.seq, h.body,
    c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.type, c.checkpoint::text, c.metadata::text,
    (SELECT array_agg(ARRAY[convert_to(b.channel, 'UTF8'), convert_to(b.version, 'UTF8'), convert_to(b.type, 'UTF8'),
                            b.blob])
     FROM jsonb_each_text(CASE WHEN jsonb_typeof(c.checkpoint -> 'channel_versions') = 'object'
                               THEN c.checkpoint -> 'channel_versions' END) v
     JOIN checkpoint_blobs b ON b.thread_id = c.thread_id AND b.checkpoint_ns = c.checkpoint_ns
      AND b.channel = v.key AND b.version = v.value),
    (SELECT array_agg(ARRAY[convert_to(w.task_id, 'UTF8'), convert_to(w.idx::text, 'UTF8'),
                            convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob,
                            convert_to(w.task_path, 'UTF8')])
     FROM checkpoint_writes w
     WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.checkpoint_id),
    (SELECT array_agg(ARRAY[convert_to(w.task_id, 'UTF8'), convert_to(w.idx::text, 'UTF8'),
                            convert_to(w.channel, 'UTF8'), convert_to(w.type, 'UTF8'), w.blob,
                            convert_to(w.task_path, 'UTF8')])
     FROM checkpoint_writes w
     WHERE c.checkpoint -> 'v' IN ('1', '2', '3')
      AND w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns AND w.checkpoint_id = c.parent_checkpoint_id),
    CASE WHEN c.thread_id IS NOT NULL THEN NULL
         WHEN EXISTS (SELECT FROM checkpoints WHERE thread_id = %(thread)s) THEN 'checkpoints'
         WHEN EXISTS (SELECT FROM checkpoint_writes WHERE thread_id = %(thread)s) THEN 'checkpoint_writes'
         WHEN EXISTS (SELECT FROM checkpoint_blobs WHERE thread_id = %(thread)s) THEN 'checkpoint_blobs' END
FROM (SELECT 1) one
LEFT JOIN LATERAL (
    SELECT seq, body FROM audit.entries WHERE trail = %(thread)s ORDER BY seq DESC LIMIT 1
) h ON true
LEFT JOIN LATERAL (
    SELECT * FROM checkpoints WHERE thread_id = %(thread)s AND checkpoint_ns = %(ns)s
"""
_SENDS_WITH_PARENT = (1, 2, 3)
_TASKS = "__pregel_tasks"
_LATEST: LiteralString = _LOAD_HEAD + " ORDER BY checkpoint_id DESC LIMIT 1) c ON true"
_EXACT: LiteralString = _LOAD_HEAD + " AND checkpoint_id = %(id)s) c ON true"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint's rows, checked, and as LangGraph's own loader takes them (`value`)."""

    link: Link
    value: dict[str, Any]
    moved: int
    """The newest entry of the trail that binds a row."""


def load_statement(thread: str, ns: str, checkpoint_id: str | None) -> Statement:
    """Return the statement for one checkpoint (the latest without an id) and the end of its trail."""
    params = {"thread": thread, "ns": ns, "id": checkpoint_id}
    return Statement(_EXACT if checkpoint_id else _LATEST, params)  # type: ignore[arg-type]


def head_of(row: tuple[Any, ...]) -> Link:
    """Return the end of the trail that a row of `load_statement` saw."""
    return Link() if row[0] is None else Link(row[0], leaf_hash(row[1] or b""))


def check_loaded(row: tuple[Any, ...], ledger: Ledger, ns: str, checkpoint_id: str | None) -> Loaded | None:
    """Return the checkpoint in a row of `load_statement`, checked against a ledger that ends where its trail does.

    None when there is no such checkpoint and none is bound. Raises VerificationError when a row was changed, added or
    removed, when the latest is not the latest that the trail binds, or when the thread has rows of which none is bound:
    begun anew, it could never be adopted.
    """
    checkpoint = row[2:9]
    _check_identity(checkpoint, ledger, ns, checkpoint_id)
    if checkpoint[2] is None:
        check_known(row, ledger)
        return None
    thread = checkpoint[0]
    ledger.check_row(CHECKPOINTS, checkpoint)
    document = json.loads(checkpoint[5])
    blobs = [_blob_row(thread, ns, item) for item in row[9] or ()]
    writes = [_write_row(thread, ns, checkpoint[2], item) for item in row[10] or ()]
    for blob in blobs:
        ledger.check_row(BLOBS, blob)
    _check_once(ledger, [BLOBS.key_of(blob) for blob in blobs])
    _check_blobs_complete(ledger, thread, ns, document, {BLOBS.key_of(blob) for blob in blobs})
    _check_writes(ledger, ns, checkpoint[2], writes)
    sends = _pending_sends(row, ledger, ns, document)
    value = _value(checkpoint, document, blobs, writes) | {"pending_sends": sends}
    return Loaded(head_of(row), value, ledger.moved)


def check_known(row: tuple[Any, ...], ledger: Ledger) -> None:
    """Pass unless the thread has rows, though not the checkpoint asked for, of which none is bound."""
    if row[12] is not None and not ledger.binds:
        raise ledger.stranger(row[12])


def _check_writes(ledger: Ledger, ns: str, checkpoint_id: str, writes: list[tuple[Column, ...]]) -> None:
    for write in writes:
        ledger.check_row(WRITES, write)
    keys = [WRITES.key_of(write) for write in writes]
    _check_once(ledger, keys)
    if gone := ledger.writes_of(ns, checkpoint_id) - set(keys):
        raise ledger.missing(min(gone))


def _pending_sends(
    row: tuple[Any, ...], ledger: Ledger, ns: str, document: dict[str, Any]
) -> list[tuple[bytes, bytes]]:
    """Return the sends that LangGraph, before version 4 of its checkpoints, kept with the parent's writes."""
    if document.get("v") not in _SENDS_WITH_PARENT or row[5] is None:
        return []
    writes = [_write_row(row[2], ns, row[5], item) for item in row[11] or ()]
    _check_writes(ledger, ns, row[5], writes)
    sends: list[Any] = [write for write in writes if write[5] == _TASKS]
    return [((w[6] or "").encode(), w[7]) for w in sorted(sends, key=lambda w: (w[8], w[3], w[4]))]


def _check_identity(checkpoint: tuple[Any, ...], ledger: Ledger, ns: str, checkpoint_id: str | None) -> None:
    found = checkpoint[2]
    if checkpoint_id is not None:
        key: RowKey = (CHECKPOINTS.name, (ledger.trail, ns, checkpoint_id))
        if found is None and ledger.binding(key) is not None:
            raise ledger.missing(key)
        return
    latest = ledger.latest(ns)
    if latest is not None and found != latest and (found is None or found < latest):
        raise ledger.missing((CHECKPOINTS.name, (ledger.trail, ns, latest)))


def _check_blobs_complete(ledger: Ledger, thread: str, ns: str, document: dict[str, Any], found: set[RowKey]) -> None:
    for channel, version in document.get("channel_versions", {}).items():
        key: RowKey = (BLOBS.name, (thread, ns, channel, str(version)))
        if key not in found and ledger.binding(key) is not None:
            raise ledger.missing(key)


def _check_once(ledger: Ledger, keys: list[RowKey]) -> None:
    seen: set[RowKey] = set()
    for key in keys:
        if key in seen:
            raise ledger.doubled(key)
        seen.add(key)


def _blob_row(thread: str, ns: str, item: list[bytes | None]) -> tuple[Column, ...]:
    channel, version, kind, blob = item
    return (thread, ns, _str(channel), _str(version), _str(kind), blob)


def _write_row(thread: str, ns: str, checkpoint_id: str, item: list[bytes | None]) -> tuple[Column, ...]:
    task, idx, channel, kind, blob, path = item
    return (
        thread, ns, checkpoint_id, _str(task), int(_str(idx) or 0), _str(channel), _str(kind), blob, _str(path)
    )  # fmt: skip


def _str(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def _value(
    checkpoint: tuple[Any, ...],
    document: dict[str, Any],
    blobs: list[tuple[Any, ...]],
    writes: list[tuple[Any, ...]],
) -> dict[str, Any]:
    """Return the row in the shape of LangGraph's own SELECT, which its loader takes."""
    return {
        "thread_id": checkpoint[0],
        "checkpoint_ns": checkpoint[1],
        "checkpoint_id": checkpoint[2],
        "parent_checkpoint_id": checkpoint[3],
        "checkpoint": document,
        "metadata": json.loads(checkpoint[6]),
        "channel_values": [[b[2].encode(), b[4].encode(), b[5]] for b in blobs],
        "pending_writes": [
            [w[3].encode(), w[5].encode(), (w[6] or "").encode(), w[7], w[8].encode(), str(w[4]).encode()]
            for w in writes
        ],
    }


def behind(head: Link, known: Link) -> bool:
    """Tell whether a trail that ends at `head` lacks what was `known` to be its end."""
    return head.seq < known.seq or (head.seq == known.seq and head != known)


def truncated(ledger: Ledger, head: Link) -> VerificationError:
    """Return the failure for a trail that ends before, or otherwise than, what this process has already checked."""
    return VerificationError(
        f"Trail {ledger.trail!r} ended at entry {ledger.link.seq} a moment ago and now ends at {head.seq}, or ends "
        "differently: entries were removed or rewritten.",
        check="sequence",
        trail=ledger.trail,
        seq=head.seq,
        table="entries",
    )
