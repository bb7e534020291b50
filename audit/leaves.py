"""The statements of sealing: what is yet to be sealed, which entry is which leaf, and the signed heads.

Whoever adds leaves or heads holds the sealer's lock (`lock_steps`) until the transaction ends; nobody else writes to
the two tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, NamedTuple

from .chain import START, Link
from .errors import AppendError, VerificationError
from .steps import Statement, Steps

_SEAL_LOCK = 0x636F756E7365616C  # "counseal": any constant, the same in every process of this database

# A commit that a crash of the server could take back must not be followed by a head in the memory: whoever turned
# synchronous_commit off for speed does not have it here.
_BEGIN = """
SELECT current_setting('transaction_isolation'),
    CASE WHEN current_setting('synchronous_commit') IN ('off', 'local')
        THEN set_config('synchronous_commit', 'on', true) END
"""
_LOCK = "SELECT pg_advisory_xact_lock(%s)"
_LAST_HEAD = "SELECT number, tree_size, note FROM audit.heads ORDER BY number DESC LIMIT 1"
_LAST_LEAF = "SELECT leaf_index FROM audit.leaves ORDER BY leaf_index DESC LIMIT 1"
_NEXT_HEAD = "SELECT number, tree_size, note FROM audit.heads WHERE tree_size > %s::bigint ORDER BY tree_size LIMIT 1"
_BEYOND = "SELECT EXISTS (SELECT FROM audit.heads WHERE number > %s::bigint)"
_ADD_HEAD = "INSERT INTO audit.heads (number, tree_size, note) VALUES (%s, %s, %s) RETURNING number, tree_size, note"
_WAITING: LiteralString = "SELECT EXISTS (SELECT FROM countersign.unsealed WHERE trail <> ALL(%s::text[]))"
# In the order of their locks: who rests on a standing comes before who ends it (0005_order.py).
_UNSEALED: LiteralString = """
SELECT ctid::text, trail, seq FROM countersign.unsealed WHERE trail <> ALL(%s::text[]) ORDER BY number LIMIT %s
"""
_TAKE_OUT = "DELETE FROM countersign.unsealed WHERE ctid = ANY(%s::text::tid[])"
_ENDS = """
SELECT t.trail, l.seq, l.leaf_hash FROM unnest(%b::text[]) AS t (trail)
CROSS JOIN LATERAL (
    SELECT l.seq, l.leaf_hash FROM audit.leaves l WHERE l.trail = t.trail COLLATE "C" ORDER BY l.seq DESC LIMIT 1
) l
"""
# One statement, so one snapshot: where an entry is seen, so is the one of @keys that introduced its key.
_NEW = """
SELECT e.trail, e.seq, e.body FROM unnest(%b::text[], %b::bigint[], %b::bigint[]) WITH ORDINALITY
    AS t (trail, behind, upto, place)
JOIN audit.entries e ON e.trail = t.trail COLLATE "C" AND e.seq > t.behind AND e.seq <= t.upto
ORDER BY t.place, e.seq
"""
_ADD_LEAVES = """
INSERT INTO audit.leaves (trail, seq, leaf_index, leaf_hash)
SELECT r.trail, r.seq + n, r.leaf_index + n,
    substring(%b::bytea FROM (r.leaf_index + n - %s::bigint)::integer * 32 + 1 FOR 32)
FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[]) AS r (trail, seq, leaf_index, length),
    generate_series(0, r.length - 1) AS n
