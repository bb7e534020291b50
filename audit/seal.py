"""Sealing: committed entries become leaves of the log, and the log signs a head over them.

Guarantees, whatever is killed and however many processes seal:
- each entry becomes one leaf, once; a trail's entries in the order of seq; one that commits late comes in a later
  batch, not never; an act comes behind the standing that it names, and before what ended that standing;
- no two heads of one size, and every head extends all that were signed before it;
- leaves and head commit together; only then the memory outside the database is brought to that head; only then anybody
  is shown it. Whoever seals next repeats what a killed sealer left undone of that.

What is checked before an entry becomes a leaf: that its body is an entry of this log, of this trail, at the next place
of it, and names the leaf before as its predecessor. So nothing can be put in behind what is sealed. Its signature is
not verified again: the next append to the trail did that or will, `verify` does it for whoever asks, and a forgery that
is sealed is one that nobody can take back. A trail that does not go on where it was sealed is left out and told; the
other trails are not made to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.pq import TransactionStatus

from .batch import ALL, Batch, batch_steps
from .deployment import claimed_origin_steps
from .entry import KEYS_TRAIL, Signer, leaf_hash
from .errors import AppendError, ConfigurationError, MalformedError, VerificationError
from .keyfolder import LOG, KeyFolder
from .leaves import (
    StoredHead,
    add_head_steps,
    add_leaves_steps,
    bodies_steps,
    has_head_beyond_steps,
    last_head_steps,
    lock_steps,
    next_head_steps,
    sweep_steps,
    take_out_steps,
    unsealed_steps,
    waiting_steps,
)
from .memory import Growth, Known, Leaf, Memory, lost, two_heads
from .merkle import EMPTY_ROOT
from .note import Algorithm, Note, VerifierKey, parse_note, sign
from .schema import check_functions_steps, check_revision_steps
from .steps import Steps, run
from .treehead import LogTrust, TreeHead, open_tree_head

_YOUNG = 2  # heads: that of the empty tree, and one
BATCH = 2_048
"""Entries under one head at most: as many bodies, of at most 64 KiB each, are in memory."""


class Sealed(NamedTuple):
    """What was done: the log's last head, how many entries became leaves, and why trails were left out."""

    head: TreeHead
    entries: int
    refused: tuple[VerificationError, ...]


class NewHead(NamedTuple):
    """A head that was signed over a batch, and what of it the memory has to be told once it is committed."""

    note: Note
    head: TreeHead
    batch: Batch
    growth: Growth


def empty_head(key: VerifierKey, signer: Signer) -> Note:
    """Return the signed head of the tree without leaves, with which the log of `key` begins."""
    return _signed(TreeHead(key.name, 0, EMPTY_ROOT), key, signer)


def first_head_steps(note: Note) -> Steps[None]:
    """Store the head with which a new log begins."""
    yield from add_head_steps(StoredHead(1, 0, note.encode()))


def open_sealer(conn: Connection[Any], home: Path) -> Sealer:
    """Return a Sealer of the database behind `conn`, having checked its schema.

    Raises ConfigurationError when the database, the log's key or its trust file is not ready. The memory is asked for
    when there is something to sign.
    """
    return run(conn, _open_steps(home))


def _open_steps(home: Path) -> Steps[Sealer]:
    yield from check_revision_steps()
    yield from check_functions_steps()
    origin = yield from claimed_origin_steps()
    if origin is None:
        raise ConfigurationError("This database has no keys: @keys is empty.", remedy="Run: countersign migrate")
    folder = KeyFolder.of(home, origin)
    if not folder.path.is_dir():
        raise ConfigurationError(
            f"The log's key of {origin} is not on this machine: {folder.path} does not exist.",
            remedy="Set COUNTERSIGN_HOME to the folder that `countersign migrate` filled, or copy it here.",
        )
    key = log_key(folder)
    return Sealer(key, folder.key(LOG), Memory.of(folder))


def log_key(folder: KeyFolder) -> VerifierKey:
    """Return the verifier key of the log whose private key lies in `folder`.

    Raises ConfigurationError unless its trust.json names it: nobody who was given that file would believe a head.
    """
    trust = folder.trust()
    key = VerifierKey(trust.origin, Algorithm.LOG, folder.key(LOG).public)
    if key.text not in trust.log:
        raise ConfigurationError(
            f"The log's key {folder.path / 'log.pem'} is not one that {folder.path / 'trust.json'} names.",
            remedy="Restore both from the same backup of COUNTERSIGN_HOME.",
        )
    return key


