"""Where in the log the entries of one trail stand: in their order, each as the leaf that it is. Pure."""

from __future__ import annotations

from typing import NamedTuple

from .chain import Checked
from .entry import Entry
from .errors import VerificationError
from .merkle import MAX_TREE_SIZE
from .terms import KeyTerms
from .verify import Report


class LeafRow(NamedTuple):
    """What the table of leaves says of an entry; NULL where somebody dropped a constraint."""

    leaf_index: int | None
    leaf_hash: bytes | None


class TrailLeaves:
    """Holds the leaves of one trail against its entries as they stream by.

    And the keys of entries against `terms`; without them for `@keys`, whose keys are judged where it is read.
    """

    def __init__(self, terms: KeyTerms | None, report: Report) -> None:
        self._terms = terms
        self._report = report
        self._last = -1
        self._unsealed: int | None = None

    def feed(self, entry: Entry, checked: Checked | None, leaf: LeafRow | None) -> None:
        """Take the next entry in the order of `seq`, with its leaf if it is sealed; `checked` if it passed by itself.

        An entry that is not sealed yet counts as one that will be: its key must not be given up already.
        """
        try:
            if leaf is not None:
                self._place(entry, checked, leaf)
            else:
                self._unsealed = entry.seq if self._unsealed is None else self._unsealed
                self._report.unsealed += 1
                if checked is not None and self._terms is not None:
                    self._terms.check_term(checked, MAX_TREE_SIZE)
        except VerificationError as error:
            self._report.add(error)

    def _place(self, entry: Entry, checked: Checked | None, leaf: LeafRow) -> None:
        index, before, unsealed = leaf.leaf_index, self._last, self._unsealed
        if index is None:
            raise _failed(entry, leaf, "leaf", "stands in the table of leaves, and without its index", "leaf_index")
        self._last, self._unsealed = max(before, index), None
        if checked is None:
            return  # what is wrong with it has been said
        if checked.link.leaf_hash != leaf.leaf_hash:
            raise _failed(entry, leaf, "leaf", f"is not the one that was sealed as leaf {index}", "leaf_hash")
        if unsealed is not None:
            raise _failed(
                entry, leaf, "order", f"is leaf {index}, and entry {unsealed} before it is none: its leaf is gone"
            )
        if index <= before:
            raise _failed(entry, leaf, "order", f"is leaf {index}, an entry before it in its trail is leaf {before}")
        if self._terms is not None and not self._terms.check_term(checked, index):
            self._report.doubtful += 1
        self._report.counts.sealed += 1


def without_entry(trail: str | None, seq: int | None, leaf: LeafRow) -> VerificationError:
    """Return the failure for a leaf whose entry is not there."""
    return VerificationError(
        f"Entry {seq} of trail {trail!r} was sealed as leaf {leaf.leaf_index} of the log, and is gone.",
        check="leaf",
        trail=trail,
        seq=seq,
        leaf_index=leaf.leaf_index,
        table="leaves",
    )


def _failed(entry: Entry, leaf: LeafRow, check: str, sentence: str, column: str | None = None) -> VerificationError:
    return VerificationError(
        f"Entry {entry.seq} of trail {entry.trail!r} {sentence}.",
        check=check,
        trail=entry.trail,
        seq=entry.seq,
        leaf_index=leaf.leaf_index,
        table="leaves",
        column=column,
    )
