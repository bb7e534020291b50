"""The one INSERT: appends signed entries on the caller's connection, inside the caller's transaction.

Guarantees, for every entry it appends:
- it is the next of its trail: appenders of one trail take turns by a transaction lock, so there is no gap and no fork;
- what it extends was signed by a key that may sign its kind, so a forged last entry is never vouched for;
- it commits or vanishes with the caller's transaction: nothing here begins, commits or rolls back.

Order of locks, for everybody who takes several: the lock of the keys (shared; rotation takes it exclusively), trails in
sorted order, then rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from .chain import START, Link, check_keys_trail, check_signed
from .entry import KEYS_TRAIL, SYSTEM_TRAIL, Entry, EntryDraft, Signer, check_trail, seal
from .errors import AppendError, MalformedError, VerificationError
from .keys import IntroducedKey, Trust
from .kinds import Kind, allows
from .read import ENTRY_COLUMNS, entries_statement, entry_of
from .recent import Recent
from .steps import Statement, Steps, arun, run

Heads = Mapping[str, Link]
Signers = Sequence[tuple[tuple[str, ...], Signer]]
"""Which signer vouches for which kinds; the first that fits signs."""

_KEYS_LOCK = 0x636F756E74657273  # "counters": any constant, the same in every process of this database
OWN_TRAILS = (KEYS_TRAIL, SYSTEM_TRAIL)

_LOCK: LiteralString = "pg_advisory_xact_lock(%s)"
_LOCK_SHARED: LiteralString = "pg_advisory_xact_lock_shared(%s)"
_LOCKS: LiteralString = f"SELECT current_setting('transaction_isolation'), {_LOCK_SHARED}"
_HEADS: LiteralString = f"""
SELECT h.* FROM unnest(%s::text[]) AS wanted (trail) CROSS JOIN LATERAL
    (SELECT {ENTRY_COLUMNS} FROM audit.entries e WHERE e.trail = wanted.trail ORDER BY e.seq DESC LIMIT 1) h
"""

_SHARED = 4  # parameters of a chain that stand once: both locks, the trail, and the seq that it ends with
_ENTRY: tuple[LiteralString, ...] = ("bytea", "text", "timestamptz", "bytea", "bytea", "bytea", "bytea", "bytea")
"""The types of what each of the database's own functions for appending takes of an entry."""


class Also(NamedTuple):
    """A function that appends and writes rows as well: its name, and its own parameters behind those of the entry."""

    function: LiteralString
    types: tuple[LiteralString, ...]
    params: Sequence[Any]


MOST = 8
"""Entries in one statement: each number and order of what they write is a statement of its own to prepare."""
_ENTRY_ALONE = Also("countersign.append", (), ())


class Part(NamedTuple):
    """An entry to be appended, and what writes the rows that it binds."""

    draft: EntryDraft
    also: Also = _ENTRY_ALONE


def trail_lock(trail: str) -> int:
    """Return the key of the transaction lock that orders a trail: 64 bits, signed."""
    return int.from_bytes(hashlib.sha256(b"countersign/trail\0" + trail.encode()).digest()[:8], signed=True)


