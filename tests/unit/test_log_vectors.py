"""The JSON vectors of the log, which know nothing of this code, say the same as this code does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.entry import leaf_hash
from countersign.audit.errors import VerificationError
from countersign.audit.merkle import root_hash, verify_consistency, verify_inclusion

FOLDER = Path(__file__).parents[1] / "vectors"
(TREES,) = (json.loads((FOLDER / f"{name}.json").read_text()) for name in ("trees",))

# What this reader says where a vector says `wantErr`.
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


def test_there_are_good_and_bad_vectors_of_every_kind() -> None:
    for kind, wanted in (("inclusion", set(REASONS)), ("consistency", set(REASONS))):
        assert {vector["wantErr"] for vector in TREES[kind]} == wanted | {None}
        assert len({vector["desc"] for vector in TREES[kind]}) == len(TREES[kind])
