"""The log rebuilt from its leaves as they stream by, and held against every head that is known (docs/formats.md).

Pure. Whoever feeds it has checked that each leaf hash is that of the stored body; here is checked that there is no gap
but a recorded loss, and that the tree had the root that was signed whenever a head was signed. One wrong leaf is one
finding: behind it nothing can be compared any more, and nothing more is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .canonical import parse_hex32
from .chain import Checked
from .errors import MalformedError, VerificationError
from .merkle import HASH_BYTES, CompactRange
from .treehead import TreeHead

STORED = "the database"


class KnownHead(NamedTuple):
    """A signed head and where it was found: `source` reads as "the tree head of size 7 in <source>"."""

    head: TreeHead
    source: str


@dataclass(frozen=True, slots=True)
class Loss:
    """A recorded loss: of the leaves [begin, end) some have no entry any more, and their hashes are these.

    `at` is the leaf of the entry that records it, `seq` its place in `@system`.
    """

    seq: int
    at: int
    begin: int
    end: int
    database: TreeHead
    memory: TreeHead
    hashes: Mapping[int, bytes]


def parse_loss(checked: Checked, leaf_index: int) -> Loss:
    """Return what an entry `log.restored`, which is this leaf, records. Raises VerificationError if it says it wrong.

    Its heads are of the size that it names, the leaves it lists lie between them, and it stands behind them itself.
    """
    body, payload = checked.body, checked.payload
    try:
        database, memory = (_head(body.origin, body.detail.get(name)) for name in ("database", "memory"))
        begin, end, lost = (body.detail.get(name) for name in ("from", "to", "lost"))
        hashes = _hashes(payload.get("lost") if isinstance(payload, dict) else None)
    except MalformedError as error:
        raise _bad_loss(checked, leaf_index, error.message.rstrip(".")) from error
    if (begin, end, lost) != (database.size, memory.size, len(hashes)) or not database.size < memory.size:
        raise _bad_loss(checked, leaf_index, "its numbers are not those of its heads and of the leaves it lists")
    if leaf_index < memory.size or not all(database.size <= index < memory.size for index in hashes):
        raise _bad_loss(checked, leaf_index, "it lists leaves, or stands at one, that its heads do not leave to it")
    return Loss(body.seq, leaf_index, database.size, memory.size, database, memory, hashes)


def _head(origin: str, value: object) -> TreeHead:
    if not isinstance(value, dict) or value.keys() != {"size", "root"} or type(value["size"]) is not int:
        raise MalformedError("It does not name two heads by size and root.")
    return TreeHead(origin, value["size"], parse_hex32(value["root"]))


def _hashes(runs: object) -> dict[int, bytes]:
    if not isinstance(runs, list):
        raise MalformedError("Its payload does not list what was lost.")
    found: dict[int, bytes] = {}
    for run in runs:
        if not isinstance(run, dict) or run.keys() != {"from", "hashes"} or not isinstance(run["hashes"], list):
            raise MalformedError("Its payload does not list what was lost in runs of hashes.")
        begin = run["from"]
        if type(begin) is not int or begin < max(found, default=-1) + 1:
            raise MalformedError("Its payload does not list what was lost in ascending order.")
        found.update((begin + at, parse_hex32(text)) for at, text in enumerate(run["hashes"]))
    return found


def _bad_loss(checked: Checked, leaf_index: int, why: str) -> VerificationError:
    entry = checked.entry
    return VerificationError(
        f"Entry {entry.seq} of trail {entry.trail!r} does not record a loss that can be accepted: {why}.",
        check="leaf",
        trail=entry.trail,
        seq=entry.seq,
        leaf_index=leaf_index,
        table="entries",
    )


@dataclass(slots=True)
class Rebuilt:
    """What the leaves came to: how many there are with the recorded losses, how many lost, and the last stored head.

    `differs` are the leaves [begin, end) among which the first wrong one is, where a head showed that.
    """

    size: int = 0
    lost: int = 0
    heads: int = 0
    last: TreeHead | None = None
    differs: tuple[int, int] | None = None
    losses: list[Loss] = field(default_factory=list)


class LogCheck:
    """Takes the leaves of one log in order, from `start` on, and compares the tree with `heads` as it grows.

    `stored` are the heads of the database, ascending; `others` those from elsewhere; `losses` what entries record.
    Unless `stored` is `whole`, since heads were left out that are none, leaves behind the last one are no finding.
    """

    def __init__(
        self,
        stored: Sequence[TreeHead],
        others: Iterable[KnownHead],
        losses: Sequence[Loss],
        start: CompactRange | None = None,
        *,
        whole: bool = True,
    ) -> None:
        self.rebuilt = Rebuilt(heads=len(stored), last=stored[-1] if stored else None)
        self.findings: list[VerificationError] = []
        self._tree = start or CompactRange()
        self._good = self._tree.end
        self._waiting: list[bytes] = []
        self._broken = False
        self._whole = whole
        self._losses = [loss for loss in losses if loss.at >= self._tree.end and self._is_placed(loss, stored)]
        self._lost = {index: value for loss in self._losses for index, value in loss.hashes.items()}
        known = [KnownHead(head, STORED) for head in stored]
        known += [KnownHead(loss.memory, f"entry {loss.seq} of '@system'") for loss in self._losses]
        self._heads = sorted([*known, *others], key=lambda item: item.head.size, reverse=True)
        self._told: set[str] = set()

    def feed(self, leaf_index: int | None, leaf_hash: bytes | None, trail: str | None, seq: int | None) -> None:
        """Take the next leaf, in ascending order of `leaf_index`; NULL, which no constraint kept out, is last."""
        if self._broken:
            return
        if leaf_index is None or leaf_hash is None or len(leaf_hash) != HASH_BYTES:
            self._fail("leaf", f"A leaf of the log has {leaf_index} for an index and no hash", leaf_index, trail, seq)
            return
        if leaf_index < self._next:
            sentence = f"Leaf {leaf_index} of the log stands in the table twice"
            self._fail("leaf", sentence, leaf_index, trail, seq)
            return
        self._skip_to(leaf_index)
        if self._lost.pop(leaf_index, None) is not None:
            sentence = f"Leaf {leaf_index} of the log is in the database, and an entry records that it was lost"
            self._fail("leaf", sentence, leaf_index, trail, seq)
        if not self._broken:
            self._push(leaf_hash)

    def finish(self) -> Rebuilt:
        """Return what it came to, having compared the heads behind the last leaf as well."""
        ends = self.rebuilt.last.size if self.rebuilt.last else 0
        if not self._broken and self._lost:
            self._skip_to(max(self._next, 1 + max(self._lost)))
        if not self._broken and self._next > ends and self._whole:
            sentence = f"The last tree head in the database has {ends} leaves, and the table of them goes on behind it"
            self._fail("leaf", sentence, ends)
        self._advance()
        for head, source in reversed(self._heads):
            if not self._broken and source not in self._told:
                self._told.add(source)
                self._tell_ahead(head, source)
        self.rebuilt.size = self._tree.end
        self.rebuilt.losses = self._losses
        return self.rebuilt

    @property
    def _next(self) -> int:
        return self._tree.end + len(self._waiting)

    def _push(self, leaf_hash: bytes) -> None:
        if self._heads and self._heads[-1].head.size <= self._next:
            self._advance()
        self._waiting.append(leaf_hash)

    def _skip_to(self, leaf_index: int) -> None:
        """Put in the hashes of lost leaves, up to `leaf_index`; without a record of each the log has a hole."""
        for index in range(self._next, leaf_index):
            lost = self._lost.pop(index, None)
            if lost is None:
                last = leaf_index - 1
                what = f"Leaves {index} to {last} of the log are" if last > index else f"Leaf {index} of the log is"
                sentence = f"{what} missing, and no entry records that as a loss"
                self._fail("leaf", sentence, index)
                return
            self.rebuilt.lost += 1
            self._push(lost)

    def _advance(self) -> None:
        """Hash what waits, as far as no head is passed unseen, and compare the heads of the size that is reached."""
        self._tree = self._tree.extend(self._waiting)
        self._waiting.clear()
        while self._heads and self._heads[-1].head.size <= self._tree.end:
            self._compare(*self._heads.pop())

    def _compare(self, head: TreeHead, source: str) -> None:
        if head.size < self._tree.end or self._broken:
            return  # of a size from before `start`: whoever gave that compared it
        if head.root == self._tree.root_hash:
            self._good = head.size
        elif source not in self._told:
            self._told.add(source)
            self.rebuilt.differs = self.rebuilt.differs or (self._good, head.size)
            sentence = (
                f"The tree head of size {head.size} in {source} has the root {head.root.hex()}; the entries in the "
                f"database give {self._tree.root_hash.hex()}: what was sealed since leaf {self._good} was rewritten, "
                "or another history was signed"
            )
            self.findings.append(VerificationError(f"{sentence}.", check="head", table=_table(source)))

    def _tell_ahead(self, head: TreeHead, source: str) -> None:
        sentence = (
            f"The tree head of size {head.size} in {source} is ahead of the database, which has {self._tree.end} "
            "leaves: entries were removed, or the database is a backup that was restored without a record of it"
        )
        self.findings.append(VerificationError(f"{sentence}.", check="head", table=_table(source)))

    def _is_placed(self, loss: Loss, stored: Sequence[TreeHead]) -> bool:
        """Tell whether the entry of a loss stands under the first head signed behind it, as it has to."""
        before = [head for head in stored if head.size <= loss.begin]
        behind = next((head for head in stored if head.size > loss.begin), None)
        if before and before[-1] == loss.database and behind is not None and loss.at + 1 == behind.size:
            return True
        sentence = (
            f"Entry {loss.seq} of trail '@system' records a loss of leaves {loss.begin} to {loss.end - 1}, and is not "
            "the last leaf under the first tree head that was signed behind them"
        )
        self.findings.append(
            VerificationError(
                f"{sentence}.", check="leaf", trail="@system", seq=loss.seq, leaf_index=loss.at, table="entries"
            )
        )
        return False

    def _fail(
        self, check: str, sentence: str, leaf_index: int | None, trail: str | None = None, seq: int | None = None
    ) -> None:
        self._advance()
        self._broken = True
        self.findings.append(
            VerificationError(f"{sentence}.", check=check, leaf_index=leaf_index, trail=trail, seq=seq, table="leaves")
        )


def _table(source: str) -> str | None:
    return "heads" if source == STORED else None
