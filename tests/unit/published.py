"""A log as it is published, in memory: leaves of which the n-th is the body `n`, and their tiles."""

from __future__ import annotations

from countersign.audit.entry import leaf_hash
from countersign.audit.errors import NotFoundError
from countersign.audit.merkle import root_hash
from countersign.audit.tiles import Tile, TileReader, grow

BIG = 66_400  # a full tile of level 1, and one of every level that is not full
LEAVES = [leaf_hash(b"%d" % number) for number in range(BIG)]
SIZES = [0, 1, 2, 255, 256, 257, 300, 511, 512, 65_535, 65_536, 65_537, 65_792, BIG]


class Published:
    """A folder of tiles as a log publishes it: every version of every tile, and which of them were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.size = 0

    def append(self, leaves: list[bytes]) -> list[Tile]:
        written = list(grow(self.fetch, self.size, leaves))
        self.files |= {tile.path: data for tile, data in written}
        self.size += len(leaves)
        return [tile for tile, _ in written]

    def fetch(self, tile: Tile) -> bytes:
        self.asked.append(tile.path)
        try:
            return self.files[tile.path]
        except KeyError:
            raise NotFoundError(f"No {tile.path}.") from None

    def reader(self, size: int | None = None) -> TileReader:
        size = self.size if size is None else size
        return TileReader(self.fetch, tree_size=size, root_hash=root_hash(LEAVES[:size]))


def publish(sizes: list[int]) -> Published:
    """A log that grew to these sizes one after the other."""
    log = Published()
    for size in sizes:
        log.append(LEAVES[log.size : size])
    return log
