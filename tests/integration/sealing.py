"""Deployments with a memory of their own, what is to hold of a log whatever happened, and ways to disturb a sealer."""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import psycopg

from conftest import Database, copied, drop
from countersign.audit.append import Appender
from countersign.audit.entry import EntryDraft
from countersign.audit.keyfolder import DEPLOYMENT, KeyFolder
from countersign.audit.memory import Known, Memory
from countersign.audit.merkle import consistency_proof, verify_consistency
from countersign.audit.note import Note, VerifierKey, parse_note
from countersign.audit.outside import GivenHead
from countersign.audit.seal import Sealed, Sealer, open_sealer
from countersign.audit.steps import run
from countersign.audit.tiles import EntryTile, border, new_entry_tiles, new_tiles
from countersign.audit.treehead import LogTrust, TreeHead, open_tree_head
from rfc6962 import leaf_hash, tree_of_hashes


@dataclass
class Log:
    """A database whose log is sealed with a memory of its own, and every head that was ever seen of it."""

    database: Database
    seen: dict[int, bytes] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.database.home

    @property
    def folder(self) -> KeyFolder:
        return self.database.folder

    @property
    def memory(self) -> Memory:
        return Memory.of(self.folder)

    @property
    def trust(self) -> LogTrust:
        return LogTrust(tuple(VerifierKey.parse(key) for key in self.folder.trust().log))

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.database.app_url, autocommit=True) as conn:
            yield conn

    @contextmanager
    def sealer(self) -> Iterator[tuple[Sealer, psycopg.Connection[Any]]]:
        with self.connected() as conn:
            yield open_sealer(conn, self.home), conn

    def seal(self) -> Sealed:
        """Seal as a process that has just begun, and note the head in the memory."""
        with self.sealer() as (sealer, conn):
            sealer.sweep(conn)
            done = sealer.seal(conn)
        self.look()
        return done

    def append(self, trail: str, count: int = 1) -> None:
        with self.connected() as conn, conn.transaction():
            open_appender(conn, self.home).append(conn, *(EntryDraft(trail, "review.opened") for _ in range(count)))

    def known(self) -> Known:
        known = self.memory.open(self.trust)
        assert known is not None
        return known

    def look(self) -> None:
        """Note every head that the database and the memory hold; no two of one size may differ."""
        notes = [bytes(note) for (note,) in self.database.query("SELECT note FROM audit.heads ORDER BY number")]
        for note in (*notes, self.known().note.encode()):
            self.see(parse_note(note))

    def see(self, note: Note) -> None:
        head = open_tree_head(note, self.trust).head
        assert self.seen.setdefault(head.size, head.root) == head.root, f"two heads of size {head.size}"

    def bodies(self) -> list[bytes]:
        """Return the bodies of all leaves, in order."""
        rows = self.database.query(
            "SELECT e.body FROM audit.leaves l JOIN audit.entries e USING (trail, seq) ORDER BY l.leaf_index"
        )
        return [bytes(body) for (body,) in rows]

    def lost(self) -> dict[int, bytes]:
        """Return the hashes of the leaves that some log.restored names as lost, by index; each is named once."""
        lost: dict[int, bytes] = {}
        for (data,) in self.database.query(
            "SELECT p.data FROM audit.entries e JOIN audit.payloads p USING (trail, seq) WHERE e.kind = 'log.restored'"
        ):
            for part in json.loads(data)["lost"]:
                for index, hashed in enumerate(part["hashes"], part["from"]):
                    assert index not in lost
                    lost[index] = bytes.fromhex(hashed)
        return lost

    def check(self, *, honest: bool = True) -> None:
        """Fail unless every entry is one leaf, in order, and every head ever seen is of that tree, on disk too.

        Leaves without entry are those that were recorded as lost, and no others. And `verify` says the same, if all
        entries are `honest`.
        """
        self.look()
        query = self.database.query
        leaves = query("SELECT trail, seq, leaf_index, leaf_hash FROM audit.leaves ORDER BY leaf_index")
        entries = query("SELECT trail, seq FROM audit.entries")
        lost = self.lost()
        assert sorted((trail, seq) for trail, seq, *_ in leaves) == sorted(entries)
        assert sorted([*lost, *(index for _, _, index, _ in leaves)]) == list(range(len(entries) + len(lost)))
        for trail in {trail for trail, *_ in leaves}:
            seqs = [seq for name, seq, *_ in leaves if name == trail]
            assert seqs == list(range(1, len(seqs) + 1)), trail
        assert [bytes(found) for *_, found in leaves] == [leaf_hash(body) for body in self.bodies()]
        hashes = [hashed for _, hashed in sorted([*lost.items(), *((index, bytes(h)) for *_, index, h in leaves)])]
        for size, root in self.seen.items():
            assert tree_of_hashes(hashes[:size]) == root, f"the head of size {size} is of another tree"
        numbers = query("SELECT number, tree_size FROM audit.heads ORDER BY number")
        assert [number for number, _ in numbers] == list(range(1, len(numbers) + 1))
        assert [size for _, size in numbers] == sorted({size for _, size in numbers})
        self._check_memory(hashes, numbers[-1][1])
        if honest:
            self._check_verdict(len(entries), len(lost))

    def _check_verdict(self, sealed: int, lost: int) -> None:
        """What `verify` says, held against every head ever seen."""
        outside, note = self.database.outside, self.known().note
        heads = [TreeHead(self.trust.origin, size, root) for size, root in self.seen.items()]
        given = tuple(GivenHead(f"a head of {head.size}", note, head, ()) for head in heads)
        report = self.database.verify(outside=replace(outside, heads=given))
        assert (report.verdict, report.findings) == ("passed", [])
        assert (report.counts.sealed, report.counts.lost, report.unsealed) == (sealed, lost, 0)

    def _check_memory(self, hashes: list[bytes], size: int) -> None:
        known = self.known()
        assert known.head.size == size == len(hashes)
        assert known.head.root == tree_of_hashes(hashes)
        for tile in [*new_tiles(0, size), *border(size)]:
            known.tiles.tile(tile)  # checked against the root
        for entries in new_entry_tiles(0, size):
            data = (self.memory.path / entries.path).read_bytes()
            begin = entries.index * 256
            bodies = known.tiles.entries(EntryTile(entries.index, entries.width), data)
            assert [leaf_hash(body) for body in bodies] == hashes[begin : begin + 256]

    def check_consistency(self) -> None:
        """Fail unless the memory's tiles prove of any two heads ever seen that the larger extends the smaller."""
        read = self.known().tiles.read
        for first, second in combinations(sorted(self.seen), 2):
            proof = consistency_proof(read, first, second)
            verify_consistency(
                proof, first=first, second=second, first_root=self.seen[first], second_root=self.seen[second]
            )


