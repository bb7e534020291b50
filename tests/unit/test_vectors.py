"""The JSON vectors, which know nothing of this code, say the same as this code does."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from countersign.audit.body import parse_body
from countersign.audit.canonical import canonical, format_time, parse, parse_time
from countersign.audit.chain import check_keys_trail
from countersign.audit.entry import Actor, CheckpointRef, Entry, EntryDraft, Workflow, envelope, pae, seal
from countersign.audit.errors import MalformedError, VerificationError
from countersign.audit.keys import FileKey, PublicKey, Trust
from countersign.audit.rows import TABLES, Column, bind, parse_rows
from countersign.audit.verify import Report, TrailCheck
from vectors.make import files

FOLDER = Path(__file__).parents[1] / "vectors"
CANONICAL, ENTRIES, ROWS, TRAILS = (
    json.loads((FOLDER / f"{name}.json").read_text()) for name in ("canonical", "entries", "rows", "trails")
)

# What this reader says where a vector says `wantErr`.
REASONS = {
    "not-json": "Not a JSON document",
    "float": "a float: ",
    "integer-range": "beyond",
    "duplicate-key": "stands twice",
    "not-canonical": "canonical form",
    "not-unicode": "not valid Unicode",
    "too-deep": "Nested deeper",
    "spec": "unknown spec",
    "missing-member": "The body lacks",
    "unknown-member": "unknown members",
    "wrong-member": "^(?!Not in canonical form|Not a JSON|The body lacks|An unknown spec|The body has unknown)",
    "too-long": "65536 bytes",
    "small-order": "small order",
    "length": "32 bytes, not",
    "rows": "rows|bound row|binds a row",
}


def each(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["desc"] for vector in vectors])


def test_making_the_vectors_again_gives_the_same_files() -> None:
    made = files()
    assert made.keys() == {path.name for path in FOLDER.glob("*.json")}
    for name, content in made.items():
        assert (FOLDER / name).read_text() == content, f"{name}: run PYTHONPATH=tests python -m vectors.make"


def test_the_vectors_are_made_without_this_projects_code() -> None:
    for path in FOLDER.glob("*.py"):
        assert "countersign.audit" not in path.read_text()


@each(CANONICAL["documents"])
def test_a_document_has_this_canonical_form(vector: dict[str, Any]) -> None:
    data = vector["want"].encode()
    assert canonical(json.loads(vector["input"])) == data
    assert canonical(parse(data)) == data
    if vector["input"] != vector["want"]:
        with pytest.raises(MalformedError):
            parse(vector["input"].encode())


@each(CANONICAL["refused"])
def test_a_document_is_refused_for_this_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match=REASONS[vector["wantErr"]]):
        parse(bytes.fromhex(vector["documentHex"]))


@pytest.mark.parametrize("text", CANONICAL["times"])
def test_a_time_is_read(text: str) -> None:
    assert format_time(parse_time(text)) == text


@pytest.mark.parametrize("text", CANONICAL["notTimes"])
def test_no_time_is_read(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_time(text)


def draft_of(members: dict[str, Any], payload: Any) -> EntryDraft:
    workflow, checkpoint = members.get("workflow"), members.get("checkpoint")
    return EntryDraft(
        members["trail"],
        members["kind"],
        Actor(**members["actor"]),
        Workflow(**workflow) if workflow else None,
        members.get("run"),
        CheckpointRef(**checkpoint) if checkpoint else None,
        members["detail"],
        payload,
    )


@each(ENTRIES["signed"])
def test_an_entry_is_sealed_to_these_bytes(vector: dict[str, Any]) -> None:
    members = vector["members"]
    key = FileKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"])))
    entry = seal(
        draft_of(members, vector["payload"]),
        origin=members["origin"],
        seq=members["seq"],
        prev=bytes.fromhex(members["prev"]),
        occurred_at=parse_time(members["occurred_at"]),
        salt=bytes.fromhex(vector["salt"] or ""),
        signer=key,
    )
    assert entry.body.decode() == vector["body"]
    assert (entry.data.decode() if entry.data is not None else None) == vector["data"]
    assert pae(entry.body).hex() == vector["pae"]
    assert entry.leaf_hash.hex() == vector["leafHash"]
    assert (entry.keyid.hex(), entry.signature.hex()) == (vector["keyid"], vector["signature"])
    assert envelope(entry) == vector["envelope"]
    assert key.public.raw.hex() == vector["publicKey"]


@each(ENTRIES["signed"])
def test_a_signed_body_is_read_and_verifies(vector: dict[str, Any]) -> None:
    body = vector["body"].encode()
    assert parse_body(body).seq == vector["members"]["seq"]
    public = PublicKey.from_raw(bytes.fromhex(vector["publicKey"]))
    assert public.verifies(bytes.fromhex(vector["signature"]), bytes.fromhex(vector["pae"]))


@each(ENTRIES["refused"])
def test_a_body_is_refused_for_this_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match=REASONS[vector["wantErr"]]):
        parse_body(vector["body"].encode())


@each(ENTRIES["publicKeys"])
def test_a_public_key_is_accepted_or_refused_for_this_reason(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["hex"])
    if vector["wantErr"] is None:
        assert PublicKey.from_raw(raw).raw == raw
        return
    with pytest.raises(MalformedError, match=REASONS[vector["wantErr"]]):
        PublicKey.from_raw(raw)


def column_of(value: Any) -> Column:
    match value:
        case {"text": str(text)}:
            return text
        case {"int": str(digits)}:
            return int(digits)
        case {"bytes": str(digits)}:
            return bytes.fromhex(digits)
    assert value is None
    return None


@each(ROWS["rows"])
def test_a_row_is_bound_like_this(vector: dict[str, Any]) -> None:
    row = tuple(map(column_of, vector["columns"]))
    assert bind(TABLES[vector["table"]], row).as_json() == vector["want"]


@each(ROWS["members"])
def test_a_list_of_rows_is_read(vector: dict[str, Any]) -> None:
    assert [row.as_json() for row in parse_rows(vector["rows"])] == vector["rows"]


@each(ROWS["refused"])
def test_a_list_of_rows_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match=REASONS[vector["wantErr"]]):
        parse_rows(vector["rows"])


def entry_of(stored: dict[str, Any]) -> Entry:
    salt, data = stored["salt"], stored["data"]
    return Entry(
        stored["trail"],
        stored["seq"],
        stored["kind"],
        datetime.fromisoformat(stored["occurred_at"]),
        stored["body"].encode(),
        bytes.fromhex(stored["keyid"]),
        bytes.fromhex(stored["signature"]),
        bytes.fromhex(salt) if salt is not None else None,
        data.encode() if data is not None else None,
    )


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    path = tmp_path_factory.mktemp("trust") / "trust.json"
    path.write_bytes(canonical(TRAILS["trust"]))
    return Trust.load(path)


@each(TRAILS["variants"])
def test_a_trail_gets_this_verdict_for_this_reason_at_this_place(vector: dict[str, Any], trust: Trust) -> None:
    ring, _ = check_keys_trail(map(entry_of, TRAILS["keys"]), trust)
    report = Report()
    check = TrailCheck(TRAILS["trail"], origin=trust.origin, ring=ring, report=report)
    for stored in vector["entries"]:
        check.feed(entry_of(stored))
    rows = [(TABLES[row["table"]], tuple(map(column_of, row["columns"]))) for row in vector["rows"]]
    check.extend(check.ledger.check_all(rows))
    first = {"check": report.findings[0].check, "seq": report.findings[0].seq} if report.findings else {}
    assert {"verdict": report.verdict.value, **first} == vector["want"]


@each(TRAILS["damagedKeys"])
def test_a_damaged_trail_of_keys_is_refused_for_this_reason(vector: dict[str, Any], trust: Trust) -> None:
    with pytest.raises(VerificationError) as caught:
        check_keys_trail(map(entry_of, vector["keys"]), trust)
    assert {"check": caught.value.check, "seq": caught.value.seq} == vector["want"]
