"""Entries and chains that an administrator made himself, with his own keys and with a stolen one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conftest import DEPLOYMENT, GRAPH, Database
from countersign.audit.canonical import canonical, parse
from countersign.audit.entry import KEYS_TRAIL, SYSTEM_TRAIL, EntryDraft, Signer, pae
from countersign.audit.keys import introduction
from countersign.audit.kinds import GRAPH_KINDS, Kind
from tamper.cases import DYNAMIC, STATIC, WAITING
from tamper.columns import TARGETS
from tamper.tools import Place, append_forged, assert_found, attacker_key, end_of, entries_of, put_payload, rechain

END = 14
"""Where the next entry of STATIC would stand."""


def _graph_key(database: Database) -> Signer:
    return database.folder.key(GRAPH)


def _body(database: Database, trail: str, seq: int) -> Any:
    return parse(dict(entries_of(database, trail))[seq])


def _set_kind(kind: str) -> Callable[[dict[str, Any]], None]:
    def edit(body: dict[str, Any]) -> None:
        if body["kind"] == "state.updated":
            body["kind"] = kind

    return edit


def test_a_trail_chained_again_with_another_key_is_found(honest: Database) -> None:
    rechain(honest, STATIC, attacker_key())
    assert_found(honest.verify(), Place(("entries",), (STATIC,), (1,), ("key",)))


def test_a_tail_chained_again_with_another_key_is_found(honest: Database) -> None:
    rechain(honest, STATIC, attacker_key(), first=9)
    assert_found(honest.verify(), Place(("entries",), (STATIC,), (9,), ("key",)))


@pytest.mark.parametrize("signer", ["attacker", GRAPH])
def test_the_attackers_key_inserted_into_keys_is_found(honest: Database, signer: str) -> None:
    key = attacker_key()
    draft = EntryDraft(KEYS_TRAIL, Kind.KEY_INTRODUCED, detail=introduction(key.public, ("*",)))
    append_forged(honest, draft, key if signer == "attacker" else _graph_key(honest))
    rechain(honest, STATIC, key)
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (4,), ("key", "authority")))


def test_the_graph_keys_introduction_edited_to_another_key_is_found(honest: Database) -> None:
    key = attacker_key()

    def edit(body: dict[str, Any]) -> None:
        body["detail"] = introduction(key.public, GRAPH_KINDS)

    rechain(honest, KEYS_TRAIL, key, edit, first=2)
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (2,), ("key",)))


def test_more_kinds_given_to_the_graph_key_by_itself_are_found(honest: Database) -> None:
    draft = EntryDraft(KEYS_TRAIL, Kind.KEY_INTRODUCED, detail=introduction(honest.folder.key(GRAPH).public, ("*",)))
    append_forged(honest, draft, _graph_key(honest))
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (4,), ("authority",)))


@pytest.mark.parametrize("trails", ["only @keys", "all trails"])
def test_keys_replaced_as_a_whole_is_found(honest: Database, trails: str) -> None:
    key = attacker_key()

    def edit(body: dict[str, Any]) -> None:
        if body["trail"] == KEYS_TRAIL:
            body["detail"] = introduction(key.public, ("*",))

    for trail in (KEYS_TRAIL,) if trails == "only @keys" else (KEYS_TRAIL, STATIC, DYNAMIC, WAITING):
        rechain(honest, trail, key, edit)
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (1,), ("key",)))


def test_keys_emptied_is_found(honest: Database) -> None:
    honest.as_admin("DELETE FROM audit.entries WHERE trail = '@keys'")
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (), ("key",)))


@pytest.mark.parametrize("seq", [0, -1])
def test_an_entry_before_the_first_of_keys_is_found(honest: Database, seq: int) -> None:
    honest.as_admin(
        "INSERT INTO audit.entries SELECT trail, %s, kind, occurred_at, body, keyid, signature FROM audit.entries "
        "WHERE trail = '@keys' AND seq = 2",
        (seq,),
    )
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (seq,)))


@pytest.mark.parametrize(
    "kind", ["review.signed", "review.opened", "payload.erased", "key.introduced", "policy.changed"]
)
def test_the_stolen_graph_key_signs_no_decision(honest: Database, kind: str) -> None:
    rechain(honest, STATIC, _graph_key(honest), _set_kind(kind))
    assert_found(honest.verify(), Place(("entries",), (STATIC,), (9,), ("authority",)))


@pytest.mark.parametrize("trail", [STATIC, SYSTEM_TRAIL, "nobody"])
def test_a_decision_appended_with_the_stolen_graph_key_is_found(honest: Database, trail: str) -> None:
    seq = append_forged(honest, EntryDraft(trail, "review.signed"), _graph_key(honest))
    assert_found(honest.verify(), Place(("entries",), (trail,), (seq,), ("authority",)))


def test_an_entry_of_a_case_put_into_keys_is_found(honest: Database) -> None:
    append_forged(honest, EntryDraft(KEYS_TRAIL, "policy.changed"), honest.folder.key(DEPLOYMENT))
    assert_found(honest.verify(), Place(("entries",), (KEYS_TRAIL,), (4,), ("authority",)))


def test_an_entry_moved_to_another_trail_is_found(honest: Database) -> None:
    seq, _ = end_of(honest, WAITING)
    honest.as_admin(
        "UPDATE audit.entries SET trail = %s, seq = %s WHERE trail = %s AND seq = 13", (WAITING, seq + 1, STATIC)
    )
    report = honest.verify()
    assert_found(report, Place(("leaves",), (STATIC,), (13,), ("leaf",)))
    assert [(found.trail, found.seq) for found in report.findings if found.check == "column"] == [(WAITING, seq + 1)]


def test_an_entry_signed_again_for_another_trail_is_found(honest: Database) -> None:
    """With the stolen graph key, but where its place in the chain does not fit."""
    body = _body(honest, STATIC, 13)
    body["trail"] = WAITING
    data = canonical(body)
    signer = _graph_key(honest)
    honest.as_admin(
        "UPDATE audit.entries SET trail = %s, body = %s, signature = %s WHERE trail = %s AND seq = 13",
        (WAITING, data, signer.sign(pae(data)), STATIC),
    )
    report = honest.verify()
    assert_found(report, Place(("leaves",), (STATIC,), (13,), ("leaf",)))
    assert [(found.trail, found.seq) for found in report.findings if found.check == "sequence"] == [(WAITING, 13)]


@pytest.mark.parametrize("key", ["own", "stolen"])
def test_an_entry_replayed_from_another_deployment_is_found(honest: Database, key: str) -> None:
    signer = _graph_key(honest) if key == "stolen" else attacker_key()
    append_forged(honest, EntryDraft(STATIC, Kind.RUN_COMPLETED), signer, origin="other.invalid/log")
    check = "origin" if key == "stolen" else "key"
    assert_found(honest.verify(), Place(("entries",), (STATIC,), (END,), (check,)))


def test_a_forged_last_entry_is_found_and_excuses_no_edit(honest: Database) -> None:
    honest.as_admin(
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50') WHERE "
        + TARGETS["checkpoints"].row
    )
    draft = EntryDraft(STATIC, Kind.RUN_COMPLETED, payload={"rows": []})
    append_forged(honest, draft, _graph_key(honest), signature=b"\x01" * 64)
    report = honest.verify()
    assert_found(report, Place(("entries",), (STATIC,), (END,), ("signature",)))
    assert "row" in {finding.check for finding in report.findings}


@pytest.mark.parametrize("trail", [SYSTEM_TRAIL, STATIC])
def test_an_entry_that_binds_rows_of_another_thread_is_found(honest: Database, trail: str) -> None:
    rows = [{"table": "checkpoints", "key": [WAITING, "", "x"], "sha256": "0" * 64}]
    draft = EntryDraft(trail, Kind.CHECKPOINT_SAVED, payload={"rows": rows})  # type: ignore[dict-item]
    seq = append_forged(honest, draft, _graph_key(honest))
    assert_found(honest.verify(), Place(("payloads",), (trail,), (seq,), ("binding",)))


def test_a_row_bound_anew_without_saying_what_it_replaces_is_found(honest: Database) -> None:
    ((ns, checkpoint),) = honest.query(
        f"SELECT checkpoint_ns, checkpoint_id FROM checkpoints WHERE {TARGETS['checkpoints'].row}"
    )
    rows = [{"table": "checkpoints", "key": [STATIC, ns, checkpoint], "sha256": "0" * 64}]
    draft = EntryDraft(STATIC, Kind.CHECKPOINT_SAVED, payload={"rows": rows})  # type: ignore[dict-item]
    append_forged(honest, draft, _graph_key(honest))
    assert_found(honest.verify(), Place(("payloads",), (STATIC,), (END,), ("binding",)))


@pytest.mark.parametrize(
    "payload",
    [
        {"rows": 7},
        {"rows": [7]},
        {"rows": [{"table": "checkpoints", "key": ["x"], "sha256": "0" * 64}]},
        {"rows": [{"table": "pg_class", "key": ["x"], "sha256": "0" * 64}]},
        {"rows": [], "replaced": 7},
        {"rows": [], "replaced": [{"table": "checkpoints", "key": [["x"]], "was": [], "seq": "1"}]},
    ],
    ids=["no list", "no object", "short key", "another table", "replaced no list", "replaced malformed"],
)
def test_a_malformed_binding_is_a_finding_and_no_crash(honest: Database, payload: dict[str, Any]) -> None:
    append_forged(honest, EntryDraft(STATIC, Kind.CHECKPOINT_SAVED, payload=payload), _graph_key(honest))
    assert_found(honest.verify(), Place(("payloads",), (STATIC,), (END,), ("binding",)))


def test_an_edit_with_its_payload_and_commitment_rewritten_is_found(honest: Database) -> None:
    body = _body(honest, STATIC, 9)
    put_payload(honest, STATIC, 9, body, {"rows": []})
    assert_found(honest.verify(), Place(("payloads",), (STATIC,), (9,), ("payload",)))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[1]",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"spec":"countersign/entry/2"}',
        b"7" * 5_000,
        b'{"spec":"countersign/entry/1","spec":"countersign/entry/1"}',
    ],
    ids=["empty", "no members", "list", "not UTF-8", "deep", "unknown spec", "long number", "duplicate key"],
)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("trail", [STATIC, KEYS_TRAIL])
def test_a_body_that_is_no_entry_is_a_finding_and_no_crash(
    honest: Database,
    trail: str,
    text: bytes,
    signed: bool,  # noqa: FBT001
) -> None:
    signature = _graph_key(honest).sign(pae(text)) if signed else b"\x01" * 64
    honest.as_admin(
        "UPDATE audit.entries SET body = %s, signature = %s WHERE trail = %s AND seq = 2", (text, signature, trail)
    )
    assert_found(honest.verify(), Place(("entries",), (trail,), (2,)))


def test_a_cut_tail_that_bound_no_rows_is_found(honest: Database) -> None:
    """Its leaf is still there; what takes both needs a head from outside (test_log_attacks.py)."""
    honest.as_admin("DELETE FROM audit.entries WHERE trail = %s AND seq = 13", (STATIC,))
    assert_found(honest.verify(), Place(("leaves",), (STATIC,), (13,), ("leaf",)))


def test_a_cut_tail_whose_rows_remain_is_found(honest: Database) -> None:
    for table in ("entries", "payloads"):
        honest.as_admin(f"DELETE FROM audit.{table} WHERE trail = %s AND seq >= 9", (STATIC,))
    report = honest.verify()
    assert_found(report, Place(("leaves",), (STATIC,), (9,), ("leaf",)))
    assert [found.table for found in report.findings if found.check == "unbound"]


def test_a_trail_removed_whose_rows_remain_is_found(honest: Database) -> None:
    for table in ("entries", "payloads"):
        honest.as_admin(f"DELETE FROM audit.{table} WHERE trail = %s", (STATIC,))
    for report in (honest.verify(), honest.verify(STATIC)):
        assert_found(report, Place(("leaves",), (STATIC,), (1,), ("leaf",)))
        assert [found.table for found in report.findings if found.check == "unbound"]
