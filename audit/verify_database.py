"""Verification of a whole database: streams rows in one snapshot into the pure checks, and trusts none of them.

What is believed comes from the caller (`Trust`); every column beside a body is derived again; LangGraph's tables are
walked against the entries in both directions. Honest work that goes on meanwhile is not seen and raises no alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from psycopg import Connection
from psycopg.rows import tuple_row

from .chain import START, Checked, check_entry, check_keys_trail
from .entry import KEYS_TRAIL
from .errors import ConfigurationError, NotFoundError, VerificationError
from .keys import IntroducedKey, Trust
from .read import entries_statement, entry_of
from .schema import check_functions_steps, evidence_problems_steps, langgraph_problems_steps
from .steps import Statement, run
from .verify import Report
from .verify_parts import Judge, OneTrail, check_part, divide, prepare, strangers
from .verify_workers import check_together


class Progress(Protocol):
    """Who wants to know how far a verification is."""

    def start(self, total: int) -> None:
        """There are `total` entries."""

    def advance(self, count: int) -> None:
        """So many more were checked."""


def verify_database(
    conn: Connection[Any], trust: Trust, *, trail: str | None = None, jobs: int = 1, progress: Progress | None = None
) -> Report:
    """Return the report on the database behind `conn`, or on one trail of it; the same whatever `jobs` is.

    `conn` must be in no transaction; it is used in one REPEATABLE READ, read-only transaction. With more than one job,
    up to `jobs` processes share that transaction's snapshot, each on a connection of its own. Raises psycopg.Error or
    ConfigurationError when the database cannot be read, or a process ends early; never raises for what it finds.
    """
    report = Report()
    with conn.transaction():
        prepare(conn)
        if not _check_schema(conn, report):
            return report
        ring = _check_keys(conn, trust, report)
        _say_trust(trust, report)
        if ring is not None:
            _check_parts(conn, Judge(trust.origin, ring), trail, jobs, report, progress)
    return report


def _check_parts(
    conn: Connection[Any], judge: Judge, trail: str | None, jobs: int, report: Report, progress: Progress | None
) -> None:
    advance: Callable[[int], None] = progress.advance if progress else lambda _: None
    if trail is not None:
        check_part(conn, OneTrail(trail), judge, report, advance)
        return
    parts, total = divide(conn)
    workers = min(jobs, len(parts) - 1)
    parts += strangers()
    if progress:
        progress.start(total)
    if workers > 1:
        check_together(conn, parts, judge, workers, report, advance)
    else:
        for part in parts:
            check_part(conn, part, judge, report, advance)


def checked_trail(conn: Connection[Any], trust: Trust, trail: str) -> list[Checked]:
    """Return all entries of `trail`, each checked with its payload: what a report may be made from.

    `conn` must be in no transaction. Raises NotFoundError when there is no such trail, VerificationError at the first
    entry that does not verify.
    """
    with conn.transaction():
        prepare(conn)
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
            "detail": "the log is not read yet: a tail cut with its rows, or a whole trail removed, is not seen",
        }
    )
