"""The log as static files: C2SP tlog-tiles v0.1.0 with tiles of height 8, as coordinates, paths and bytes.

A tile of level L lists up to 256 hashes of nodes of level 8L; a full tile's own hash stands in a tile of level L+1. A
tile that is not full grows with the tree, a full one never changes. The levels between are computed again from the
tile. No files and no network here: whoever has the tiles says how to get one, and what comes is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from .entry import MAX_BODY, leaf_hash
from .errors import MalformedError, VerificationError
from .merkle import HASH_BYTES, MAX_TREE_SIZE, CompactRange, Node, cover, perfect_hash, root_hash
from .recent import Recent

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 7
"""Of a tile in a tree of at most 2^63-1 leaves."""
_LENGTH_BYTES = 2
_KEPT = 256  # full tiles in memory, 2 MiB
_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Tile:
    """The `width` (1 to 256) hashes of nodes of level 8 * `level` from 256 * `index` on. `level` is 0 to 7."""

    level: int
    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        _check_place(self.level, self.index, self.width)

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, the tile's name below the log's prefix."""
        return f"tile/{self.level}/{_place(self.index, self.width)}"


@dataclass(frozen=True, slots=True)
class EntryTile:
    """The `width` (1 to 256) bodies from leaf 256 * `index` on, whose leaf hashes are in Tile(0, index, width)."""

    index: int
    width: int = WIDTH

    def __post_init__(self) -> None:
        _check_place(0, self.index, self.width)

    @property
    def path(self) -> str:
        """`tile/entries/<N>[.p/<W>]`, the tile's name below the log's prefix."""
        return f"tile/entries/{_place(self.index, self.width)}"


FetchTile = Callable[[Tile], bytes]
"""A tile to its bytes: exactly those, or those of a wider version of it, which begin with them."""


def _check_place(level: int, index: int, width: int) -> None:
    if not (0 <= level <= MAX_LEVEL and index >= 0 and 1 <= width <= WIDTH):
        raise ValueError(f"no tile of level {level}, index {index} and width {width}")
    if (index * WIDTH + width) << HEIGHT * level > MAX_TREE_SIZE:
        raise ValueError(f"tile {index} of level {level} and width {width} lies beyond the largest tree")


def _place(index: int, width: int) -> str:
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]]) + (f".p/{width}" if width < WIDTH else "")


def parse_path(path: str) -> Tile | EntryTile:
    """Return the tile that `path` names. Raises MalformedError unless it is exactly what the tile's `path` says.

    So there is one path to a tile: no leading zeroes, no empty group, no width of 256.
    """
    found = _PATH.fullmatch(path) if path.isascii() else None
    if found is None:
        raise MalformedError(f"Not the path of a tile: {path!r}.")
    level, groups, width = found.groups()
    index = int(groups.replace("/", "").replace("x", ""))
    wide = WIDTH if width is None else int(width)
    try:
        tile = EntryTile(index, wide) if level == "entries" else Tile(int(level), index, wide)
    except ValueError as error:
        raise MalformedError(f"The path {path!r} names {error}.") from error
    if tile.path != path:
        raise MalformedError(f"The path {path!r} of a tile is written {tile.path!r}.")
    return tile


# --- which tiles


def tile_of(node: Node, tree_size: int) -> Tile:
    """Return the tile from which the hash of `node` can be computed, as wide as it is in the tree of this size.

    Requires all leaves of the node to be in the tree, else raises ValueError.
    """
    if not 0 < (node.index + 1) << node.level <= tree_size <= MAX_TREE_SIZE:
        raise ValueError(f"node {node.index} of level {node.level} is not in a tree of size {tree_size}")
    level, height = divmod(node.level, HEIGHT)
    index = node.index << height >> HEIGHT
    return Tile(level, index, min(WIDTH, (tree_size >> HEIGHT * level) - index * WIDTH))


def tiles_of(nodes: Iterable[Node], tree_size: int) -> list[Tile]:
    """Return the tiles for these nodes of a tree, each once, in the order of the nodes that ask for them first."""
    return list(dict.fromkeys(tile_of(node, tree_size) for node in nodes))


def border(tree_size: int) -> list[Tile]:
    """Return the tiles that are not full in a tree of this size, lowest level first: at most 8.

    Their hashes together are the whole tree: its root hash can be computed from them, and it can be appended to.
    """
    return tiles_of(reversed(cover(0, tree_size)), tree_size)


def new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """Yield the tiles that are new or wider in the tree of `new_size`, lowest level first.

    Requires 0 <= old_size <= new_size <= 2^63-1.
    """
    for level in range(MAX_LEVEL + 1):
        for index, width in _grown(old_size >> HEIGHT * level, new_size >> HEIGHT * level):
            yield Tile(level, index, width)


def new_entry_tiles(old_size: int, new_size: int) -> Iterator[EntryTile]:
    """Yield the entry tiles that are new or wider. Requires 0 <= old_size <= new_size <= 2^63-1."""
    for index, width in _grown(old_size, new_size):
        yield EntryTile(index, width)


