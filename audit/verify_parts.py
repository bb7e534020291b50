"""A verification in parts: ranges of trails that are checked apart from each other, by any process.

Ranges are cut between names in the order of bytes: whatever the trails are called, each belongs to exactly one.
In memory at a time are a few hundred rows, one large value, and the bindings of some trails. The bindings of one trail,
some 220 bytes for each row of its thread, are the part that grows with what is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from .authority import Authority
from .entry import KEYS_TRAIL, SYSTEM_TRAIL, Entry
from .errors import VerificationError
from .ledger import RowsCheck, adoption_remedy
from .read import ENTRY_COLUMNS, LARGE, PLACE, entry_of, light_rows_statement, rows_statement
from .rows import TABLES, Column, Table, named
from .standing import Directory
from .terms import KeyTerms
from .trail_leaves import LeafRow, TrailLeaves, without_entry
from .verify import Report, TrailCheck
from .verify_log import TheLog, check_log
from .verify_views import States, check_views

PART = 2_000
"""Entries in a part: about a second's work. A trail is never divided."""
_BATCH_TRAILS = 500
_BATCH_ROWS = 5_000
_FETCH = 200
_STEP = 500

Progress = Callable[[int], None]
"""Told how many more entries were checked."""


@dataclass(frozen=True, slots=True)
class Judge:
    """What entries are judged by: the log they have to be of, the keys of `@keys` with their terms, and from `@system`
    who could do what under which policies.
    """

    origin: str
    terms: KeyTerms
    directory: Directory
    states: States | None = None
    """Reads what signers were shown; None: that is not looked at."""


@dataclass(frozen=True, slots=True)
class Trails:
    """The part of all trails from `low` on and before `high`; both None: the rows that have no trail's name at all."""

    low: str | None
    high: str | None

    def where(self) -> LiteralString:
        """Return the condition of rows in it."""
        if self.low is None:
            return "trail IS NULL"
        return _FROM_LOW if self.high is None else _FROM_LOW + _BEFORE_HIGH


@dataclass(frozen=True, slots=True)
class OneTrail:
    """The part that is one trail, whose rows are looked at even if it has no entry."""

    trail: str

    def where(self) -> LiteralString:
        """Return the condition of rows in it."""
        return 'trail COLLATE "C" = %(trail)s'


@dataclass(frozen=True, slots=True)
class SomeTrails:
    """The part that is these trails."""

    trails: list[str]

    def where(self) -> LiteralString:
        """Return the condition of rows in it."""
        return "trail = ANY(%(trails)s::text[])"


@dataclass(frozen=True, slots=True)
class Strangers:
    """The part that is the rows of one of LangGraph's tables whose threads have no trail."""

    table: str


Part = Trails | OneTrail | SomeTrails | Strangers | TheLog
# "C" compares bytes. A column that somebody gave another collation is still cut in the same order here.
_FROM_LOW: LiteralString = 'trail COLLATE "C" >= %(low)s'
_BEFORE_HIGH: LiteralString = ' AND trail COLLATE "C" < %(high)s'
_SIZES: LiteralString = """
SELECT trail, count(*) FROM (SELECT trail COLLATE "C" AS trail FROM audit.entries WHERE trail IS NOT NULL) e
GROUP BY trail ORDER BY trail
"""
_WENT_ON: LiteralString = """
SELECT t.trail, (SELECT count(*) FROM audit.entries e WHERE e.trail = t.trail) FROM (
    SELECT trail FROM audit.leaves WHERE leaf_index >= %(since)s
    UNION SELECT e.trail FROM audit.entries e
    WHERE NOT EXISTS (SELECT FROM audit.leaves l WHERE l.trail = e.trail AND l.seq = e.seq)
) t WHERE t.trail IS NOT NULL ORDER BY t.trail
"""
_ENTRIES: LiteralString = f"SELECT {ENTRY_COLUMNS} FROM audit.entries e"
_PAYLOADS: LiteralString = f"""
SELECT trail, seq, salt, CASE WHEN octet_length(data) <= {LARGE} THEN data END,
    CASE WHEN octet_length(data) > {LARGE} THEN {PLACE} END
FROM audit.payloads
"""
_LEAVES: LiteralString = "SELECT trail, seq, leaf_index, leaf_hash FROM audit.leaves"
# The place in the table last: rows that stand twice come in one order, however the parts are cut.
_IN_ORDER: LiteralString = ' ORDER BY trail COLLATE "C", seq, ctid'
_AT: LiteralString = " WHERE tableoid = %s::oid AND ctid = %s::tid"
_OF_THREADS: LiteralString = " WHERE thread_id = ANY(%(threads)s::text[])"
# One condition, so that the server can join: @keys is no trail that a thread could have.
_NO_TRAIL: LiteralString = """
 t WHERE NOT EXISTS (
    SELECT FROM audit.entries e WHERE e.trail = t.thread_id COLLATE "C" AND e.trail COLLATE "C" <> '@keys')
"""


