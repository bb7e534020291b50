"""What a forger can do to a bundle: each attack with what has to be found of it, as check, trail and seq."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from countersign.audit.entry import EntryDraft
from countersign.audit.note import sign
from unit.bundles import ANOTHER, TRAIL, packed, relisted, values
from unit.forging import (
    CASE,
    COSIGNED,
    FILES,
    HEAD,
    KEYS,
    LOG_SIGNED,
    LOGGED,
    NEW,
    SALT,
    SYSTEM,
    backwards,
    behind_the_first,
    binding_elsewhere,
    by_stranger,
    changed,
    cut,
    cut_and_signed_by,
    doubled,
    entry,
    erased,
    files,
    lines,
    made,
    moved,
    names_later_key,
    payload,
    reordered,
    retiring,
    revoking,
    shortened,
    side_by_side,
    signed_by,
    swapped,
    told,
    without,
)
from unit.heads import LOG, log_key
from unit.samples import DEPLOYMENT, GRAPH, STRANGER, forged, introducing


class Attack(NamedTuple):
    """A bundle, its verdict, and the findings in their order, as `check trail seq`; a dash where there is none."""

    name: str
    bundle: bytes
    verdict: str
    found: str = ""


ATTACKS = [
    # Lines of the trail
    Attack(
        "a line deleted",
        lines("trail.jsonl", without(2)),
        "failed",
        "file case-1 3; file case-1 3; file case-1 -; sequence case-1 4",
    ),
    Attack("a line doubled", lines("trail.jsonl", doubled(2)), "failed", "file case-1 -; sequence case-1 3"),
    Attack(
        "two lines swapped",
        lines("trail.jsonl", swapped(3)),
        "failed",
        "file case-1 4; file case-1 4; sequence case-1 4; sequence case-1 5",
    ),
    Attack(
        "the first line deleted",
        lines("trail.jsonl", without(0)),
        "failed",
        "file case-1 1; file case-1 1; file case-1 -; sequence case-1 2",
    ),
    Attack(
        "the last line deleted",
        lines("trail.jsonl", without(6)),
        "failed",
        "file case-1 6; file case-1 7; file case-1 -; export case-1 6",
    ),
    Attack(
        "no lines",
        files(trail_jsonl=b"", payloads_jsonl=b"", proofs_jsonl=b""),
        "failed",
        "file case-1 -; export case-1 -",
    ),
    Attack("the tail cut, with its export", cut(), "failed", "file case-1 5; erased case-1 3; export case-1 5"),
    Attack("the tail cut, and an export by a stranger", cut_and_signed_by(STRANGER), "failed", "key case-1 4"),
    Attack("the tail cut, and an export by the graph key", cut_and_signed_by(GRAPH), "failed", "authority case-1 4"),
    Attack(
        "the tail cut, and an export that is no leaf",
        cut_and_signed_by(DEPLOYMENT),
        "failed",
        "inclusion case-1 4; inclusion case-1 4",
    ),
    Attack(
        "the entries of another trail",
        made(LOGGED, entries=LOGGED.places(ANOTHER)),
        "failed",
        "column case-2 1; column case-2 2",
    ),
    Attack(
        "the name of another trail",
        packed(relisted(FILES, trail=ANOTHER)),
        "failed",
        "column case-1 1; column case-1 2; binding case-1 2; column case-1 3; column case-1 4; column case-1 5; "
        "column case-1 6; column case-1 7",
    ),
    Attack("another number of entries", packed(relisted(FILES, entries=6)), "failed", "file case-1 -"),
    # Entries
    Attack(
        "a body edited",
        entry(replace(CASE[1], body=CASE[1].body.replace(b"run-1", b"run-9"))),
        "failed",
        "signature case-1 2",
    ),
    Attack(
        "edited and signed again", entry(forged(CASE[1], run="run-9")), "failed", "inclusion case-1 2; chain case-1 3"
    ),
    Attack("signed again by a stranger", entry(forged(CASE[1], STRANGER)), "failed", "key case-1 2"),
    Attack("a decision signed by the graph key", entry(forged(CASE[3], GRAPH)), "failed", "authority case-1 4"),
    Attack(
        "the signature of another entry",
        entry(replace(CASE[1], signature=CASE[0].signature)),
        "failed",
        "signature case-1 2",
    ),
    Attack("the id of another key", entry(replace(CASE[1], keyid=DEPLOYMENT.keyid)), "failed", "signature case-1 2"),
    # Inclusion
    Attack("the proof of another leaf", moved("proofs.jsonl", 2, 1, "hashes"), "failed", "inclusion case-1 2"),
    Attack("the index of another leaf", moved("proofs.jsonl", 2, 1, "leaf_index"), "failed", "inclusion case-1 2"),
    Attack("a proof missing", lines("proofs.jsonl", without(3)), "failed", "inclusion case-1 4"),
    Attack("a proof doubled", lines("proofs.jsonl", doubled(3)), "failed", "file case-1 4"),
    Attack("two proofs swapped", lines("proofs.jsonl", swapped(3)), "failed", "file case-1 4; inclusion case-1 4"),
    Attack("a proof without hashes", lines("proofs.jsonl", changed(3, hashes=[])), "failed", "inclusion case-1 4"),
    Attack(
        "a leaf that the tree has not", lines("proofs.jsonl", changed(3, leaf_index=15)), "failed", "inclusion case-1 4"
    ),
    Attack("a trail that grew backwards", backwards(), "failed", "order case-1 2"),
    # The head
    Attack(
        "the head of another log by the same key",
        files(tree__head=reordered().note.encode()),
        "failed",
        "inclusion @keys 1",
    ),
    Attack("a head that is none", files(tree__head=b"hello\n"), "failed", "note - -"),
    Attack("a head by a stranger", signed_by(sign(HEAD.text, log_key(STRANGER), STRANGER)), "failed", "note - -"),
    Attack(
        "a head by a stranger under the log's key id",
        signed_by(replace(LOG_SIGNED, data=STRANGER.sign(HEAD.text.encode())), COSIGNED),
        "failed",
        "note - -",
    ),
    Attack("a head by the witness alone", signed_by(COSIGNED), "failed", "note - -"),
    Attack("a head by the log alone", signed_by(LOG_SIGNED), "indeterminate"),
    Attack(
        "a cosignature of something else",
        signed_by(LOG_SIGNED, replace(COSIGNED, data=bytes(72))),
        "failed",
        "note - -",
    ),
    Attack("a log of another name", packed(relisted(FILES, origin="other.invalid/log")), "failed", "origin - -"),
    Attack("everything by a stranger", made(by_stranger()), "failed", "note - -"),
    Attack(
        "the proof of another entry as the export's",
        files(exported_tlog__proof=LOGGED.proof(CASE[0]).encode()),
        "failed",
        "file case-1 7",
    ),
    Attack(
        "the export's proof under another head",
        files(exported_tlog__proof=reordered().proof(CASE[6]).encode()),
        "failed",
        "file case-1 7",
    ),
    Attack(
        "the export's proof with something in it",
        files(exported_tlog__proof=replace(LOGGED.proof(CASE[6]), extra=b"x").encode()),
        "failed",
        "file case-1 7",
    ),
    Attack("an export's proof that is none", files(exported_tlog__proof=b"x"), "failed", "file case-1 7"),
    # Payloads
    Attack("a payload changed", lines("payloads.jsonl", changed(0, data={"input": 1})), "failed", "payload case-1 1"),
    Attack("a salt changed", lines("payloads.jsonl", changed(0, salt=SALT)), "failed", "payload case-1 1"),
    Attack("the data of another payload", moved("payloads.jsonl", 1, 0, "data"), "failed", "payload case-1 1"),
    Attack("a payload missing", lines("payloads.jsonl", without(0)), "failed", "payload case-1 1"),
    Attack("a payload doubled", lines("payloads.jsonl", doubled(0)), "failed", "file case-1 1"),
    Attack(
        "a payload where there is none", payload(9, {"seq": 5, "salt": SALT, "data": 1}), "failed", "payload case-1 5"
    ),
    Attack("a payload of no entry", payload(9, {"seq": 9, "salt": SALT, "data": 1}), "failed", "file case-1 9"),
    Attack("a line that is no payload", payload(9, {"seq": 9, "data": 1}), "failed", "file case-1 -"),
    Attack("a mark without erasure", payload(0, {"seq": 1, "erased": 6}), "failed", "erased case-1 1"),
    Attack("a mark by a run", payload(0, {"seq": 1, "erased": 5}), "failed", "erased case-1 1"),
    Attack("a mark by no entry", payload(0, {"seq": 1, "erased": 99}), "failed", "erased case-1 1"),
    Attack("a mark where there is no payload", payload(9, {"seq": 5, "erased": 6}), "failed", "payload case-1 5"),
    Attack("an erasure", erased({"detail": {"seqs": [1]}}), "passed"),
    Attack(
        "an erasure of many",
        erased({"detail": {"seqs_count": 101}, "payload": {"seqs": [1, *range(200, 300)]}}),
        "passed",
    ),
    Attack("an erasure by @system", erased({"detail": {"trail": TRAIL, "seqs": [1]}}, "@system"), "passed"),
    Attack(
        "an erasure of another trail",
        erased({"detail": {"trail": ANOTHER, "seqs": [1]}}, "@system"),
        "failed",
        "erased case-1 1",
    ),
    Attack("an erasure of @system itself", erased({"detail": {"seqs": [1]}}, "@system"), "failed", "erased case-1 1"),
    Attack("an erasure of nothing", erased({"detail": {"seqs": "1"}}), "failed", "erased case-1 1"),
    # @keys
    Attack("keys cut", shortened("keys.jsonl", "keys-proofs.jsonl", 2), "failed", "export case-1 7"),
    Attack("the first key left out", shortened("keys.jsonl", "keys-proofs.jsonl", 0), "failed", "key @keys 2"),
    Attack("a key left out", shortened("keys.jsonl", "keys-proofs.jsonl", 1), "failed", "sequence @keys 3"),
    Attack("no keys", files(keys_jsonl=b"", keys__proofs_jsonl=b""), "failed", "key @keys -"),
    Attack("keys swapped", lines("keys.jsonl", swapped(0)), "failed", "file @keys 1; key @keys 2"),
    Attack(
        "a key by a stranger",
        entry(forged(KEYS[0], STRANGER, detail=dict(introducing(STRANGER.public, ("*",)).detail)), "keys.jsonl"),
        "failed",
        "inclusion @keys 1",
    ),
    Attack("a key without proof", lines("keys-proofs.jsonl", without(0)), "failed", "inclusion @keys 1"),
    Attack(
        "another entry among the keys",
        made(LOGGED, keys=[*LOGGED.places("@keys")[:2], LOGGED.places("@system")[0]]),
        "failed",
        "sequence @system 1",
    ),
    Attack("keys that begin behind the first leaf", made(behind_the_first()), "failed", "key @keys 1"),
    Attack(
        "a key retired, then used", made(told(before=[retiring(GRAPH.keyid)])), "failed", "key case-1 1; key case-1 2"
    ),
    Attack(
        "a key used, then retired",
        made(told(before=[NEW], between=[retiring(STRANGER.keyid)], first=STRANGER)),
        "passed",
    ),
    Attack(
        "a key used on both sides of its retirement",
        made(told(before=[NEW], between=[retiring(STRANGER.keyid)], first=STRANGER, second=STRANGER)),
        "failed",
        "key case-1 2",
    ),
    Attack("a key used, then introduced", made(told(between=[NEW], first=STRANGER)), "failed", "key case-1 1"),
    Attack(
        "a key revoked since before",
        made(told(before=[NEW], between=[revoking(STRANGER.keyid, 4)], first=STRANGER)),
        "failed",
        "key case-1 1",
    ),
    Attack(
        "a key revoked since later",
        made(told(before=[NEW], between=[revoking(STRANGER.keyid, 5)], first=STRANGER)),
        "passed",
    ),
    Attack(
        "a key retired, then revoked since before",
        made(told(before=[NEW], between=[retiring(STRANGER.keyid), revoking(STRANGER.keyid, 4)], first=STRANGER)),
        "failed",
        "key case-1 1",
    ),
    Attack("a key revoked in the future", made(told(between=[revoking(GRAPH.keyid, 50)])), "failed", "key @keys 4"),
    Attack("a key revoked at no leaf", made(told(between=[revoking(GRAPH.keyid, "3")])), "failed", "key @keys 4"),
    Attack("a key retired that never was", made(told(between=[retiring(STRANGER.keyid)])), "failed", "key @keys 4"),
    Attack(
        "a key retired by no id",
        made(told(between=[EntryDraft("@keys", "key.retired", detail={"keyid": "AB" * 32})])),
        "failed",
        "key @keys 4",
    ),
    Attack("a key introduced twice", made(told(between=[introducing(GRAPH.public, ("*",))])), "failed", "key @keys 4"),
    Attack(
        "an event of a key that nobody knows",
        made(told(between=[EntryDraft("@keys", "key.lost")])),
        "failed",
        "key @keys 4",
    ),
    Attack("a head by a retired key", made(told(between=[retiring(LOG.keyid)])), "failed", "key - -"),
    Attack("an export that names a later key", made(names_later_key()), "failed", "order case-1 3"),
    # @system
    Attack(
        "an entry of @system edited",
        entry(replace(SYSTEM[0], body=SYSTEM[0].body.replace(b"policy", b"polxcy")), "system.jsonl"),
        "failed",
        "signature @system 1",
    ),
    Attack(
        "an entry of @system by a stranger",
        entry(forged(SYSTEM[1], STRANGER), "system.jsonl"),
        "failed",
        "key @system 2",
    ),
    Attack("a payload of @system missing", files(system__payloads_jsonl=b""), "failed", "payload @system 1"),
    Attack("an entry of @system left out", shortened("system.jsonl", "system-proofs.jsonl", 1), "passed"),
    Attack(
        "entries of @system swapped",
        lines("system.jsonl", swapped(0)),
        "failed",
        "file @system 1; file @system 1; sequence @system 1",
    ),
    Attack(
        "an entry of a case in @system",
        lines("system.jsonl", lambda all_: [values(FILES, "trail.jsonl")[0], *all_[1:]]),
        "failed",
        "column case-1 1",
    ),
    # Within the chain
    Attack("two runs side by side", made(side_by_side()), "failed", "overlap case-1 3"),
    Attack("a row bound that is another thread's", made(binding_elsewhere()), "failed", "binding case-1 1"),
]