RETURNING trail, seq, leaf_index, leaf_hash
"""
_LEAF_INDEX = "SELECT leaf_index FROM audit.leaves WHERE trail = %s AND seq = %s::bigint"
_BODIES = """
SELECT l.leaf_index, e.body, l.leaf_hash FROM audit.leaves l
JOIN audit.entries e ON e.trail = l.trail AND e.seq = l.seq
WHERE l.leaf_index >= %s::bigint AND l.leaf_index < %s::bigint ORDER BY l.leaf_index
"""
_BODIES_AT = """
SELECT e.trail, e.seq, e.body FROM unnest(%b::text[], %b::bigint[]) AS t (trail, seq)
JOIN audit.entries e ON e.trail = t.trail COLLATE "C" AND e.seq = t.seq
"""
# Reads the two primary keys from end to end. Of what was struck from the list the clock is all that tells an order.
_SWEEP = """
INSERT INTO countersign.unsealed (trail, seq)
SELECT e.trail, e.seq FROM audit.entries e
WHERE NOT EXISTS (SELECT FROM audit.leaves l WHERE l.trail = e.trail AND l.seq = e.seq)
AND NOT EXISTS (SELECT FROM countersign.unsealed u WHERE u.trail = e.trail AND u.seq = e.seq)
ORDER BY e.occurred_at, e.trail, e.seq
"""


class StoredHead(NamedTuple):
    """A signed head as the database holds it: the note is the truth, the rest is beside it."""

    number: int
    tree_size: int
    note: bytes


class Unsealed(NamedTuple):
    """That an entry was committed and nobody has sealed it yet; `place` is where this is written down."""

    place: str
    trail: str
    seq: int


class NewEntry(NamedTuple):
    """An entry that may become a leaf."""

    trail: str
    seq: int
    body: bytes


class NewLeaf(NamedTuple):
    """An entry and the leaf that it becomes."""

    trail: str
    seq: int
    leaf_index: int
    leaf_hash: bytes


def lock_steps() -> Steps[None]:
    """Take the sealer's lock until the transaction ends, and see to it that its commit is durable.

    Raises AppendError under any isolation but READ COMMITTED: with an older snapshot the head that the sealer before
    committed would not be seen.
    """
    rows = yield Statement(_BEGIN)
    if rows[0][0] != "read committed":
        raise AppendError(f"Nothing can be sealed under isolation {rows[0][0]!r}.", remedy="Use READ COMMITTED.")
    yield Statement(_LOCK, (_SEAL_LOCK,))


def last_head_steps() -> Steps[StoredHead | None]:
    """Return the last head that is stored, having checked that the leaves end where its row says that it ends.

    Raises VerificationError (`check` is "leaf") where they do not: somebody else wrote to the tables.
    """
    rows = yield Statement(_LAST_HEAD)
    head = StoredHead(*rows[0]) if rows else None
    rows = yield Statement(_LAST_LEAF)
    leaves, size = (rows[0][0] + 1 if rows else 0), (head.tree_size if head else 0)
    if leaves != size:
        raise VerificationError(
            f"The last tree head in the database has {size} leaves, but the table of leaves ends at {leaves}: somebody "
            "removed or added rows.",
            check="leaf",
            table="leaves",
            remedy="Find out who wrote to the schema audit; a backup from before, brought up to date, can be sealed.",
        )
    return head


def next_head_steps(size: int) -> Steps[StoredHead | None]:
    """Return the first stored head whose tree has more than `size` leaves, if there is one."""
    rows = yield Statement(_NEXT_HEAD, (size,))
    return StoredHead(*rows[0]) if rows else None


def has_head_beyond_steps(number: int) -> Steps[bool]:
    """Tell whether more than so many heads are stored."""
    rows = yield Statement(_BEYOND, (number,))
    return bool(rows[0][0])


def add_head_steps(head: StoredHead) -> Steps[None]:
    """Insert a head."""
    rows = yield Statement(_ADD_HEAD, head)
    _check_same([head], rows)


def waiting_steps(without: Sequence[str]) -> Steps[bool]:
    """Tell whether there is anything to seal, apart from the trails `without`."""
    rows = yield Statement(_WAITING, (list(without),))
    return bool(rows[0][0])


def unsealed_steps(limit: int, without: Sequence[str]) -> Steps[list[Unsealed]]:
    """Return up to `limit` entries to be sealed, none of the trails `without`, in the order of their writing."""
    rows = yield Statement(_UNSEALED, (list(without), limit))
    return [Unsealed(*row) for row in rows]


def take_out_steps(done: Sequence[Unsealed]) -> Steps[None]:
    """Strike from the list what is sealed now, or was before."""
    if done:
        # An array as text: to dump two thousand texts one by one takes longer than all the rest of this.
        places = '","'.join(item.place for item in done)
        yield Statement(_TAKE_OUT, (f'{{"{places}"}}',))


def sweep_steps() -> Steps[None]:
    """Put on the list every entry that is no leaf and not on it: nothing depends on the list having been kept."""
    yield Statement(_SWEEP)


def sealed_ends_steps(trails: Sequence[str]) -> Steps[dict[str, Link]]:
    """Return where each of `trails` ends in the log."""
    rows = yield Statement(_ENDS, (list(trails),))
    return dict.fromkeys(trails, START) | {trail: Link(seq, leaf_hash) for trail, seq, leaf_hash in rows}


def new_entries_steps(ends: Mapping[str, Link], upto: Mapping[str, int]) -> Steps[list[NewEntry]]:
    """Return the entries behind `ends`, up to the seq given, trail after trail in the order of `upto`."""
    behind = [ends[trail].seq for trail in upto]
    rows = yield Statement(_NEW, (list(upto), behind, list(upto.values())))
    return [NewEntry(*row) for row in rows]


def add_leaves_steps(leaves: Sequence[NewLeaf]) -> Steps[None]:
    """Insert leaves, which follow one another and are one at least."""
    # Sent as runs of entries of one trail, and all hashes as one value: a list of values is dumped one by one.
    runs: list[list[Any]] = []
    for leaf in leaves:
        if runs and runs[-1][0] == leaf.trail and runs[-1][1] + runs[-1][3] == leaf.seq:
            runs[-1][3] += 1
        else:
            runs.append([leaf.trail, leaf.seq, leaf.leaf_index, 1])
    hashes = b"".join([leaf.leaf_hash for leaf in leaves])
    columns = map(list, zip(*runs, strict=True))
    rows = yield Statement(_ADD_LEAVES, (hashes, leaves[0].leaf_index, *columns))
    _check_same(leaves, rows)


def leaf_index_steps(trail: str, seq: int) -> Steps[int | None]:
    """Return which leaf an entry is, going by the table; None where it is none yet."""
    rows = yield Statement(_LEAF_INDEX, (trail, seq))
    return int(rows[0][0]) if rows else None


def bodies_steps(begin: int, end: int) -> Steps[list[tuple[int, bytes, bytes]]]:
    """Return leaf_index, body and leaf_hash of the leaves [begin, end), in order, as far as their entries are there."""
    return (yield Statement(_BODIES, (begin, end)))


def bodies_at_steps(places: Sequence[tuple[str, int]]) -> Steps[dict[tuple[str, int], bytes]]:
    """Return the bodies of the entries at these places, trail and seq, as far as they are there."""
    rows = yield Statement(_BODIES_AT, [list(column) for column in zip(*places, strict=True)])
    return {(trail, seq): body for trail, seq, body in rows}


def _check_same(sent: Sequence[tuple[object, ...]], rows: Sequence[tuple[object, ...]]) -> None:
    if len(sent) != len(rows) or set(sent) != set(rows):
        raise AppendError(
            "The tables of the log hold something else than was sent: a trigger or rule changes rows on their way in.",
            remedy="Look for triggers on the tables of schema audit.",
        )