class Sealer:
    """Seals the entries of one log, with its key and its memory. Connections are the caller's, in autocommit."""

    def __init__(self, key: VerifierKey, signer: Signer, memory: Memory) -> None:
        self.memory = memory
        self._key = key
        self._signer = signer
        self._trust = LogTrust((key,))
        self._left_out: list[str] = []

    def sweep(self, conn: Connection[Any]) -> None:
        """See to it that the next `seal` finds every entry, even if somebody struck some from the list.

        Reads the keys of all entries and leaves, so it is for the start of a process. Requires `conn` to be in no
        transaction.
        """
        with conn.transaction():
            run(conn, lock_steps())
            run(conn, sweep_steps())

    def waiting(self, conn: Connection[Any]) -> bool:
        """Tell whether there is anything to seal, besides trails that the last `seal` left out."""
        return run(conn, waiting_steps(self._left_out))

    def caught_up(self, conn: Connection[Any]) -> Known:
        """Return the last head that the database committed, once the memory holds it. Raises as `seal` does."""
        return self._catch_up(conn)

    def seal(self, conn: Connection[Any], *, before: Callable[[], None] = lambda: None) -> Sealed:
        """Seal every entry that was committed when this began, in as many batches as it takes, and say what was done.

        `before` is called before each batch, and stops the sealing by what it raises.

        Each batch is a transaction of its own, with a head of its own; without new entries there is no new head. On
        return the memory holds the last one. Requires `conn` to be in no transaction. Raises, with nothing signed from
        there on, ConfigurationError where the memory is missing or ahead of the database, and VerificationError where
        what was signed before does not fit what is there.
        """
        check_idle(conn)
        count, refused = 0, list[VerificationError]()
        self._left_out = []
        while True:
            before()
            known = self._catch_up(conn)
            batch = self._seal_batch(conn, known)
            if batch is None:
                continue
            refused += batch.refused
            self._left_out += [str(error.trail) for error in batch.refused]
            count += len(batch.leaves)
            if not batch.more:
                return Sealed(self._catch_up(conn).head, count, tuple(refused))

    def known(self) -> Known:
        """Return what the memory holds. Raises ConfigurationError where there is none."""
        known = self.memory.open(self._trust)
        if known is None:
            raise lost(self.memory.path)
        return known

    def sign_steps(self, behind: StoredHead, known: Known, batch: Batch) -> Steps[NewHead]:
        """Store the leaves of `batch`, which go on behind the tree of `known`, and the signed head over both.

        For a transaction that holds the sealer's lock, and of which `remember` is told after the commit. `behind` is
        the last stored head.
        """
        growth = known.grown([leaf.leaf_hash for leaf in batch.leaves])
        head = TreeHead(self._key.name, growth.size, growth.root)
        note = _signed(head, self._key, self._signer)
        yield from add_leaves_steps(batch.leaves)
        yield from add_head_steps(StoredHead(behind.number + 1, head.size, note.encode()))
        return NewHead(note, head, batch, growth)

    def remember(self, new: NewHead) -> None:
        """Bring the memory to a head that is committed now. If that fails, whoever seals next sees to it."""
        self.memory.advance(new.note, new.head, self._trust, lambda begin: _in_hand(new.batch, begin), new.growth)

    def last_head(self, conn: Connection[Any]) -> tuple[StoredHead, TreeHead] | None:
        """Return the last head in the database, None where there is none, having checked signature, row and leaves."""
        stored = run(conn, last_head_steps())
        return None if stored is None else (stored, opened(stored, self._trust)[1])

    def _catch_up(self, conn: Connection[Any]) -> Known:
        """Bring the memory to the last head that the database committed: what a killed sealer left undone."""
        while True:
            known = self.known()
            stored = run(conn, next_head_steps(known.head.size))
            if stored is None:
                return known
            if known.head.size == 0:
                self._check_young(conn)
            note, head = opened(stored, self._trust)
            self.memory.advance(note, head, self._trust, lambda begin, end=head.size: _leaves(conn, begin, end))  # type: ignore[misc]

    def _check_young(self, conn: Connection[Any]) -> None:
        """Raise ConfigurationError if the log has more than one head behind that of the empty tree.

        A killed sealer leaves one. That of the empty tree is in every copy of the database and remembers nothing. No
        head is signed before the memory has the one before, so a second look tells another sealer from a lost memory.
        """
        if run(conn, has_head_beyond_steps(_YOUNG)) and self.known().head.size == 0:
            raise lost(self.memory.path)

    def _seal_batch(self, conn: Connection[Any], known: Known) -> Batch | None:
        """Seal one batch. None if another sealer went on meanwhile, and nothing was done."""
        with conn.transaction():
            run(conn, lock_steps())
            stored = run(conn, last_head_steps())
            if stored is not None and stored.tree_size > known.head.size:
                return None
            self._check_last(stored, known)
            batch = run(conn, _batch_steps(self._key.name, known.head.size, self._left_out))
            new = None
            if batch.leaves and stored is not None:
                new = run(conn, self.sign_steps(stored, known, batch))
            run(conn, take_out_steps(batch.done))
        if new is not None:
            self.remember(new)
        return batch

    def _check_last(self, stored: StoredHead | None, known: Known) -> None:
        """Raise unless the head in the database is the one in the memory."""
        size = stored.tree_size if stored else -1
        if stored is None or size < known.head.size:
            raise ConfigurationError(
                f"The database is behind the log's memory: its last tree head has {max(size, 0)} leaves, the one in "
                f"{self.memory.path} has {known.head.size}. It is a restored backup, or another database. Nothing is "
                "signed.",
                remedy="Connect to the database that was sealed last. If it is lost, run: countersign log restore "
                "--reason TEXT",
            )
        _, head = opened(stored, self._trust)
        if head.root != known.head.root:
            raise two_heads(head, known.head.root)


