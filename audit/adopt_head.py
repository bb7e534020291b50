"""Adoption of a head: a machine begins its memory of a log that exists, from the database, on an operator's word.

For when the memory is lost and no copy of it can be had. What the memory is there to remember, that no other head was
signed, cannot be told from the database alone, so an entry says for ever that it was taken on trust, and which other
copies of heads it was held against.

Order: the memory is made beside its place, from bodies hashed anew, and checked; then the entry is committed; then the
memory is put in its place by one rename. So none ever stands whose beginning no entry records: the other way round, a
process killed in between would leave one. An entry without memory does no harm, since nothing is signed without memory;
who was killed there begins anew, and leaves two entries. Nothing here signs a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection

from .append import Appender
from .canonical import Json
from .entry import MAX_LIST, SYSTEM_TRAIL, Actor, EntryDraft, leaf_hash
from .errors import ConfigurationError, MalformedError, VerificationError
from .kinds import Kind
from .leaves import last_head_steps, lock_steps
from .memory import Known, Memory
from .note import Note
from .restore import head_json
from .seal import check_idle, leaves_in, opened
from .steps import run
from .tiles import WIDTH, EntryTile, TileStack, decode_entries, encode_entries, new_entry_tiles
from .treehead import LogTrust, TreeHead


class Adopted(NamedTuple):
    """The head with which the memory begins, those it was held against, and the entry in `@system`."""

    head: TreeHead
    given: tuple[TreeHead, ...]
    seq: int


def adopt_head(
    conn: Connection[Any],
    memory: Memory,
    trust: LogTrust,
    appender: Appender,
    *,
    reason: str,
    actor: Actor,
    given: Sequence[TreeHead] = (),
    copy: Path | None = None,
    vouched: Callable[[Known], None] = lambda _: None,
) -> Adopted:
    """Make `memory` anew from the last head in the database, having checked that its leaves lead to that head.

    The tree has to begin with that of every head `given`, at most 100. Bodies of leaves that are lost in the database
    come from `copy`, a folder with `tile/entries`, if there is one. Reads every leaf, 256 in memory at a time.
    `vouched` is shown the head before anything is done, and stops it by what it raises: who knows a later one says so.
    `appender` signs with the deployment key; `reason` has passed `check_reason`. Requires `conn` to be in no
    transaction. Raises ConfigurationError where there is a memory, a body is missing, or a head is given that is
    further than the database; VerificationError where the leaves do not lead to a head. Then there is no memory.
    """
    check_idle(conn)
    if len(given) > MAX_LIST:
        raise ConfigurationError(f"{len(given)} heads; {MAX_LIST} are accepted.", remedy="Give the largest ones.")
    with memory.anew() as new:
        note, head = _last_head(conn, trust)
        _check_not_behind(head, given)
        new.fill(note, _files(conn, head, copy))
        known = _opened(new, trust, head)
        _check_prefixes(known, given)
        vouched(known)
        detail: dict[str, Json] = {"database": head_json(head), "given": [head_json(other) for other in given]}
        draft = EntryDraft(SYSTEM_TRAIL, Kind.LOG_HEAD_ADOPTED, actor=actor, detail=detail, payload={"reason": reason})
        with conn.transaction():
            run(conn, lock_steps())  # durable: a crash of the server must not leave the memory without it
            (entry,) = appender.append(conn, draft)
    appender.committed([entry])
    return Adopted(head, tuple(given), entry.seq)


def _last_head(conn: Connection[Any], trust: LogTrust) -> tuple[Note, TreeHead]:
    with conn.transaction():
        run(conn, lock_steps())  # the head and the end of the leaves are read in two statements
        stored = run(conn, last_head_steps())
    if stored is None:
        raise ConfigurationError(
            "The database has no tree head: its heads were removed, or it is no database of this log.",
            remedy="Restore a backup that was taken after the first `countersign migrate`.",
        )
    return opened(stored, trust)


def _check_not_behind(head: TreeHead, given: Sequence[TreeHead]) -> None:
    largest = max(given, key=lambda other: other.size, default=head)
    if largest.size > head.size:
        raise ConfigurationError(
            f"The database is behind a head that was given: its last tree head has {head.size} leaves, that one "
            f"{largest.size}. It is a restored backup, or another database. Nothing was done.",
            remedy="Connect to the database that was sealed last. If it is lost, what is needed is `countersign log "
            "restore`, and for that the log's tiles: copy its folder here from wherever a copy of that head is.",
        )


def _files(conn: Connection[Any], head: TreeHead, copy: Path | None) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every tile of the tree."""
    stack = TileStack()
    for entries in new_entry_tiles(0, head.size):
        bodies = _bodies(conn, entries, copy)
        yield entries.path, encode_entries(bodies)
        for tile, data in stack.extend(map(leaf_hash, bodies)):
            yield tile.path, data
    for tile, data in stack.rest():
        yield tile.path, data


