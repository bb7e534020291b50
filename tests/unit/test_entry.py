"""Entries: what seal writes, parse_body reads; anything that is not exactly a body of version 1 is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.body import Body, parse_body
from countersign.audit.canonical import MAX_INT, Json, canonical, format_time
from countersign.audit.entry import (
    GENESIS,
    MAX_BODY,
    Actor,
    CheckpointRef,
    Entry,
    EntryDraft,
    Workflow,
    leaf_hash,
    payload_digest,
)
from countersign.audit.errors import AppendError, MalformedError
from unit.samples import ORIGIN, WHEN, sealed

FULL = EntryDraft(
    "case-1",
    "checkpoint.saved",
    actor=Actor("user-17", "passkey", "pharmacist"),
    workflow=Workflow("order", "2.1"),
    run="1ef0",
    checkpoint=CheckpointRef("c2", "sub:1", "c1"),
    detail={"channels": ["dose"], "step": -1},
    payload={"rows": [], "old": None},
)
GOOD: dict[str, Any] = json.loads(sealed(FULL).body)
REQUIRED = ("spec", "origin", "trail", "seq", "prev", "kind", "occurred_at", "actor", "detail")
OPTIONAL = ("workflow", "run", "checkpoint", "payload")


def body_with(member: str, value: Any) -> bytes:
    return canonical(GOOD | {member: value})


def test_the_body_holds_exactly_what_the_format_says_and_nothing_else() -> None:
    entry = sealed(FULL)
    assert entry.data == b'{"old":null,"rows":[]}'
    assert entry.salt == b"\x01" * 32
    assert json.loads(entry.body) == {
        "spec": "countersign/entry/1",
        "origin": "test.invalid/unit",
        "trail": "case-1",
        "seq": 1,
        "prev": "0" * 64,
        "kind": "checkpoint.saved",
        "occurred_at": "2025-03-01T12:30:16.123456Z",
        "actor": {"id": "user-17", "via": "passkey", "role": "pharmacist"},
        "workflow": {"name": "order", "version": "2.1"},
        "run": "1ef0",
        "checkpoint": {"id": "c2", "ns": "sub:1", "parent": "c1"},
        "detail": {"channels": ["dose"], "step": -1},
        "payload": {"digest": hashlib.sha256(b"\x01" * 32 + entry.data).hexdigest(), "size": 22},
    }


def test_a_body_without_optional_members_does_not_name_them() -> None:
    entry = sealed(EntryDraft("case-1", "run.started"))
    assert sorted(json.loads(entry.body)) == sorted(REQUIRED)
    assert json.loads(entry.body)["actor"] == {"id": "system", "via": "system"}
    assert (entry.salt, entry.data) == (None, None)
    body = parse_body(entry.body)
    assert (body.workflow, body.run, body.checkpoint, body.payload_digest, body.payload_size) == (None,) * 4 + (0,)


def test_the_columns_are_copies_of_the_body() -> None:
    entry = sealed(FULL)
    body = parse_body(entry.body)
    assert (entry.trail, entry.seq, entry.kind, entry.occurred_at) == (
        body.trail,
        body.seq,
        body.kind,
        body.occurred_at,
    )


def test_the_leaf_hash_is_rfc_6962s_and_the_next_entrys_prev() -> None:
    first = sealed(FULL)
    assert first.leaf_hash == leaf_hash(first.body) == hashlib.sha256(b"\x00" + first.body).digest()
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert parse_body(sealed(FULL, first).body).prev == first.leaf_hash
    assert parse_body(first.body).prev == GENESIS == bytes(32)


def test_the_payload_digest_covers_salt_then_data() -> None:
    assert payload_digest(b"s" * 32, b"{}") == hashlib.sha256(b"s" * 32 + b"{}").digest()


WRONG: dict[str, list[Any]] = {
    "spec": [None, 1, "", "countersign/entry/2", ["countersign/entry/1"], {}],
    "origin": [None, 1, "", "a b", "a+b", "a\tb", "a\u00a0b", "x" * 256, ["a"]],
    "trail": [None, 1, "", "x" * 256, "a\nb", "a\x00", "a\x85", ["a"]],
    "seq": [None, 0, -1, "1", True, [1]],
    "prev": [None, 0, "", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n", ["0" * 64]],
    "kind": [None, 1, "", "run", "run.", ".started", "Run.started", "run.started.x", "run.*", "*", "run started", []],
    "occurred_at": [None, 0, "", "2025-03-01T12:30:15Z", "2025-03-01T12:30:15.123456+00:00", []],
    "actor": [
        None,
        "user",
        [],
        {},
        {"id": "u"},
        {"via": "v"},
        {"id": 1, "via": "v"},
        {"id": "u", "via": None},
        {"id": "u", "via": "v", "role": None},
        {"id": "u", "via": "v", "name": "Mary"},
    ],
    "detail": [None, [], "x", 1],
    "workflow": [
        None,
        "order",
        {},
        {"name": "n"},
        {"name": "n", "version": 1},
        {"name": None, "version": "1"},
        {"name": "n", "version": "1", "x": "y"},
    ],
    "run": [None, 1, {}, []],
    "checkpoint": [
        None,
        "c1",
        {},
        {"id": "c", "ns": ""},
        {"id": "c", "ns": "", "parent": 1},
        {"id": 1, "ns": "", "parent": None},
        {"id": "c", "ns": None, "parent": None},
        {"id": "c", "ns": "", "parent": None, "x": 1},
    ],
    "payload": [
        None,
        [],
        {},
        "0" * 64,
        {"digest": "0" * 64},
        {"size": 1},
        {"digest": "0" * 63, "size": 1},
        {"digest": None, "size": 1},
        {"digest": "0" * 64, "size": -1},
        {"digest": "0" * 64, "size": "1"},
        {"digest": "0" * 64, "size": True},
        {"digest": "0" * 64, "size": None},
        {"digest": "0" * 64, "size": 1, "data": ""},
    ],
}


def test_the_table_of_wrong_members_leaves_none_out() -> None:
    assert WRONG.keys() == GOOD.keys() == {*REQUIRED, *OPTIONAL}
    assert parse_body(canonical(GOOD)).seq == 1


@pytest.mark.parametrize(
    ("member", "value"), [(member, value) for member, values in WRONG.items() for value in values], ids=str
)
def test_a_member_of_the_wrong_type_or_form_is_refused(member: str, value: Any) -> None:
    with pytest.raises(MalformedError):
        parse_body(body_with(member, value))


@pytest.mark.parametrize("member", REQUIRED)
def test_a_body_without_a_required_member_is_refused_by_its_name(member: str) -> None:
    with pytest.raises(MalformedError, match=member):
        parse_body(canonical({key: value for key, value in GOOD.items() if key != member}))


@pytest.mark.parametrize("member", OPTIONAL)
def test_a_body_without_an_optional_member_is_read(member: str) -> None:
    assert parse_body(canonical({key: value for key, value in GOOD.items() if key != member})).seq == 1


def test_a_body_with_an_unknown_member_is_refused_by_its_name() -> None:
    with pytest.raises(MalformedError, match="comment"):
        parse_body(body_with("comment", "x"))


@pytest.mark.parametrize("data", [b"[]", b"null", b'"x"', b"1", b"", b"{}", b"\xff", b" " + canonical(GOOD)])
def test_what_is_no_object_in_canonical_form_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_body(data)


def padded(size: int) -> EntryDraft:
    """Return a draft whose body has this many bytes."""
    bare = len(sealed(EntryDraft("case-1", "run.started", detail={"x": ""})).body)
    return EntryDraft("case-1", "run.started", detail={"x": "a" * (size - bare)})


def test_a_body_of_65535_bytes_is_written_and_read() -> None:
    entry = sealed(padded(MAX_BODY))
    assert len(entry.body) == 65_535
    assert len(str(parse_body(entry.body).detail["x"])) > 65_000


def test_a_body_one_byte_longer_is_not_sealed_and_the_error_names_size_and_remedy() -> None:
    with pytest.raises(AppendError) as caught:
        sealed(padded(MAX_BODY + 1))
    assert "65536 bytes" in caught.value.message
    assert "65535" in caught.value.message
    assert "payload" in caught.value.remedy
    assert caught.value.trail == "case-1"


def test_a_body_one_byte_longer_is_not_read() -> None:
    value = json.loads(sealed(padded(MAX_BODY)).body)
    value["detail"]["x"] += "a"
    with pytest.raises(MalformedError, match="65536"):
        parse_body(canonical(value))


UNWRITABLE: list[tuple[str, dict[str, Any]]] = [
    ("a float in the detail", {"detail": {"dose": 1.5}}),
    ("a large integer in the detail", {"detail": {"n": 2**53}}),
    ("a float in the payload", {"payload": {"dose": 1.5}}),
    ("bytes in the payload", {"payload": {"raw": b"x"}}),
    ("a lone surrogate", {"detail": {"x": "\ud800"}}),
    ("a key that is no string", {"detail": {1: "x"}}),
    ("an actor's id that is a surrogate", {"actor": Actor("\udcff", "application")}),
]


@pytest.mark.parametrize("fields", [item[1] for item in UNWRITABLE], ids=[item[0] for item in UNWRITABLE])
def test_what_canonical_json_cannot_carry_stops_the_run(fields: dict[str, Any]) -> None:
    with pytest.raises(AppendError, match=r"run\.started entry cannot be written down") as caught:
        sealed(replace(EntryDraft("case-1", "run.started"), **fields))
    assert caught.value.remedy
    assert caught.value.trail == "case-1"


# Each of these comes from an embedding program that passes what it has, an integer key of a user for instance.
UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("an actor's id", {"actor": Actor(17, "application")}),  # type: ignore[arg-type]
    ("an actor's role", {"actor": Actor("u", "application", 3)}),  # type: ignore[arg-type]
    ("an actor's via", {"actor": Actor("u", None)}),  # type: ignore[arg-type]
    ("a workflow's version", {"workflow": Workflow("order", 2)}),  # type: ignore[arg-type]
    ("a workflow's name", {"workflow": Workflow(None, "1")}),  # type: ignore[arg-type]
    ("a run", {"run": 7}),
    ("a role that is 0", {"actor": Actor("u", "application", 0)}),  # type: ignore[arg-type]
    ("a run that is 0", {"run": 0}),
    ("a run that is False", {"run": False}),
    ("a checkpoint's parent that is 0", {"checkpoint": CheckpointRef("c", "", 0)}),  # type: ignore[arg-type]
    ("a checkpoint's id", {"checkpoint": CheckpointRef(7)}),  # type: ignore[arg-type]
    ("a trail with a control character", {"trail": "a\nb"}),
    ("an empty trail", {"trail": ""}),
    ("a long trail", {"trail": "x" * 256}),
]


@pytest.mark.parametrize("fields", [item[1] for item in UNREADABLE], ids=[item[0] for item in UNREADABLE])
def test_nothing_is_signed_that_no_reader_would_accept(fields: dict[str, Any]) -> None:
    with pytest.raises((AppendError, MalformedError)):
        sealed(replace(EntryDraft("case-1", "run.started"), **fields))


@pytest.mark.parametrize("place", [{"seq": -1}, {"prev": b"short"}, {"origin": "a b"}], ids=str)
def test_nothing_is_signed_at_a_place_that_no_reader_would_accept(place: dict[str, Any]) -> None:
    with pytest.raises((AppendError, MalformedError)):
        sealed(FULL, **place)


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, values, max_size=4)
words = st.lists(st.sampled_from(["a", "run", "xyz"]), min_size=1, max_size=3).map("-".join)
drafts = st.builds(
    EntryDraft,
    names,
    st.tuples(words, words).map(".".join),
    actor=st.builds(Actor, text, text, st.none() | text),
    workflow=st.none() | st.builds(Workflow, text, text),
    run=st.none() | text,
    checkpoint=st.none() | st.builds(CheckpointRef, text, text, st.none() | text),
    detail=objects,
    payload=st.none() | objects,
)
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


def expected(draft: EntryDraft, entry: Entry, place: Mapping[str, Any]) -> Body:
    data = canonical(cast("Json", draft.payload)) if draft.payload is not None else None
    return Body(
        ORIGIN,
        draft.trail,
        place["seq"],
        place["prev"],
        draft.kind,
        place["occurred_at"],
        draft.actor,
        draft.detail,
        draft.workflow,
        draft.run,
        draft.checkpoint,
        payload_digest(place["salt"], data) if data is not None else None,
        len(data or b""),
    )


@given(drafts, st.integers(1, MAX_INT), st.binary(min_size=32, max_size=32), times, st.binary(min_size=32, max_size=32))
def test_what_was_sealed_is_read_back_as_it_was_drafted(
    draft: EntryDraft, seq: int, prev: bytes, moment: datetime, salt: bytes
) -> None:
    place = {"seq": seq, "prev": prev, "occurred_at": moment, "salt": salt}
    entry = sealed(draft, **place)  # type: ignore[arg-type]
    assert parse_body(entry.body) == expected(draft, entry, place)


@given(st.sampled_from(sorted(GOOD)), values)
def test_any_value_in_any_member_is_read_or_malformed(member: str, value: Json) -> None:
    data = body_with(member, value)
    try:
        body = parse_body(data)
    except MalformedError:
        return
    assert GOOD | {member: value} == json.loads(data)
    assert format_time(body.occurred_at) == json.loads(data)["occurred_at"]


edits = st.lists(st.tuples(st.sampled_from("fid"), st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=3)


def edited(data: bytes, how: list[tuple[str, int, int]]) -> bytes:
    """Flip, insert and delete bytes."""
    result = bytearray(data)
    for what, place, byte in how:
        at = place % len(result)
        result[at : at + (what != "i")] = b"" if what == "d" else bytes([result[at] ^ byte if what == "f" else byte])
    return bytes(result)


@given(edits)
def test_an_edited_body_is_malformed_or_is_what_its_bytes_say(how: list[tuple[str, int, int]]) -> None:
    data = edited(sealed(replace(FULL, actor=Actor("u", "api-key")), occurred_at=WHEN).body, how)
    try:
        body = parse_body(data)
    except MalformedError:
        return
    assert canonical(json.loads(data)) == data
    assert body.prev.hex() == json.loads(data)["prev"]
