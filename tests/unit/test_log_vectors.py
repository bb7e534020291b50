"""The JSON vectors of the log, which know nothing of this code, say the same as this code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.entry import leaf_hash
from countersign.audit.errors import MalformedError, VerificationError
from countersign.audit.logproof import parse_log_proof, verify_log_proof
from countersign.audit.merkle import root_hash, verify_consistency, verify_inclusion
from countersign.audit.note import VerifierKey, parse_note
from countersign.audit.treehead import LogTrust, open_tree_head

FOLDER = Path(__file__).parents[1] / "vectors"
TREES, NOTES, PROOFS = (json.loads((FOLDER / f"{name}.json").read_text()) for name in ("trees", "notes", "proofs"))

# What this reader says where a vector says `wantErr`: errors of form, and those of evidence.
MALFORMED = {
    "shape": "Not a verifier key",
    "name": "The name of a key",
    "key-id": "has the id",
    "base64": "Not base64|Not the canonical base64",
    "algorithm": "kind that is not supported",
    "length": "32 bytes, not",
    "weak": "small order|not in canonical form",
    "no-blank-line": "without an empty line",
    "no-signature": "1 to 100 signatures, not 0",
    "no-final-newline": "line that does not end with a newline",
    "signature-line": "Not a signature line",
    "control": "control characters",
    "utf-8": "not UTF-8",
    "short": "without key id or without signature",
    "too-many": "More than 100 signatures|at most 63",
    "three-lines": "three lines",
    "origin-name": "An origin must be",
    "decimal": "Not a decimal number",
    "hash": "A hash of [0-9]+ bytes",
    "empty-root": "not that of the empty tree",
    "spec": "An unknown kind of proof",
    "index": "does not say the index",
    "empty-extra": "Extra data of a proof that is empty",
    "ascii": "other characters than ASCII",
}
UNVERIFIED = {
    "unsigned": ("note", "is not signed by"),
    "duplicate": ("note", "two signatures of"),
    "signature": ("note", "does not match the text"),
    "origin": ("origin", "is of the log"),
    "quorum": ("quorum", "are asked for"),
}
REASONS = {
    "range": "There is no leaf|does not extend",
    "proof-length": "has [0-9]+ hashes, not",
    "hash-length": "not of 32 bytes",
    "root": "root",
}


def each(vectors: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector["desc"] for vector in vectors])


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


@pytest.mark.parametrize("vector", TREES["roots"], ids=[vector["size"] for vector in TREES["roots"]])
def test_a_tree_has_this_root(vector: dict[str, Any]) -> None:
    leaves = [leaf_hash(body.encode()) for body in vector["bodies"]]
    assert len(leaves) == int(vector["size"])
    assert root_hash(leaves).hex() == vector["root"]


@each(TREES["inclusion"])
def test_an_inclusion_proof_verifies_or_fails_for_this_reason(vector: dict[str, Any]) -> None:
    def verify() -> None:
        verify_inclusion(
            unhex(vector["proof"]),
            leaf_hash=bytes.fromhex(vector["leafHash"]),
            leaf_index=int(vector["leafIndex"]),
            tree_size=int(vector["treeSize"]),
            root_hash=bytes.fromhex(vector["root"]),
        )

    if vector["wantErr"] is None:
        verify()
        return
    with pytest.raises(VerificationError, match=REASONS[vector["wantErr"]]) as caught:
        verify()
    assert caught.value.check == "inclusion"


@each(TREES["consistency"])
def test_a_consistency_proof_verifies_or_fails_for_this_reason(vector: dict[str, Any]) -> None:
    def verify() -> None:
        verify_consistency(
            unhex(vector["proof"]),
            first=int(vector["first"]),
            second=int(vector["second"]),
            first_root=bytes.fromhex(vector["firstRoot"]),
            second_root=bytes.fromhex(vector["secondRoot"]),
        )

    if vector["wantErr"] is None:
        verify()
        return
    with pytest.raises(VerificationError, match=REASONS[vector["wantErr"]]) as caught:
        verify()
    assert caught.value.check == "consistency"


@contextmanager
def refused(error: str) -> Iterator[None]:
    if error in MALFORMED:
        with pytest.raises(MalformedError, match=MALFORMED[error]):
            yield
        return
    check, reason = UNVERIFIED.get(error) or ("inclusion", REASONS[error])
    with pytest.raises(VerificationError, match=reason) as caught:
        yield
    assert caught.value.check == check


@each(NOTES["keys"])
def test_a_verifier_key_is_read_or_refused_for_this_reason(vector: dict[str, Any]) -> None:
    if vector["wantErr"] is not None:
        with refused(vector["wantErr"]):
            VerifierKey.parse(vector["vkey"])
        return
    key = VerifierKey.parse(vector["vkey"])
    assert key.text == vector["vkey"]
    assert (key.name, key.algorithm, key.key_id.hex()) == (vector["name"], vector["algorithm"], vector["keyId"])
    assert key.public.raw.hex() == vector["publicKey"]


def trust_of(vector: dict[str, Any]) -> LogTrust:
    logs, witnesses = (tuple(map(VerifierKey.parse, vector[kind])) for kind in ("logs", "witnesses"))
    return LogTrust(logs, witnesses, vector["quorum"])


@each(NOTES["notes"])
def test_a_note_is_opened_or_refused_for_this_reason(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["noteHex"])
    if vector["wantErr"] is not None:
        with refused(vector["wantErr"]):
            open_tree_head(parse_note(data), trust_of(vector))
        return
    note = parse_note(data)
    assert note.encode() == data
    head, signatures = open_tree_head(note, trust_of(vector))
    times = [{"name": key.name, "seconds": at} for key, at in signatures if at is not None]
    assert {"origin": head.origin, "size": head.size, "root": head.root.hex(), "cosignatures": times} == vector["want"]


@each(PROOFS["proofs"])
def test_a_proof_in_a_file_verifies_or_fails_for_this_reason(vector: dict[str, Any]) -> None:
    data, body = vector["proof"].encode(), vector["body"].encode()
    if vector["wantErr"] is not None:
        with refused(vector["wantErr"]):
            verify_log_proof(parse_log_proof(data), body, trust_of(vector))
        return
    proof = parse_log_proof(data)
    assert proof.encode() == data
    opened = verify_log_proof(proof, body, trust_of(vector))
    assert opened == open_tree_head(proof.note, trust_of(vector))


def test_there_are_good_and_bad_vectors_of_every_kind() -> None:
    for kind, wanted in (("inclusion", set(REASONS)), ("consistency", set(REASONS))):
        assert {vector["wantErr"] for vector in TREES[kind]} == wanted | {None}
        assert len({vector["desc"] for vector in TREES[kind]}) == len(TREES[kind])
    given = [vector["wantErr"] for vectors in (*NOTES.values(), *PROOFS.values()) for vector in vectors]
    assert set(given) >= MALFORMED.keys() | UNVERIFIED.keys() | {"root", "range", "proof-length", None}
    for vectors in (*NOTES.values(), *PROOFS.values()):
        assert len({vector["desc"] for vector in vectors}) == len(vectors)
