"""Restore: an operator says that the database came back from a backup, and the log goes on behind what was lost.

Guarantees, whatever is killed:
- nothing is signed before, and what is signed then extends every head that was signed: the leaves that were lost keep
  their hashes in the tree;
- each leaf has its entry, or stands in the one `log.restored` that says that it was lost;
- that entry, its leaf and the head over it commit together, so no sealer meets a state in between.

An entry that the backup holds, and that was sealed only after it was taken, becomes the leaf again that it was. All
others are lost, also where an application has written another entry at that place of the trail meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from psycopg import Connection

from .append import Appender
from .batch import ALL, batch_steps
from .body import Body, parse_body
from .canonical import Json
from .chain import Link
from .entry import KEYS_TRAIL, SYSTEM_TRAIL, Actor, EntryDraft, leaf_hash
from .errors import ConfigurationError, MalformedError, VerificationError
from .kinds import Kind
from .leaves import NewLeaf, StoredHead, add_leaves_steps, bodies_at_steps, lock_steps, sealed_ends_steps
from .memory import Known
from .seal import NewHead, Sealer, check_idle
from .steps import run
from .treehead import TreeHead


class Place(NamedTuple):
    """A lost entry: its place in its trail, and its kind."""

    seq: int
    kind: str


class LostOfTrail(NamedTuple):
    """What was lost of one trail: how many entries, the first of them and the last, in the order of the log."""

    entries: int
    first: Place
    last: Place


@dataclass(slots=True)
class Loss:
    """What became of the leaves [from, to) that the database did not know: `linked` of them have their entry again.

    `runs` are the others, as the payload of the entry lists them, `trails` the same by trail. Grows with what was lost.
    """

    linked: int = 0
    lost: int = 0
    runs: list[tuple[int, list[str]]] = field(default_factory=list)
    trails: dict[str, LostOfTrail] = field(default_factory=dict)

    def add(self, index: int, body: Body, hashed: bytes) -> None:
        """Count a leaf as lost. Requires leaves in ascending order."""
        if not self.runs or self.runs[-1][0] + len(self.runs[-1][1]) != index:
            self.runs.append((index, []))
        self.runs[-1][1].append(hashed.hex())
        self.lost += 1
        place = Place(body.seq, body.kind)
        before = self.trails.get(body.trail)
        self.trails[body.trail] = LostOfTrail(before.entries + 1, before.first, place) if before else _one(place)


class Found(NamedTuple):
    """The last head in the database and the one in the memory, which has more leaves, and what that means."""

    database: TreeHead
    memory: TreeHead
    loss: Loss


class Restored(NamedTuple):
    """What was found and done: the entry in `@system`, and the head under which it stands."""

    found: Found
    seq: int
    head: TreeHead


def examine(conn: Connection[Any], sealer: Sealer) -> Found:
    """Return what `restore` would do, and do nothing. Raises what it raises."""
    check_idle(conn)
    with conn.transaction():
        stored, known, database = _behind(conn, sealer)
        loss = Loss()
        for _ in _judge(conn, sealer, known, stored.tree_size, loss):
            pass
    return Found(database, known.head, loss)


def restore(conn: Connection[Any], sealer: Sealer, appender: Appender, *, reason: str, actor: Actor) -> Restored:
    """Let the log go on over a database that is behind its memory: one `log.restored` says what was lost, and why.

    `appender` signs with the deployment key; `reason` has passed `check_reason`. A transaction of its own, in which
    other sealers wait; on return the memory has the new head. Requires `conn` to be in no transaction. Raises
    ConfigurationError where the database is not behind, or the memory is missing, VerificationError where it is of
    another history than the memory, or damaged; then nothing was written.
    """
    check_idle(conn)
    with conn.transaction():
        stored, known, database = _behind(conn, sealer)
        found = Found(database, known.head, Loss())
        for linked in _judge(conn, sealer, known, stored.tree_size, found.loss):
            if linked:
                run(conn, add_leaves_steps(linked))
        heads = run(conn, appender.lock_steps([SYSTEM_TRAIL]))
        (entry,) = run(conn, appender.insert_steps(heads, [_draft(found, reason, actor)]))
        new = _sign(conn, sealer, stored, known, entry.seq)
    appender.committed([entry])
    sealer.remember(new)
    return Restored(found, entry.seq, new.head)


def _behind(conn: Connection[Any], sealer: Sealer) -> tuple[StoredHead, Known, TreeHead]:
    """Take the sealer's lock and return the database's last head and the memory, of whose history it is, and behind."""
    run(conn, lock_steps())
    last = sealer.last_head(conn)
    known = sealer.known()
    if last is None:
        raise ConfigurationError(
            "The database has no tree head at all: it is no backup of this log, or its heads were removed.",
            remedy="Restore a backup that was taken after the first `countersign migrate`.",
        )
    stored, database = last
    if database.size <= known.head.size:
        known.check_extends(database)
    if database.size >= known.head.size:
        raise ConfigurationError(
            f"The database is not behind the log's memory {sealer.memory.path}: its last tree head has {database.size} "
            f"leaves, that one {known.head.size}. There is nothing to restore, and nothing was done.",
            remedy="Run: countersign seal",
        )
    return stored, known, database


def _judge(conn: Connection[Any], sealer: Sealer, known: Known, begin: int, loss: Loss) -> Iterator[list[NewLeaf]]:
    """Yield the leaves that have their entry again, tile after tile, and count in `loss` what became of all."""
    ends: dict[str, Link] = {}
    for first, leaves in sealer.memory.bodies(known, begin):
        bodies = [_parsed(index, data) for index, data in enumerate(leaves, first)]
        ends |= run(conn, sealed_ends_steps([body.trail for body in bodies if body.trail not in ends]))
        there = run(conn, bodies_at_steps([(body.trail, body.seq) for body in bodies]))
        linked = []
        for index, (data, body) in enumerate(zip(leaves, bodies, strict=True), first):
            hashed = leaf_hash(data)
            # With a gap before it, the trail would not be whole up to where the next entry has to go on.
            if there.get((body.trail, body.seq)) == data and body.seq == ends[body.trail].seq + 1:
                ends[body.trail] = Link(body.seq, hashed)
                linked.append(NewLeaf(body.trail, body.seq, index, hashed))
            else:
                loss.add(index, body, hashed)
        loss.linked += len(linked)
        yield linked


def _parsed(index: int, data: bytes) -> Body:
    try:
        return parse_body(data)
    except MalformedError as error:
        raise VerificationError(
            f"Leaf {index} of the log's memory is no entry: {error.message}",
            check="body",
            leaf_index=index,
            remedy="Use the version of this project that sealed it, or a newer one.",
        ) from error


def _sign(conn: Connection[Any], sealer: Sealer, stored: StoredHead, known: Known, seq: int) -> NewHead:
    """Seal what is new of `@keys`, and `@system` up to entry `seq`, behind the leaves of the memory."""
    batch = run(conn, batch_steps(known.head.origin, known.head.size, {KEYS_TRAIL: ALL, SYSTEM_TRAIL: seq}))
    if batch.refused:
        raise batch.refused[0]
    if not batch.leaves or batch.leaves[-1][:2] != (SYSTEM_TRAIL, seq):
        raise VerificationError(
            f"The table of leaves knows an entry {seq} of {SYSTEM_TRAIL} that the database had lost.",
            check="leaf",
            trail=SYSTEM_TRAIL,
            seq=seq,
            table="leaves",
            remedy="Run: countersign verify",
        )
    return run(conn, sealer.sign_steps(stored, known, batch))


def _draft(found: Found, reason: str, actor: Actor) -> EntryDraft:
    detail: dict[str, Json] = {
        "database": head_json(found.database),
        "memory": head_json(found.memory),
        "from": found.database.size,
        "to": found.memory.size,
        "lost": found.loss.lost,
    }
    lost: list[Json] = [{"from": begin, "hashes": list[Json](hashes)} for begin, hashes in found.loss.runs]
    payload: dict[str, Json] = {"reason": reason, "lost": lost}
    return EntryDraft(SYSTEM_TRAIL, Kind.LOG_RESTORED, actor=actor, detail=detail, payload=payload)


def head_json(head: TreeHead) -> dict[str, Json]:
    """Return a head as details of entries name it."""
    return {"size": head.size, "root": head.root.hex()}


def _one(place: Place) -> LostOfTrail:
    return LostOfTrail(1, place, place)
