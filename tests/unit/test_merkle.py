"""The Merkle tree against RFC 6962 taken literally, against wrong proofs, and at sizes nobody can hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import rfc6962
from countersign.audit.entry import leaf_hash
from countersign.audit.errors import MalformedError, VerificationError
from countersign.audit.merkle import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    CompactRange,
    Node,
    ReadNode,
    consistency_nodes,
    consistency_proof,
    cover,
    inclusion_nodes,
    inclusion_proof,
    node_hash,
    perfect_hash,
    read_range,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

SMALL = 70
BODIES = [b"body %d" % number for number in range(600)]
LEAVES = [leaf_hash(body) for body in BODIES]
ROOTS = [rfc6962.tree_hash(BODIES[:size]) for size in range(SMALL)]
A_HASH = hashlib.sha256(b"some other hash").digest()

sizes = st.integers(1, len(BODIES))
huge_sizes = st.integers(1, MAX_TREE_SIZE) | st.integers(0, 63).map(lambda bits: max(1, (1 << bits) - 1))


def reader(bodies: Sequence[bytes]) -> ReadNode:
    """Read nodes as the RFC defines them: the hash of the tree over the node's leaves, all of which must be there."""

    def read(node: Node) -> bytes:
        end = (node.index + 1) << node.level
        assert end <= len(bodies), "a node whose leaves are not all there"
        return rfc6962.tree_hash(bodies[node.index << node.level : end])

    return read


class OneOfMany:
    """A tree of any size in which one leaf differs from all others, so its nodes can be known without its leaves."""

    def __init__(self, special: int) -> None:
        self.special = special
        self.reads = 0

    def read(self, node: Node) -> bytes:
        self.reads += 1
        return self._hash(node.index << node.level, (node.index + 1) << node.level)

    def root(self, size: int) -> bytes:
        return self._hash(0, size)

    def leaf(self, index: int) -> bytes:
        return self._hash(index, index + 1)

    def _hash(self, begin: int, end: int) -> bytes:
        if not begin <= self.special < end:
            return plain_hash(end - begin)
        if end - begin == 1:
            return leaf_hash(b"special")
        middle = begin + rfc6962.largest_power_of_two_below(end - begin)
        return node_hash(self._hash(begin, middle), self._hash(middle, end))


@cache
def plain_hash(leaves: int) -> bytes:
    if leaves == 1:
        return leaf_hash(b"plain")
    left = rfc6962.largest_power_of_two_below(leaves)
    return node_hash(plain_hash(left), plain_hash(leaves - left))


def holds(check: str, verify: Callable[..., None], proof: Sequence[bytes], **what: int | bytes) -> bool:
    try:
        verify(proof, **what)
    except VerificationError as error:
        return error.check != check
    return True


def is_included(proof: Sequence[bytes], leaf: bytes, index: int, size: int, root: bytes) -> bool:
    return holds("inclusion", verify_inclusion, proof, leaf_hash=leaf, leaf_index=index, tree_size=size, root_hash=root)


def is_consistent(proof: Sequence[bytes], first: int, second: int, first_root: bytes, second_root: bytes) -> bool:
    roots = {"first_root": first_root, "second_root": second_root}
    return holds("consistency", verify_consistency, proof, first=first, second=second, **roots)


# --- roots and ranges


def test_hashes_are_those_of_the_rfc() -> None:
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT == root_hash([]) == CompactRange().root_hash
    assert leaf_hash(b"x") == rfc6962.leaf_hash(b"x")
    assert node_hash(b"l" * 32, b"r" * 32) == hashlib.sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()


def test_every_small_tree_has_the_rfcs_root_however_it_grew() -> None:
    grown = CompactRange()
    for size in range(SMALL):
        assert grown.root_hash == root_hash(LEAVES[:size]) == ROOTS[size]
        assert grown == CompactRange().extend(LEAVES[:size]) == read_range(reader(BODIES[:size]), 0, size)
        grown = grown.append(LEAVES[size])


@given(sizes)
def test_a_bigger_tree_has_the_rfcs_root(size: int) -> None:
    assert root_hash(LEAVES[:size]) == rfc6962.tree_hash(BODIES[:size])


