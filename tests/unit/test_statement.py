"""Statements: read back as they were written, refused when they are none, and the digests in them."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from countersign.audit.canonical import canonical
from countersign.audit.errors import MalformedError
from countersign.audit.statement import (
    Statement,
    annotation_of,
    in_time,
    parse_statement,
    reason_digest,
    shown_digest,
)
from unit.samples import ORIGIN, WHEN

SALT = bytes(range(32))
GOOD = Statement(ORIGIN, "case-1", "r-1", bytes(32), "approved", "I have checked.", SALT, "u-1", "chief", SALT, WHEN)


def test_a_statement_is_read_back() -> None:
    assert parse_statement(GOOD.as_json()) == GOOD
    assert GOOD.encode() == canonical(GOOD.as_json())
    assert list(GOOD.as_json()) == [
        "spec", "origin", "trail", "review", "shown_digest", "decision", "meaning", "reason_digest", "signer", "role",
        "nonce", "issued_at",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"spec": "countersign/statement/2"},
        {"more": 1},
        {"nonce": "00"},
        {"nonce": "0A" * 32},
        {"shown_digest": None},
        {"decision": ""},
        {"signer": 7},
        {"issued_at": "2025-03-01"},
        {"issued_at": None},
    ],
)
def test_what_is_no_statement_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parse_statement(GOOD.as_json() | changes)


@pytest.mark.parametrize("name", [name for name in GOOD.as_json() if name != "spec"])
def test_a_statement_without_a_member_is_refused(name: str) -> None:
    document = GOOD.as_json()
    del document[name]
    with pytest.raises(MalformedError):
        parse_statement(document)


@pytest.mark.parametrize("document", [None, [], "", {}])
def test_another_document_is_refused(document: Any) -> None:
    with pytest.raises(MalformedError):
        parse_statement(document)


def test_digests_are_salted_and_over_canonical_json() -> None:
    assert shown_digest(SALT, {"b": 1, "a": 2}) == hashlib.sha256(SALT + b'{"a":2,"b":1}').digest()
    assert reason_digest(SALT, "why", {"dose": 3}) == (
        hashlib.sha256(SALT + b'{"text":"why","values":{"dose":3}}').digest()
    )
    assert shown_digest(SALT, {}) != shown_digest(bytes(32), {})


@pytest.mark.parametrize(("seconds", "valid"), [(0, True), (300, True), (301, False), (-300, True), (-301, False)])
def test_a_statement_holds_for_five_minutes(seconds: int, valid: bool) -> None:  # noqa: FBT001
    assert in_time(GOOD, WHEN + timedelta(seconds=seconds)) is valid


@pytest.mark.parametrize(("refers", "text"), [(None, "annotation:0"), (7, "annotation:7")])
def test_an_annotation_names_what_it_refers_to(refers: int | None, text: str) -> None:
    assert annotation_of(refers) == text
