"""Verification of a whole database: streams rows in one snapshot into the pure checks, and trusts none of them.

What is believed comes from the caller (`Trust`); every column beside a body is derived again; LangGraph's tables are
walked against the entries in both directions. Honest work that goes on meanwhile is not seen and raises no alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString, Protocol

from psycopg import Connection
from psycopg.rows import tuple_row

from .authority import say_authority
from .chain import START, UNKNOWN, Checked, Link, check_entry, check_keys_trail, no_keys
from .entry import KEYS_TRAIL, SYSTEM_TRAIL
from .errors import ConfigurationError, NotFoundError, VerificationError
from .keys import Trust
from .kinds import Kind
from .logcheck import KnownHead, Loss
from .merkle import CompactRange
from .outside import Outside, log_trust
from .read import ENTRY_COLUMNS, entries_statement, entry_of
from .schema import check_functions_steps, evidence_problems_steps, langgraph_problems_steps
from .standing import KINDS, Directory
from .steps import Statement, run
from .terms import KeyTerms
from .trail_leaves import LeafRow, TrailLeaves
from .treehead import TreeHead
from .verify import Report
from .verify_log import TheLog, check_tiles, losses_steps, pinpoint
from .verify_parts import Judge, OneTrail, Part, check_part, divide, prepare, some_trails, strangers
from .verify_views import States
from .verify_workers import check_together
from .vouching import cover_revoked, say_log

_KEYS: LiteralString = f"""
SELECT {ENTRY_COLUMNS}, p.salt, p.data, l.leaf_index, l.leaf_hash, l.trail IS NOT NULL
FROM audit.entries e LEFT JOIN audit.payloads p ON p.trail = e.trail AND p.seq = e.seq
LEFT JOIN audit.leaves l ON l.trail = e.trail AND l.seq = e.seq
WHERE e.trail = %s ORDER BY e.seq
"""
_SYSTEM: LiteralString = f"""
SELECT {ENTRY_COLUMNS}, p.salt, p.data, l.leaf_index
FROM audit.entries e LEFT JOIN audit.payloads p ON p.trail = e.trail AND p.seq = e.seq
LEFT JOIN audit.leaves l ON l.trail = e.trail AND l.seq = e.seq
WHERE e.trail = %s AND e.kind = ANY(%s) ORDER BY e.seq
"""
_LAST = "SELECT coalesce(max(leaf_index), -1) FROM audit.leaves"


class Progress(Protocol):
    """Who wants to know how far a verification is."""

    def start(self, total: int) -> None:
        """There are `total` entries."""

    def advance(self, count: int) -> None:
        """So many more were checked."""


def verify_database(
    conn: Connection[Any],
    trust: Trust,
    *,
    outside: Outside | None = None,
    since: TreeHead | None = None,
    trail: str | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
    states: States | None = None,
) -> Report:
    """Return the report on the database behind `conn`, or on one trail of it; the same whatever `jobs` is.

    It is held against what is known `outside`, which was read before: without any head from there the verdict is at
    best indeterminate, since nothing shows that the database is not an older one, or cut. With `since`, a head that was
    verified before, only what is new is read: the log behind it, and whole the trails that went on; those who want to
    know whether anything older was changed verify without it.

    With `states` what signers were shown is held against the state of their cases.

    `conn` must be in no transaction; it is used in one REPEATABLE READ, read-only transaction. With more than one job,
    up to `jobs` processes share that transaction's snapshot, each on a connection of its own. Raises psycopg.Error or
    ConfigurationError when the database cannot be read, or a process ends early; never raises for what it finds.
    """
    report, outside = Report(), outside or Outside(log_trust(trust))
    with conn.transaction():
        prepare(conn)
        if not _check_schema(conn, report):
            return report
        terms = _check_keys(conn, trust, report)
        _say_trust(trust, report)
        if terms is not None:
            cover_revoked(conn, outside, terms)
            log = _the_log(conn, terms, outside, since, report)
            start = log.start if log else None
            judge = Judge(trust.origin, terms, _directory(conn, trust, terms, report), states)
            _check_parts(conn, judge, log, trail, jobs, report, progress)
            say_authority(report)
            if outside.memory is not None:
                check_tiles(outside.memory, start.end if start else 0, report)
                pinpoint(conn, outside.memory, report)
            say_log(conn, outside, start.end if start else None, report, whole=trail is None)
            if trail is not None:
                detail = (
                    f"of the entries only those of {trail!r} and @keys were read, and of the rows those of this thread"
                )
                report.say("other trails", "not checked", detail)
    return report


def _directory(conn: Connection[Any], trust: Trust, terms: KeyTerms, report: Report) -> Directory:
    """Return who could do what under which policies, from the entries of `@system`.

    What does not verify is left out here, and told when that trail is checked; what breaks a rule is told.
    """
    directory = Directory()
    with conn.cursor("countersign_system", row_factory=tuple_row) as cursor:
        kinds = list(map(str, (*KINDS, Kind.LOG_RESTORED)))
        for *columns, leaf in cursor.execute(_SYSTEM, (SYSTEM_TRAIL, kinds), binary=True):
            entry = entry_of(tuple(columns))
            try:
                link = Link((entry.seq or 1) - 1, UNKNOWN)
                checked = check_entry(entry, after=link, origin=trust.origin, ring=terms.ring)
            except VerificationError:
                continue
            for error in directory.feed(checked, leaf):
                report.add(error)
    return directory


def _the_log(
    conn: Connection[Any], terms: KeyTerms, outside: Outside, since: TreeHead | None, report: Report
) -> TheLog | None:
    if outside.log is None:
        return None
    for error in outside.wrong:
        report.add(error)
    heads = [KnownHead(given.head, given.name) for given in outside.heads]
    if outside.memory is not None:
        heads.append(KnownHead(outside.memory.head, "the log's memory"))
    losses = list[Loss]()
    for found in run(conn, losses_steps(outside.log.origin, terms, since.size if since else 0)):
        if isinstance(found, VerificationError):
            report.add(found)
        else:
            losses.append(found)
    start = None
    if since is not None:
        heads.append(KnownHead(since, "what --since names"))
        # A head of leaves that were lost since is none of the database's: what follows the one before is new then.
        start = _start(outside, since, min([since.size, *(loss.begin for loss in losses)]), report)
    for head, source in heads:
        if start is not None and (wrong := outside.contradiction(head, start.end, source)) is not None:
            report.add(wrong)
    return TheLog(outside.log.logs, terms, tuple(heads), tuple(losses), start)


def _start(outside: Outside, since: TreeHead, size: int, report: Report) -> CompactRange | None:
    """Return the tree of `size` leaves with which that of the head `since` begins, from the memory's tiles.

    None where these do not lead to that head.
    """
    memory = outside.memory
    if memory is not None and memory.head.size >= since.size:
        try:
            if memory.range_of(since.size).root_hash == since.root:
                return memory.range_of(size)
        except VerificationError as error:
            report.add(error)
    return None


def _check_parts(
    conn: Connection[Any],
    judge: Judge,
    log: TheLog | None,
    trail: str | None,
    jobs: int,
    report: Report,
    progress: Progress | None,
) -> None:
    advance: Callable[[int], None] = progress.advance if progress else lambda _: None
    trails: list[Part]
    if trail is not None:
        trails, total = [OneTrail(trail)], 0
    elif log is not None and log.start is not None:
        trails, total = some_trails(conn, log.start.end)
    else:
        trails, total = divide(conn)
    workers = min(jobs, len(trails) - 1)
    # The log first: it is the longest part that cannot be divided.
    parts: list[Part] = [*([] if log is None else [log]), *trails]
    if trail is None and (log is None or log.start is None):
        parts += strangers()
    if progress and total:
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


def _check_keys(conn: Connection[Any], trust: Trust, report: Report) -> KeyTerms | None:
    """Return the keys with their terms, having read `@keys`. An entry of it without a leaf counts as the next one."""
    rows = _fetch(conn, Statement(_KEYS, (KEYS_TRAIL,)))
    report.counts.trails += bool(rows)
    report.counts.entries += len(rows)
    if not trust.entry:
        report.indeterminate = True
        return None
    ((last,),) = _fetch(conn, Statement(_LAST))
    size = last + 1
    terms = KeyTerms(trust.origin, trust.entry)
    leaves = TrailLeaves(None, report)
    try:
        for *columns, index, leaf_hash, is_sealed in rows:
            entry = entry_of(tuple(columns))
            report.counts.payloads += entry.data is not None
            leaf = LeafRow(index, leaf_hash) if is_sealed else None
            size += leaf is None
            checked = terms.feed(entry, size - 1 if index is None else index)
            leaves.feed(entry, checked, leaf)
        if not rows:
            raise no_keys()
    except VerificationError as error:
        report.add(error)
        return None
    return terms


def _say_trust(trust: Trust, report: Report) -> None:
    keys = ", ".join(key.keyid.hex()[:16] for key in trust.entry)
    said = ("checked", f"deployment key {keys} of {trust.origin}") if keys else ("not checked", "no key was given")
    report.say("entry keys", *said)
