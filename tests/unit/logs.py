"""A whole log in memory, as its operator publishes it: bodies, tiles and a signed head; and ways to publish another."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

from countersign.audit.canonical import Json
from countersign.audit.entry import Entry, EntryDraft, leaf_hash
from countersign.audit.keys import FileKey
from countersign.audit.merkle import root_hash
from countersign.audit.monitor import MissingError
from countersign.audit.note import Note, sign
from countersign.audit.tiles import EntryTile, Tile, encode_entries, grow, new_entry_tiles
from countersign.audit.treehead import TreeHead
from unit.heads import LOG, cosigned, log_key
from unit.samples import DEPLOYMENT, GRAPH, ORIGIN, keys_trail, sealed


@dataclass
class Log:
    """The bodies of a log, and where each of its trails ends; whoever writes it may go on from wherever they like."""

    bodies: list[bytes] = field(default_factory=list)
    ends: dict[str, Entry] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.bodies)

    def copy(self) -> Log:
        return Log(list(self.bodies), dict(self.ends))

    def add(
        self, trail: str, count: int = 1, *, kind: str = "run.started", after: Entry | None = None, **place: Any
    ) -> Self:
        """Let a trail go on, behind its end or behind another entry."""
        for _ in range(count):
            draft = EntryDraft(trail, kind, detail=place.pop("detail", {"n": self.size}))
            end = after or self.ends.get(trail)
            entry = sealed(draft, end, signer=DEPLOYMENT if trail.startswith("@") else GRAPH, **place)
            self.put(entry)
            after = None
        return self

    def put(self, entry: Entry) -> None:
        self.ends[entry.trail] = entry
        self.bodies.append(entry.body)

    def restore(self, backup: Log, lost: int | None = None, **detail: Json) -> Self:
        """Go on from a backup of the database: it is this log when it was smaller, and says so itself."""
        begin, end = backup.size, self.size
        self.ends = dict(backup.ends)
        said: dict[str, Json] = {
            "from": begin,
            "to": end,
            "lost": end - begin if lost is None else lost,
            "database": backup.claim(),
            "memory": self.claim(),
        }
        return self.add("@system", kind="log.restored", detail=said | detail)

    def claim(self) -> dict[str, Json]:
        return {"size": self.size, "root": self.head.root.hex()}

    @property
    def head(self) -> TreeHead:
        return TreeHead(ORIGIN, self.size, root_hash(map(leaf_hash, self.bodies)))

    def note(self, signer: FileKey = LOG) -> Note:
        text = self.head.text
        return Note(text, (sign(text, log_key(signer), signer), cosigned(text)))

    def files(self) -> dict[str, bytes]:
        """Return what is served below `/log/`, as it is for a log that reached this size at once."""
        hashes = [leaf_hash(body) for body in self.bodies]
        files = {"checkpoint": self.note().encode()}
        files |= {tile.path: data for tile, data in grow(lambda _: b"", 0, hashes)}
        for tile in new_entry_tiles(0, self.size):
            files[tile.path] = encode_entries(self.bodies[tile.index * 256 :][: tile.width])
        return files


@dataclass
class Served:
    """A log as somebody reads it, and what was asked for."""

    files: dict[str, bytes]
    asked: list[str] = field(default_factory=list)

    def head(self) -> bytes:
        return self._get("checkpoint")

    def tile(self, tile: Tile) -> bytes:
        return self._get(tile.path)

    def entries(self, tile: EntryTile) -> bytes:
        return self._get(tile.path)

    def _get(self, path: str) -> bytes:
        self.asked.append(path)
        if path not in self.files:
            raise MissingError(f"There is no {path}.")
        return self.files[path]


def served(log: Log, **changes: bytes | None) -> Served:
    """Return a log as it is served, with some files replaced or, where None, gone."""
    files: dict[str, bytes | None] = {**log.files(), **changes}
    return Served({path: data for path, data in files.items() if data is not None})


def begun() -> Log:
    """Return a log with the two entries with which the first migration begins it."""
    log = Log()
    for entry in keys_trail():
        log.put(entry)
    return log


def honest() -> Log:
    """Return a log over three full tiles and a part of one, with trails that end early and some that go on."""
    log = begun()
    for number in range(40):
        log.add(f"case-{number % 7}", 1 + number % 5).add(f"long-{number}", 13)
    return log


__all__ = ["Log", "Served", "begun", "honest", "replace", "served"]
