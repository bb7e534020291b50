"""Which payloads are gone because an entry `payload.erased` says so, and which are just gone (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .body import Body
from .canonical import Json
from .chain import Checked
from .entry import SYSTEM_TRAIL
from .errors import VerificationError
from .kinds import Kind


class _Mark(NamedTuple):
    trail: str
    seq: int
    leaf_index: int
    by: int


class _Erasure(NamedTuple):
    trail: str
    seqs: frozenset[int]
    leaf_index: int


def erased_by(body: Body, payload: Json) -> tuple[str, frozenset[int]] | None:
    """Return the trail and the entries whose payloads went, if this entry records that some did.

    `detail.seqs` are those entries, of the trail `detail.trail`, or of its own without that. More than 100 stand in its
    payload.
    """
    if body.kind != Kind.PAYLOAD_ERASED:
        return None
    seqs, trail = body.detail.get("seqs"), body.detail.get("trail", body.trail)
    if seqs is None and isinstance(payload, dict):
        seqs = payload.get("seqs")
    if not isinstance(seqs, list) or not isinstance(trail, str):
        return None
    return trail, frozenset(seq for seq in seqs if type(seq) is int)


class Erasures:
    """The marks that stand for payloads, and the entries they refer to, which often come later. Keeps both."""

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._entries: dict[tuple[str, int], _Erasure] = {}

    def feed(self, checked: Checked, leaf_index: int) -> None:
        """Take note of a checked entry, if it records that payloads were erased."""
        body = checked.body
        if (erased := erased_by(body, checked.payload)) is not None:
            self._entries[body.trail, body.seq] = _Erasure(*erased, leaf_index)

    def mark(self, trail: str, seq: int, leaf_index: int, by: int) -> None:
        """Take note that the payload of an entry is said to have been erased, as entry `by` records."""
        self._marks.append(_Mark(trail, seq, leaf_index, by))

    def check(self) -> Iterator[VerificationError]:
        """Yield a failure for each mark for which no later entry of the trail, or of `@system`, answers."""
        for mark in self._marks:
            recorded = (self._entries.get((trail, mark.by)) for trail in (mark.trail, SYSTEM_TRAIL))
            if not any(entry is not None and _answers(entry, mark) for entry in recorded):
                yield VerificationError(
                    f"Entry {mark.seq} of trail {mark.trail!r} has no payload, and no entry {mark.by} that is shown "
                    "records its erasure: it was left out.",
                    check="erased",
                    trail=mark.trail,
                    seq=mark.seq,
                    table="payloads",
                    leaf_index=mark.leaf_index,
                )


def _answers(entry: _Erasure, mark: _Mark) -> bool:
    return entry.trail == mark.trail and mark.seq in entry.seqs and entry.leaf_index > mark.leaf_index
