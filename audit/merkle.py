"""The Merkle tree of the log: RFC 6962, section 2.1, with SHA-256, over leaf hashes that `entry.leaf_hash` made.

A node (level, index) is the root of the perfect subtree over the leaves [index * 2^level, (index + 1) * 2^level); its
hash never changes once those leaves are there. Whoever builds says how to read such hashes, and a proof reads at most
two for each level. Whoever verifies takes sizes and roots from signed tree heads, never from what came with a proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .errors import MalformedError, VerificationError

HASH_BYTES = 32
MAX_TREE_SIZE = 2**63 - 1
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root hash of the tree without leaves."""


@dataclass(frozen=True, slots=True)
class Node:
    """The root of a perfect subtree: `level` 0 is a leaf, `index` counts from 0 on its level."""

    level: int
    index: int


ReadNode = Callable[[Node], bytes]
"""A node to its hash, 32 bytes."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_hash(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root hash of the tree over these leaf hashes, in memory that does not grow with them."""
    return CompactRange().extend(leaf_hashes).root_hash


def perfect_hash(hashes: Sequence[bytes]) -> bytes:
    """Return the hash of the node over these nodes of one level. Requires their number to be a power of two.

    It is their `root_hash`, in two thirds of the time.
    """
    sha256 = hashlib.sha256
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]


def cover(begin: int, end: int) -> list[Node]:
    """Return the fewest nodes that together are the leaves [begin, end), from left to right: at most 126.

    Requires 0 <= begin <= end <= 2^63-1.
    """
    if not 0 <= begin <= end <= MAX_TREE_SIZE:
        raise ValueError(f"no leaves [{begin}, {end}) in any tree")
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:
            level = min(level, (begin & -begin).bit_length() - 1)
        nodes.append(Node(level, begin >> level))
        begin += 1 << level
    return nodes


@dataclass(frozen=True, slots=True)
class CompactRange:
    """All that has to be kept of the leaves [begin, end) to append to them: the hashes of `cover(begin, end)`.

    Two ranges that meet can be merged, so parts may be hashed apart. Raises MalformedError when made of hashes that
    are too many, too few or not of 32 bytes: a range may have been stored.
    """

    begin: int = 0
    end: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        wanted = len(cover(self.begin, self.end))
        if len(self.hashes) != wanted:
            raise MalformedError(
                f"The leaves [{self.begin}, {self.end}) are kept in {wanted} hashes, not in {len(self.hashes)}."
            )
        if not _have_length(self.hashes):
            raise MalformedError(f"A node hash that is not of {HASH_BYTES} bytes.")

    def append(self, leaf_hash: bytes) -> CompactRange:
        """Return the range with one more leaf."""
        return self.extend((leaf_hash,))

    def extend(self, leaf_hashes: Iterable[bytes]) -> CompactRange:
        """Return the range with these leaves behind it, one hash in memory for each level. Requires end <= 2^63-1."""
        hashes, end = list(self.hashes), self.end
        for leaf_hash in leaf_hashes:
            if len(leaf_hash) != HASH_BYTES:
                raise MalformedError(f"A leaf hash of {len(leaf_hash)} bytes; SHA-256 has {HASH_BYTES}.")
            _push(hashes, self.begin, 0, end, leaf_hash)
            end += 1
        return CompactRange(self.begin, end, tuple(hashes))

    def merge(self, right: CompactRange) -> CompactRange:
        """Return this range and the one that begins where it ends as one. Requires self.end == right.begin."""
        if self.end != right.begin:
            raise ValueError(f"leaves that end before {self.end} and leaves from {right.begin} do not meet")
        hashes = list(self.hashes)
        for node, kept in zip(cover(right.begin, right.end), right.hashes, strict=True):
            _push(hashes, self.begin, node.level, node.index, kept)
        return CompactRange(self.begin, right.end, tuple(hashes))

    @property
    def root_hash(self) -> bytes:
        """The root hash of the tree whose leaves these are. Requires begin == 0."""
        if self.begin:
            raise ValueError(f"leaves from {self.begin} are no tree")
        return _joined(self.hashes) if self.hashes else EMPTY_ROOT


