"""What a dishonest administrator needs: places, forged entries, chains rewritten with a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver
from countersign.audit import seal as seal_module
from countersign.audit.canonical import canonical, parse
from countersign.audit.entry import GENESIS, Entry, EntryDraft, Signer, leaf_hash, pae, payload_digest, seal
from countersign.audit.keys import FileKey
from countersign.audit.plans import record_plan
from countersign.audit.seal import open_sealer
from countersign.audit.verify import Finding, Report, Verdict

TABLES = (
    "audit.payloads",
    "audit.entries",
    "audit.leaves",
    "audit.heads",
    "audit.cosignatures",
    "audit.tokens",
    "checkpoints",
    "checkpoint_blobs",
    "checkpoint_writes",
)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """Where a finding may point: each member lists what is right; an empty one leaves the choice open."""

    tables: tuple[str, ...]
    trails: tuple[str | None, ...] = ()
    seqs: tuple[int | None, ...] = ()
    checks: tuple[str, ...] = ()

    def holds(self, finding: Finding) -> bool:
        pairs = (
            (self.tables, finding.table),
            (self.trails, finding.trail),
            (self.seqs, finding.seq),
            (self.checks, finding.check),
        )
        return all(not allowed or found in allowed for allowed, found in pairs)


def assert_found(report: Report, place: Place) -> None:
    """The verdict is failed, and the first finding names the place and the damage in a sentence."""
    assert report.verdict == Verdict.FAILED
    first = report.findings[0]
    assert place.holds(first), f"{first} is not at {place}"
    assert first.message[0].isupper()
    assert first.message.endswith(".")
    assert " " in first.message


def attacker_key() -> FileKey:
    return FileKey(Ed25519PrivateKey.generate())


def entries_of(database: Database, trail: str) -> list[tuple[int, bytes]]:
    return [
        (seq, bytes(body))
        for seq, body in database.query("SELECT seq, body FROM audit.entries WHERE trail = %s ORDER BY seq", (trail,))
    ]


def end_of(database: Database, trail: str) -> tuple[int, bytes]:
    """Return the last seq of a trail and the leaf hash that a further entry must name."""
    entries = entries_of(database, trail)
    return (entries[-1][0], leaf_hash(entries[-1][1])) if entries else (0, GENESIS)


def append_forged(
    database: Database, draft: EntryDraft, signer: Signer, *, origin: str | None = None, signature: bytes | None = None
) -> int:
    """Insert an entry that fits its place in every respect but those that are asked for. Returns its seq."""
    seq, prev = end_of(database, draft.trail)
    entry = seal(
        draft,
        origin=origin or database.trust.origin,
        seq=seq + 1,
        prev=prev,
        occurred_at=NOW,
        salt=b"s" * 32,
        signer=signer,
    )
    insert(database, entry, signature)
    return entry.seq


def insert(database: Database, entry: Entry, signature: bytes | None = None) -> None:
    database.as_admin(
        "INSERT INTO audit.entries (trail, seq, kind, occurred_at, body, keyid, signature) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (entry.trail, entry.seq, entry.kind, entry.occurred_at, entry.body, entry.keyid, signature or entry.signature),
    )
    if entry.data is not None:
        database.as_admin(
            "INSERT INTO audit.payloads (trail, seq, salt, data) VALUES (%s, %s, %s, %s)",
            (entry.trail, entry.seq, entry.salt, entry.data),
        )


def rechain(
    database: Database,
    trail: str,
    signer: Signer,
    edit: Callable[[dict[str, Any]], None] | None = None,
    first: int = 1,
) -> None:
    """Rewrite a trail from `first` on: each body edited, linked to the one before and signed with `signer`."""
    prev = GENESIS
    for seq, old in entries_of(database, trail):
        if seq < first:
            prev = leaf_hash(old)
            continue
        body: Any = parse(old)
        body["prev"] = prev.hex()
        if edit:
            edit(body)
        data = canonical(body)
        database.as_admin(
            "UPDATE audit.entries SET kind = %s, body = %s, keyid = %s, signature = %s WHERE trail = %s AND seq = %s",
            (body["kind"], data, signer.keyid, signer.sign(pae(data)), trail, seq),
        )
        prev = leaf_hash(data)


async def record(saver: AsyncAuditedPostgresSaver, *drafts: EntryDraft) -> list[Entry]:
    """Append honestly, as the saver itself does for entries that bind no rows."""
    return list(await saver.adrive(record_plan(list(drafts))))


def put_payload(database: Database, trail: str, seq: int, body: dict[str, Any], payload: dict[str, Any]) -> None:
    """Give entry `seq` another payload, and `body` the commitment to it."""
    data, salt = canonical(payload), b"t" * 32
    body["payload"] = {"digest": payload_digest(salt, data).hex(), "size": len(data)}
    database.as_admin(
        "UPDATE audit.payloads SET salt = %s, data = %s WHERE trail = %s AND seq = %s", (salt, data, trail, seq)
    )


def seal_in_batches(database: Database, size: int) -> None:
    """Seal honestly, with a head after each `size` entries, and the memory that lies in the database's home."""
    with pytest.MonkeyPatch.context() as patch, psycopg.connect(database.app_url, autocommit=True) as conn:
        patch.setattr(seal_module, "BATCH", size)
        open_sealer(conn, database.home).seal(conn)
