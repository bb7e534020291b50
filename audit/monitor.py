"""Watching a log from outside: is its head signed, does it extend what was seen before, and do the bodies lead to it.

Guarantees of a report without findings: the head was signed by a trusted key; the tiles lead to it; its tree begins
with every tree that was seen before; and, where bodies were asked for, they alone lead to its root, each is an entry of
this log, and every trail has one branch, but for what entries `log.restored` record as lost.

Pure: whoever calls says how to get head and tiles. What does not come is missing, and the verdict indeterminate; what
comes and is wrong is a finding. Behind the first tile that is missing or wrong nothing is read: it could not be placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from .branches import Branches, Claim, Numbered, Reading, Restore
from .entry import leaf_hash
from .errors import AuditError, MalformedError, VerificationError
from .merkle import read_range
from .note import Note, parse_note
from .tiles import WIDTH, EntryTile, Tile, TileReader, decode_entries, hashes_of, new_entry_tiles, new_tiles
from .treehead import LogTrust, TreeHead, open_tree_head
from .verify import Report


class MissingError(AuditError):
    """Evidence that was asked for did not come, or not in a form that can be read."""


class LogSource(Protocol):
    """Where a log is read from. What it gives is not believed; each raises MissingError where nothing comes."""

    def head(self) -> bytes:
        """Return the signed head, a note."""

    def tile(self, tile: Tile) -> bytes:
        """Return a tile of hashes, or a wider version of it, which begins with it."""

    def entries(self, tile: EntryTile) -> bytes:
        """Return an entry tile, exactly as wide as asked for."""


@dataclass(frozen=True)
class State:
    """What one run leaves to the next: the last head that was verified, and how far tiles and bodies were read."""

    note: Note
    head: TreeHead
    reading: Reading
    tiles: int
    """The size of the last tree of which all tiles of hashes were read, at most head.size."""


@dataclass(frozen=True)
class Outcome:
    """A report; what to go on from next time, None where nothing was established; and heads that exclude each other."""

    report: Report
    state: State | None = None
    evidence: tuple[Note, ...] = ()


def monitor(source: LogSource, trust: LogTrust, *, known: State | None = None, entries: bool = False) -> Outcome:
    """Return what is to be said of a log, read from `known` on, with its bodies if `entries`.

    Raises MissingError if there is no head to judge. Takes memory for the ends of all trails and one entry tile.
    """
    return _Monitoring(source, trust, known, entries=entries).run()


class _Monitoring:
    """One run. The steps build on one another."""

    def __init__(self, source: LogSource, trust: LogTrust, known: State | None, *, entries: bool) -> None:
        self._report = Report()
        self._say = self._report.say
        self._source = source
        self._trust = trust
        self._known = known
        self._entries = entries
        self._reading = known.reading.copy() if known else Reading()

    def run(self) -> Outcome:
        seen = self._source.head()
        try:
            note, head = self._open_head(seen)
        except MalformedError as error:
            self._report.add(VerificationError(f"The tree head is none: {error.message}", check="note"))
            return Outcome(self._report)
        except VerificationError as error:
            self._report.add(error)
            return Outcome(self._report)
        try:
            tiles = self._check_tree(head)
        except MissingError as error:
            self._miss("tiles", error)
            return Outcome(self._report)
        except VerificationError as error:
            self._report.add(error)
            evidence = (self._known.note, note) if self._known and error.check == "head" else ()
            return Outcome(self._report, evidence=evidence)
        read = self._known.tiles if self._known else 0
        if self._complete("tiles", lambda: _read_tiles(tiles, read, head.size)):
            read = head.size
            self._say("tiles", "checked", f"all that are new lead to the root of {head.size} leaves")
            self._check_entries(tiles, head)
        else:
            self._say("entries", "not checked", f"{_unread(self._reading)}, as not all tiles of hashes are there")
            self._count(self._reading)
        self._say("signatures", "not checked", "the log holds bodies; who signed an entry shows in a bundle")
        return Outcome(self._report, State(note, head, self._reading, read))

    def _open_head(self, data: bytes) -> tuple[Note, TreeHead]:
        note = parse_note(data)
        opened = open_tree_head(note, replace(self._trust, quorum=0))
        self._report.tree_head = opened.head
        self._report.weigh(opened.head, self._trust, opened.signatures)
        return note, opened.head

    def _check_tree(self, head: TreeHead) -> TileReader:
        """Return the tiles of the head's tree, which lead to its root and extend what is known.

        Raises VerificationError: `check` is "head" where the two heads cannot be of one honest log.
        """
        old = self._known.head if self._known else None
        if old is not None and head.size < old.size:
            raise _rolled_back(head, old)
        if old is not None and head.size == old.size and head.root != old.root:
            raise _two_histories(head, old, head.root)
        tiles = TileReader(self._source.tile, tree_size=head.size, root_hash=head.root)
        if old is None:
            self._say("earlier head", "not checked", "none was kept by an earlier run: --state")
            return tiles
        if (root := read_range(tiles.read, 0, old.size).root_hash) != old.root:
            raise _two_histories(head, old, root)
        self._say("earlier head", "checked", f"the tree of size {old.size}, seen before, is the beginning of this one")
        return tiles

    def _check_entries(self, tiles: TileReader, head: TreeHead) -> None:
        """Read the bodies that were not read before. What fails is not taken over: the next run finds it again."""
        before = self._reading
        branches = Branches(head.origin, before.copy(), self._report.add)
        found = self._report.found
        if not self._entries:
            self._say("entries", "not checked", f"{_unread(before)}, for want of an auditor's credential: --credential")
        elif self._complete("entries", lambda: self._read(branches, tiles, head)):
            if self._complete("entries", lambda: self._settle(branches, tiles, head)) and self._report.found == found:
                self._reading = branches.reading
                detail = f"the bodies of {head.size} leaves, {before.size} of them by earlier runs"
                self._say("entries", "checked", detail)
        elif self._report.found == found and branches.is_decided:
            self._reading = branches.reading
        self._count(branches.reading)

    def _read(self, branches: Branches, tiles: TileReader, head: TreeHead) -> None:
        begin = branches.reading.size
        for tile in new_entry_tiles(begin, head.size):
            branches.feed(self._leaves_in(tiles, tile)[max(begin - tile.index * WIDTH, 0) :])
        if branches.reading.range.root_hash != head.root:
            raise VerificationError(
                f"The bodies of all {head.size} leaves lead to the root {branches.reading.range.root_hash.hex()}, the "
                f"tree head has {head.root.hex()}.",
                check="tile",
            )

    def _settle(self, branches: Branches, tiles: TileReader, head: TreeHead) -> None:
        """Judge what recorded losses explain, and the records themselves."""

        def again(begin: int, end: int) -> Iterator[Numbered]:
            for index in range(begin // WIDTH, -(-end // WIDTH)):
                tile = EntryTile(index, min(WIDTH, head.size - index * WIDTH))
                leaves = self._leaves_in(tiles, tile)
                yield from (leaf for leaf in leaves if begin <= leaf.leaf_index < end)

        new = branches.reading.restores[len(self._reading.restores) :]
        branches.settle(again)
        for restore in new:
            for claim in restore.claims:
                if read_range(tiles.read, 0, claim.size).root_hash != claim.root:
                    self._report.add(_unfounded(restore, claim))

    def _leaves_in(self, tiles: TileReader, tile: EntryTile) -> list[Numbered]:
        """Return the leaves in an entry tile, each of which is the one that the tree has there."""
        hashes = Tile(0, tile.index, tile.width)
        wanted = hashes_of(hashes, tiles.tile(hashes))
        begin = tile.index * WIDTH
        try:
            bodies = decode_entries(tile, self._source.entries(tile))
        except MalformedError as error:
            raise VerificationError(error.message, check="tile", leaf_index=begin) from error
        leaves = [Numbered(at, body, leaf_hash(body)) for at, body in enumerate(bodies, start=begin)]
        for leaf, known in zip(leaves, wanted, strict=True):
            if leaf.leaf_hash != known:
                sentence = f"{tile.path} has another body than leaf {leaf.leaf_index} of the tree."
                raise VerificationError(sentence, check="tile", leaf_index=leaf.leaf_index)
        return leaves

    def _count(self, reading: Reading) -> None:
        """Say how much of the log was read, this time and before, and what is recorded as lost."""
        counts = self._report.counts
        counts.trails, counts.entries = len(reading.ends), reading.size
        counts.sealed, counts.lost = reading.size, reading.lost
        for restore in reading.restores:
            self._say(
                "restore",
                "recorded",
                f"leaf {restore.at}: the database came back from a backup, and of the leaves {restore.begin} to "
                f"{restore.end - 1} {restore.lost} have no entry any more",
            )

    def _complete(self, what: str, step: Callable[[], None]) -> bool:
        """Tell whether a step came to its end, and record why not."""
        try:
            step()
        except VerificationError as error:
            self._report.add(error)
        except MissingError as error:
            self._miss(what, error)
        else:
            return True
        return False

    def _miss(self, what: str, error: MissingError) -> None:
        self._report.indeterminate = True
        self._say(what, "missing", error.message.rstrip("."))


def _read_tiles(tiles: TileReader, begin: int, end: int) -> None:
    for tile in new_tiles(begin, end):
        tiles.tile(tile)


def _unread(reading: Reading) -> str:
    return f"the bodies of leaves from {reading.size} on" if reading.size else "the bodies of leaves"


def _rolled_back(head: TreeHead, old: TreeHead) -> VerificationError:
    return VerificationError(
        f"The log shows a tree head of {head.size} leaves, and has shown one of {old.size} before: it was rolled back, "
        "or shows an older head to some.",
        check="head",
    )


def _two_histories(head: TreeHead, old: TreeHead, root: bytes) -> VerificationError:
    return VerificationError(
        f"The tree head of {head.size} leaves does not extend the one of {old.size} that was seen before: its first "
        f"{old.size} leaves have the root {root.hex()}, not {old.root.hex()}. The log has two histories.",
        check="head",
    )


def _unfounded(restore: Restore, claim: Claim) -> VerificationError:
    return VerificationError(
        f"The restore that leaf {restore.at} records names a tree head of {claim.size} leaves with another root than "
        f"this log had: {claim.root.hex()}.",
        check="restore",
        leaf_index=restore.at,
    )