def prepare(conn: Connection[Any]) -> None:
    """Make the transaction that has just begun read-only, and what it reads independent of the session's settings."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    # The column copies are compared with signed UTC times; a session's zone must not change what is read.
    conn.execute("SET LOCAL TimeZone = 'UTC'")
    # A scan that begins where another one is would let rows that stand twice come in another order.
    conn.execute("SET LOCAL synchronize_seqscans = off")


def divide(conn: Connection[Any]) -> tuple[list[Part], int]:
    """Return the parts that all trails make up, the largest first, and the number of entries.

    The parts cover every name there could be, not only those that this statement saw.
    """
    sizes: list[tuple[int, str]] = []
    low, size, total = "", 0, 0
    with conn.cursor("countersign_sizes", row_factory=tuple_row) as cursor:
        cursor.itersize = 10 * _FETCH
        for trail, count in cursor.execute(_SIZES, binary=True):
            if size and size + count > PART:
                sizes.append((size, low))
                low, size = trail, 0
            size += count
            total += count
    sizes.append((size, low))
    highs: list[str | None] = [low for _, low in sizes[1:]]
    cut = sorted(zip(sizes, [*highs, None], strict=True), key=lambda part: -part[0][0])
    return [*(Trails(low, high) for (_, low), high in cut), Trails(None, None)], total


def strangers() -> list[Part]:
    """Return the parts that the rows without a trail make up."""
    return [Strangers(table) for table in TABLES]


def some_trails(conn: Connection[Any], since: int) -> tuple[list[Part], int]:
    """Return the parts of the trails that went on from leaf `since` on, or wait for their leaf; and their entries."""
    # It reads the keys of all entries and leaves: with a million of each, half as long where they fit into memory.
    conn.execute("SET LOCAL work_mem = '128MB'")
    sizes = conn.cursor(row_factory=tuple_row).execute(_WENT_ON, {"since": since}).fetchall()
    parts: list[Part] = []
    names: list[str] = []
    size = 0
    for trail, count in sizes:
        names.append(trail)
        size += count
        if size >= PART:
            parts.append(SomeTrails(names))
            names, size = [], 0
    return [*parts, SomeTrails(names)], sum(count for _, count in sizes)


def check_part(conn: Connection[Any], part: Part, judge: Judge, report: Report, progress: Progress) -> None:
    """Check everything in `part` and add to `report` what was found and counted.

    `conn` is in a transaction that `prepare` began. Raises psycopg.Error when the database cannot be read; never raises
    for what it finds.
    """
    if isinstance(part, Strangers):
        _check_strangers(conn, TABLES[part.table], report)
    elif isinstance(part, TheLog):
        check_log(conn, part, report)
    else:
        _check_trails(conn, part, judge, report, progress)


def _check_trails(
    conn: Connection[Any], part: Trails | OneTrail | SomeTrails, judge: Judge, report: Report, progress: Progress
) -> None:
    batch: list[tuple[TrailCheck, Authority]] = []
    current: TrailCheck | None = None
    leaves = TrailLeaves(judge.terms, report)
    authority = Authority(judge.origin, KEYS_TRAIL, judge.directory, report)
    rows = 0
    for entry, leaf in _told(_entries(conn, part, report), progress):
        if entry.trail == KEYS_TRAIL:
            continue  # checked already, before anything else could be
        if current is None or current.ledger.trail != entry.trail:
            rows += current.ledger.size if current else 0
            if rows >= _BATCH_ROWS or len(batch) >= _BATCH_TRAILS:
                _check_batch(conn, batch, judge, report)
                batch, rows = [], 0
            current = TrailCheck(entry.trail, origin=judge.origin, ring=judge.terms.ring, report=report)
            leaves = TrailLeaves(judge.terms, report)
            authority = Authority(judge.origin, entry.trail, judge.directory, report)
            batch.append((current, authority))
        checked = current.feed(entry)
        leaves.feed(entry, checked, leaf)
        authority.feed(checked, leaf.leaf_index if leaf is not None else None)
    if isinstance(part, OneTrail) and part.trail not in (KEYS_TRAIL, SYSTEM_TRAIL) and current is None:
        batch.append((TrailCheck(part.trail, origin=judge.origin, ring=judge.terms.ring, report=report), authority))
        report.counts.trails -= 1
    _check_batch(conn, batch, judge, report)


def _check_batch(
    conn: Connection[Any], batch: list[tuple[TrailCheck, Authority]], judge: Judge, report: Report
) -> None:
    for check, authority in batch:
        if judge.states is not None and authority.views is not None:
            check_views(conn, judge.states, check.ledger, authority.views, report)
    _check_rows(conn, [check for check, _ in batch], report)


def _told(entries: Iterator[_Sealed], progress: Progress) -> Iterator[_Sealed]:
    count = 0
    for entry in entries:
        yield entry
        count += 1
        if count == _STEP:
            progress(count)
            count = 0
    progress(count)


_Sealed = tuple[Entry, LeafRow | None]


def _entries(conn: Connection[Any], part: Trails | OneTrail | SomeTrails, report: Report) -> Iterator[_Sealed]:
    """Yield entries with their payloads and leaves by merging three tables, so that none hides rows of another."""
    params = {name: getattr(part, name) for name in part.__slots__}
    where = " WHERE " + part.where() + _IN_ORDER
    payloads = _Beside(_stream(conn, "payloads", _PAYLOADS + where, params), report, _orphan)
    leaves = _Beside(_stream(conn, "leaves", _LEAVES + where, params), report, _leaf_alone)
    for row in _stream(conn, "entries", _ENTRIES + where, params):
        payload, leaf = payloads.at(row), leaves.at(row)
        entry = entry_of(row) if payload is None else entry_of((*row, payload[2], _data(conn, payload)))
        yield entry, LeafRow(*leaf[2:]) if leaf else None
    payloads.finish()
    leaves.finish()


class _Beside:
    """The rows of a table that belong to entries, taken along with these in their order."""

    def __init__(
        self, rows: Iterator[tuple[Any, ...]], report: Report, alone: Callable[[tuple[Any, ...]], VerificationError]
    ) -> None:
        self._rows = rows
        self._next = next(rows, None)
        self._report = report
        self._alone = alone

    def at(self, entry: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Return the row of this entry. Those before it, and further ones of an entry that has one, are of none."""
        place = entry[:2]
        while self._next is not None and self._next[:2] != place and _order(self._next) < _order(entry):
            self._tell()
        if self._next is None or self._next[:2] != place:
            return None
        found, self._next = self._next, next(self._rows, None)
        return found

    def finish(self) -> None:
        """Report the rows behind the last entry."""
        while self._next is not None:
            self._tell()

    def _tell(self) -> None:
        if self._next is not None:
            self._report.add(self._alone(self._next))
            self._next = next(self._rows, None)


