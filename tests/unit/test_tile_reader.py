"""Reading tiles that others publish: nothing is taken from one that another tree could have."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.audit.entry import leaf_hash
from countersign.audit.errors import MalformedError, NotFoundError, VerificationError
from countersign.audit.merkle import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    Node,
    consistency_proof,
    cover,
    inclusion_nodes,
    inclusion_proof,
    node_hash,
    read_range,
    root_hash,
    verify_consistency,
    verify_inclusion,
)
from countersign.audit.tiles import (
    EntryTile,
    Tile,
    TileReader,
    border,
    encode_entries,
    new_tiles,
    tiles_of,
)
from drills import share
from unit.published import BIG, LEAVES, SIZES, Published, publish


@pytest.fixture(scope="module")
def published() -> Published:
    return publish(SIZES)


@settings(max_examples=share(30))  # each hashes a tree of up to 66,400 leaves three times
@given(st.sampled_from(SIZES[1:]), st.data())
def test_proofs_are_built_from_published_tiles(published: Published, size: int, data: st.DataObject) -> None:
    reader = published.reader(size)
    second = data.draw(st.integers(1, size))
    index, first = data.draw(st.integers(0, second - 1)), data.draw(st.integers(0, second))
    root = root_hash(LEAVES[:second])
    proof = inclusion_proof(reader.read, index, second)
    verify_inclusion(proof, leaf_hash=LEAVES[index], leaf_index=index, tree_size=second, root_hash=root)
    roots = {"first_root": root_hash(LEAVES[:first]), "second_root": root}
    verify_consistency(consistency_proof(reader.read, first, second), first=first, second=second, **roots)
    for at in {index, first - 1} - {-1}:
        assert reader.read(Node(0, at)) == LEAVES[at]


def test_a_proof_asks_for_its_tiles_those_above_and_the_border_and_for_each_once(published: Published) -> None:
    published.asked.clear()
    reader = published.reader(BIG)
    assert published.asked == [tile.path for tile in border(BIG)]
    for _ in range(2):
        inclusion_proof(reader.read, 300, BIG)
    wanted = tiles_of(inclusion_nodes(300, BIG), BIG)
    assert len(set(published.asked)) == len(published.asked)
    assert set(published.asked) == {tile.path for tile in [*border(BIG), *wanted]}


def test_a_source_may_give_a_wider_tile(published: Published) -> None:
    """As one does that keeps only full tiles."""

    def fetch(tile: Tile) -> bytes:
        return published.files[Tile(tile.level, tile.index).path if tile.level == 0 else tile.path]

    reader = TileReader(fetch, tree_size=300, root_hash=root_hash(LEAVES[:300]))
    assert reader.read(Node(0, 299)) == LEAVES[299]
    assert reader.tile(Tile(0, 1, 44)) == b"".join(LEAVES[256:300])


def test_the_empty_tree_has_no_tiles_and_one_root() -> None:
    assert border(0) == list(new_tiles(0, 0)) == []
    reader = TileReader(lambda _: b"", tree_size=0, root_hash=EMPTY_ROOT)
    with pytest.raises(ValueError, match="not in a tree"):
        reader.read(Node(0, 0))
    with pytest.raises(VerificationError, match="no tiles"):
        TileReader(lambda _: b"", tree_size=0, root_hash=LEAVES[0])


@pytest.mark.parametrize("tile", [Tile(0, 1), Tile(0, 1, 43), Tile(0, 1, 45), Tile(0, 2, 1), Tile(1, 0), Tile(2, 0, 1)])
def test_a_tile_that_the_tree_does_not_have_is_not_read(published: Published, tile: Tile) -> None:
    with pytest.raises(ValueError, match="tree of size 300"):
        published.reader(300).tile(tile)


def test_what_the_source_raises_passes_through(published: Published) -> None:
    reader = published.reader(BIG)
    published.files, kept = {}, published.files
    try:
        with pytest.raises(NotFoundError, match="tile/1/000"):
            reader.tile(Tile(0, 5))
        with pytest.raises(NotFoundError):
            published.reader(BIG)
    finally:
        published.files = kept


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda data: flip(data, 0),
    "last byte": lambda data: flip(data, len(data) - 1),
    "empty": lambda _: b"",
    "a byte less": lambda data: data[:-1],
    "a hash less": lambda data: data[:-32],
    "a byte more": lambda data: data + b"\0",
    "too much": lambda data: data + bytes(8192),
    "another hash in front": lambda data: data[-32:][::-1] + data[32:],
    "zeroes": lambda data: bytes(len(data)),
}


ASKED = [*border(BIG), Tile(1, 0), Tile(0, 1)]  # to read leaf 300


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("tile", ASKED, ids=lambda tile: tile.path)
def test_a_damaged_tile_is_never_used(published: Published, tile: Tile, damage: Callable[[bytes], bytes]) -> None:
    honest = published.files[tile.path]
    damaged = damage(honest)
    assert damaged != honest

    def fetch(asked: Tile) -> bytes:
        return damaged if asked == tile else published.files[asked.path]

    with pytest.raises(VerificationError, match=re.escape(tile.path)) as caught:
        TileReader(fetch, tree_size=BIG, root_hash=root_hash(LEAVES)).read(Node(0, 300))
    assert caught.value.check == "tile"


def test_tiles_of_a_forked_log_are_refused_though_they_fit_each_other() -> None:
    """CT log Yeti 2022 served entries that hashed to another root than the one it had signed."""
    forked = Published()
    forked.append([*LEAVES[:299], leaf_hash(b"forged"), *LEAVES[300:1000]])
    with pytest.raises(VerificationError, match="is not what"):
        TileReader(forked.fetch, tree_size=1000, root_hash=root_hash(LEAVES[:1000]))


@given(st.integers(0, MAX_TREE_SIZE), st.data())
def test_a_reader_works_at_any_size(size: int, data: st.DataObject) -> None:
    """All leaves are alike, so every tile of a level is."""
    alike = [leaf_hash(b"")]
    for _ in range(63):
        alike.append(node_hash(alike[-1], alike[-1]))

    def fetch(tile: Tile) -> bytes:
        return alike[8 * tile.level] * tile.width

    root = read_range(lambda node: alike[node.level], 0, size).root_hash
    reader = TileReader(fetch, tree_size=size, root_hash=root)
    for node in cover(data.draw(st.integers(0, size)), size):
        assert reader.read(node) == alike[node.level]


BODIES = [b"%d" % number for number in range(300)]


def test_entries_are_the_leaves_of_the_tree(published: Published) -> None:
    reader = published.reader(BIG)
    assert reader.entries(EntryTile(0), encode_entries(BODIES[:256])) == BODIES[:256]
    assert published.reader(300).entries(EntryTile(1, 44), encode_entries(BODIES[256:])) == BODIES[256:]
    for wrong in ([*BODIES[:99], b"forged", *BODIES[100:256]], [*BODIES[1:256], BODIES[0]]):
        with pytest.raises(VerificationError, match="another body than leaf") as caught:
            reader.entries(EntryTile(0), encode_entries(wrong))
        assert caught.value.check == "tile"
    with pytest.raises(MalformedError, match="behind its 256 bodies"):
        reader.entries(EntryTile(0), encode_entries(BODIES[:256]) + b"\0\0")
    with pytest.raises(ValueError, match="has no tile"):
        published.reader(300).entries(EntryTile(1), encode_entries(BODIES[:256]))