class Appender:
    """May append to one deployment's trails, with the keys it was given.

    `ring` maps the key ids that `@keys` introduced to keys; it is read anew when an unknown key id turns up.
    """

    def __init__(
        self,
        trust: Trust,
        signers: Signers,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.trust = trust
        self.ring: dict[bytes, IntroducedKey] = {}
        self._signers = signers
        self._now = now
        self._random = random
        self._known: Recent[str, Link] = Recent(4096)
        self._secrets: dict[str, bytes] = {}

    @property
    def origin(self) -> str:
        """The name of the log that all entries of this deployment carry."""
        return self.trust.origin

    def secret(self, purpose: str) -> bytes:
        """Return 32 bytes that every process with the deployment key comes to for a purpose, and nobody else."""
        if purpose not in self._secrets:
            signer = next(signer for kinds, signer in self._signers if allows(kinds, Kind.USER_CREATED))
            self._secrets[purpose] = hashlib.sha256(signer.sign(f"countersign/{purpose}/1".encode())).digest()
        return self._secrets[purpose]

    async def aappend(self, conn: AsyncConnection[Any], *drafts: EntryDraft) -> list[Entry]:
        """Append `drafts` in the caller's open transaction and return the entries. Never commits.

        Raises AppendError without a transaction, or under any isolation but READ COMMITTED: a snapshot older than the
        trail's lock would not see the entry before.
        """
        check_transaction(conn)
        return await arun(conn, self.append_steps(drafts))

    def append(self, conn: Connection[Any], *drafts: EntryDraft) -> list[Entry]:
        """As `aappend`, on a sync connection."""
        check_transaction(conn)
        return run(conn, self.append_steps(drafts))

    def append_steps(self, drafts: Sequence[EntryDraft]) -> Steps[list[Entry]]:
        """Lock, read the heads, insert."""
        heads = yield from self.lock_steps({draft.trail for draft in drafts})
        return (yield from self.insert_steps(heads, drafts))

    def lock_steps(self, trails: Iterable[str], shared: Iterable[str] = ()) -> Steps[dict[str, Link]]:
        """Take the locks of `trails` until the transaction ends, and return the checked end of each.

        Those of `shared` are taken together with other readers: nobody appends there meanwhile, the caller neither.
        """
        own = set(trails)
        names = sorted(own | set(shared))
        for name in names:
            _check_name(name)
        # The list is evaluated from left to right, so that nobody waits for two of them the other way round.
        locks = "".join(f", {_LOCK if name in own else _LOCK_SHARED}" for name in names)
        rows = yield Statement(f"{_LOCKS}{locks}", (_KEYS_LOCK, *map(trail_lock, names)))
        if rows[0][0] != "read committed":
            raise AppendError(
                f"An entry cannot be appended under isolation {rows[0][0]!r}.",
                remedy="Use READ COMMITTED: with an older snapshot the trail's last entry is not seen.",
            )
        # A statement of its own: its snapshot must be taken after the locks were obtained.
        found = yield Statement(_HEADS, (names,))
        heads = dict.fromkeys(names, START)
        for row in found:
            entry = Entry(*row)
            heads[entry.trail] = yield from self._head_steps(entry)
        return heads

    def insert_steps(self, heads: Heads, drafts: Sequence[EntryDraft]) -> Steps[list[Entry]]:
        """Sign `drafts` behind `heads`, whose locks are held, and insert them, payloads beside them."""
        appended: list[Entry] = []
        for trail in sorted({draft.trail for draft in drafts}):
            parts = [Part(draft) for draft in drafts if draft.trail == trail]
            link = heads[trail]
            for start in range(0, len(parts), MOST):
                entries = yield from self.swift_steps(link, parts[start : start + MOST])
                if entries is None:
                    raise AppendError(
                        f"Trail {trail!r} went on although its lock is held.",
                        remedy="Run: countersign verify; something writes around the locks.",
                        trail=trail,
                    )
                appended += entries
                link = Link(entries[-1].seq, entries[-1].leaf_hash)
        in_order = {trail: iter([entry for entry in appended if entry.trail == trail]) for trail in heads}
        return [next(in_order[draft.trail]) for draft in drafts]

    def committed(self, entries: Sequence[Entry]) -> None:
        """Remember, after the commit, that these entries are good: the next append need not check their signatures."""
        for entry in entries:
            self._known[entry.trail] = Link(entry.seq, entry.leaf_hash)

    def known(self, trail: str) -> Link:
        """Return where this process last saw `trail` end, checked; the start for a trail it has not seen."""
        return self._known.get(trail) or START

    def swift_steps(self, known: Link, parts: Sequence[Part]) -> Steps[list[Entry] | None]:
        """Append entries of one trail, and write the rows they bind, in one statement: all of it, or nothing.

        `known` is where this process last saw the trail end, checked. Returns None, with nothing written, when it does
        not end there.
        """
        trail = parts[0].draft.trail
        _check_name(trail)
        if trail == KEYS_TRAIL and any(not part.draft.kind.startswith("key.") for part in parts):
            raise AppendError("Only events of keys may stand in @keys.", trail=trail)
        entries = self._chain(known, [part.draft for part in parts])
        params: list[Any] = [_KEYS_LOCK, trail_lock(trail), trail, known.seq]
        prev = known.leaf_hash
        for entry, part in zip(entries, parts, strict=True):
            params += (prev, entry.kind, entry.occurred_at, entry.body, entry.keyid, entry.signature)
            params += (entry.salt, entry.data, *part.also.params)
            prev = entry.leaf_hash
        rows = yield Statement(_chained(tuple(part.also[:2] for part in parts)), params, numbered=True)
        if rows[0][0] is None:
            return None
        if rows[0] != tuple(entry.seq for entry in entries):
            raise AppendError(
                f"The database did not append what was sent to trail {trail!r}.",
                remedy="Look for changed functions in schema countersign; `migrate --sql` prints the originals.",
                trail=trail,
            )
        return entries

    def ring_steps(self) -> Steps[None]:
        """Read `@keys` and build the ring from it. Raises VerificationError unless it starts at a trusted key."""
        rows = yield entries_statement(KEYS_TRAIL)
        self.ring, _ = check_keys_trail(map(entry_of, rows), self.trust)

    def _chain(self, link: Link, drafts: Iterable[EntryDraft]) -> list[Entry]:
        entries: list[Entry] = []
        for draft in drafts:
            entries.append(self._seal(draft, link))
            link = Link(entries[-1].seq, entries[-1].leaf_hash)
        return entries

    def _seal(self, draft: EntryDraft, link: Link) -> Entry:
        for kinds, signer in self._signers:
            if allows(kinds, draft.kind):
                return seal(
                    draft,
                    origin=self.origin,
                    seq=link.seq + 1,
                    prev=link.leaf_hash,
                    occurred_at=self._now(),
                    salt=self._random(32),
                    signer=signer,
                )
        raise AppendError(
            f"No key here may sign entries of kind {draft.kind}.",
            remedy="The deployment key signs everything but what a graph does; give this process that key.",
            trail=draft.trail,
        )

    def _head_steps(self, entry: Entry) -> Steps[Link]:
        if entry.body and self._known.get(entry.trail) == (link := Link(entry.seq, entry.leaf_hash)):
            return link
        yield from self._check_head_steps(entry)
        link = self._known[entry.trail] = Link(entry.seq, entry.leaf_hash)
        return link

    def _check_head_steps(self, entry: Entry) -> Steps[None]:
        if entry.keyid not in self.ring:
            yield from self.ring_steps()
        try:
            body = check_signed(entry, self.ring)
        except VerificationError as error:
            raise AppendError(
                f"Nothing may be appended behind a damaged entry. {error.message}",
                remedy=f"Run: countersign verify --trail {entry.trail}",
                trail=entry.trail,
                seq=entry.seq,
            ) from error
        if (body.trail, body.seq, body.origin) != (entry.trail, entry.seq, self.origin):
            raise AppendError(
                f"Nothing may be appended behind entry {entry.seq} of trail {entry.trail!r}: it was signed as entry "
                f"{body.seq} of trail {body.trail!r} of {body.origin}.",
                remedy=f"Run: countersign verify --trail {entry.trail}",
                trail=entry.trail,
                seq=entry.seq,
            )


@lru_cache(256)
def _chained(calls: tuple[tuple[LiteralString, tuple[LiteralString, ...]], ...]) -> LiteralString:
    """Return the statement that calls these functions one behind the other, each given the seq that the last returned.

    It is NULL where the trail did not end as expected, and then each of them does nothing.
    """
    parts: list[str] = []
    number = _SHARED
    for position, (function, types) in enumerate(calls):
        before, source = (f"e{position}.seq", f" FROM e{position}") if position else ("$4::bigint", "")
        own = ", ".join(f"${number + nth}::{kind}" for nth, kind in enumerate((*_ENTRY, *types), 1))
        number += len(_ENTRY) + len(types)
        parts.append(f"SELECT {function}($1::bigint, $2::bigint, $3::text, {before}, {own}) AS seq{source}")
    if len(parts) == 1:
        return parts[0]
    names = [f"e{position}" for position in range(1, len(parts) + 1)]
    steps = ", ".join(f"{name} AS MATERIALIZED ({part})" for name, part in zip(names, parts, strict=True))
    return f"WITH {steps} SELECT {', '.join(f'{name}.seq' for name in names)} FROM {', '.join(names)}"


def _check_name(trail: str) -> None:
    try:
        check_trail(trail, own=trail in OWN_TRAILS)
    except MalformedError as error:
        raise AppendError(
            error.message, remedy="Choose another thread id; a UUID always works.", trail=trail
        ) from error


def check_transaction(conn: Connection[Any] | AsyncConnection[Any]) -> None:
    """Raise AppendError unless statements on `conn` join a transaction that its owner will commit."""
    status = conn.info.transaction_status
    if status == TransactionStatus.IDLE and conn.autocommit:
        raise AppendError(
            "An entry cannot be appended outside a transaction: this connection commits every statement by itself.",
            remedy="Append inside `with conn.transaction():`, together with the rows the entry speaks of.",
        )
    if status in (TransactionStatus.INERROR, TransactionStatus.UNKNOWN):
        raise AppendError(
            f"An entry cannot be appended: the connection's transaction is {status.name}.",
            remedy="Roll it back, or open a new connection.",
        )
