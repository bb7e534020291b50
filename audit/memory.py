"""What the log remembers outside the database: its last signed head and its tiles, as static files.

The files are those of C2SP tlog-tiles below one folder: `checkpoint` (the note) and `tile/...`, so any web server can
hand them out and any copy of them is as good. A database that was rolled back, cut or rewritten shows beside them.

A file appears whole or not at all, and is on disk before anything that speaks of it: first the tiles, then the head.
The head is only ever replaced by one whose tree extends its tree (compare and swap), under a lock of the file `lock`
that the operating system releases when its holder dies (ADR 0012). Several machines may share the folder if their file
system carries that lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from .durable import AT_ONCE, write_files
from .errors import ConfigurationError, MalformedError, VerificationError
from .keyfolder import KeyFolder
from .keys import sync_folder
from .merkle import CompactRange, read_range
from .note import Note, Signature, merged_note, parse_note
from .tiles import WIDTH, EntryTile, Tile, TileReader, encode_entries, grow, new_entry_tiles, whole_range
from .treehead import LogTrust, TreeHead, open_tree_head

FOLDER = "log"
HEAD = "checkpoint"
_LOCK = "lock"


class Leaf(NamedTuple):
    """What the log takes of an entry: the body, and its leaf hash."""

    body: bytes
    leaf_hash: bytes


class Growth(NamedTuple):
    """The tree of `after` with leaves behind it: what it is then, and the hash tiles that are new or wider."""

    after: TreeHead
    size: int
    root: bytes
    tiles: Sequence[tuple[Tile, bytes]]


@dataclass(frozen=True, slots=True)
class Known:
    """A head that was signed, as the memory holds it, with its tiles, which lead to it.

    `bodies` are those behind the last full entry tile: the beginning of the next.
    """

    note: Note
    head: TreeHead
    tiles: TileReader
    bodies: list[bytes]

    def grown(self, leaf_hashes: Sequence[bytes]) -> Growth:
        """Return what this tree becomes with these leaves, each hashed once: the root is that of the very tiles."""
        size = self.head.size + len(leaf_hashes)
        tiles = dict(grow(self.tiles.tile, self.head.size, leaf_hashes))

        def read(tile: Tile) -> bytes:
            return tiles.get(tile) or self.tiles.tile(tile)

        return Growth(self.head, size, whole_range(read, size).root_hash, list(tiles.items()))

    def range_of(self, size: int) -> CompactRange:
        """Return what this tree was when it had `size` leaves. Requires 0 <= size <= head.size."""
        return read_range(self.tiles.read, 0, size)

    def check_extends(self, head: TreeHead) -> None:
        """Raise VerificationError (`check` is "head") unless this tree begins with the tree of `head`."""
        found = self.range_of(head.size).root_hash
        if found != head.root:
            raise two_heads(head, found)


def two_heads(head: TreeHead, other: bytes) -> VerificationError:
    """Return the failure for a head whose size the log has signed, or would sign, with another root."""
    return VerificationError(
        f"The tree head of size {head.size} in the database has the root {head.root.hex()}, the log's memory leads to "
        f"{other.hex()}: there are two histories of this log, and nothing more is signed.",
        check="head",
        remedy="Find out which database is the real one, and stop the other: both were sealed with this log's key.",
    )


class Memory:
    """The folder `path`, of which nobody else takes files away."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, folder: KeyFolder) -> Memory:
        """Return the memory in the folder of an origin's keys."""
        return cls(folder.path / FOLDER)

    def create(self, note: Note) -> None:
        """Begin the memory of a new log with the head of its empty tree, in a folder that did not exist.

        The only way to begin one: a memory that was lost is never replaced by an empty one.
        """
        self.path.mkdir(mode=0o755)
        write_files(self.path, {HEAD: note.encode()})
        sync_folder(self.path)
        sync_folder(self.path.parent)

    @contextmanager
    def anew(self) -> Iterator[Memory]:
        """Yield an empty folder beside this one, which takes its place, on disk, if the block ends well.

        For a memory that is whole by then: see `fill`. Who is killed before leaves none, and is no hindrance to the
        next; two at once are not let in. Raises ConfigurationError for that, and where there is a folder already: what
        it remembers is never replaced.
        """
        self._check_none()
        beside = Memory(self.path.with_name(f"{self.path.name}.new"))
        try:
            beside.path.mkdir(exist_ok=True, mode=0o755)
            with beside._turn(wait=False):
                self._check_none()
                beside._clear()
                try:
                    yield beside
                except BaseException:
                    beside._clear()
                    raise
                beside.path.rename(self.path)
                sync_folder(self.path.parent)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"Another process is just making the log's memory anew, in {beside.path}.",
                remedy="Wait for it to end.",
            ) from error
        except OSError as error:
            raise _unreadable(beside.path, error) from error

    def fill(self, note: Note, files: Iterable[tuple[str, bytes]]) -> None:
        """Write the tiles of a whole tree, as names and bytes, and its head behind them; all on disk on return."""
        left, folders = iter(files), dict[Path, None]()
        while some := dict(islice(left, AT_ONCE)):
            folders |= dict.fromkeys(path.parent for path in write_files(self.path, some))
        for folder in folders:
            sync_folder(folder)
        write_files(self.path, {HEAD: note.encode()})
        sync_folder(self.path)

    def _check_none(self) -> None:
        if os.path.lexists(self.path):
            raise _exists(self.path)

    def _clear(self) -> None:
        """Take away what was left by one who was killed, all but the lock that is held."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()

    def open(self, trust: LogTrust) -> Known | None:
        """Return the last head, whose signature verified, with tiles that lead to it; None where there is none.

        Raises ConfigurationError where the files cannot be read, VerificationError where they are of another log or
        not of one tree.
        """
        data = self._head_bytes()
        while data is not None:
            try:
                return self._known(data, trust)
            except VerificationError:
                # A sealer may have gone on meanwhile, and taken tiles away that are full now.
                before, data = data, self._head_bytes()
                if data == before:
                    raise
        return None

    def _head_bytes(self) -> bytes | None:
        try:
            return (self.path / HEAD).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self.path / HEAD, error) from error

    def _known(self, data: bytes, trust: LogTrust) -> Known:
        try:
            note = parse_note(data)
            head = open_tree_head(note, trust).head
        except (MalformedError, VerificationError) as error:
            raise VerificationError(
                f"{self.path / HEAD} is no tree head that this log signed: {error.message}",
                check="head",
                remedy=_RESTORE,
            ) from error
        tiles = TileReader(self._fetch, tree_size=head.size, root_hash=head.root)
        return Known(note, head, tiles, self._last_bodies(tiles, head.size))

    def advance(
        self,
        note: Note,
        head: TreeHead,
        trust: LogTrust,
        leaves: Callable[[int], Sequence[Leaf]],
        growth: Growth | None = None,
    ) -> None:
        """Make `head`, which the database has committed, the last one, with its tiles; all on disk on return.

        `leaves` gives those from an index to the end of this tree; `growth`, where it was computed already and the
        memory is still where it begins, need not be computed again. Where the memory is further already, it only has to
        extend this tree. Raises VerificationError (`check` is "head"), with nothing written, if one does not extend the
        other, and ConfigurationError if the files cannot be written.
        """
        try:
            with self._turn():
                known = self.open(trust)
                if known is None:
                    raise lost(self.path)
                if known.head.size >= head.size:
                    known.check_extends(head)
                    return
                written = self._extend(known, head, leaves(known.head.size), growth)
                write_files(self.path, {HEAD: note.encode()})
                sync_folder(self.path)
                for path in written:
                    if not path.parent.name.endswith(".p"):
                        # Full now. Who asks for a narrower version is to take the full one (C2SP tlog-tiles).
                        shutil.rmtree(path.with_name(path.name + ".p"), ignore_errors=True)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def add_cosignatures(self, text: str, signatures: Sequence[Signature]) -> bool:
        """Put these signatures of the note `text`, which the caller verified, under the head if it is still that one.

        Of a key the first one stays. Returns whether the head holds one of each key now; on disk then. Raises
        ConfigurationError if the files cannot be read or written.
        """
        try:
            with self._turn():
                note = parse_note((self.path / HEAD).read_bytes())
                if note.text != text:
                    return False
                merged = merged_note(note, signatures)
                if merged != note:
                    write_files(self.path, {HEAD: merged.encode()})
                    sync_folder(self.path)
                return True
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _extend(self, known: Known, head: TreeHead, leaves: Sequence[Leaf], growth: Growth | None) -> list[Path]:
        """Write the tiles of the tree of `head` that are not those of `known`, and return them."""
        if growth is None or growth.after != known.head:
            growth = known.grown([leaf.leaf_hash for leaf in leaves])
        if (growth.size, growth.root) != (head.size, head.root):
            raise two_heads(head, growth.root)
        files = {tile.path: data for tile, data in growth.tiles}
        files |= {tile.path: data for tile, data in _entry_tiles(known, leaves)}
        written = write_files(self.path, files)
        for folder in dict.fromkeys(path.parent for path in written):
            sync_folder(folder)
        return written

    def bodies(self, known: Known, begin: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the bodies of the leaves [begin, known.head.size), those of one tile at a time, behind their index.

        Each was checked to be the leaf of that tree. Raises VerificationError (`check` is "tile") where one is not, or
        is missing.
        """
        full, rest = divmod(known.head.size, WIDTH)
        for index in range(begin // WIDTH, full + bool(rest)):
            bodies = self._bodies(known.tiles, EntryTile(index)) if index < full else known.bodies
            first = max(begin, index * WIDTH)
            yield first, bodies[first - index * WIDTH :]

    def _last_bodies(self, tiles: TileReader, size: int) -> list[bytes]:
        index, width = divmod(size, WIDTH)
        return self._bodies(tiles, EntryTile(index, width)) if width else []

    def _bodies(self, tiles: TileReader, tile: EntryTile) -> list[bytes]:
        try:
            return tiles.entries(tile, self._read(tile.path))
        except MalformedError as error:
            raise VerificationError(error.message, check="tile", remedy=_RESTORE) from error

    def _fetch(self, tile: Tile) -> bytes:
        # The full one begins with it, and may have taken its place meanwhile.
        return self._read(tile.path, Tile(tile.level, tile.index).path)

    def _read(self, *paths: str) -> bytes:
        """Return the bytes of the first of these files that is there."""
        for name in paths:
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _unreadable(self.path / name, error) from error
        raise VerificationError(
            f"The log's memory {self.path} lacks {paths[0]}, which is part of the tree of its head.",
            check="tile",
            remedy=_RESTORE,
        )

    @contextmanager
    def _turn(self, *, wait: bool = True) -> Iterator[None]:
        """Hold off others who would replace the head. A process that dies, however it dies, holds nobody off.

        Without `wait`, raises BlockingIOError where somebody else is at it.
        """
        if not self.path.is_dir():
            raise lost(self.path)
        handle = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)


