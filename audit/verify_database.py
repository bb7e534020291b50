"""Verification of a whole database: streams rows in one snapshot into the pure checks, and trusts none of them.

What is believed comes from the caller (`Trust`); every column beside a body is derived again; LangGraph's tables are
walked against the entries in both directions. Honest work that goes on meanwhile is not seen and raises no alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from .chain import START, Checked, check_entry, check_keys_trail
from .entry import KEYS_TRAIL, SYSTEM_TRAIL, Entry
from .errors import ConfigurationError, NotFoundError, VerificationError
from .keys import IntroducedKey, Trust
from .ledger import adoption_remedy
from .read import ENTRY_COLUMNS, entries_statement, entry_of, rows_statement
from .rows import TABLES, Column, RowKey, Table, named
from .schema import check_functions_steps, evidence_problems_steps, langgraph_problems_steps
from .steps import Statement, run
from .verify import Report, TrailCheck

_BATCH = 200
_FETCH = 500
_ENTRIES: LiteralString = f"""
SELECT {ENTRY_COLUMNS} FROM audit.entries e
WHERE %(trail)s::text IS NULL OR e.trail = %(trail)s
ORDER BY e.trail COLLATE "C", e.seq
"""
_PAYLOADS: LiteralString = """
SELECT trail, seq, salt, data FROM audit.payloads
WHERE %(trail)s::text IS NULL OR trail = %(trail)s
ORDER BY trail COLLATE "C", seq
"""


def verify_database(conn: Connection[Any], trust: Trust, *, trail: str | None = None) -> Report:
    """Return the report on the database behind `conn`, or on one trail of it.

    `conn` must be in no transaction; it is used in one REPEATABLE READ, read-only transaction. Raises psycopg.Error
    when the database cannot be read; never raises for what it finds.
    """
    report = Report()
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # The column copies are compared with signed UTC times; a session's zone must not change what is read.
        conn.execute("SET LOCAL TimeZone = 'UTC'")
        if not _check_schema(conn, report):
            return report
        ring = _check_keys(conn, trust, report)
        _say_trust(trust, report)
        if ring is not None:
            _check_trails(conn, trust, ring, trail, report)
            if trail is None:
                _check_strangers(conn, report)
    return report


def checked_trail(conn: Connection[Any], trust: Trust, trail: str) -> list[Checked]:
    """Return all entries of `trail`, each checked with its payload: what a report may be made from.

    `conn` must be in no transaction. Raises NotFoundError when there is no such trail, VerificationError at the first
    entry that does not verify.
    """
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        ring, _ = check_keys_trail(map(entry_of, _fetch(conn, entries_statement(KEYS_TRAIL))), trust)
        entries = [entry_of(row) for row in _fetch(conn, entries_statement(trail))]
    if not entries:
        raise NotFoundError(f"There is no trail {trail!r}.", remedy="A trail's name is LangGraph's thread id.")
    checked: list[Checked] = []
    link = START
    for entry in entries:
        checked.append(check_entry(entry, after=link, origin=trust.origin, ring=ring))
        link = checked[-1].link
    return checked


def _fetch(conn: Connection[Any], statement: Statement) -> list[tuple[Any, ...]]:
    return conn.cursor(row_factory=tuple_row, binary=True).execute(statement.sql, statement.params).fetchall()


def _check_schema(conn: Connection[Any], report: Report) -> bool:
    """Report tables and columns that signed bytes do not account for; False when they cannot even be read."""
    problems = [*run(conn, evidence_problems_steps()), *run(conn, langgraph_problems_steps())]
    for problem in problems:
        report.add(VerificationError(problem.message, check="schema", table=problem.table))
    try:
        run(conn, check_functions_steps())
    except ConfigurationError as error:
        report.add(VerificationError(error.message, check="schema"))
    return not any(problem.fatal for problem in problems)


def _check_keys(conn: Connection[Any], trust: Trust, report: Report) -> dict[bytes, IntroducedKey] | None:
    entries = [entry_of(row) for row in _fetch(conn, entries_statement(KEYS_TRAIL))]
    report.counts.trails += bool(entries)
    report.counts.entries += len(entries)
    report.counts.payloads += sum(entry.data is not None for entry in entries)
    if not trust.entry:
        report.indeterminate = True
        return None
    try:
        ring, _ = check_keys_trail(entries, trust)
    except VerificationError as error:
        report.add(error)
        return None
    return ring


def _say_trust(trust: Trust, report: Report) -> None:
    keys = ", ".join(key.keyid.hex()[:16] for key in trust.entry)
    said = ("checked", f"deployment key {keys} of {trust.origin}") if keys else ("not checked", "no key was given")
    report.trust.append({"what": "entry keys", "status": said[0], "detail": said[1]})
    report.trust.append(
        {
            "what": "log",
            "status": "not checked",
            "detail": "there is no log yet: a tail cut with its rows, or a whole trail removed, is not seen",
        }
    )


def _check_trails(
    conn: Connection[Any], trust: Trust, ring: dict[bytes, IntroducedKey], trail: str | None, report: Report
) -> None:
    batch: list[TrailCheck] = []
    current: TrailCheck | None = None
    for entry in _entries(conn, trail, report):
        if entry.trail == KEYS_TRAIL:
            continue  # checked already, before anything else could be
        if current is None or current.ledger.trail != entry.trail:
            if len(batch) >= _BATCH:
                _check_rows(conn, batch, report)
                batch = []
            current = TrailCheck(entry.trail, origin=trust.origin, ring=ring, report=report)
            batch.append(current)
        current.feed(entry)
    if trail is not None and trail not in (KEYS_TRAIL, SYSTEM_TRAIL) and current is None:
        batch.append(TrailCheck(trail, origin=trust.origin, ring=ring, report=report))
        report.counts.trails -= 1
    _check_rows(conn, batch, report)


def _entries(conn: Connection[Any], trail: str | None, report: Report) -> Iterator[Entry]:
    """Yield entries with their payloads by merging the two tables, so that neither hides rows of the other."""
    payloads = _stream(conn, "payloads", _PAYLOADS, {"trail": trail})
    payload = next(payloads, None)
    for row in _stream(conn, "entries", _ENTRIES, {"trail": trail}):
        place = _place(row)
        while payload is not None and _place(payload) < place:
            report.add(_orphan(payload))
            payload = next(payloads, None)
        if payload is not None and _place(payload) == place:
            yield entry_of((*row, payload[2], payload[3]))
            payload = next(payloads, None)
        else:
            yield entry_of(row)
    while payload is not None:
        report.add(_orphan(payload))
        payload = next(payloads, None)


def _place(row: tuple[Any, ...]) -> tuple[bool, bytes, bool, int]:
    """Return a row's place in the order the database sorts by: bytes, and NULL last."""
    trail, seq = row[:2]
    return trail is None, (trail or "").encode(), seq is None, seq or 0


