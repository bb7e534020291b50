"""Whether a log shows one branch of each trail and no more: its bodies, leaf by leaf (docs/formats.md, section 11).

Pure. Of each trail only the last entry is kept: what comes next has to name it as predecessor. Where it does not, the
trail was branched, cut into, or went on from an older entry because the database came back from a backup. The last is
no fault if an entry `log.restored` says so; what was behind the older entry must then lie among the leaves that this
entry gives for lost. It may stand behind the entry that it excuses, so that is decided when all is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .body import Body, parse_body
from .canonical import Json
from .entry import GENESIS, SYSTEM_TRAIL
from .errors import MalformedError, VerificationError
from .kinds import Kind
from .merkle import HASH_BYTES, CompactRange


class End(NamedTuple):
    """Where a trail ends: the last `seq` (0 before the first), its leaf hash, and which leaf it is."""

    seq: int
    leaf_hash: bytes
    leaf_index: int


_BEFORE = End(0, GENESIS, -1)


class Left(NamedTuple):
    """An end that a trail has left, when it went on from an older entry with the leaf `at`."""

    seq: int
    leaf_hash: bytes
    at: int


class Claim(NamedTuple):
    """What an entry says of a tree: that with `size` leaves it had this root hash."""

    size: int
    root: bytes


class Restore(NamedTuple):
    """An entry `log.restored`, which is leaf `at`: of the leaves [begin, end), `lost` have no entry any more."""

    at: int
    begin: int
    end: int
    lost: int
    claims: tuple[Claim, ...] = ()


class Fork(NamedTuple):
    """An entry, `end`, of a trail that ended with `before`, of which it is not the next one."""

    trail: str
    prev: bytes
    end: End
    before: End

    @property
    def dropped(self) -> int:
        """How many entries more are off the trail than before."""
        return self.before.seq - self.end.seq + 1


class Numbered(NamedTuple):
    """A leaf: which one, its body and its hash."""

    leaf_index: int
    body: bytes
    leaf_hash: bytes


@dataclass
class Reading:
    """What has to be kept of the leaves read so far, in order, to go on with the next: some bytes for each trail."""

    range: CompactRange = field(default_factory=CompactRange)
    """All leaves read, whose root hash their bodies alone lead to."""
    ends: dict[str, End] = field(default_factory=dict)
    left: dict[str, tuple[Left, ...]] = field(default_factory=dict)
    restores: tuple[Restore, ...] = ()
    lost: int = 0
    """How many entries are on branches that recorded losses cut off."""

    @property
    def size(self) -> int:
        """How many leaves were read."""
        return self.range.end

    def copy(self) -> Reading:
        """Return the same once more, to be read on apart."""
        return Reading(self.range, dict(self.ends), dict(self.left), self.restores, self.lost)


ReadLeaves = Callable[[int, int], Iterable[Numbered]]
"""The leaves [begin, end) of the same log once more."""


class Branches:
    """Reads on in a log of this origin, from where `reading` stands, and tells `add` of what is not as it has to be."""

    def __init__(self, origin: str, reading: Reading, add: Callable[[VerificationError], None]) -> None:
        self.reading = reading
        self._origin = origin
        self._add = add
        self._forks: list[Fork] = []
        self._restores = len(reading.restores)

    @property
    def is_decided(self) -> bool:
        """Whether nothing read so far waits for `settle`."""
        return not self._forks and len(self.reading.restores) == self._restores

    def feed(self, leaves: Sequence[Numbered]) -> None:
        """Take the next leaves, whatever they are."""
        self.reading.range = self.reading.range.extend(leaf.leaf_hash for leaf in leaves)
        for leaf in leaves:
            self._feed(leaf)

    def _feed(self, leaf: Numbered) -> None:
        try:
            body = parse_body(leaf.body)
        except MalformedError as error:
            sentence = f"Leaf {leaf.leaf_index} is no entry of this format: {error.message}"
            self._add(VerificationError(sentence, check="body", leaf_index=leaf.leaf_index))
            return
        if body.origin != self._origin:
            sentence = f"was signed for the log {body.origin!r}, not for {self._origin!r}: it was moved here"
            self._add(_failed(body, leaf.leaf_index, "origin", sentence))
            return
        self._place(body, leaf)
        if body.kind == Kind.LOG_RESTORED and body.trail == SYSTEM_TRAIL:
            try:
                self.reading.restores += (_restore(body, leaf.leaf_index),)
            except MalformedError as error:
                sentence = f"records a restore that cannot be judged: {error.message.rstrip('.')}"
                self._add(_failed(body, leaf.leaf_index, "restore", sentence))

    def settle(self, read: ReadLeaves) -> None:
        """Decide of every entry that did not go on with its trail whether a recorded loss explains it.

        Reads the leaves of such a loss again. Whatever `read` raises passes through, with nothing decided.
        """
        explained: set[int] = set()
        for restore in self.reading.restores:
            rest = []
            for fork in self._forks:
                if not restore.begin <= fork.before.leaf_index < restore.end <= fork.end.leaf_index:
                    continue
                if self._goes_back(fork, restore):
                    explained.add(fork.end.leaf_index)
                else:
                    rest.append(fork)
            replaced = set(_replaced(rest, restore, read))
            self._count(restore, sum(fork.dropped for fork in rest if fork.end.leaf_index in replaced))
            explained |= replaced
        for fork in self._forks:
            if fork.end.leaf_index in explained:
                self.reading.lost += fork.dropped
            else:
                self._add(_described(fork))
        self._forks.clear()

    def _count(self, restore: Restore, dropped: int) -> None:
        """Hold what a recorded loss had to explain against how much it says was lost."""
        if dropped > restore.lost:
            sentence = (
                f"Leaf {restore.at} records {restore.lost} of the leaves {restore.begin} to {restore.end - 1} as lost; "
                f"trails go on in place of {dropped} of them: more was taken out than was recorded."
            )
            self._add(VerificationError(sentence, check="restore", trail=SYSTEM_TRAIL, leaf_index=restore.at))

    def _place(self, body: Body, leaf: Numbered) -> None:
        end, before = End(body.seq, leaf.leaf_hash, leaf.leaf_index), self.reading.ends.get(body.trail, _BEFORE)
        if (body.seq, body.prev) != (before.seq + 1, before.leaf_hash):
            self._forks.append(Fork(body.trail, body.prev, end, before))
            left = Left(before.seq, before.leaf_hash, leaf.leaf_index)
            self.reading.left[body.trail] = (*self.reading.left.get(body.trail, ()), left)
        self.reading.ends[body.trail] = end

    def _goes_back(self, fork: Fork, restore: Restore) -> bool:
        """Tell whether the trail goes on from an end that it left after the backup was taken, as a later loss says."""
        wanted = fork.end.seq - 1, fork.prev
        return any(
            (left.seq, left.leaf_hash) == wanted and restore.begin <= left.at < fork.end.leaf_index
            for left in self.reading.left.get(fork.trail, ())
        )


def _replaced(forks: list[Fork], restore: Restore, read: ReadLeaves) -> Iterator[int]:
    """Yield the leaves of those entries in whose place another one, behind the same predecessor, is among the lost.

    As leaves stand in the order of their trail, all that followed that one, up to `before`, is among them too. There is
    one fork at most for each trail: behind the first, `before` is no lost leaf.
    """
    places = {(fork.trail, fork.end.seq, fork.prev): fork for fork in forks}
    for leaf in read(restore.begin, restore.end) if places else ():
        try:
            body = parse_body(leaf.body)
        except MalformedError:
            continue  # told when it was read first
        fork = places.get((body.trail, body.seq, body.prev))
        if fork is not None and fork.end.leaf_hash != leaf.leaf_hash:
            yield fork.end.leaf_index


def _restore(body: Body, leaf_index: int) -> Restore:
    """Return what a `log.restored` records. Raises MalformedError for what no restore of this log could say."""
    begin, end, lost = (_count(body.detail.get(name)) for name in ("from", "to", "lost"))
    claims = tuple(_claim(body.detail.get(name)) for name in ("database", "memory"))
    if not begin <= end <= leaf_index or lost > end - begin:
        raise MalformedError(f"Leaf {leaf_index} cannot record that {lost} of the leaves [{begin}, {end}) are lost.")
    if [begin, end] != [claim.size for claim in claims]:
        raise MalformedError("It gives other leaves for lost than those between the two heads that it names.")
    return Restore(leaf_index, begin, end, lost, claims)


def _claim(value: Json) -> Claim:
    if not isinstance(value, dict) or not isinstance(root := value.get("root"), str):
        raise MalformedError("It does not name the two tree heads.")
    try:
        claim = Claim(_count(value.get("size")), bytes.fromhex(root))
    except ValueError as error:
        raise MalformedError("The root of a tree head is not hex.") from error
    if claim.root.hex() != root or len(claim.root) != HASH_BYTES:
        raise MalformedError("The root of a tree head is not 64 lower-case hex digits.")
    return claim


def _count(value: Json) -> int:
    if type(value) is not int or value < 0:
        raise MalformedError("It does not count leaves.")
    return value


def _described(fork: Fork) -> VerificationError:
    """Return the failure for an entry that is not the next one of its trail, and that no recorded loss explains."""
    seq, before = fork.end.seq, fork.before
    if seq <= before.seq:
        check = "branch"
        sentence = (
            f"stands in the log when the trail had gone on to entry {before.seq} (leaf {before.leaf_index}): the trail "
            "has a second branch"
        )
    elif seq > before.seq + 1:
        check = "sequence"
        missing = f"{before.seq + 1}" if seq == before.seq + 2 else f"{before.seq + 1} to {seq - 1}"
        sentence = f"follows entry {before.seq} (leaf {before.leaf_index}): {missing} is missing"
    else:
        check = "chain"
        sentence = f"names another predecessor than entry {before.seq} (leaf {before.leaf_index})"
    if not before.seq:
        what = "it names a predecessor" if seq == 1 else "what comes before it is missing"
        sentence = f"is the first of its trail in the log, and {what}"
    return VerificationError(
        f"Entry {seq} of trail {fork.trail!r} (leaf {fork.end.leaf_index}) {sentence}.",
        check=check,
        trail=fork.trail,
        seq=seq,
        leaf_index=fork.end.leaf_index,
    )


def _failed(body: Body, leaf_index: int, check: str, sentence: str) -> VerificationError:
    return VerificationError(
        f"Entry {body.seq} of trail {body.trail!r} (leaf {leaf_index}) {sentence}.",
        check=check,
        trail=body.trail,
        seq=body.seq,
        leaf_index=leaf_index,
    )
