"""The means of a forger: bundles taken apart and put together, and logs that nobody should have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from countersign.audit.bundle import Place
from countersign.audit.canonical import Json
from countersign.audit.entry import Entry, EntryDraft
from countersign.audit.keys import FileKey
from countersign.audit.note import Note, Signature
from unit.bundles import (
    ANOTHER,
    TRAIL,
    Edit,
    Log,
    edited,
    honest,
    packed,
    relisted,
    small_log,
    unpacked,
    with_entry,
    written,
)
from unit.heads import log_key
from unit.samples import DEPLOYMENT, GRAPH, STRANGER, binding, blob_row, checkpoint_row, forged, introducing

LOGGED = small_log()
GOOD = honest()
FILES = unpacked(GOOD)
CASE, KEYS, SYSTEM = (LOGGED.trail(name) for name in (TRAIL, "@keys", "@system"))
HEAD = LOGGED.note


def lines(name: str, edit: Edit) -> bytes:
    """Return the bundle with the lines of a file edited, and the digests made to fit."""
    return packed(relisted(edited(FILES, name, edit)))


def files(**changes: bytes) -> bytes:
    return packed(relisted(FILES | {name.replace("__", "-").replace("_", "."): data for name, data in changes.items()}))


def entry(changed_entry: Entry, name: str = "trail.jsonl") -> bytes:
    return packed(relisted(with_entry(FILES, changed_entry, name)))


def made(log: Log, **changes: Any) -> bytes:
    return written(log.contents(**changes))


def without(number: int) -> Edit:
    return lambda all_: all_[:number] + all_[number + 1 :]


def doubled(number: int) -> Edit:
    return lambda all_: all_[: number + 1] + all_[number:]


def swapped(number: int) -> Edit:
    return lambda all_: [*all_[:number], all_[number + 1], all_[number], *all_[number + 2 :]]


def changed(number: int, **members: Any) -> Edit:
    return lambda all_: [*all_[:number], all_[number] | members, *all_[number + 1 :]]


def moved(name: str, source: int, target: int, member: str) -> bytes:
    """Return the bundle in which one line of a file has a member of another one."""
    return lines(name, lambda all_: changed(target, **{member: all_[source][member]})(all_))


def cut_and_signed_by(signer: FileKey) -> bytes:
    """Return the bundle of a trail cut behind entry 3, with an end that `signer` made up, which is no leaf."""
    tip = {"seq": KEYS[-1].seq, "leaf_hash": KEYS[-1].leaf_hash.hex()}
    end = forged(CASE[6], signer, seq=4, prev=CASE[2].leaf_hash.hex(), detail={"keys": tip})
    places = LOGGED.places(TRAIL)[:3]
    return made(LOGGED, entries=[*places, Place(replace(end, seq=4), LOGGED.inclusion(CASE[6]))])


def cut() -> bytes:
    """Return the bundle without its last two entries, as if they had never been."""
    found = edited(FILES, "trail.jsonl", lambda all_: all_[:5])
    found = edited(found, "proofs.jsonl", lambda all_: all_[:5])
    found = edited(found, "payloads.jsonl", lambda all_: [line for line in all_ if line["seq"] <= 5])
    return packed(relisted(found, entries=5))


def reordered() -> Log:
    """Return a log of the same name by the same keys, in which the order of two entries is another."""
    log = small_log()
    log.entries[5:7] = log.entries[6], log.entries[5]
    return log


def by_stranger() -> Log:
    """Return a log that somebody without any of the keys wrote."""
    log = Log([(log_key(STRANGER), STRANGER)])
    log.add(introducing(STRANGER.public, ("*",)), STRANGER)
    log.add(EntryDraft(TRAIL, "run.started"), STRANGER)
    tip = log.entries[0]
    keys: dict[str, Json] = {"keys": {"seq": 1, "leaf_hash": tip.leaf_hash.hex()}}
    log.add(EntryDraft(TRAIL, "report.exported", detail=keys), STRANGER)
    return log


def told(
    *,
    before: Sequence[EntryDraft] = (),
    between: Sequence[EntryDraft] = (),
    first: FileKey = GRAPH,
    second: FileKey = GRAPH,
) -> Log:
    """Return a log whose @keys goes on, `before` or `between` the two entries of a trail."""
    log = Log()
    log.begin()
    for draft in before:
        log.add(draft, DEPLOYMENT)
    log.add(EntryDraft(TRAIL, "run.started"), first)
    for draft in between:
        log.add(draft, DEPLOYMENT)
    log.add(EntryDraft(TRAIL, "run.completed"), second)
    log.export()
    return log


def retiring(keyid: bytes) -> EntryDraft:
    return EntryDraft("@keys", "key.retired", detail={"keyid": keyid.hex()})


def revoking(keyid: bytes, since: Json) -> EntryDraft:
    return EntryDraft("@keys", "key.revoked", detail={"keyid": keyid.hex(), "since": since})


def signed_by(*signatures: Signature) -> bytes:
    """Return the bundle whose head has these signatures, in both places."""
    note = Note(HEAD.text, signatures)
    proof = replace(LOGGED.proof(CASE[-1]), note=note)
    return files(tree__head=note.encode(), exported_tlog__proof=proof.encode())


def erased(by: Mapping[str, Any], trail: str = TRAIL) -> bytes:
    """Return the bundle of a trail whose first payload is marked as erased, by an entry with this detail."""
    log = Log()
    log.begin()
    log.add(EntryDraft(TRAIL, "run.started", run="run-1", payload={"input": 1}))
    log.add(EntryDraft(TRAIL, "run.completed", run="run-1"))
    erasing = log.add(EntryDraft(trail, "payload.erased", **by), DEPLOYMENT)
    log.export()
    return made(log, erased={1: erasing.seq})


def shortened(name: str, proofs: str, number: int) -> bytes:
    """Return the bundle without an entry and its proof."""
    return packed(relisted(edited(edited(FILES, name, without(number)), proofs, without(number))))


def payload(number: int, line: Json) -> bytes:
    return lines("payloads.jsonl", lambda all_: [*all_[:number], line, *all_[number + 1 :]])


NEW = introducing(STRANGER.public, ("run.*",))
LOG_SIGNED, COSIGNED = HEAD.signatures
SALT = "00" * 32


def backwards() -> bytes:
    """Return the bundle of a log in which the second entry of the trail is a leaf before the first."""
    log = told()
    log.entries[3:5] = log.entries[4], log.entries[3]
    return made(log, entries=sorted(log.places(TRAIL), key=lambda place: place.entry.seq))


def behind_the_first() -> Log:
    """Return a log whose first leaf is not that of @keys."""
    log = told()
    log.entries.insert(0, log.entries.pop(3))
    return log


def names_later_key() -> Log:
    """Return a log in which the export names an entry of @keys that is sealed behind it."""
    log = told(between=[NEW])
    log.entries.append(log.entries.pop(4))
    return log


def side_by_side() -> Log:
    log = Log()
    log.begin()
    log.add(EntryDraft(TRAIL, "run.started", run="one"))
    log.add(EntryDraft(TRAIL, "run.started", run="other"))
    log.add(binding(checkpoint_row(1), run="one"))
    log.export()
    return log


def binding_elsewhere() -> Log:
    log = Log()
    log.begin()
    log.add(binding(blob_row("1", thread=ANOTHER)))
    log.export()
    return log