@pytest.mark.parametrize("size", range(1, SMALL))
def test_a_perfect_tree_has_the_rfcs_root_and_no_other_tree_is_taken_for_one(size: int) -> None:
    if size.bit_count() == 1:
        assert perfect_hash(LEAVES[:size]) == ROOTS[size]
    else:
        with pytest.raises(ValueError, match="shorter"):
            perfect_hash(LEAVES[:size])


@pytest.mark.parametrize("begin", range(34))
def test_small_ranges_that_meet_merge_to_what_one_range_would_have_become(begin: int) -> None:
    for end in range(begin, 34):
        whole = CompactRange(begin, begin).extend(LEAVES[begin:end])
        assert whole == read_range(reader(BODIES), begin, end)
        for middle in range(begin, end + 1):
            left = CompactRange(begin, begin).extend(LEAVES[begin:middle])
            right = CompactRange(middle, middle).extend(LEAVES[middle:end])
            assert left.merge(right) == whole


@given(st.integers(0, MAX_TREE_SIZE), st.integers(0, MAX_TREE_SIZE))
def test_a_cover_is_made_of_the_fewest_nodes_that_are_these_leaves(one: int, other: int) -> None:
    begin, end = sorted((one, other))
    at = begin
    nodes = cover(begin, end)
    for node in nodes:
        assert node.index << node.level == at
        at += 1 << node.level
    assert at == end
    assert len(nodes) <= 126
    for left, right in pairwise(nodes):
        assert left.level != right.level or left.index & 1, "two siblings that are one node"


@given(st.integers(0, MAX_TREE_SIZE), st.integers(0, MAX_TREE_SIZE), st.integers(0, MAX_TREE_SIZE))
def test_huge_ranges_merge(one: int, two: int, three: int) -> None:
    begin, middle, end = sorted((one, two, three))
    tree = OneOfMany(middle)
    left, right, whole = (read_range(tree.read, *ends) for ends in ((begin, middle), (middle, end), (begin, end)))
    assert left.merge(right) == whole
    assert read_range(tree.read, 0, middle).merge(right).root_hash == (tree.root(end) if end else EMPTY_ROOT)


def test_ranges_that_do_not_meet_are_not_merged_and_a_range_from_the_middle_has_no_root() -> None:
    left = CompactRange().extend(LEAVES[:3])
    for begin in (2, 4):
        right = CompactRange(begin, begin).append(LEAVES[begin])
        with pytest.raises(ValueError, match="do not meet"):
            left.merge(right)
        with pytest.raises(ValueError, match="no tree"):
            _ = right.root_hash


