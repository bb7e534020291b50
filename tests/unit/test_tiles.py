"""Tiles: names, which ones there are, and that nothing is taken from one that another tree could have."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import rfc6962
from countersign.audit.errors import MalformedError
from countersign.audit.merkle import (
    MAX_TREE_SIZE,
    CompactRange,
    Node,
    consistency_nodes,
    inclusion_nodes,
    read_range,
    root_hash,
)
from countersign.audit.tiles import (
    EntryTile,
    Tile,
    TileStack,
    border,
    decode_entries,
    encode_entries,
    grow,
    hash_in,
    hashes_of,
    new_entry_tiles,
    new_tiles,
    parse_path,
    tile_hash,
    tile_of,
    tiles_of,
)
from unit.published import BIG, LEAVES, SIZES, Published, publish

tree_sizes = st.integers(0, MAX_TREE_SIZE)
some_sizes = st.sampled_from(SIZES) | st.integers(0, BIG)


# --- paths

PATHS: list[tuple[Tile | EntryTile, str]] = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 0, 1), "tile/0/000.p/1"),
    (Tile(0, 0, 255), "tile/0/000.p/255"),
    (Tile(1, 999), "tile/1/999"),
    (Tile(2, 1000, 10), "tile/2/x001/000.p/10"),
    (Tile(3, 1_234_067), "tile/3/x001/x234/067"),
    (Tile(7, 0, 127), "tile/7/000.p/127"),
    (Tile(0, 2**55 - 1, 255), "tile/0/x036/x028/x797/x018/x963/967.p/255"),
    (EntryTile(0), "tile/entries/000"),
    (EntryTile(123_456_789, 42), "tile/entries/x123/x456/789.p/42"),
]
NOT_PATHS = [
    "",
    "tile",
    "tile/0",
    "tile/0/",
    "/tile/0/000",
    "tile/0/000/",
    "tile/0/000\n",
    " tile/0/000",
    "tile/00/000",
    "tile/01/000",
    "tile/-1/000",
    "tile/+1/000",
    "tile/data/000",
    "tile/8/000/000",
    "tile/Entries/000",
    "tile/entries/0/000",
    "tile/0/0",
    "tile/0/00",
    "tile/0/0000",
    "tile/0/x000",
    "tile/0/x000/000",
    "tile/0/x000/x001/000",
    "tile/0/000/001",
    "tile/0/x001/x000",
    "tile/0/X001/000",
    "tile/0/x01/000",
    "tile/0/x001//000",
    "tile/0/x001/../000",
    "tile/0/\u0660\u0660\u0660",
    "tile/0/000.p",
    "tile/0/000.p/",
    "tile/0/000.p/0",
    "tile/0/000.p/00",
    "tile/0/000.p/01",
    "tile/0/000.p/256",
    "tile/0/000.p/999",
    "tile/0/000.p/1000",
    "tile/0/000.p/-1",
    "tile/0/000.P/1",
    "tile/0/000/p/1",
    "tile/0/000xp/1",
    "tile/0/000.p/1.p/1",
    "tile/8/000.p/1",
    "tile/63/000",
    "tile/64/000",
    "tile/7/000",
    "tile/7/000.p/128",
    "tile/7/001.p/1",
    "tile/0/x036/x028/x797/x018/x963/967",
    "tile/0/x036/x028/x797/x018/x963/968.p/1",
    "tile/0/x999/x999/x999/x999/x999/x999/999",
    "tile/0/x001/x036/x028/x797/x018/x963/x968/000",
]


@pytest.mark.parametrize(("tile", "path"), PATHS, ids=[path for _, path in PATHS])
def test_a_tile_has_this_path(tile: Tile | EntryTile, path: str) -> None:
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize("path", NOT_PATHS)
def test_this_is_no_path_of_a_tile(path: str) -> None:
    with pytest.raises(MalformedError, match="path"):
        parse_path(path)


@given(st.text("tile/enrsx.p0123456789", max_size=24) | st.text(max_size=24))
@example("tile/0/000.p/12")
def test_any_text_is_the_one_path_of_a_tile_or_malformed(text: str) -> None:
    try:
        tile = parse_path(text)
    except MalformedError:
        return
    assert tile.path == text


@st.composite
def tiles(draw: st.DrawFn) -> Tile:
    level = draw(st.integers(0, 7))
    end = draw(st.integers(1, MAX_TREE_SIZE >> 8 * level))
    index, width = divmod(end, 256)
    return Tile(level, index, width) if width else Tile(level, index - 1)


@given(tiles())
def test_a_path_says_which_tile_it_is(tile: Tile) -> None:
    assert parse_path(tile.path) == tile
    if tile.level == 0:
        entries = EntryTile(tile.index, tile.width)
        assert parse_path(entries.path) == entries


@pytest.mark.parametrize(
    ("level", "index", "width"),
    [(-1, 0, 1), (8, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (7, 0, 128), (7, 1, 1), (0, 2**55 - 1, 256)],
)
def test_there_is_no_such_tile(level: int, index: int, width: int) -> None:
    with pytest.raises(ValueError, match="tile"):
        Tile(level, index, width)


def test_there_is_no_entry_tile_beyond_the_largest_tree() -> None:
    assert EntryTile(2**55 - 1, 255).path.endswith(".p/255")
    with pytest.raises(ValueError, match="largest tree"):
        EntryTile(2**55 - 1)


# --- which tiles


def all_tiles(size: int) -> set[Tile]:
    """C2SP tlog-tiles, word by word: on level l floor(s / 256^l) hashes, 256 a tile and the rest in a partial one."""
    found = set()
    for level in range(8):
        hashes = size // 256**level
        found |= {Tile(level, index) for index in range(hashes // 256)}
        if hashes % 256:
            found.add(Tile(level, hashes // 256, hashes % 256))
    return found


def test_the_example_of_the_specification() -> None:
    """A tree of size 70,000."""
    made = list(new_tiles(0, 70_000))
    assert len(made) == 273 + 1 + 1 + 1 + 1
    assert set(made) == all_tiles(70_000)
    assert border(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert list(new_tiles(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


@given(some_sizes, some_sizes)
def test_new_tiles_are_those_that_were_not_there_and_entries_go_with_level_zero(one: int, other: int) -> None:
    old, new = sorted((one, other))
    made = list(new_tiles(old, new))
    assert set(made) == all_tiles(new) - all_tiles(old)
    assert len(set(made)) == len(made)
    assert made == sorted(made, key=lambda tile: (tile.level, tile.index))
    assert [Tile(0, tile.index, tile.width) for tile in new_entry_tiles(old, new)] == [t for t in made if t.level == 0]


@given(tree_sizes, st.integers(0, 1000))
def test_few_leaves_make_few_tiles_however_big_the_tree_is(old: int, more: int) -> None:
    new = min(old + more, MAX_TREE_SIZE)
    assert len(list(new_tiles(old, new))) <= more // 256 + 2 + 8 * 2


@pytest.mark.parametrize(("old", "new"), [(1, 0), (-1, 0), (0, MAX_TREE_SIZE + 1)])
def test_a_tree_does_not_shrink(old: int, new: int) -> None:
    for which in (new_tiles, new_entry_tiles):
        with pytest.raises(ValueError, match="does not grow"):
            list(which(old, new))


@given(tree_sizes)
def test_the_border_is_every_tile_that_is_not_full_and_holds_every_leaf(size: int) -> None:
    tiles = border(size)
    assert [(tile.level, tile.index, tile.width) for tile in tiles] == [
        (level, size // 256 ** (level + 1), size // 256**level % 256) for level in range(8) if size // 256**level % 256
    ]
    assert sum(tile.width * 256**tile.level for tile in tiles) == size


@given(st.integers(1, MAX_TREE_SIZE), st.data())
def test_a_proof_in_a_huge_tree_needs_two_tiles_a_level_at_most(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    first = data.draw(st.integers(0, size))
    for nodes in (inclusion_nodes(index, size), consistency_nodes(first, size)):
        tiles = tiles_of(nodes, size)
        assert len(tiles) == len(set(tiles)) <= 2 * 8
        for node in nodes:
            tile = tile_of(node, size)
            assert tile in tiles
            assert tile.level == node.level // 8
            span = 256**tile.level
            begin, end = tile.index * 256 * span, (tile.index * 256 + tile.width) * span
            assert begin <= node.index << node.level < (node.index + 1) << node.level <= end <= size
            assert tile.width == 256 or end > size - span


@pytest.mark.parametrize(
    ("node", "size"), [(Node(0, 0), 0), (Node(0, 5), 5), (Node(2, 1), 7), (Node(8, 1), 511), (Node(0, -1), 5)]
)
def test_a_node_that_is_not_in_the_tree_is_in_no_tile(node: Node, size: int) -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        tile_of(node, size)


# --- hashes


def test_a_tree_that_grew_in_steps_has_the_tiles_of_one_that_grew_at_once() -> None:
    published = publish(SIZES)
    once = Published()
    assert once.append(LEAVES) == list(new_tiles(0, BIG))
    assert once.files.items() <= published.files.items()
    for size in SIZES:
        assert {tile.path for tile in all_tiles(size)} <= published.files.keys()
        reader = published.reader(size)
        assert read_range(reader.read, 0, size) == CompactRange().extend(LEAVES[:size])


@given(st.lists(st.integers(0, 300), max_size=4))
def test_tiles_are_those_that_the_plan_names_and_hold_the_rfcs_hashes(steps: list[int]) -> None:
    log = Published()
    for step in steps:
        old = log.size
        assert log.append(LEAVES[old : old + step]) == list(new_tiles(old, old + step))
    bodies = [b"%d" % number for number in range(log.size)]
    for tile in all_tiles(log.size):
        span = 256**tile.level
        begin = tile.index * 256
        wanted = [rfc6962.tree_hash(bodies[at * span : (at + 1) * span]) for at in range(begin, begin + tile.width)]
        assert hashes_of(tile, log.files[tile.path]) == wanted


@pytest.mark.parametrize(
    "parts", [[], [1], [255], [256], [257], [100, 156, 0, 1], [65_535, 1], [65_536, 1], [3, BIG - 3]]
)
def test_a_stack_makes_the_tiles_of_a_tree_that_grew_from_nothing(parts: list[int]) -> None:
    stack, begin = TileStack(), 0
    found: list[tuple[Tile, bytes]] = []
    for part in parts:
        found += stack.extend(LEAVES[begin : begin + part])
        begin += part
    found += stack.rest()
    assert len(found) == len(dict(found))
    assert dict(found) == dict(grow(Published().fetch, 0, LEAVES[:begin]))


def test_leaf_hashes_of_another_length_make_no_tile() -> None:
    with pytest.raises(MalformedError, match="31 bytes"):
        list(TileStack().extend([bytes(32), bytes(31)]))
    with pytest.raises(MalformedError, match="32 bytes"):
        list(grow(lambda _: b"", 0, [LEAVES[0], b"short"]))


@pytest.mark.parametrize("width", [1, 2, 3, 7, 100, 255, 256])
def test_a_tile_of_any_width_has_a_hash_and_gives_the_hashes_between(width: int) -> None:
    tile, data = Tile(0, 1, width), b"".join(LEAVES[256 : 256 + width])
    assert tile_hash(tile, data) == root_hash(LEAVES[256 : 256 + width])
    for level in range(8):
        for index in range(width >> level):
            node = Node(level, (256 >> level) + index)
            begin = 256 + (index << level)
            assert hash_in(tile, data, node) == root_hash(LEAVES[begin : begin + (1 << level)])


@pytest.mark.parametrize(
    "node", [Node(0, 255), Node(0, 259), Node(1, 129), Node(2, 64), Node(8, 1), Node(8, 256), Node(7, 1)]
)
def test_a_node_that_is_not_in_the_tile_is_not_read_from_it(node: Node) -> None:
    tile, data = Tile(0, 1, 3), b"".join(LEAVES[256:259])
    with pytest.raises(ValueError, match="is not in tile/0/001"):
        hash_in(tile, data, node)


@pytest.mark.parametrize("size", [0, 1, 95, 97, 128, 8192])
def test_a_tile_of_another_length_is_malformed(size: int) -> None:
    tile, data = Tile(0, 1, 3), bytes(size)
    for read in (hashes_of, tile_hash, lambda tile, data: hash_in(tile, data, Node(0, 256))):
        with pytest.raises(MalformedError, match=f"has {size} bytes; 3 hashes are 96"):
            read(tile, data)


# --- entries

ENTRIES: list[tuple[list[bytes], bytes]] = [
    ([b"a"], b"\0\1a"),
    ([b""], b"\0\0"),
    ([b"a", b"bc"], b"\0\1a\0\2bc"),
    ([b"x" * 65_535], b"\xff\xff" + b"x" * 65_535),
    ([b""] * 256, bytes(512)),
]


@pytest.mark.parametrize(("bodies", "data"), ENTRIES, ids=range(len(ENTRIES)))
def test_bodies_have_this_encoding(bodies: list[bytes], data: bytes) -> None:
    assert encode_entries(bodies) == data
    assert decode_entries(EntryTile(0, len(bodies)), data) == bodies


@pytest.mark.parametrize("bodies", [[], [b""] * 257, [b"x" * 65_536]], ids=["none", "257", "too long"])
def test_these_make_no_entry_tile(bodies: list[bytes]) -> None:
    with pytest.raises(ValueError, match="1 to 256 bodies"):
        encode_entries(bodies)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\1", b"\0\1a", b"\0\1a\0", b"\0\1a\0\2b", b"\0\1a\0\1b\0", b"\0\1a\0\1b\0\0", b"\0\5a\0\1b"],
)
def test_this_is_no_entry_tile_of_two(data: bytes) -> None:
    with pytest.raises(MalformedError, match=r"tile/entries/000\.p/2"):
        decode_entries(EntryTile(0, 2), data)


@given(st.binary(max_size=40), st.integers(1, 256))
def test_any_bytes_are_the_one_encoding_of_these_bodies_or_malformed(data: bytes, width: int) -> None:
    try:
        bodies = decode_entries(EntryTile(0, width), data)
    except MalformedError:
        return
    assert len(bodies) == width
    assert encode_entries(bodies) == data