def _entry_tiles(known: Known, leaves: Sequence[Leaf]) -> Iterator[tuple[EntryTile, bytes]]:
    size = known.head.size
    bodies = [*known.bodies, *(leaf.body for leaf in leaves)]
    for tile in new_entry_tiles(size, size + len(leaves)):
        begin = tile.index * WIDTH - (size - len(known.bodies))
        yield tile, encode_entries(bodies[begin : begin + tile.width])


_RESTORE = (
    "Restore the log's folder from a copy of it; an older one will do, back to the last `log restore`: the database "
    "brings it up to date."
)


def lost(path: Path) -> ConfigurationError:
    """Return the refusal of a sealer that has no memory of a log that exists."""
    return ConfigurationError(
        f"This machine has no memory of the log: there is no {path / HEAD}. Nothing is signed, since a head signed "
        "before might say otherwise.",
        remedy="Copy the folder here from the machine that sealed before. If it is lost for good, run: countersign log "
        "adopt-head --reason TEXT",
    )


def _exists(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"There is a memory of the log already: {path}. Nothing was changed.",
        remedy="If it has no head or is damaged, and no copy of it can be had, move the folder away first. Never do "
        "that to go on over an old database.",
    )


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"The log's memory {path} cannot be read or written: {error.strerror}.",
        remedy="Free space, or let the sealer's user read and write the folder; nothing is lost, seal again.",
    )