def own_log(database: Database, home: Path) -> Log:
    """Return the database with a copy of its keys and of its log's memory, as it was when it was made."""
    shutil.copytree(database.folder.path, home / database.folder.path.name)
    return Log(replace(database, home=home))


@contextmanager
def restored(log: Log) -> Iterator[Log]:
    """Yield a copy of the database as it is now, with the one memory as it will be by then."""
    server = log.database.server
    log.database.leave()
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        copy = copied(conn, server, log.database.name, log.home, f"r_{uuid.uuid4().hex}")
        try:
            yield Log(copy, log.seen)
        finally:
            drop(conn, copy)


def open_appender(
    conn: psycopg.Connection[Any], home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Appender:
    """Return an appender with the deployment key, whose clock is `now`."""
    row = conn.execute("SELECT body FROM audit.entries WHERE trail = '@keys' AND seq = 1").fetchone()
    assert row
    (path,) = [path for path in home.iterdir() if (path / f"{DEPLOYMENT}.pem").exists()]
    folder = KeyFolder(path)
    appender = Appender(folder.trust(), [(("*",), folder.key(DEPLOYMENT))], now=now)
    run(conn, appender.ring_steps())
    return appender


class Blow:
    """Does `deed` at the nth moment of a sealer: before or after a statement, before a change to a file."""

    def __init__(self, nth: int, deed: Callable[[], None]) -> None:
        self.nth, self.deed, self.moments = nth, deed, 0

    def moment(self) -> None:
        self.moments += 1
        if self.moments == self.nth:
            self.deed()


class WatchedConnection(psycopg.Connection[Any]):
    """Tells of the moments before and after every statement, BEGIN and COMMIT included."""

    blow: Blow | None = None

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        if self.blow is None:
            return super().wait(*args, **kwargs)
        self.blow.moment()
        result = super().wait(*args, **kwargs)
        self.blow.moment()
        return result


_CHANGES = ("open", "os.link", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "fcntl.flock")


def watch_files(folder: Path, blow: Blow) -> None:
    """Let `blow` know before each change to files below `folder`, for the rest of this process."""
    below = os.fsencode(folder)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and not (isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event not in _CHANGES:
            return
        path = os.fsencode(args[0]) if isinstance(args[0], str | bytes | os.PathLike) else b""
        # A lock has no path, and what is removed with its folder is named relative to that.
        if event == "fcntl.flock" or not path.startswith(b"/") or path.startswith(below):
            blow.moment()

    sys.addaudithook(hook)