def _grown(old: int, new: int) -> Iterator[tuple[int, int]]:
    """Yield index and width of the tiles of a level that change when its hashes become `new` instead of `old`."""
    if not 0 <= old <= new <= MAX_TREE_SIZE:
        raise ValueError(f"a tree does not grow from {old} to {new}")
    for index in range(old // WIDTH, new // WIDTH):
        yield index, WIDTH
    if new % WIDTH and new > old:
        yield new // WIDTH, new % WIDTH


# --- hashes


def hashes_of(tile: Tile, data: bytes) -> list[bytes]:
    """Return the hashes that a tile's bytes list. Raises MalformedError unless there are `width` of them."""
    return _listed(tile, data, 0, tile.width)


def _listed(tile: Tile, data: bytes, begin: int, end: int) -> list[bytes]:
    if len(data) != tile.width * HASH_BYTES:
        raise MalformedError(f"{tile.path} has {len(data)} bytes; {tile.width} hashes are {tile.width * HASH_BYTES}.")
    return [data[at : at + HASH_BYTES] for at in range(begin * HASH_BYTES, end * HASH_BYTES, HASH_BYTES)]


def tile_hash(tile: Tile, data: bytes) -> bytes:
    """Return the root hash of the subtree over a tile's hashes; that of a full tile is what stands a level above."""
    hashes = hashes_of(tile, data)
    return perfect_hash(hashes) if tile.width == WIDTH else root_hash(hashes)


def hash_in(tile: Tile, data: bytes, node: Node) -> bytes:
    """Return the hash of a node from the tile that holds it, or a wider version of that.

    Raises ValueError if this is another tile or one that does not reach so far yet.
    """
    level, height = divmod(node.level, HEIGHT)
    begin = (node.index << height) - tile.index * WIDTH
    end = begin + (1 << height)
    if level != tile.level or not 0 <= begin < end <= tile.width:
        raise ValueError(f"node {node.index} of level {node.level} is not in {tile.path}")
    return perfect_hash(_listed(tile, data, begin, end))


def whole_range(read_tile: Callable[[Tile], bytes], tree_size: int) -> CompactRange:
    """Return the whole tree of this size from the tiles on its border, whatever tree they are of."""
    nodes = cover(0, tree_size)
    tiles = {tile: read_tile(tile) for tile in border(tree_size)}
    places = [tile_of(node, tree_size) for node in nodes]
    hashes = tuple(hash_in(tile, tiles[tile], node) for tile, node in zip(places, nodes, strict=True))
    return CompactRange(0, tree_size, hashes)


def grow(
    read_tile: Callable[[Tile], bytes], tree_size: int, leaf_hashes: Sequence[bytes]
) -> Iterator[tuple[Tile, bytes]]:
    """Yield the tiles that change when these leaves are appended to a tree of this size, with their bytes.

    They are `new_tiles(tree_size, tree_size + len(leaf_hashes))`, in that order. What is kept of the old ones comes
    from `read_tile`, which has to be trusted, such as TileReader.tile. Raises MalformedError for a leaf hash that is
    not of 32 bytes.
    """
    if any(len(leaf_hash) != HASH_BYTES for leaf_hash in leaf_hashes):
        raise MalformedError(f"A leaf hash that is not of {HASH_BYTES} bytes.")
    level, hashes = 0, list(leaf_hashes)
    while hashes:
        index, kept = divmod(tree_size >> HEIGHT * level, WIDTH)
        if kept:
            old = Tile(level, index, kept)
            hashes = hashes_of(old, read_tile(old)) + hashes
        above = []
        for at in range(0, len(hashes), WIDTH):
            part = hashes[at : at + WIDTH]
            tile, data = Tile(level, index + at // WIDTH, len(part)), b"".join(part)
            yield tile, data
            if tile.width == WIDTH:
                above.append(tile_hash(tile, data))
        level, hashes = level + 1, above


class TileStack:
    """Makes all tiles of a tree from its leaves, given in order; at most 255 hashes of a level are in memory.

    For a tree that nobody has tiles of; `grow` goes on behind those there are.
    """

    def __init__(self) -> None:
        self._levels: list[tuple[int, list[bytes]]] = []

    def extend(self, leaf_hashes: Iterable[bytes]) -> Iterator[tuple[Tile, bytes]]:
        """Yield the tiles that these leaves make full, with their bytes, each before the one above it.

        All have to be taken. Raises MalformedError for a leaf hash that is not of 32 bytes.
        """
        for hashed in leaf_hashes:
            if len(hashed) != HASH_BYTES:
                raise MalformedError(f"A leaf hash of {len(hashed)} bytes; SHA-256 has {HASH_BYTES}.")
            yield from self._push(0, hashed)

    def rest(self) -> Iterator[tuple[Tile, bytes]]:
        """Yield the tiles that are not full when no leaf comes any more, lowest level first."""
        for level, (index, hashes) in enumerate(self._levels):
            if hashes:
                yield Tile(level, index, len(hashes)), b"".join(hashes)

    def _push(self, level: int, pushed: bytes) -> Iterator[tuple[Tile, bytes]]:
        if level == len(self._levels):
            self._levels.append((0, []))
        index, hashes = self._levels[level]
        hashes.append(pushed)
        if len(hashes) == WIDTH:
            self._levels[level] = index + 1, []
            tile, data = Tile(level, index), b"".join(hashes)
            yield tile, data
            yield from self._push(level + 1, tile_hash(tile, data))


class TileReader:
    """Tiles of one tree, each checked against the root hash of a tree head before anything is taken from it.

    Made only where the tiles on the border lead to that root; they stay in memory with the 256 full tiles last used.
    Whatever `fetch` raises passes through. Raises VerificationError (`check` is "tile") for tiles of another tree.
    """

    def __init__(self, fetch: FetchTile, *, tree_size: int, root_hash: bytes) -> None:
        self._fetch = fetch
        self._size = tree_size
        self._full: Recent[Tile, bytes] = Recent(_KEPT)
        self._border = {tile: self._fetched(tile) for tile in border(tree_size)}
        found = whole_range(self._border.__getitem__, tree_size).root_hash
        if found != root_hash:
            paths = ", ".join(tile.path for tile in self._border) or "no tiles"
            raise _wrong(f"A tree of {tree_size} with the root {root_hash.hex()} is not what {paths} give.")

    def read(self, node: Node) -> bytes:
        """Return the hash of a node: what builds proofs. Raises ValueError if not all its leaves are in the tree."""
        tile = tile_of(node, self._size)
        return hash_in(tile, self.tile(tile), node)

    def tile(self, tile: Tile) -> bytes:
        """Return the bytes of a tile of this tree. Raises ValueError if the tree has no tile of this width there."""
        if tile != tile_of(Node(HEIGHT * tile.level, tile.index * WIDTH), self._size):
            raise ValueError(f"a tree of size {self._size} has no {tile.path}")
        data = self._border.get(tile) or self._full.get(tile)
        if data is None:
            above = Node(HEIGHT * (tile.level + 1), tile.index)
            wanted, data = self.read(above), self._fetched(tile)
            if tile_hash(tile, data) != wanted:
                raise _wrong(f"{tile.path} is not what the tree of {self._size} has there.")
            self._full[tile] = data
        return data

    def entries(self, tile: EntryTile, data: bytes) -> list[bytes]:
        """Return the bodies in an entry tile, each of which is the leaf of this tree that stands at its place.

        Raises MalformedError for bytes that are no entry tile of this width.
        """
        hashes = Tile(0, tile.index, tile.width)
        bodies = decode_entries(tile, data)
        for at, (body, wanted) in enumerate(zip(bodies, hashes_of(hashes, self.tile(hashes)), strict=True)):
            if leaf_hash(body) != wanted:
                raise _wrong(f"{tile.path} has another body than leaf {tile.index * WIDTH + at} of the tree.")
        return bodies

    def _fetched(self, tile: Tile) -> bytes:
        data = self._fetch(tile)
        wanted = tile.width * HASH_BYTES
        if len(data) < wanted or len(data) > WIDTH * HASH_BYTES or len(data) % HASH_BYTES:
            raise _wrong(f"{tile.path} has {len(data)} bytes; {tile.width} hashes are {wanted}.")
        return data[:wanted]


def _wrong(sentence: str) -> VerificationError:
    return VerificationError(
        sentence, check="tile", remedy="Get the tiles from another copy of the log; if none fits, its history differs."
    )


# --- entries


def encode_entries(bodies: Sequence[bytes]) -> bytes:
    """Return the bytes of an entry tile: for each body its length as uint16 big-endian, and the body.

    Requires 1 to 256 bodies of at most 65,535 bytes each, else raises ValueError.
    """
    if not 1 <= len(bodies) <= WIDTH or any(len(body) > MAX_BODY for body in bodies):
        raise ValueError(f"an entry tile holds 1 to {WIDTH} bodies of at most {MAX_BODY} bytes")
    return b"".join(len(body).to_bytes(_LENGTH_BYTES, "big") + body for body in bodies)


def decode_entries(tile: EntryTile, data: bytes) -> list[bytes]:
    """Return the bodies in an entry tile. Raises MalformedError unless there are `width` of them and nothing else."""
    bodies: list[bytes] = []
    at = 0
    for _ in range(tile.width):
        begin = at + _LENGTH_BYTES
        at = begin + int.from_bytes(data[at:begin], "big")
        if at > len(data):
            raise MalformedError(f"{tile.path} ends inside body {len(bodies)} of {tile.width}.")
        bodies.append(data[begin:at])
    if at != len(data):
        raise MalformedError(f"{tile.path} has {len(data) - at} bytes behind its {tile.width} bodies.")
    return bodies
