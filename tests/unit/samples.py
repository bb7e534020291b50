"""Entries made in memory: keys from fixed seeds, a fixed clock, and forgeries that a rightful key signed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from countersign.audit.canonical import Json, Rendered, canonical
from countersign.audit.chain import START, Checked, check_entry
from countersign.audit.entry import GENESIS, Entry, EntryDraft, pae, seal
from countersign.audit.keys import FileKey, IntroducedKey, PublicKey, Ring, Trust, introduction
from countersign.audit.kinds import GRAPH_KINDS
from countersign.audit.rows import BLOBS, CHECKPOINTS, WRITES, BoundRow, Column, Table, bind, rows_member

ORIGIN = "test.invalid/unit"
TRAIL = "case-1"
WHEN = datetime(2025, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def key_of_seed(number: int) -> FileKey:
    return FileKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


DEPLOYMENT, GRAPH, STRANGER = (key_of_seed(number) for number in (1, 2, 3))
TRUST = Trust(ORIGIN, (DEPLOYMENT.public,))
RING: Ring = {
    DEPLOYMENT.keyid: IntroducedKey(DEPLOYMENT.public, ("*",)),
    GRAPH.keyid: IntroducedKey(GRAPH.public, GRAPH_KINDS),
}


def sealed(
    draft: EntryDraft, after: Entry | None = None, *, signer: FileKey = GRAPH, seq: int | None = None, **place: Any
) -> Entry:
    """Return `draft` sealed behind `after`."""
    number = seq or (after.seq + 1 if after else 1)
    values: dict[str, Any] = {
        "origin": ORIGIN,
        "seq": number,
        "prev": after.leaf_hash if after else GENESIS,
        "occurred_at": WHEN + timedelta(seconds=number % 1000),
        "salt": bytes([number % 256]) * 32,
        "signer": signer,
    }
    return seal(draft, **(values | place))


def chain(*drafts: EntryDraft, signer: FileKey = GRAPH) -> list[Entry]:
    entries: list[Entry] = []
    for draft in drafts:
        entries.append(sealed(draft, entries[-1] if entries else None, signer=signer))
    return entries


def note(number: int, **fields: Any) -> EntryDraft:
    return EntryDraft(TRAIL, "run.started", run=f"run-{number}", **fields)


def four() -> list[Entry]:
    """Return an honest trail: the second and fourth entries have payloads."""
    return chain(note(1), note(2, payload={"a": 2}), note(3), note(4, payload={"a": 4}))


def members(entry: Entry) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(entry.body)
    return value


def resigned(entry: Entry, body: bytes, signer: FileKey = GRAPH) -> Entry:
    """Return the entry with another body that a key really signed."""
    return replace(entry, body=body, keyid=signer.keyid, signature=signer.sign(pae(body)))


def forged(entry: Entry, signer: FileKey = GRAPH, **changes: Any) -> Entry:
    """Return the entry with members of its body changed (None: removed) and signed again."""
    value = {key: item for key, item in (members(entry) | changes).items() if item is not None}
    return resigned(entry, canonical(value), signer)


def walk(entries: Sequence[Entry], ring: Ring = RING, origin: str = ORIGIN) -> list[Checked]:
    """Check a whole trail, raising at the first failure as a reader would."""
    checked: list[Checked] = []
    link = START
    for entry in entries:
        checked.append(check_entry(entry, after=link, origin=origin, ring=ring))
        link = checked[-1].link
    return checked


def introducing(key: PublicKey, kinds: Sequence[str]) -> EntryDraft:
    return EntryDraft("@keys", "key.introduced", detail=introduction(key, kinds))


def keys_trail(*more: EntryDraft) -> list[Entry]:
    """Return `@keys` as the first migration writes it, and `more`."""
    return chain(
        introducing(DEPLOYMENT.public, ("*",)), introducing(GRAPH.public, GRAPH_KINDS), *more, signer=DEPLOYMENT
    )


Row = tuple[Table, tuple[Column, ...]]


def checkpoint_row(number: int, text: str = "{}", ns: str = "", thread: str = TRAIL) -> Row:
    return CHECKPOINTS, (thread, ns, f"c{number}", None, None, text, "{}")


def blob_row(version: str, blob: bytes | None = b"v", thread: str = TRAIL) -> Row:
    return BLOBS, (thread, "", "dose", version, "msgpack", blob)


def write_row(number: int, index: int, blob: bytes = b"w") -> Row:
    return WRITES, (TRAIL, "", f"c{number}", "task", index, "dose", "msgpack", blob, "")


def bound(*rows: Row) -> list[BoundRow]:
    return [bind(table, row) for table, row in rows]


def binding(*rows: Row, replaced: list[Json] | None = None, trail: str = TRAIL, **fields: Any) -> EntryDraft:
    """Return the draft of an entry that binds these rows."""
    payload: Mapping[str, Json | Rendered] = {"rows": rows_member(bound(*rows))}
    if replaced is not None:
        payload = {**payload, "replaced": replaced}
    return EntryDraft(trail, "checkpoint.saved", payload=payload, **fields)


def superseding(row: Row, seq: Json) -> dict[str, Json]:
    """Return the item of `replaced` for a row that entry `seq` bound."""
    table, key = row[0].key_of(row[1])
    return {"table": table, "key": list(key), "was": [], "seq": seq}
