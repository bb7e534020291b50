"""The log of a database under verification: its heads, its leaves in order, and what lies outside.

Runs in the verification's snapshot. The leaves are compared with the entries trail by trail (verify_parts.py); here the
tree is rebuilt from them and compared with every head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from .chain import UNKNOWN, Link, check_entry
from .entry import SYSTEM_TRAIL
from .errors import MalformedError, VerificationError
from .kinds import Kind
from .leaves import StoredHead
from .logcheck import KnownHead, LogCheck, Loss, parse_loss
from .memory import Known
from .merkle import CompactRange, Node
from .note import Algorithm, VerifierKey, parse_note
from .read import ENTRY_COLUMNS, entry_of
from .steps import Statement, Steps, run
from .terms import KeyTerms
from .tiles import WIDTH, Tile, hashes_of, tile_of
from .treehead import LogTrust, TreeHead, open_tree_head
from .verify import Report

_FETCH = 2_000
_HEADS: LiteralString = """
SELECT number, tree_size, note FROM audit.heads WHERE tree_size >= %s::bigint OR tree_size IS NULL OR number IS NULL
ORDER BY number, tree_size
"""
_LEAVES: LiteralString = """
SELECT leaf_index, leaf_hash, trail, seq FROM audit.leaves WHERE leaf_index >= %s::bigint OR leaf_index IS NULL
ORDER BY leaf_index, trail COLLATE "C", seq
"""
_RESTORED: LiteralString = f"""
SELECT {ENTRY_COLUMNS}, p.salt, p.data, l.leaf_index
FROM audit.entries e JOIN audit.leaves l ON l.trail = e.trail AND l.seq = e.seq
LEFT JOIN audit.payloads p ON p.trail = e.trail AND p.seq = e.seq
WHERE e.trail = %s AND e.kind = %s AND l.leaf_index >= %s::bigint ORDER BY e.seq
"""
_AMONG: LiteralString = """
SELECT leaf_index, leaf_hash, trail, seq FROM audit.leaves
WHERE leaf_index >= %s::bigint AND leaf_index < %s::bigint ORDER BY leaf_index
"""


@dataclass(frozen=True, slots=True)
class TheLog:
    """The part that is the log itself: held against `heads` from outside, from the tree `start` on.

    Without `start` it is read from its first leaf, and its heads from the first one. `losses` are recorded.
    """

    keys: tuple[VerifierKey, ...]
    terms: KeyTerms
    heads: tuple[KnownHead, ...]
    losses: tuple[Loss, ...]
    start: CompactRange | None = None


def losses_steps(origin: str, terms: KeyTerms, since: int) -> Steps[list[Loss | VerificationError]]:
    """Return the recorded losses from leaf `since` on, and of a record that is wrong why that is so.

    An entry that is damaged records nothing; that it is damaged is found where its trail is checked.
    """
    rows = yield Statement(_RESTORED, (SYSTEM_TRAIL, Kind.LOG_RESTORED.value, since))
    found: list[Loss | VerificationError] = []
    for *columns, leaf_index in rows:
        entry = entry_of(tuple(columns))
        try:
            checked = check_entry(entry, after=Link(entry.seq - 1, UNKNOWN), origin=origin, ring=terms.ring)
        except (VerificationError, TypeError):
            continue
        try:
            found.append(parse_loss(checked, leaf_index))
        except VerificationError as error:
            found.append(error)
    return found


def check_log(conn: Connection[Any], part: TheLog, report: Report) -> None:
    """Rebuild the tree from the stored leaves and add to `report` what was found, and what it came to."""
    begin = part.start.end if part.start else 0
    found = report.found
    heads = _stored_heads(run(conn, _heads_steps(begin)), part, report)
    check = LogCheck(heads, part.heads, part.losses, part.start, whole=report.found == found)
    for leaf_index, leaf_hash, trail, seq in _stream(conn, begin):
        check.feed(leaf_index, leaf_hash, trail, seq)
    report.rebuilt = check.finish()
    report.counts.lost += report.rebuilt.lost
    for error in check.findings:
        report.add(error)


def _heads_steps(begin: int) -> Steps[list[StoredHead]]:
    rows = yield Statement(_HEADS, (begin,))
    return [StoredHead(*row) for row in rows]


def _stored_heads(rows: list[StoredHead], part: TheLog, report: Report) -> list[TreeHead]:
    """Return the heads that the log signed, ascending; what is wrong with the others, or with their order, is told."""
    heads: list[TreeHead] = []
    begin = part.start.end if part.start else 0
    number = rows[0].number - 1 if part.start and rows and rows[0].number else 0
    trust = LogTrust(part.keys)
    for row in rows:
        try:
            head = _opened(row, trust, part.terms)
            if row.number != number + 1:
                raise _wrong(row, f"follows tree head {number}: between them some were taken out or put in")
            if row.tree_size != head.size:
                raise _wrong(row, f"says size {row.tree_size}, and its signed note {head.size}")
            if heads and head.size <= heads[-1].size:
                raise _wrong(row, f"has {head.size} leaves, and the one before it {heads[-1].size}")
            heads.append(head)
        except VerificationError as error:
            report.add(error)
        number = row.number
    if not rows or (heads and heads[0].size > begin):
        sentence = f"The database has no tree head of size {begin}: it was taken out."
        report.add(VerificationError(sentence, check="head", table="heads"))
    return heads


def _opened(row: StoredHead, trust: LogTrust, terms: KeyTerms) -> TreeHead:
    try:
        opened = open_tree_head(parse_note(row.note or b""), trust)
    except (MalformedError, VerificationError) as error:
        raise _wrong(row, f"is not one that this log signed: {error.message.rstrip('.')}") from error
    signers = [signed.key for signed in opened.signatures if signed.key.algorithm == Algorithm.LOG]
    if not any(terms.may_sign_head(key.public, opened.head.size) for key in signers):
        raise _wrong(row, "is signed by a key of the log that @keys had given up before")
    return opened.head


def _wrong(row: StoredHead, sentence: str) -> VerificationError:
    return VerificationError(f"Tree head {row.number} in the database {sentence}.", check="head", table="heads")


def _stream(conn: Connection[Any], begin: int) -> Iterator[tuple[Any, ...]]:
    with conn.cursor("countersign_log", row_factory=tuple_row) as cursor:
        cursor.execute(_LEAVES, (begin,), binary=True)
        while rows := cursor.fetchmany(_FETCH):
            yield from rows


def check_tiles(memory: Known, since: int, report: Report) -> None:
    """Check that every hash tile of the memory, from the one of leaf `since` on, leads to its head.

    That head is held against the database like any other, so tiles that pass are the database's.
    """
    try:
        for index in range(since // WIDTH, -(-memory.head.size // WIDTH)):
            memory.tiles.tile(tile_of(Node(0, index * WIDTH), memory.head.size))
    except VerificationError as error:
        error.table = error.table or "the log's memory"
        report.add(error)


def pinpoint(conn: Connection[Any], memory: Known, report: Report) -> None:
    """Name the first leaf that is not the one which the memory's tree has there, where a head showed that one is."""
    if report.rebuilt is None or report.rebuilt.differs is None:
        return
    begin, end = report.rebuilt.differs
    for index, leaf_hash, trail, seq in run(conn, _among_steps(begin, min(end, memory.head.size))):
        tile = Tile(0, index // WIDTH, min(WIDTH, memory.head.size - index // WIDTH * WIDTH))
        try:
            sealed = hashes_of(tile, memory.tiles.tile(tile))[index % WIDTH]
        except VerificationError:
            return  # told already
        if sealed != leaf_hash:
            sentence = f"Entry {seq} of trail {trail!r} was sealed as another one, as leaf {index}: it was rewritten"
            report.add(
                VerificationError(f"{sentence}.", check="leaf", trail=trail, seq=seq, leaf_index=index, table="leaves")
            )
            return


def _among_steps(begin: int, end: int) -> Steps[list[tuple[Any, ...]]]:
    return (yield Statement(_AMONG, (begin, end)))