def _push(hashes: list[bytes], begin: int, level: int, index: int, pushed: bytes) -> None:
    """Put a node behind the cover in `hashes`, whose leaves start at `begin`, and join what has become perfect."""
    while index & 1 and (index - 1) << level >= begin:
        pushed = node_hash(hashes.pop(), pushed)
        level, index = level + 1, index >> 1
    hashes.append(pushed)


def _joined(hashes: Sequence[bytes]) -> bytes:
    """Return the hash of a subtree on the right border of a tree from its cover: the smallest is hashed in first."""
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def read_range(read: ReadNode, begin: int, end: int) -> CompactRange:
    """Return the leaves [begin, end) as `read` knows them. Requires 0 <= begin <= end <= 2^63-1."""
    return CompactRange(begin, end, tuple(read(node) for node in cover(begin, end)))


class _Sibling(NamedTuple):
    """The subtree over the leaves [begin, end), hashed with the one beside it on the way from a leaf to the root."""

    begin: int
    end: int
    is_left: bool


def _split(begin: int, end: int) -> int:
    """Return where the subtree over [begin, end), of two leaves or more, parts: RFC 6962's k, counted from 0."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def _way_to_leaf(leaf_index: int, tree_size: int) -> Iterator[_Sibling]:
    """Yield what lies beside the way from the root down to a leaf."""
    begin, end = 0, tree_size
    while end - begin > 1:
        middle = _split(begin, end)
        if leaf_index < middle:
            yield _Sibling(middle, end, is_left=False)
            end = middle
        else:
            yield _Sibling(begin, middle, is_left=True)
            begin = middle


def _way_to_border(first: int, second: int) -> Iterator[_Sibling]:
    """Yield what lies beside the way from the root of the tree of size `second` down to the border of `first`.

    The way ends at the subtree that ends there in both trees. What is to the left is in both, what is to the right in
    the second only.
    """
    begin, end = 0, second
    while end != first:
        middle = _split(begin, end)
        if first <= middle:
            yield _Sibling(middle, end, is_left=False)
            end = middle
        else:
            yield _Sibling(begin, middle, is_left=True)
            begin = middle


def _plan_inclusion(leaf_index: int, tree_size: int) -> list[_Sibling]:
    """Return the subtrees whose hashes are the inclusion proof, leaf sibling first."""
    if not 0 <= leaf_index < tree_size <= MAX_TREE_SIZE:
        raise ValueError(f"no leaf {leaf_index} in a tree of size {tree_size}")
    return list(_way_to_leaf(leaf_index, tree_size))[::-1]


def _plan_consistency(first: int, second: int) -> list[_Sibling]:
    """Return the subtrees whose hashes are the consistency proof, the one on the border first.

    That one is left out where it is the whole of the first tree: whoever verifies knows its root hash.
    """
    if not 0 <= first <= second <= MAX_TREE_SIZE:
        raise ValueError(f"a tree of size {second} does not extend one of size {first}")
    if first in (0, second):
        return []
    way = list(_way_to_border(first, second))[::-1]
    begin = max((sibling.end for sibling in way if sibling.is_left), default=0)
    return [_Sibling(begin, first, is_left=True), *way] if begin else way


def inclusion_nodes(leaf_index: int, tree_size: int) -> list[Node]:
    """Return the nodes that `inclusion_proof` reads, at most 126. Requires 0 <= leaf_index < tree_size <= 2^63-1."""
    return [node for part in _plan_inclusion(leaf_index, tree_size) for node in cover(part.begin, part.end)]


def consistency_nodes(first: int, second: int) -> list[Node]:
    """Return the nodes that `consistency_proof` reads, at most 126. Requires 0 <= first <= second <= 2^63-1."""
    return [node for part in _plan_consistency(first, second) for node in cover(part.begin, part.end)]


def inclusion_proof(read: ReadNode, leaf_index: int, tree_size: int) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962, section 2.1.1): at most 63 hashes, the leaf's sibling first.

    Requires 0 <= leaf_index < tree_size <= 2^63-1, else raises ValueError.
    """
    return [_read(read, part) for part in _plan_inclusion(leaf_index, tree_size)]


