"""What goes into a bundle, read from the database and the log's memory in one snapshot.

Nothing is vouched for here: whoever writes the bundle has it verified from the log's key, as its receiver will. What
is guaranteed is that all of it is of one moment, stands under one signed head that the memory holds, and that a payload
of which an entry says that it was erased is not in it, even if it should still be there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import tuple_row

from .attestations import cosigned_note_steps, last_cosigned_steps, token_steps
from .body import parse_body
from .bundle import Contents, Inclusion, Place
from .canonical import Json, parse
from .entry import KEYS_TRAIL, SYSTEM_TRAIL, Entry
from .erasures import erased_by
from .errors import MalformedError, VerificationError
from .kinds import Kind
from .leaves import StoredHead, last_head_steps, next_head_steps
from .memory import Known, Memory, lost
from .merkle import inclusion_proof
from .note import Note
from .read import ENTRY_COLUMNS
from .standing import KINDS, Relied
from .steps import Statement, Steps, run
from .treehead import LogTrust, TreeHead, open_tree_head
from .verify_parts import prepare

TOKEN = "tree-head.tsr"  # noqa: S105 - of time
_ROWS_AT_ONCE = 20
_KEPT = 4096
_PLACED: LiteralString = f"""
SELECT {ENTRY_COLUMNS}, p.salt, p.data, l.leaf_index
FROM audit.entries e
LEFT JOIN audit.payloads p ON p.trail = e.trail AND p.seq = e.seq
LEFT JOIN audit.leaves l ON l.trail = e.trail AND l.seq = e.seq
WHERE e.trail = %s AND e.seq <= %s
"""
_GOVERNED: LiteralString = """
SELECT e.body FROM audit.entries e
WHERE e.trail = %s AND e.seq <= %s AND (e.seq = 1 OR e.kind LIKE 'case.%%' OR e.kind LIKE 'review.%%') ORDER BY e.seq
"""
_IN_ORDER = " ORDER BY e.seq"
_OF_KINDS = " AND e.kind = ANY(%s) AND l.leaf_index IS NOT NULL"
_OF_THE_LOG = [Kind.LOG_RESTORED, Kind.LOG_HEAD_ADOPTED]
_ALL = 2**63 - 1

Row = tuple[Entry, int | None]
"""An entry, and which leaf it is."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """The tree of the head that is shown, and how inclusion under it is proven."""

    head: TreeHead
    note: Note
    prove: Callable[[int], Inclusion]

    def place(self, row: Row, erased: Mapping[int, int]) -> Place:
        """Return the entry with its proof; without its payload where `erased` has the entry that says so."""
        entry, leaf_index = row
        if leaf_index is None or not 0 <= leaf_index < self.head.size:
            raise VerificationError(
                f"Entry {entry.seq} of trail {entry.trail!r} is no leaf of the tree of size {self.head.size}.",
                check="leaf",
                trail=entry.trail,
                seq=entry.seq,
                table="leaves",
                remedy="Run: countersign verify",
            )
        by = erased.get(entry.seq)
        bare = replace(entry, salt=None, data=None) if by is not None else entry
        return Place(bare, self.prove(leaf_index), by)


class _Streamed:
    """The entries of a trail from 1 to `count`, read anew each time, some 20 with their payloads in memory."""

    def __init__(self, conn: Connection[Any], trail: str, count: int, place: Callable[[Row], Place]) -> None:
        self._conn, self._trail, self._count, self._place = conn, trail, count, place

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Place]:
        with self._conn.cursor("countersign_export", row_factory=tuple_row) as cursor:
            cursor.itersize = _ROWS_AT_ONCE
            cursor.execute(_PLACED + _IN_ORDER, (self._trail, self._count), binary=True)
            for row in cursor:
                yield self._place(_row(row))


@contextmanager
def gathered(
    conn: Connection[Any], memory: Memory, trust: LogTrust, exported: Entry, *, readme: str, created_at: datetime
) -> Iterator[Contents]:
    """Yield the contents of the bundle of a trail that ends with `exported`, which is sealed.

    The head is the newest one that a witness has cosigned, if all that is shown stands under it, else the newest. They
    are read from `conn` while they are written, in a transaction that lasts as long as this context. Raises
    VerificationError where database, log and memory do not fit, and ConfigurationError without a memory.
    """
    with conn.transaction():
        prepare(conn)
        system = run(conn, _system_steps(exported))
        erased = run(conn, _erased_steps(exported, system))
        keys = run(conn, _rows_steps(KEYS_TRAIL, _named_keys(exported)))
        (last,) = run(conn, _rows_steps(exported.trail, exported.seq, exported.seq))
        tree = _tree(conn, memory, trust, [last, *system, *keys])
        token = run(conn, token_steps(tree.head.size))
        own = erased.get(exported.trail, {})
        yield Contents(
            trust.origin,
            exported.trail,
            created_at,
            _Streamed(conn, exported.trail, exported.seq, lambda row: tree.place(row, own)),
            [tree.place(row, {}) for row in keys],
            [tree.place(row, erased.get(SYSTEM_TRAIL, {})) for row in system],
            tree.note,
            readme,
            others={TOKEN: token} if token is not None else {},
        )


def _row(row: tuple[Any, ...]) -> Row:
    return Entry(*row[:-1]), row[-1]


def _rows_steps(trail: str, upto: int, begin: int = 1) -> Steps[list[Row]]:
    rows = yield Statement(_PLACED + " AND e.seq >= %s" + _IN_ORDER, (trail, upto, begin))
    return [_row(row) for row in rows]


def _of_kinds_steps(trail: str, upto: int, kinds: list[Kind]) -> Steps[list[Row]]:
    rows = yield Statement(_PLACED + _OF_KINDS + _IN_ORDER, (trail, upto, list(map(str, kinds))))
    return [_row(row) for row in rows]


def _named_keys(exported: Entry) -> int:
    """Return the `seq` with which `@keys` ended when the export was recorded."""
    keys: Any = parse_body(exported.body).detail["keys"]
    return int(keys["seq"])


def _system_steps(exported: Entry) -> Steps[list[Row]]:
    """Return the sealed entries of `@system` that a reader of this trail needs.

    Those on the log and on payloads erased; of a governed case the policies it names, and all that was said of anybody
    who acted in it: what they could do at the time follows from these.
    """
    relied = yield from _relied_steps(exported)
    rows = yield from _of_kinds_steps(SYSTEM_TRAIL, _ALL, [*_OF_THE_LOG, Kind.PAYLOAD_ERASED, *KINDS])
    return [row for row in rows if _is_needed(row[0], exported.trail, relied)]


def _is_needed(entry: Entry, trail: str, relied: Relied) -> bool:
    if entry.kind in _OF_THE_LOG:
        return True
    if entry.kind == Kind.PAYLOAD_ERASED:
        return _erased(entry)[0] in (trail, SYSTEM_TRAIL)
    with suppress(MalformedError):
        return relied.needs(parse_body(entry.body))
    return False


def _relied_steps(exported: Entry) -> Steps[Relied]:
    relied = Relied()
    for (body,) in (yield Statement(_GOVERNED, (exported.trail, exported.seq))):
        with suppress(MalformedError):
            relied.feed(parse_body(body))
    return relied


def _erased_steps(exported: Entry, system: list[Row]) -> Steps[dict[str, dict[int, int]]]:
    """Return, by trail and `seq`, the `seq` of the first entry that says that this payload was erased."""
    own = yield from _of_kinds_steps(exported.trail, exported.seq, [Kind.PAYLOAD_ERASED])
    found: dict[str, dict[int, int]] = {}
    for entry, _ in [*own, *system]:
        trail, seqs = _erased(entry)
        for seq in seqs:
            found.setdefault(trail, {}).setdefault(seq, entry.seq)
    return found


def _erased(entry: Entry) -> tuple[str, frozenset[int]]:
    """Return of which trail an entry says which payloads were erased; of none, if it does not or cannot be read."""
    with suppress(MalformedError):
        payload: Json = parse(entry.data) if entry.data is not None else None
        return erased_by(parse_body(entry.body), payload) or ("", frozenset())
    return "", frozenset()


def _tree(conn: Connection[Any], memory: Memory, trust: LogTrust, shown: list[Row]) -> _Tree:
    """Return the tree of the head to be shown, having checked that the memory's tree begins with it."""
    # Behind the snapshot: what witnesses have cosigned in there is in the memory by now.
    stored = run(conn, last_head_steps())
    known = memory.open(trust)
    if known is None:
        raise lost(memory.path)
    needed = 1 + max((index for _, index in shown if index is not None), default=0)
    stored = run(conn, next_head_steps(min(stored.tree_size if stored else 0, known.head.size) - 1))
    cosigned = run(conn, last_cosigned_steps())
    if cosigned is not None and needed <= cosigned.tree_size <= known.head.size:
        stored = cosigned
    if stored is None or not needed <= stored.tree_size <= known.head.size:
        raise VerificationError(
            f"No tree head in the database and in {memory.path} covers {needed} leaves.",
            check="head",
            table="heads",
            remedy="Run: countersign seal, then countersign verify",
        )
    return _opened(conn, stored, known, trust)


def _opened(conn: Connection[Any], stored: StoredHead, known: Known, trust: LogTrust) -> _Tree:
    try:
        note = run(conn, cosigned_note_steps(stored))
        head = open_tree_head(note, trust).head
    except MalformedError as error:
        raise VerificationError(
            f"Tree head {stored.number} or a cosignature of it in the database is none: {error.message}",
            check="note",
            table="cosignatures",
            remedy="Find out who wrote to the schema audit.",
        ) from error
    known.check_extends(head)
    read = lru_cache(_KEPT)(known.tiles.read)  # neighbours in the tree share most of their proofs

    @lru_cache(_KEPT)  # each entry is asked for once for each file
    def prove(leaf_index: int) -> Inclusion:
        return Inclusion(leaf_index, tuple(inclusion_proof(read, leaf_index, head.size)))

    return _Tree(head, note, prove)
