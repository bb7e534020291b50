"""Which entries become the next leaves: those behind what is sealed of their trails, each checked to go on there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .body import parse_body
from .chain import Link
from .entry import KEYS_TRAIL, leaf_hash
from .errors import MalformedError, VerificationError
from .leaves import NewEntry, NewLeaf, Unsealed, new_entries_steps, sealed_ends_steps
from .steps import Steps

ALL = 2**63 - 1
"""A seq that no entry has: up to it are all of a trail."""


class Batch(NamedTuple):
    """New leaves with their bodies, what is done with of the list, the trails left out, and whether more is listed."""

    leaves: list[NewLeaf]
    bodies: list[bytes]
    done: list[Unsealed]
    refused: list[VerificationError]
    more: bool


def batch_steps(origin: str, size: int, upto: Mapping[str, int], listed: Sequence[Unsealed] = ()) -> Steps[Batch]:
    """Return the entries behind what is sealed, up to the seq given for their trail, as the leaves from `size` on.

    `listed` is what is on the list of them: they come in its order, `@keys` before all others, and what is not on it
    before the next one of its trail that is. Without a list trails come in the order of `upto`. A trail that does not
    go on where it is sealed is left out from there on, and told.
    """
    ends = yield from sealed_ends_steps(list(upto))
    batch = Batch([], [], [], [], more=False)
    refused: set[str | None] = set()
    for entry in _in_turn((yield from new_entries_steps(ends, upto)), listed):
        if entry.trail in refused:
            continue
        try:
            ends[entry.trail] = link = _link(entry, ends[entry.trail], origin)
        except VerificationError as error:
            batch.refused.append(error)
            refused.add(error.trail)
            continue
        batch.leaves.append(NewLeaf(entry.trail, entry.seq, size + len(batch.leaves), link.leaf_hash))
        batch.bodies.append(entry.body)
    batch.done.extend(item for item in listed if item.trail not in refused or item.seq <= ends[item.trail].seq)
    return batch


def _in_turn(entries: Sequence[NewEntry], listed: Sequence[Unsealed]) -> list[NewEntry]:
    """Return the entries in the order of the list; those of one trail stay in theirs."""
    turns = {(item.trail, item.seq): turn for turn, item in enumerate(listed)}
    next_of = dict.fromkeys({entry.trail for entry in entries}, len(listed)) | {KEYS_TRAIL: -1}
    found: list[int] = []
    for entry in reversed(entries):
        turn = min(next_of[entry.trail], turns.get((entry.trail, entry.seq), len(listed)))
        next_of[entry.trail] = turn
        found.append(turn)
    found.reverse()
    return [entry for _, entry in sorted(zip(found, entries, strict=True), key=lambda pair: pair[0])]


def _link(entry: NewEntry, after: Link, origin: str) -> Link:
    """Return the entry's place in its trail, having checked that it goes on behind `after`, which is sealed."""
    if entry.seq != after.seq + 1:
        raise _left_out(entry, f"does not follow entry {after.seq}, up to which the trail is sealed", "sequence")
    try:
        body = parse_body(entry.body or b"")  # NULL, where somebody dropped the constraint
    except MalformedError as error:
        raise _left_out(entry, f"has a body that is not an entry ({error.message})", "body") from error
    if (body.origin, body.trail, body.seq) != (origin, entry.trail, entry.seq):
        raise _left_out(entry, f"was signed as entry {body.seq} of trail {body.trail!r} of {body.origin}", "column")
    if body.prev != after.leaf_hash:
        raise _left_out(entry, "names another predecessor than the one that is sealed", "chain")
    return Link(entry.seq, leaf_hash(entry.body))


def _left_out(entry: NewEntry, why: str, check: str) -> VerificationError:
    return VerificationError(
        f"Entry {entry.seq} of trail {entry.trail!r} {why}: from there on the trail is not sealed.",
        check=check,
        trail=entry.trail,
        seq=entry.seq,
        table="entries",
        remedy=f"Run: countersign verify --trail {entry.trail}",
    )