def consistency_proof(read: ReadNode, first: int, second: int) -> list[bytes]:
    """Return the proof that the tree of size `second` extends that of size `first` (RFC 6962, section 2.1.2).

    At most 64 hashes. Requires 0 <= first <= second <= 2^63-1, else raises ValueError. Empty where first is 0 or equals
    second.
    """
    return [_read(read, part) for part in _plan_consistency(first, second)]


def _read(read: ReadNode, part: _Sibling) -> bytes:
    return _joined([read(node) for node in cover(part.begin, part.end)])


def verify_inclusion(
    proof: Sequence[bytes], *, leaf_hash: bytes, leaf_index: int, tree_size: int, root_hash: bytes
) -> None:
    """Return if the leaf stands at this index of the tree with this size and root hash.

    Requires 0 <= leaf_index < tree_size <= 2^63-1. Raises VerificationError (`check` is "inclusion") otherwise, and for
    a proof with a hash too many or too few, or one that is not of 32 bytes.
    """
    if not 0 <= leaf_index < tree_size <= MAX_TREE_SIZE:
        raise _not_included(f"There is no leaf {leaf_index} in a tree of size {tree_size}.")
    way = _plan_inclusion(leaf_index, tree_size)
    if len(proof) != len(way):
        raise _not_included(
            f"An inclusion proof for leaf {leaf_index} of {tree_size} has {len(way)} hashes, not {len(proof)}."
        )
    if not _have_length([leaf_hash, root_hash, *proof]):
        raise _not_included(f"A hash that is not of {HASH_BYTES} bytes.")
    found = leaf_hash
    for sibling, part in zip(proof, way, strict=True):
        found = node_hash(sibling, found) if part.is_left else node_hash(found, sibling)
    if found != root_hash:
        raise _not_included(
            f"The proof leads from leaf {leaf_index} to the root {found.hex()}; the tree of size {tree_size} has "
            f"{root_hash.hex()}."
        )


def verify_consistency(
    proof: Sequence[bytes], *, first: int, second: int, first_root: bytes, second_root: bytes
) -> None:
    """Return if the tree of size `second` begins with all leaves of the tree of size `first`, in their order.

    Requires 0 <= first <= second <= 2^63-1. Where they are equal the roots must be, and the proof is empty. Where first
    is 0 the proof is empty and first_root that of the empty tree: every tree extends it, so nothing is said of
    second_root. Raises VerificationError (`check` is "consistency") otherwise, and for a proof with a hash too
    many or too few, or one that is not of 32 bytes.
    """
    if not 0 <= first <= second <= MAX_TREE_SIZE:
        raise _inconsistent(f"A tree of size {second} does not extend one of size {first}.")
    way = _plan_consistency(first, second)
    if len(proof) != len(way):
        raise _inconsistent(f"A consistency proof from {first} to {second} has {len(way)} hashes, not {len(proof)}.")
    if not _have_length([first_root, second_root, *proof]):
        raise _inconsistent(f"A hash that is not of {HASH_BYTES} bytes.")
    if first == 0 and first_root != EMPTY_ROOT:
        raise _inconsistent("The root hash of a tree of size 0 is not that of the empty tree.")
    if first == second and first_root != second_root:
        raise _inconsistent(f"Two trees of size {first} have the roots {first_root.hex()} and {second_root.hex()}.")
    if way:
        _check_roots(proof, way, first_root, second_root)


def _check_roots(proof: Sequence[bytes], way: Sequence[_Sibling], first_root: bytes, second_root: bytes) -> None:
    if any(part.is_left for part in way):
        old, proof, way = proof[0], proof[1:], way[1:]
    else:
        old = first_root  # the whole first tree is one node of the second
    new = old
    for sibling, part in zip(proof, way, strict=True):
        new = node_hash(sibling, new) if part.is_left else node_hash(new, sibling)
        old = node_hash(sibling, old) if part.is_left else old
    for which, found, root in (("first", old, first_root), ("second", new, second_root)):
        if found != root:
            raise _inconsistent(f"The proof leads to the root {found.hex()}; the {which} tree has {root.hex()}.")


def _have_length(hashes: Iterable[bytes]) -> bool:
    return all(len(item) == HASH_BYTES for item in hashes)


def _not_included(sentence: str) -> VerificationError:
    return VerificationError(sentence, check="inclusion")


def _inconsistent(sentence: str) -> VerificationError:
    return VerificationError(sentence, check="consistency")
