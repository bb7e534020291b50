"""Adoption: taking in a thread that LangGraph wrote before Countersign was there.

Guarantees: the entry binds every row of the thread as it stood at one moment, when nobody could write to LangGraph's
tables; it commits whole or not at all; and a thread of which any entry binds a row is never adopted, so no edit can be
covered up this way. What an adoption vouches for is the bytes found, not how they came to be. Nothing is deserialized.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from .append import Appender
from .canonical import Json, Rendered
from .chain import check_entry
from .deployment import open_operator_steps, open_steps
from .entry import EntryDraft, check_trail
from .errors import AppendError, MalformedError, NotFoundError, VerificationError
from .home import os_user
from .kinds import Kind
from .ledger import Ledger
from .read import entries_statement, entry_of, rows_statement
from .rows import BLOBS, CHECKPOINTS, TABLES, WRITES, BoundRow, bind, rows_member
from .steps import Statement, Steps, run

LOCK_TIMEOUT = "10s"
_FETCH = 500
_UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# Waits for writes under way and holds off new ones. Blobs are only ever written together with their checkpoint; the
# application's role has no right to lock their table.
_HOLD_OFF = "LOCK TABLE checkpoints, checkpoint_writes IN SHARE MODE"
_ADOPTABLE: LiteralString = """
SELECT thread_id FROM (
    SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM checkpoint_writes
    UNION SELECT thread_id FROM checkpoint_blobs
) t
WHERE NOT EXISTS (
    SELECT FROM audit.entries e WHERE e.trail = t.thread_id COLLATE "C" AND e.kind = ANY(%s)
)
ORDER BY thread_id COLLATE "C"
"""
_BINDING_KINDS = [Kind.CHECKPOINT_SAVED, Kind.WRITES_SAVED, Kind.STATE_UPDATED, Kind.TRAIL_ADOPTED]


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found of a thread, and what was done: `seq` is the entry that adopts it, None when nothing was written.

    `counts` are rows by table, `newest` is the id of the root graph's latest checkpoint where there is one.
    """

    thread: str
    counts: Mapping[str, int]
    newest: str | None
    seq: int | None
    already: bool = False


def open_adopter(conn: Connection[Any], home: Path, *, dry_run: bool = False) -> Appender:
    """Return an appender with the deployment key, or with none for a dry run, having checked schema, keys and trust.

    Raises ConfigurationError with the remedy, for one where the deployment key is not on this machine.
    """
    return run(conn, open_steps(home, ()) if dry_run else open_operator_steps(home))


def adoptable(conn: Connection[Any]) -> list[str]:
    """Return the threads that have rows and no entry that binds any, going by the entries' columns: `adopt` checks."""
    return [row[0] for row in run(conn, _rows_steps(Statement(_ADOPTABLE, (_BINDING_KINDS,))))]


def adopt(conn: Connection[Any], appender: Appender, thread: str, *, dry_run: bool = False) -> Adoption:
    """Bind all rows of `thread` in one entry of kind `trail.adopted`, in a transaction of its own.

    `conn` must be in no transaction. Adopting again changes nothing and says so. With `dry_run` the same is checked,
    and nothing is locked against writers or written. Raises NotFoundError for a thread without rows, AppendError when
    the thread cannot be adopted: audited already, damaged, or of a name that no trail may have.
    """
    try:
        check_trail(thread)
    except MalformedError as error:
        raise AppendError(
            error.message,
            remedy="Countersign cannot audit a thread of that name; move its rows to another id, or out of this "
            "database, before you go on.",
        ) from error
    with conn.transaction():
        conn.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
        heads = run(conn, appender.lock_steps([thread]))
        if not dry_run:
            conn.execute(_HOLD_OFF)
        ledger = _ledger(conn, appender, thread)
        if ledger.binds:
            return _already(conn, ledger)
        rows = _rows(conn, thread)
        if not rows:
            raise NotFoundError(
                f"Thread {thread!r} has no rows in LangGraph's tables.",
                remedy="A thread's name is LangGraph's thread_id; `countersign adopt --all --dry-run` lists them.",
            )
        found = _found(thread, rows)
        if dry_run:
            return found
        (entry,) = run(conn, appender.insert_steps(heads, [_draft(found, rows)]))
    appender.committed([entry])
    return Adoption(thread, found.counts, found.newest, entry.seq)


def _ledger(conn: Connection[Any], appender: Appender, thread: str) -> Ledger:
    """Return what the thread's entries bind, each checked: its lock is held, so no further one comes."""
    ledger = Ledger(thread)
    try:
        for row in run(conn, _rows_steps(entries_statement(thread))):
            checked = check_entry(entry_of(row), after=ledger.link, origin=appender.origin, ring=appender.ring)
            ledger.apply(checked)
    except VerificationError as error:
        raise AppendError(
            f"Thread {thread!r} cannot be adopted, since its trail is damaged. {error.message}",
            remedy="Run: countersign verify",
            trail=thread,
            seq=error.seq,
        ) from error
    return ledger


def _already(conn: Connection[Any], ledger: Ledger) -> Adoption:
    """Return what an earlier adoption did. Raises AppendError where the thread was audited, or is damaged, instead."""
    thread = ledger.trail
    damage = next(ledger.check_all(_all_rows(conn, thread)), None)
    if damage is not None:
        raise AppendError(
            f"Thread {thread!r} is audited already, and not as it was recorded: it is not adopted. {damage.message}",
            remedy="Run: countersign verify, and find out who wrote to LangGraph's tables.",
            trail=thread,
            seq=damage.seq,
        )
    if ledger.adopted is None:
        raise AppendError(
            f"Thread {thread!r} is audited already: its entries bind its rows from the beginning.",
            remedy="There is nothing to adopt.",
            trail=thread,
        )
    return Adoption(thread, {}, None, ledger.adopted, already=True)


def _all_rows(conn: Connection[Any], thread: str) -> Any:
    """Yield (table, row) for each row of the thread, a few hundred in memory at a time, however large they are."""
    for table in TABLES.values():
        with conn.cursor("countersign_adopt", row_factory=tuple_row) as cursor:
            cursor.itersize = _FETCH
            cursor.execute(rows_statement(table) + " WHERE thread_id = %s", (thread,), binary=True)
            for row in cursor:
                yield table, row


def _rows(conn: Connection[Any], thread: str) -> list[BoundRow]:
    return [bind(table, row) for table, row in _all_rows(conn, thread)]


def _found(thread: str, rows: list[BoundRow]) -> Adoption:
    counts = {table.name: sum(row.key[0] == table.name for row in rows) for table in (CHECKPOINTS, BLOBS, WRITES)}
    ids = [row.key[1][2] for row in rows if row.key[0] == CHECKPOINTS.name and row.key[1][1] == ""]
    return Adoption(thread, counts, max(ids, default=None), None)


def _draft(found: Adoption, rows: list[BoundRow]) -> EntryDraft:
    # Bodies stay for ever and hold no content: an id that is not of LangGraph's making could be anything.
    newest = found.newest if found.newest and _UUID.fullmatch(found.newest) else None
    detail: dict[str, Json] = {**found.counts, "newest": newest}
    payload: dict[str, Json | Rendered] = {"rows": rows_member(rows)}
    return EntryDraft(found.thread, Kind.TRAIL_ADOPTED, actor=os_user(), detail=detail, payload=payload)


def _rows_steps(statement: Statement) -> Steps[list[tuple[Any, ...]]]:
    return (yield statement)