@pytest.mark.parametrize(
    ("hashes", "reason"),
    [((), "2 hashes, not in 0"), ((A_HASH,), "not in 1"), ((A_HASH,) * 3, "not in 3"), ((A_HASH, A_HASH[1:]), "bytes")],
)
def test_a_stored_range_of_wrong_hashes_is_refused(hashes: tuple[bytes, ...], reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        CompactRange(0, 3, hashes)


def test_a_leaf_hash_of_another_length_is_refused() -> None:
    with pytest.raises(MalformedError, match="31 bytes"):
        CompactRange().append(A_HASH[1:])


def test_a_tree_grows_to_its_largest_size_and_no_further() -> None:
    tree = OneOfMany(MAX_TREE_SIZE - 1)
    full = read_range(tree.read, 0, MAX_TREE_SIZE - 1).append(tree.leaf(MAX_TREE_SIZE - 1))
    assert full.root_hash == tree.root(MAX_TREE_SIZE)
    with pytest.raises(ValueError, match="no leaves"):
        full.append(A_HASH)


# --- inclusion


@pytest.mark.parametrize("size", range(1, SMALL))
def test_every_inclusion_proof_of_a_small_tree_is_the_rfcs_and_holds_there_only(size: int) -> None:
    bodies, root = BODIES[:size], ROOTS[size]
    for index in range(size):
        proof = inclusion_proof(reader(bodies), index, size)
        assert proof == rfc6962.audit_path(index, bodies)
        assert is_included(proof, LEAVES[index], index, size, root)
        assert [at for at in range(-1, SMALL) if is_included(proof, LEAVES[index], at, size, root)] == [index]
        assert not is_included(proof, LEAVES[index + 1], index, size, root)
        assert not is_included(proof, LEAVES[index], index, size, ROOTS[size - 1])


@given(sizes, st.data())
def test_an_inclusion_proof_of_a_bigger_tree_is_the_rfcs_and_holds(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    bodies = BODIES[:size]
    proof = inclusion_proof(reader(bodies), index, size)
    assert proof == rfc6962.audit_path(index, bodies)
    assert is_included(proof, LEAVES[index], index, size, rfc6962.tree_hash(bodies))


@given(huge_sizes, st.data())
def test_a_proof_for_a_huge_tree_reads_two_hashes_a_level_at_most(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree = OneOfMany(index)
    proof = inclusion_proof(tree.read, index, size)
    assert tree.reads == len(inclusion_nodes(index, size)) <= 2 * (size - 1).bit_length()
    assert len(proof) <= (size - 1).bit_length()
    assert is_included(proof, tree.leaf(index), index, size, tree.root(size))
    other = data.draw(st.integers(0, size - 1))
    assume(other != index)
    assert not is_included(proof, tree.leaf(index), other, size, tree.root(size))
    assert not is_included(proof, tree.leaf(other), index, size, tree.root(size))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (5, 4), (0, MAX_TREE_SIZE + 1), (0, -1)])
def test_a_leaf_that_is_not_there_has_no_proof_and_no_proof_shows_it(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(reader(BODIES), index, size)
    with pytest.raises(VerificationError, match="There is no leaf"):
        verify_inclusion([], leaf_hash=LEAVES[0], leaf_index=index, tree_size=size, root_hash=LEAVES[0])


# --- consistency


@pytest.mark.parametrize("second", range(SMALL))
def test_every_consistency_proof_of_a_small_tree_is_the_rfcs_and_holds_there_only(second: int) -> None:
    bodies = BODIES[:second]
    for first in range(second + 1):
        proof = consistency_proof(reader(bodies), first, second)
        assert proof == (rfc6962.consistency(first, bodies) if 0 < first < second else [])
        assert is_consistent(proof, first, second, ROOTS[first], ROOTS[second])
        assert not is_consistent(proof, first, second, A_HASH, ROOTS[second])
        assert is_consistent(proof, first, second, ROOTS[first], A_HASH) == (first == 0 < second)
        firsts = [at for at in range(-1, SMALL) if is_consistent(proof, at, second, ROOTS[first], ROOTS[second])]
        assert firsts == [first]


@given(sizes, st.data())
def test_a_consistency_proof_of_a_bigger_tree_is_the_rfcs_and_holds(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    bodies = BODIES[:second]
    proof = consistency_proof(reader(bodies), first, second)
    assert proof == (rfc6962.consistency(first, bodies) if first < second else [])
    assert is_consistent(proof, first, second, root_hash(LEAVES[:first]), rfc6962.tree_hash(bodies))


@given(huge_sizes, st.data())
def test_consistency_of_huge_trees_reads_two_hashes_a_level_at_most(second: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, second))
    tree = OneOfMany(data.draw(st.integers(0, second - 1)))
    proof = consistency_proof(tree.read, first, second)
    assert tree.reads == len(consistency_nodes(first, second)) <= 2 * second.bit_length()
    assert len(proof) <= second.bit_length() + 1
    assert is_consistent(proof, first, second, tree.root(first), tree.root(second))
    forked = OneOfMany(data.draw(st.integers(0, first - 1)))
    assume(forked.special != tree.special)
    assert not is_consistent(proof, first, second, forked.root(first), tree.root(second))


def test_every_tree_extends_the_empty_one_without_proof() -> None:
    assert is_consistent([], 0, 0, EMPTY_ROOT, EMPTY_ROOT)
    assert is_consistent([], 0, 5, EMPTY_ROOT, ROOTS[5])
    assert not is_consistent([A_HASH], 0, 5, EMPTY_ROOT, ROOTS[5])
    assert not is_consistent([], 0, 0, EMPTY_ROOT, A_HASH)
    assert not is_consistent([], 0, 0, A_HASH, A_HASH)


@pytest.mark.parametrize(("first", "second"), [(-1, 0), (1, 0), (5, 4), (1, MAX_TREE_SIZE + 1)])
def test_sizes_that_no_two_trees_have_are_refused(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="does not extend"):
        consistency_proof(reader(BODIES), first, second)
    with pytest.raises(VerificationError, match="does not extend"):
        verify_consistency([], first=first, second=second, first_root=A_HASH, second_root=A_HASH)


# --- wrong proofs


def damaged(proof: list[bytes]) -> list[tuple[str, list[bytes]]]:
    cases = [
        ("a hash too many", [*proof, A_HASH]),
        ("a hash too many in front", [A_HASH, *proof]),
        ("an empty hash too many", [*proof, b""]),
    ]
    for at, found in enumerate(proof):
        flipped = bytes([found[0] ^ 1]) + found[1:]
        for name, value in (("cut", found[:-1]), ("long", found + b"\0"), ("empty", b""), ("another", flipped)):
            cases.append((f"hash {at} {name}", [*proof[:at], value, *proof[at + 1 :]]))
        cases.append((f"hash {at} missing", proof[:at] + proof[at + 1 :]))
        cases.append((f"hash {at} twice", [*proof[: at + 1], *proof[at:]]))
    if len(proof) > 1:
        cases += [("turned round", proof[::-1]), ("joined", [b"".join(proof)])]
    return cases


@pytest.mark.parametrize(
    ("index", "size"), [(0, 1), (0, 2), (1, 2), (2, 3), (4, 7), (6, 7), (5, 8), (33, 65), (64, 65)]
)
def test_a_damaged_inclusion_proof_fails(index: int, size: int) -> None:
    proof = inclusion_proof(reader(BODIES), index, size)
    assert is_included(proof, LEAVES[index], index, size, ROOTS[size])
    for name, wrong in damaged(proof):
        assert not is_included(wrong, LEAVES[index], index, size, ROOTS[size]), name
    assert not is_included(proof, LEAVES[index][:-1], index, size, ROOTS[size])
    assert not is_included(proof, LEAVES[index], index, size, ROOTS[size][:-1])
    assert not is_included(proof, LEAVES[index], index, size, b"")


@pytest.mark.parametrize(
    ("first", "second"), [(0, 3), (1, 1), (1, 2), (2, 3), (3, 4), (4, 8), (6, 7), (6, 8), (33, 65), (64, 65), (63, 64)]
)
def test_a_damaged_consistency_proof_fails(first: int, second: int) -> None:
    proof = consistency_proof(reader(BODIES), first, second)
    roots = ROOTS[first], ROOTS[second]
    assert is_consistent(proof, first, second, *roots)
    for name, wrong in damaged(proof):
        assert not is_consistent(wrong, first, second, *roots), name
    assert not is_consistent(proof, first, second, roots[0][:-1], roots[1])
    assert not is_consistent(proof, first, second, roots[0], roots[1][:-1])


def test_a_byte_does_not_wander_from_one_hash_to_the_next() -> None:
    """What is hashed would be the same: only the length of each hash tells."""
    leaf, (sibling, *rest) = LEAVES[4], rfc6962.audit_path(4, BODIES[:7])
    assert is_included([sibling, *rest], leaf, 4, 7, ROOTS[7])
    assert node_hash(leaf[:-1], leaf[-1:] + sibling) == node_hash(leaf, sibling)
    assert not is_included([leaf[-1:] + sibling, *rest], leaf[:-1], 4, 7, ROOTS[7])
    first, (sibling, *rest) = ROOTS[4], rfc6962.consistency(4, BODIES[:7])
    assert is_consistent([sibling, *rest], 4, 7, first, ROOTS[7])
    assert not is_consistent([first[-1:] + sibling, *rest], 4, 7, first[:-1], ROOTS[7])


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(-2, 200), st.integers(-2, 200))
def test_anything_else_is_refused_as_not_verified(proof: list[bytes], one: int, two: int) -> None:
    assert not is_included(proof, A_HASH, one, two, ROOTS[7])
    assert not is_consistent(proof, one, two, A_HASH, ROOTS[7])


def test_a_node_is_not_a_leaf() -> None:
    """RFC 6962's two prefixes: two leaves cannot be passed off as one body."""
    root = root_hash(LEAVES[:2])
    assert not is_included([], leaf_hash(LEAVES[0] + LEAVES[1]), 0, 1, root)
    assert Node(1, 0) in cover(0, 3)