def _order(row: tuple[Any, ...]) -> tuple[bool, bytes, bool, int]:
    """Return a row's place in the order the database sorts by: bytes, and NULL last."""
    trail, seq = row[:2]
    return trail is None, (trail or "").encode(), seq is None, seq or 0


def _data(conn: Connection[Any], payload: tuple[Any, ...]) -> bytes | None:
    """Return a payload's data, fetched by itself where it is large: two hundred of those at a time are too many."""
    data, place = payload[3:5]
    if place is not None:
        (data,) = _one(conn, "SELECT data FROM audit.payloads" + _AT, place)
    return data  # type: ignore[no-any-return]


def _leaf_alone(row: tuple[Any, ...]) -> VerificationError:
    return without_entry(row[0], row[1], LeafRow(*row[2:]))


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
    checks = {check.ledger.trail: RowsCheck(check.ledger) for check in batch}
    for table in TABLES.values():
        for row in _rows(conn, table, {"threads": list(checks)}):
            check = checks.get(str(row[0]))
            if check is None:
                continue  # equal in the table's own collation only: its thread is another one
            report.counts.rows += 1
            if (error := check.feed(table, row)) is not None:
                report.add(error)
    for check in checks.values():
        for error in check.finish():
            report.add(error)


def _rows(conn: Connection[Any], table: Table, params: dict[str, Any]) -> Iterator[tuple[Column, ...]]:
    """Yield the rows of threads, large ones fetched by themselves."""
    for place, *row in _stream(conn, table.name, light_rows_statement(table) + _OF_THREADS, params):
        if place is None:
            yield tuple(row)
        else:
            yield _one(conn, rows_statement(table) + _AT, place)


def _check_strangers(conn: Connection[Any], table: Table, report: Report) -> None:
    """Report the rows of threads that have no trail at all."""
    for _, *row in _stream(conn, "strangers", light_rows_statement(table) + _NO_TRAIL, {}):
        report.counts.rows += 1
        report.add(
            VerificationError(
                f"Row {named(table.key_of(row))}: its thread has no trail; LangGraph wrote it before Countersign "
                "was there, somebody wrote it behind the saver's back, or its whole trail was removed."
                + adoption_remedy(row[0] or ""),
                check="unbound",
                trail=row[0],
                table=table.name,
            )
        )


def _one(conn: Connection[Any], sql: LiteralString, place: list[str]) -> tuple[Any, ...]:
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        (row,) = cursor.execute(sql, place).fetchall()
    return row


def _stream(conn: Connection[Any], name: str, sql: LiteralString, params: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield rows through a server-side cursor: a few hundred in memory, however many there are."""
    with conn.cursor(f"countersign_{name}", row_factory=tuple_row) as cursor:
        cursor.execute(sql, params, binary=True)
        while rows := cursor.fetchmany(_FETCH):
            yield from rows