def _orphan(payload: tuple[Any, ...]) -> VerificationError:
    return VerificationError(
        f"A payload stands at {payload[1]} of trail {payload[0]!r}, where no entry (or no further one) has one.",
        check="payload",
        trail=payload[0],
        seq=payload[1],
        table="payloads",
    )


def _check_rows(conn: Connection[Any], batch: list[TrailCheck], report: Report) -> None:
    """Compare LangGraph's rows of a batch of threads with what their trails bind."""
    by_thread = {check.ledger.trail: check for check in batch}
    rows: dict[str, list[tuple[Table, tuple[Column, ...]]]] = {thread: [] for thread in by_thread}
    for table in TABLES.values():
        sql = rows_statement(table) + " WHERE thread_id = ANY(%(threads)s)"
        for row in _stream(conn, table.name, sql, {"threads": list(by_thread)}):
            report.counts.rows += 1
            rows[row[0]].append((table, row))
    for thread, check in by_thread.items():
        for error in check.ledger.check_all(rows[thread]):
            report.add(error)


def _check_strangers(conn: Connection[Any], report: Report) -> None:
    """Report the rows of threads that have no trail at all."""
    for table in TABLES.values():
        sql = rows_statement(table) + _NO_TRAIL
        for row in _stream(conn, "strangers", sql, {}):
            report.counts.rows += 1
            key: RowKey = table.key_of(row)
            report.add(
                VerificationError(
                    f"Row {named(key)}: its thread has no trail; LangGraph wrote it before Countersign was there, "
                    "somebody wrote it behind the saver's back, or its whole trail was removed."
                    + adoption_remedy(row[0] or ""),
                    check="unbound",
                    trail=row[0],
                    table=table.name,
                )
            )


_NO_TRAIL: LiteralString = """
 t WHERE thread_id = '@keys' OR NOT EXISTS (SELECT FROM audit.entries e WHERE e.trail = t.thread_id COLLATE "C")
"""


def _stream(conn: Connection[Any], name: str, sql: LiteralString, params: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield rows through a server-side cursor: a few hundred in memory, however many there are."""
    with conn.cursor(f"countersign_{name}", row_factory=tuple_row) as cursor:
        cursor.itersize = _FETCH
        cursor.execute(sql, params, binary=True)
        yield from cursor