def opened(stored: StoredHead, trust: LogTrust) -> tuple[Note, TreeHead]:
    """Return the note and the tree head of a stored head, whose signature verified and whose row says the same.

    Raises VerificationError (`check` is "head") otherwise.
    """
    try:
        note = parse_note(stored.note)
        head = open_tree_head(note, trust).head
    except (MalformedError, VerificationError) as error:
        raise _damaged(stored, error.message) from error
    if head.size != stored.tree_size:
        raise _damaged(stored, f"The row says {stored.tree_size} leaves, the note {head.size}.")
    return note, head


def check_idle(conn: Connection[Any]) -> None:
    """Raise AppendError unless a transaction begun here commits here: the memory must not be told before."""
    if not conn.autocommit or conn.info.transaction_status != TransactionStatus.IDLE:
        raise AppendError(
            "Nothing can be sealed inside a transaction of somebody else: its head would be known before it is there.",
            remedy="Seal on a connection in autocommit, outside `with conn.transaction():`.",
        )


def _damaged(stored: StoredHead, why: str) -> VerificationError:
    return VerificationError(
        f"Tree head {stored.number} in the database is not one that this log signed. {why}",
        check="head",
        table="heads",
        remedy="Find out who wrote to the schema audit; the signed heads of the log's memory are not affected.",
    )


def _signed(head: TreeHead, key: VerifierKey, signer: Signer) -> Note:
    return Note(head.text, (sign(head.text, key, signer),))


def _batch_steps(origin: str, size: int, without: Sequence[str]) -> Steps[Batch]:
    """Return the next batch: @keys first, then entries in the order in which they were written."""
    listed = yield from unsealed_steps(BATCH, without)
    upto: dict[str, int] = {} if KEYS_TRAIL in without else {KEYS_TRAIL: ALL}
    for item in listed:
        upto[item.trail] = max(item.seq, upto.get(item.trail, 0))
    batch = yield from batch_steps(origin, size, upto, listed)
    return batch._replace(more=len(listed) == BATCH)


def _in_hand(batch: Batch, begin: int) -> list[Leaf]:
    pairs = zip(batch.leaves, batch.bodies, strict=True)
    return [Leaf(body, leaf.leaf_hash) for leaf, body in pairs if leaf.leaf_index >= begin]


def leaves_in(conn: Connection[Any], begin: int, end: int) -> dict[int, Leaf]:
    """Return those of the leaves [begin, end) whose entries are in the database, by index, hashed anew.

    Raises VerificationError (`check` is "leaf") for one that is not the entry that was sealed.
    """
    found = {}
    for index, body, stored in run(conn, bodies_steps(begin, end)):
        if leaf_hash(body or b"") != stored:  # NULL, where somebody dropped the constraint
            raise _unlike(f"Leaf {index} of the log is not the entry that was sealed.", "Run: countersign verify")
        found[index] = Leaf(body, stored)
    return found


def _leaves(conn: Connection[Any], begin: int, end: int) -> list[Leaf]:
    """Return the leaves [begin, end) from the database. Raises VerificationError where one is gone, or another."""
    found = leaves_in(conn, begin, end)
    missing = next((index for index in range(begin, end) if index not in found), None)
    if missing is not None:
        raise _unlike(
            f"Leaf {missing} of the log is missing in the database, and the log's memory was not told of it.",
            "Run: countersign verify. If it was lost in a restored backup, as a log.restored says, bring the log's "
            "folder back from a copy that is not older than that restore.",
        )
    return list(found.values())


def _unlike(sentence: str, remedy: str) -> VerificationError:
    return VerificationError(sentence, check="leaf", table="leaves", remedy=remedy)