def _bodies(conn: Connection[Any], tile: EntryTile, copy: Path | None) -> list[bytes]:
    begin = tile.index * WIDTH
    found = leaves_in(conn, begin, begin + tile.width)
    missing = [index for index in range(begin, begin + tile.width) if index not in found]
    copied = _copied(copy, tile.index) if missing and copy else []
    bodies = {index: leaf.body for index, leaf in found.items()} | {
        index: copied[index - begin] for index in missing if index - begin < len(copied)
    }
    gone = next((index for index in missing if index not in bodies), None)
    if gone is not None:
        raise ConfigurationError(
            f"Leaf {gone} of the log has no entry in the database: it was lost with a restored backup, or removed. "
            f"{f'It is not in {copy} either' if copy else 'Its body cannot be made from its hash'}.",
            remedy="Get `tile/entries` from any copy of the log that has this leaf, and give its folder: --from FOLDER",
        )
    return [bodies[index] for index in range(begin, begin + tile.width)]


def _copied(copy: Path, index: int) -> list[bytes]:
    """Return the bodies in the widest version of an entry tile that lies in a copy of the log; none without one."""
    full = EntryTile(index)
    narrow = (copy / full.path).with_name(f"{(copy / full.path).name}.p")
    widths = [int(path.name) for path in narrow.glob("*") if path.name.isdecimal()] if narrow.is_dir() else []
    tiles = [full] if (copy / full.path).exists() else [EntryTile(index, max(widths))] if widths else []
    try:
        return [body for tile in tiles for body in decode_entries(tile, (copy / tile.path).read_bytes())]
    except (OSError, MalformedError, ValueError) as error:
        raise ConfigurationError(
            f"The copy {copy} cannot be used: {error}", remedy="Get `tile/entries` from another copy of the log."
        ) from error


def _opened(new: Memory, trust: LogTrust, head: TreeHead) -> Known:
    """Return what was written, read back. Raises VerificationError unless its tiles lead to `head`."""
    try:
        known = new.open(trust)
    except VerificationError as error:
        raise VerificationError(
            f"The leaves in the database do not lead to its last tree head, of size {head.size} and root "
            f"{head.root.hex()}: leaves were changed, or a copy that was given is of another log. No memory was made.",
            check="leaf",
            table="leaves",
            remedy="Run: countersign verify",
        ) from error
    if known is None:
        raise ConfigurationError(f"What was written to {new.path} is gone.", remedy="Find out who removes files there.")
    return known


def _check_prefixes(known: Known, given: Sequence[TreeHead]) -> None:
    for head in given:
        found = known.range_of(head.size).root_hash
        if found != head.root:
            raise VerificationError(
                f"A head that was given, of size {head.size}, has the root {head.root.hex()}; the database leads to "
                f"{found.hex()} there: there are two histories of this log. No memory was made.",
                check="head",
                remedy="Find out which database is the real one, and stop the other: both were sealed with this log's "
                "key.",
            )
