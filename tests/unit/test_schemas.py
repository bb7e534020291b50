"""The JSON Schemas of `detail`: shipped, valid, one for every kind, and strict."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from countersign.audit.canonical import Json, parse
from countersign.audit.entry import MAX_LIST, EntryDraft, seal
from countersign.audit.keys import FileKey, introduction
from countersign.audit.kinds import Kind
from unit.governed_details import FORBIDDEN, GOVERNED, LACKING

SCHEMA: dict[str, Any] = json.loads(resources.files("countersign.audit").joinpath("schemas/detail.json").read_text())
TASK = {"task": "6a1d4c3e-0000-0000-0000-000000000000", "path": "~__pregel_pull, analyze"}
KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
COUNTS = {"checkpoints": 3, "checkpoint_blobs": 4, "checkpoint_writes": 9}
HUNDRED = [f"channel-{number:03}" for number in range(100)]

HEAD = {"size": 7, "root": "03" * 32}
RESTORED = {"from": 7, "to": 9, "lost": 2, "database": HEAD, "memory": {**HEAD, "size": 9}}

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("checkpoint.saved", {"source": "input", "step": -1}),
    ("checkpoint.saved", {"source": "fork", "step": None}),
    ("writes.saved", {**TASK, "channels": ["dose"]}),
    ("writes.saved", {**TASK, "channels": HUNDRED}),
    ("writes.saved", {**TASK, "channels_count": 101}),
    ("state.updated", {"source": "update", "step": 2, "channels": ["decision"]}),
    ("state.updated", {"source": "update", "step": 2, "channels": []}),
    ("run.started", {"continues": False}),
    ("run.started", {"continues": True, "interrupt_before": "*", "interrupt_after": ["order"]}),
    ("run.resumed", {"interrupts": []}),
    ("run.resumed", {"interrupts": ["1f"], "command": ["resume", "update"]}),
    ("run.resumed", {"interrupts_count": 250, "interrupt_before": ["order"]}),
    ("run.started", {"continues": True, "interrupts": ["1f"], "unfinished": "0d2e6a51-0000-0000-0000-000000000000"}),
    ("run.resumed", {"interrupts": ["1f", "2e"], "command": ["resume"], "answers": ["1f"], "unfinished": "0d2e6a51"}),
    ("run.forked", {"latest": "1f1e6d01-347b-6875-8002-5ed96fca2e6f"}),
    ("run.paused", {"interrupts": ["1f"]}),
    ("run.paused", {"interrupts_count": 101, "recovered": True}),
    ("writes.saved", {**TASK, "node": "analyze", "channels": []}),
    ("state.updated", {"source": "fork", "step": 2, "channels": [], "as_node": ["__copy__"]}),
    ("run.completed", {}),
    ("run.completed", {"recovered": True}),
    ("run.failed", {"error": "builtins.ValueError"}),
    ("run.refused", {"check": "row", "trail": "case-7", "table": "checkpoints", "seq": 9}),
    ("run.refused", {"check": "sequence", "trail": "case-7", "table": None, "seq": None}),
    ("interrupt.raised", {"when": "before", "next": ["order", "order"]}),
    ("interrupt.raised", {"when": "dynamic", "interrupt": "1f", **TASK}),
    ("key.introduced", {"public_key": KEY, "purpose": "entry", "kinds": ["*"]}),
    ("key.introduced", {"public_key": KEY, "purpose": "entry", "kinds": ["run.*", "checkpoint.saved"]}),
    ("key.introduced", {"public_key": KEY, "purpose": "log"}),
    ("trail.adopted", {**COUNTS, "newest": "1f11638e-5a2c-6b1e-8000-3c1d5e7f9a0b"}),
    ("trail.adopted", {**COUNTS, "checkpoints": 0, "newest": None}),
    ("key.retired", {"keyid": "03" * 32}),
    ("key.revoked", {"keyid": "03" * 32, "since": 0}),
    ("payload.erased", {"seqs": [1, 7]}),
    ("payload.erased", {"trail": "case-7", "count": 101}),
    ("report.exported", {"format": "bundle", "keys": {"seq": 3, "leaf_hash": "03" * 32}}),
    ("log.restored", RESTORED),
    ("log.head-adopted", {"database": HEAD, "given": []}),
    ("log.head-adopted", {"database": HEAD, "given": [HEAD]}),
    *GOVERNED,
]

BAD: list[tuple[str, str, dict[str, Any]]] = [
    ("a step is missing", "checkpoint.saved", {"source": "loop"}),
    ("a step is text", "checkpoint.saved", {"source": "loop", "step": "1"}),
    ("a step is a truth", "checkpoint.saved", {"source": "loop", "step": True}),
    ("an edit under the kind of a step", "checkpoint.saved", {"source": "update", "step": 1}),
    ("a step under the kind of an edit", "state.updated", {"source": "loop", "step": 1, "channels": []}),
    ("content beside an edit", "state.updated", {"source": "update", "step": 1, "channels": ["a"], "notes": "Mr X"}),
    ("a channel twice", "state.updated", {"source": "update", "step": 1, "channels": ["a", "a"]}),
    ("more than a hundred", "writes.saved", {**TASK, "channels": [*HUNDRED, "one more"]}),
    ("list and count", "writes.saved", {**TASK, "channels": ["a"], "channels_count": 101}),
    ("neither list nor count", "writes.saved", TASK),
    ("a count where a list would do", "writes.saved", {**TASK, "channels_count": 100}),
    ("no task", "writes.saved", {"path": "", "channels": ["a"]}),
    ("an unsaid continuation", "run.started", {}),
    ("the input itself", "run.started", {"continues": False, "input": {"drug": "warfarin"}}),
    ("pauses that are none", "run.started", {"continues": False, "interrupt_before": []}),
    ("no word on open questions", "run.resumed", {}),
    ("an unknown command", "run.resumed", {"interrupts": [], "command": ["graph"]}),
    ("the answer itself", "run.resumed", {"interrupts": [], "resume": "yes"}),
    ("a fork from nowhere", "run.forked", {}),
    ("a pause at nothing", "run.paused", {}),
    ("a question twice", "run.paused", {"interrupts": ["1f", "1f"]}),
    ("a result", "run.completed", {"result": "ordered"}),
    ("a denial", "run.completed", {"recovered": False}),
    ("no error", "run.failed", {}),
    ("the error's message", "run.failed", {"error": "builtins.ValueError", "message": "Mr X"}),
    ("a refusal without its trail", "run.refused", {"check": "row", "table": None, "seq": None}),
    ("a refusal in a sentence", "run.refused", {"check": "It differs.", "trail": "t", "table": None, "seq": None}),
    ("an entry before the first", "run.refused", {"check": "row", "trail": "t", "table": None, "seq": -1}),
    ("a pause without nodes", "interrupt.raised", {"when": "before"}),
    ("a pause that asks", "interrupt.raised", {"when": "before", "next": [], "interrupt": "1f", **TASK}),
    ("a question without its id", "interrupt.raised", {"when": "dynamic", **TASK}),
    ("the question itself", "interrupt.raised", {"when": "dynamic", "interrupt": "1f", **TASK, "value": "ok?"}),
    ("an unknown pause", "interrupt.raised", {"when": "later", "next": []}),
    ("a key that may sign nothing", "key.introduced", {"public_key": KEY, "purpose": "entry", "kinds": []}),
    ("a key without kinds", "key.introduced", {"public_key": KEY, "purpose": "entry"}),
    ("a log key that signs entries", "key.introduced", {"public_key": KEY, "purpose": "log", "kinds": ["*"]}),
    ("a pattern too wide", "key.introduced", {"public_key": KEY, "purpose": "entry", "kinds": ["run*"]}),
    ("a key in hex", "key.introduced", {"public_key": "03" * 32, "purpose": "entry", "kinds": ["*"]}),
    ("an adoption of nobody knows what", "trail.adopted", COUNTS),
    ("fewer rows than none", "trail.adopted", {**COUNTS, "checkpoints": -1, "newest": None}),
    ("an id that is content", "trail.adopted", {**COUNTS, "newest": "Mr X"}),
    ("a key retired by nothing", "key.retired", {}),
    ("a key revoked from before the log", "key.revoked", {"keyid": "03" * 32, "since": -1}),
    ("an erasure of nothing", "payload.erased", {"seqs": []}),
    ("an erasure both listed and counted", "payload.erased", {"seqs": [1], "count": 101}),
    (
        "an export of a sort that is none",
        "report.exported",
        {"format": "doc", "keys": {"seq": 3, "leaf_hash": "03" * 32}},
    ),
    ("an export that names no keys", "report.exported", {"format": "bundle"}),
    ("a restore with one head", "log.restored", {key: RESTORED[key] for key in RESTORED if key != "memory"}),
    ("a restore with its reason in the open", "log.restored", {**RESTORED, "reason": "disk of ward 3"}),
    ("a head without its root", "log.head-adopted", {"database": {"size": 7}, "given": []}),
    ("an unknown purpose", "key.introduced", {"public_key": KEY, "purpose": "seal", "kinds": ["*"]}),
    *LACKING,
    *FORBIDDEN,
]


def errors(kind: str, detail: Json) -> list[str]:
    validator = Draft202012Validator(SCHEMA)
    return [error.message for error in validator.iter_errors({"kind": kind, "detail": detail})]


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_kind_this_version_writes_has_one_and_nothing_else_has() -> None:
    assert {name for name in SCHEMA["$defs"] if "." in name} == {str(kind) for kind in Kind}
    judged = {rule["if"]["properties"]["kind"]["const"]: rule["then"] for rule in SCHEMA["allOf"]}
    assert judged == {str(kind): {"properties": {"detail": {"$ref": f"#/$defs/{kind}"}}} for kind in Kind}


@pytest.mark.parametrize("kind", list(Kind))
def test_no_kind_lets_unknown_members_in(kind: Kind) -> None:
    rules = SCHEMA["$defs"][kind]
    shapes = [rules] if "properties" in rules else rules["oneOf"]
    assert [shape["additionalProperties"] for shape in shapes] == [False] * len(shapes)


def test_every_kind_has_an_instance_here() -> None:
    assert {kind for kind, _ in GOOD} == {str(kind) for kind in Kind}
    assert {kind for _, kind, _ in BAD} == {str(kind) for kind in Kind}


@pytest.mark.parametrize(("kind", "detail"), GOOD)
def test_what_the_format_describes_is_valid(kind: str, detail: dict[str, Any]) -> None:
    assert errors(kind, detail) == []


@pytest.mark.parametrize(("kind", "detail"), GOOD)
def test_a_member_that_nobody_described_is_not(kind: str, detail: dict[str, Any]) -> None:
    assert errors(kind, {**detail, "patient": "Mr X"}) != []


@pytest.mark.parametrize(("what", "kind", "detail"), BAD, ids=[what for what, _, _ in BAD])
def test_what_the_format_forbids_is_not(what: str, kind: str, detail: dict[str, Any]) -> None:
    assert errors(kind, detail) != []


@pytest.mark.parametrize("text", ["run", "x.y.z", "Run.started", ""])
def test_a_kind_of_another_version_is_not_judged(text: str) -> None:
    assert errors(text, {"anything": 1}) == []


def test_a_whole_body_can_be_given(key: FileKey) -> None:
    draft = EntryDraft("@keys", Kind.KEY_INTRODUCED, detail=introduction(key.public, ("*",)))
    body = parse(_sealed(draft, key))
    assert list(Draft202012Validator(SCHEMA).iter_errors(body)) == []


def test_the_longest_list_is_the_same_everywhere() -> None:
    assert SCHEMA["$defs"]["names"]["maxItems"] == MAX_LIST
    assert SCHEMA["$defs"]["count"]["minimum"] == MAX_LIST + 1


@pytest.fixture
def key(tmp_path: Path) -> FileKey:
    return FileKey.create(tmp_path / "key.pem")


def _sealed(draft: EntryDraft, key: FileKey) -> bytes:
    return seal(
        draft,
        origin="test.invalid/schemas",
        seq=1,
        prev=bytes(32),
        occurred_at=datetime(2026, 3, 2, tzinfo=UTC),
        salt=bytes(32),
        signer=key,
    ).body
