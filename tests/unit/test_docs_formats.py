"""The worked examples of docs/formats.md are what the package computes, and what a stranger computes without it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from countersign.audit.canonical import canonical, tagged
from countersign.audit.chain import START, Checked, check_entry, check_keys_trail
from countersign.audit.entry import (
    GENESIS,
    KEYS_TRAIL,
    SYSTEM,
    Actor,
    CheckpointRef,
    Entry,
    EntryDraft,
    Workflow,
    envelope,
    pae,
    seal,
)
from countersign.audit.errors import VerificationError
from countersign.audit.keys import FileKey, Trust, introduction
from countersign.audit.kinds import GRAPH_KINDS, Kind
from countersign.audit.ledger import Ledger
from countersign.audit.logcheck import Rebuilt
from countersign.audit.memory import Known
from countersign.audit.merkle import root_hash
from countersign.audit.note import Algorithm, Note, VerifierKey, sign
from countersign.audit.outside import Outside
from countersign.audit.rows import BLOBS, CHECKPOINTS, bind, row_hash, rows_member
from countersign.audit.tiles import TileReader
from countersign.audit.treehead import LogTrust, TreeHead
from countersign.audit.verify import Counts, Report
from countersign.audit.verify_bundle import verify_bundle
from countersign.audit.vouching import say_log
from countersign.reports.files import trail_csv
from unit import docs_governed
from unit.docs_bundle import bundle_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
_BLOCK = re.compile(r"^<!-- example: ([a-z-]+) -->\n```[a-z]*\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
SHOWN = dict(_BLOCK.findall(PAGE))

ORIGIN = "countersign.example/ward-3"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
RUN = "5f0c1c1e-8a53-4d5c-9a5e-6f2a4c3b7d10"
CHECKPOINT = "1f11638e-5a2c-6b1e-8000-3c1d5e7f9a0b"
SALTS = [bytes(range(start, start + 32)) for start in (128, 160)]
BLOB_ROW = ("case-7", "", "flags", "00000000000000000000000000000002.0.5", "msgpack", b"\x91\xa3INR")
CHECKPOINT_ROW = (
    "case-7",
    "",
    CHECKPOINT,
    None,
    None,
    '{"v": 4, "channel_values": {"dose": 5}, "channel_versions": {"flags": "00000000000000000000000000000002.0.5"}}',
    '{"step": 0, "source": "loop"}',
)


def _key(first: int) -> FileKey:
    return FileKey(Ed25519PrivateKey.from_private_bytes(bytes(range(first, first + 32))))


DEPLOYMENT_KEY, GRAPH_KEY, LOG_KEY = _key(0), _key(32), _key(64)


def _chain(drafts: list[EntryDraft], key: FileKey) -> list[Entry]:
    entries: list[Entry] = []
    for seq, draft in enumerate(drafts, start=1):
        prev = entries[-1].leaf_hash if entries else GENESIS
        moment = NOON + timedelta(minutes=seq)
        salt = SALTS[seq - 1]
        entries.append(
            seal(draft, origin=ORIGIN, seq=seq, prev=prev, occurred_at=moment, salt=salt, signer=key),
        )
    return entries


_OPERATOR = Actor("uid:1000", "os-user")
_WORKFLOW = Workflow("medication-order", "1")
KEYS = _chain(
    [
        EntryDraft(KEYS_TRAIL, Kind.KEY_INTRODUCED, _OPERATOR, detail=introduction(DEPLOYMENT_KEY.public, ("*",))),
        EntryDraft(KEYS_TRAIL, Kind.KEY_INTRODUCED, _OPERATOR, detail=introduction(GRAPH_KEY.public, GRAPH_KINDS)),
    ],
    DEPLOYMENT_KEY,
)
TRAIL = _chain(
    [
        EntryDraft(
            "case-7",
            Kind.RUN_STARTED,
            Actor("ward-system", "application", "prescriber"),
            _WORKFLOW,
            RUN,
            detail={"continues": False},
            payload={"input": tagged({"drug": "warfarin", "weight": 71.5}, None)},  # type: ignore[arg-type]
        ),
        EntryDraft(
            "case-7",
            Kind.CHECKPOINT_SAVED,
            SYSTEM,
            _WORKFLOW,
            RUN,
            CheckpointRef(CHECKPOINT),
            {"source": "loop", "step": 0},
            {"rows": rows_member([bind(CHECKPOINTS, CHECKPOINT_ROW), bind(BLOBS, BLOB_ROW)])},
        ),
    ],
    GRAPH_KEY,
)
TRUST = Trust(ORIGIN, (DEPLOYMENT_KEY.public,))

TAGGED: dict[str, Any] = {
    "dose": 0.1,
    "lowest": float("-inf"),
    "count": 2**60,
    "scan": b"\x00\xff",
    "taken": datetime(2026, 3, 2, 13, 0, tzinfo=timezone(timedelta(hours=1))),
    "pair": (1, 2),
    "by_day": {1: "five", 2: None},
    "$ref": "x",
    "broken": "\ud800",
}


def _checked() -> list[Checked]:
    ring, _ = check_keys_trail(KEYS, TRUST)
    checked: list[Checked] = []
    for entry in TRAIL:
        after = checked[-1].link if checked else START
        checked.append(check_entry(entry, after=after, origin=ORIGIN, ring=ring))
    return checked


def _report() -> Report:
    ledger = Ledger("case-7")
    for checked in _checked():
        ledger.apply(checked)
    report = Report(Counts(trails=2, entries=4, rows=2, payloads=2, sealed=4))
    edited = (*CHECKPOINT_ROW[:5], CHECKPOINT_ROW[5].replace('"dose": 5', '"dose": 50'), CHECKPOINT_ROW[6])
    for error in ledger.check_all([(CHECKPOINTS, edited), (BLOBS, BLOB_ROW)]):
        report.add(error)
    report.say("entry keys", "checked", f"deployment key {DEPLOYMENT_KEY.keyid.hex()[:16]} of {ORIGIN}")
    key = VerifierKey(ORIGIN, Algorithm.LOG, LOG_KEY.public)
    leaves = [entry.leaf_hash for entry in (*KEYS, *TRAIL)]
    head = TreeHead(ORIGIN, len(leaves), root_hash(leaves))
    note = Note(head.text, (sign(head.text, key, LOG_KEY),))
    report.rebuilt = Rebuilt(size=head.size, heads=2, last=head)
    memory = Known(note, head, TileReader(lambda _: b"".join(leaves), tree_size=head.size, root_hash=head.root), [])
    empty = MagicMock()  # a database in which nothing else is said of the log
    empty.cursor.return_value.__enter__.return_value.pgresult = None
    say_log(empty, Outside(LogTrust((key,)), memory), None, report)
    return report


def _encoded(row: tuple[Any, ...]) -> bytes:
    """Encode a row as the page tells it: written again here, so that the package is not its own witness."""
    parts = []
    for column in row:
        data = column if isinstance(column, bytes) else str(column).encode()
        parts.append(b"\x00" if column is None else b"\x01" + len(data).to_bytes(4, "big") + data)
    return b"".join(parts)


def _entry_lines(entry: Entry) -> str:
    return f"leaf hash  {entry.leaf_hash.hex()}\nsignature  {base64.b64encode(entry.signature).decode()}"


def _exported(draft: EntryDraft) -> Entry:
    last = TRAIL[-1]
    return seal(
        replace(draft, actor=_OPERATOR),
        origin=ORIGIN,
        seq=last.seq + 1,
        prev=last.leaf_hash,
        occurred_at=NOON + timedelta(minutes=last.seq + 1),
        salt=b"",
        signer=DEPLOYMENT_KEY,
    )


BUNDLE, BUNDLE_SHOWN = bundle_of(KEYS, TRAIL, _exported, ORIGIN, LOG_KEY, NOON + timedelta(minutes=4))
COMPUTED: dict[str, str] = {
    **BUNDLE_SHOWN,
    **docs_governed.computed(ORIGIN, NOON + timedelta(minutes=9)),
    "canonical": canonical({"b": 2, "a": [True, None, 'é "\n'], "\ufb00": 1, "\U0001f600": -1}).decode(),
    "tags": canonical(tagged(TAGGED, None)).decode(),  # type: ignore[arg-type]
    "keys": "\n".join(
        f"{name:<10}  public key  {base64.b64encode(key.public.raw).decode()}\n{'':<10}  key id      {key.keyid.hex()}"
        for name, key in (("deployment", DEPLOYMENT_KEY), ("graph", GRAPH_KEY))
    ),
    "keys-one": KEYS[0].body.decode(),
    "keys-one-hashes": _entry_lines(KEYS[0]),
    "keys-two": KEYS[1].body.decode(),
    "keys-two-hashes": _entry_lines(KEYS[1]),
    "trust": canonical(TRUST.as_json()).decode(),
    "started-salt": SALTS[0].hex(),
    "started-payload": (TRAIL[0].data or b"").decode(),
    "started": TRAIL[0].body.decode(),
    "started-hashes": _entry_lines(TRAIL[0]),
    "started-pae": pae(TRAIL[0].body)[:60].decode(),
    "started-envelope": canonical(envelope(TRAIL[0])).decode(),
    "blob-row": _encoded(BLOB_ROW).hex(),
    "blob-row-hash": row_hash(BLOB_ROW),
    "checkpoint-row": _encoded(CHECKPOINT_ROW).hex(),
    "checkpoint-row-hash": row_hash(CHECKPOINT_ROW),
    "saved-salt": SALTS[1].hex(),
    "saved-payload": (TRAIL[1].data or b"").decode(),
    "saved": TRAIL[1].body.decode(),
    "saved-hashes": _entry_lines(TRAIL[1]),
    "csv": trail_csv(_checked()).decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n"),
    "verdict": json.dumps(_report().as_json(), indent=2),
}


def test_every_example_on_the_page_is_computed_here_and_no_other() -> None:
    assert SHOWN.keys() == COMPUTED.keys()
    assert len(_BLOCK.findall(PAGE)) == len(SHOWN) == PAGE.count("<!-- example:")


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_the_page_shows_what_the_package_computes(name: str) -> None:
    assert _without_sentences(SHOWN[name]) == _without_sentences(COMPUTED[name])


def _without_sentences(text: str) -> str:
    """Drop what is written for people and may change from one release to the next."""
    return re.sub(r'"message": ".*"', '"message": "..."', text)


@dataclass(frozen=True)
class Told:
    """An entry as a reader of the page has it: text, and nothing from the package."""

    body: bytes
    leaf: str
    signature: bytes

    @classmethod
    def of(cls, name: str) -> Told:
        lines = dict(line.split("  ", 1) for line in SHOWN[f"{name}-hashes"].splitlines())
        return cls(SHOWN[name].encode(), lines["leaf hash"], base64.b64decode(lines["signature"]))


@pytest.mark.parametrize("name", ["keys-one", "keys-two", "started", "saved"])
def test_a_stranger_gets_the_same_leaf_hash_and_the_signature_holds(name: str) -> None:
    told = Told.of(name)
    assert hashlib.sha256(b"\0" + told.body).hexdigest() == told.leaf
    first = 0 if name.startswith("keys") else 32
    raw = Ed25519PrivateKey.from_private_bytes(bytes(range(first, first + 32))).public_key().public_bytes_raw()
    signed = b"DSSEv1 38 application/vnd.countersign.entry+json %d %b" % (len(told.body), told.body)
    Ed25519PublicKey.from_public_bytes(raw).verify(told.signature, signed)


@pytest.mark.parametrize(("one", "two"), [("keys-one", "keys-two"), ("started", "saved")])
def test_a_stranger_finds_the_link(one: str, two: str) -> None:
    assert json.loads(SHOWN[one])["prev"] == "0" * 64
    assert json.loads(SHOWN[two])["prev"] == Told.of(one).leaf


@pytest.mark.parametrize("name", ["started", "saved"])
def test_a_stranger_opens_the_commitment(name: str) -> None:
    data = SHOWN[f"{name}-payload"].encode()
    digest = hashlib.sha256(bytes.fromhex(SHOWN[f"{name}-salt"]) + data).hexdigest()
    assert json.loads(SHOWN[name])["payload"] == {"digest": digest, "size": len(data)}


def test_a_stranger_finds_the_rows_bound() -> None:
    rows = json.loads(SHOWN["saved-payload"])["rows"]
    digests = [hashlib.sha256(bytes.fromhex(SHOWN[f"{name}-row"])).hexdigest() for name in ("blob", "checkpoint")]
    assert [row["sha256"] for row in rows] == digests
    assert digests == [SHOWN["blob-row-hash"], SHOWN["checkpoint-row-hash"]]


def test_the_envelope_carries_the_body() -> None:
    value = json.loads(SHOWN["started-envelope"])
    assert base64.b64decode(value["payload"]) == SHOWN["started"].encode()
    assert base64.b64decode(value["signatures"][0]["sig"]) == Told.of("started").signature


def test_the_bundle_passes_with_the_key_on_the_page() -> None:
    report = verify_bundle(BUNDLE, LogTrust((VerifierKey.parse(SHOWN["bundle-key"]),)))
    assert (report.verdict, report.counts.sealed, report.findings) == ("passed", 5, [])


def test_a_stranger_finds_the_export_below_the_head() -> None:
    """RFC 6962 by hand: leaf 4 of 5 is the right half of the root, and its proof is the left half."""
    _, index, left, _, origin, size, root, _, _ = SHOWN["bundle-tlog-proof"].split("\n")
    leaf = hashlib.sha256(b"\0" + SHOWN["bundle-exported"].encode()).digest()
    assert (index, origin, size) == ("index 4", ORIGIN, "5")
    assert base64.b64encode(hashlib.sha256(b"\1" + base64.b64decode(left) + leaf).digest()).decode() == root


@pytest.mark.parametrize("change", [b'"seq":1', b'"ward-system"', b'"case-7"'])
def test_the_examples_would_not_pass_with_one_member_changed(change: bytes) -> None:
    ring, _ = check_keys_trail(KEYS, TRUST)
    entry = TRAIL[0]
    changed = Entry(
        entry.trail,
        entry.seq,
        entry.kind,
        entry.occurred_at,
        entry.body.replace(change, change.replace(b"1", b"2").replace(b"a", b"b")),
        entry.keyid,
        entry.signature,
        entry.salt,
        entry.data,
    )
    assert changed.body != entry.body
    with pytest.raises(VerificationError) as caught:
        check_entry(changed, after=START, origin=ORIGIN, ring=ring)
    assert caught.value.check == "signature"


def test_a_stranger_finds_the_version_of_the_policy_on_the_page() -> None:
    parts, version = SHOWN["policy-version"].split("\n")
    assert hashlib.sha256(parts.encode()).hexdigest()[:32] == version
    document = json.dumps(json.loads(SHOWN["policy"]), separators=(",", ":"), sort_keys=True).encode()
    assert json.loads(parts)["parts"]["policy"] == hashlib.sha256(document).hexdigest()


@pytest.mark.parametrize(("name", "member"), [("view", "shown_digest"), ("reason", "reason_digest")])
def test_a_stranger_finds_what_the_statement_covers(name: str, member: str) -> None:
    salt, digest = (line.split("  ")[-1].strip() for line in SHOWN[f"{name}-digest"].split("\n"))
    assert hashlib.sha256(bytes.fromhex(salt) + SHOWN[name].encode()).hexdigest() == digest
    assert json.loads(SHOWN["statement"])[member] == digest


def test_every_kind_and_every_member_of_its_detail_is_on_the_page() -> None:
    schema = json.loads((Path(__file__).resolve().parents[2] / "audit" / "schemas" / "detail.json").read_text())
    for kind in Kind:
        rules = schema["$defs"][kind]
        shapes = [rules] if "properties" in rules else rules["oneOf"]
        members = {name for shape in shapes for name in shape["properties"] if not name.endswith("_count")}
        (line,) = re.findall(rf"^\| `{re.escape(kind)}` \|.*$", PAGE, re.MULTILINE)
        assert [name for name in members - {"recovered"} if f"`{name}`" not in line] == []
