"""Attacks on one trail in memory, each found by the check it must be found by, at the entry it touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.canonical import canonical
from countersign.audit.chain import START, check_entry, check_signed, read_damaged
from countersign.audit.entry import Actor, Entry, EntryDraft, payload_digest
from countersign.audit.errors import VerificationError
from countersign.audit.keys import IntroducedKey
from unit.samples import (
    DEPLOYMENT,
    GRAPH,
    ORIGIN,
    RING,
    STRANGER,
    TRAIL,
    WHEN,
    chain,
    forged,
    four,
    note,
    resigned,
    sealed,
    walk,
)

HONEST = four()
Attack = Callable[[list[Entry]], list[Entry]]


def at(seq: int, change: Callable[[Entry], Entry]) -> Attack:
    """Return the attack that changes one entry in its place."""
    return lambda entries: [change(entry) if entry.seq == seq else entry for entry in entries]


def column(place: int, /, **values: Any) -> Attack:
    return at(place, lambda entry: replace(entry, **values))


def members(place: int, /, **values: Any) -> Attack:
    """Return the attack of somebody who holds the graph key and signs another body for one place."""
    return at(place, lambda entry: forged(entry, **values))


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def recoded(**dumps: Any) -> Callable[[Entry], Entry]:
    """Return the change that writes the same document in another encoding, signed by the rightful key."""
    return lambda entry: resigned(entry, json.dumps(json.loads(entry.body), **dumps).encode())


def payload(data: bytes, salt: bytes = b"\x02" * 32, size: int | None = None) -> Callable[[Entry], Entry]:
    """Return the change to another payload, committed to by a body that the rightful key signed."""

    def change(entry: Entry) -> Entry:
        digest = payload_digest(salt, data).hex()
        member = {"digest": digest, "size": len(data) if size is None else size}
        return replace(forged(entry, payload=member), salt=salt, data=data)

    return change


def replayed(entries: list[Entry]) -> list[Entry]:
    return [*entries[:2], entries[1], *entries[2:]]


def of_another_trail(entries: list[Entry]) -> list[Entry]:
    other = chain(note(7), note(8), note(9))[1]
    return [entries[0], replace(other, trail="case-2"), *entries[2:]]


def alternative(entries: list[Entry]) -> list[Entry]:
    return [entries[0], sealed(note(99), entries[0]), *entries[2:]]


def unordered(body: bytes) -> bytes:
    value = json.loads(body)
    return json.dumps(dict(reversed(value.items())), separators=(",", ":"), ensure_ascii=False).encode()


def claiming(entry: Entry) -> Entry:
    return replace(entry, keyid=GRAPH.keyid)


def shifted(entry: Entry) -> Entry:
    """SHA-256(salt || data) is the same when a byte moves over the boundary."""
    assert entry.salt is not None
    assert entry.data is not None
    return replace(entry, salt=entry.salt + entry.data[:1], data=entry.data[1:])


LARGE = b'{"n":9007199254740992}'
ATTACKS: list[tuple[str, Attack, str, int]] = [
    # columns of the row, body untouched
    ("column trail", column(2, trail="case-2"), "column", 2),
    ("column trail to our own", column(2, trail="@system"), "column", 2),
    ("column trail null", column(2, trail=None), "column", 2),
    ("column seq", column(2, seq=7), "column", 7),
    ("column seq null", column(2, seq=None), "column", 0),
    ("column kind", column(2, kind="run.completed"), "column", 2),
    ("column kind null", column(2, kind=None), "column", 2),
    ("column occurred_at", column(2, occurred_at=WHEN), "column", 2),
    ("column occurred_at without zone", column(2, occurred_at=HONEST[1].occurred_at.replace(tzinfo=None)), "column", 2),
    ("column occurred_at null", column(2, occurred_at=None), "column", 2),
    ("column body null", column(2, body=None), "column", 2),
    ("column keyid null", column(2, keyid=None), "column", 2),
    ("column signature null", column(2, signature=None), "column", 2),
    ("column keyid of another key", column(2, keyid=DEPLOYMENT.keyid), "signature", 2),
    ("column keyid unknown", column(2, keyid=bytes(32)), "key", 2),
    ("column keyid empty", column(2, keyid=b""), "key", 2),
    ("column salt", at(2, lambda e: replace(e, salt=flipped(e.salt or b"", 0))), "payload", 2),
    ("column salt null", column(2, salt=None), "payload", 2),
    ("column data null", column(2, data=None), "payload", 2),
    # the body
    ("body edited", at(2, lambda e: replace(e, body=e.body.replace(b"run-2", b"run-3"))), "signature", 2),
    ("body empty", column(2, body=b""), "body", 2),
    ("body of another entry", at(2, lambda e: replace(e, body=HONEST[2].body)), "signature", 2),
    ("body with white space", at(2, recoded(ensure_ascii=False, sort_keys=True)), "body", 2),
    ("body in another key order", at(2, lambda e: resigned(e, unordered(e.body))), "body", 2),
    ("body with a duplicate key", at(2, lambda e: resigned(e, e.body[:-1] + b',"trail":"case-1"}')), "body", 2),
    ("body with an unknown member", members(2, comment="x"), "body", 2),
    ("body of another spec", members(2, spec="countersign/entry/2"), "body", 2),
    ("body too long", members(2, detail={"x": "a" * 65_536}), "body", 2),
    # signatures and keys
    ("signature flipped", at(3, lambda e: replace(e, signature=flipped(e.signature, 5))), "signature", 3),
    ("signature of another entry", column(3, signature=HONEST[0].signature), "signature", 3),
    ("signature cut", at(3, lambda e: replace(e, signature=e.signature[:-1])), "signature", 3),
    ("signature empty", column(3, signature=b""), "signature", 3),
    ("signature of the bare body", at(3, lambda e: replace(e, signature=GRAPH.sign(e.body))), "signature", 3),
    ("signed by a stranger", at(3, lambda e: resigned(e, e.body, STRANGER)), "key", 3),
    ("a stranger under a known key id", at(3, lambda e: claiming(resigned(e, e.body, STRANGER))), "signature", 3),
    ("a decision signed by the graph", members(3, kind="review.signed"), "authority", 3),
    ("a key event signed by the graph", members(3, kind="key.introduced"), "authority", 3),
    # places
    ("first entry removed", lambda entries: entries[1:], "sequence", 2),
    ("an entry removed", lambda entries: [entries[0], *entries[2:]], "sequence", 3),
    ("two entries removed", lambda entries: [entries[0], entries[3]], "sequence", 4),
    ("an entry twice", replayed, "sequence", 2),
    ("first entry twice", lambda entries: [entries[0], *entries], "sequence", 1),
    ("two entries swapped", lambda entries: [entries[0], entries[2], entries[1], entries[3]], "sequence", 3),
    ("swapped in place", lambda e: [e[0], replace(e[2], seq=2), replace(e[1], seq=3), e[3]], "column", 2),
    ("prev rewritten", members(3, prev="ab" * 32), "chain", 3),
    ("prev of the start", members(3, prev="0" * 64), "chain", 3),
    ("first prev not zero", members(1, prev="ab" * 32), "chain", 1),
    ("an entry rewritten by a rightful key", alternative, "chain", 3),
    ("an entry of another trail", of_another_trail, "column", 2),
    ("of another log", members(2, origin="other.invalid/log"), "origin", 2),
    # payloads
    ("payload edited", column(2, data=b'{"a":3}'), "payload", 2),
    ("payload missing", column(2, data=None, salt=None), "payload", 2),
    ("payload extra", column(1, data=b"{}", salt=b"\x01" * 32), "payload", 1),
    ("payload extra salt", column(1, salt=b"\x01" * 32), "payload", 1),
    ("payload extra data", column(1, data=b"{}"), "payload", 1),
    ("payload of another entry", column(2, data=HONEST[3].data, salt=HONEST[3].salt), "payload", 2),
    ("payload behind a moved boundary", at(2, shifted), "payload", 2),
    ("payload with a long salt", at(2, payload(b"{}", salt=b"\x02" * 33)), "payload", 2),
    ("payload without salt", at(2, payload(b"{}", salt=b"")), "payload", 2),
    ("payload of another size", at(2, payload(b'{"a":2}', size=8)), "payload", 2),
    ("payload of size zero", at(2, payload(b'{"a":2}', size=0)), "payload", 2),
    ("payload with white space", at(2, payload(b'{"a": 2}')), "payload", 2),
    ("payload with a float", at(2, payload(b'{"a":1.5}')), "payload", 2),
    ("payload with a duplicate key", at(2, payload(b'{"a":1,"a":1}')), "payload", 2),
    ("payload with a large integer", at(2, payload(LARGE)), "payload", 2),
    ("payload empty", at(2, payload(b"")), "payload", 2),
]


def test_an_honest_trail_passes_and_hands_on_bodies_payloads_and_links() -> None:
    checked = walk(HONEST)
    assert [item.body.seq for item in checked] == [1, 2, 3, 4]
    assert [item.payload for item in checked] == [None, {"a": 2}, None, {"a": 4}]
    assert [item.link.leaf_hash for item in checked] == [entry.leaf_hash for entry in HONEST]
    assert checked[-1].link.seq == 4


@pytest.mark.parametrize(("attack", "check", "seq"), [item[1:] for item in ATTACKS], ids=[item[0] for item in ATTACKS])
def test_an_attack_is_found_by_its_check_at_its_place(attack: Attack, check: str, seq: int) -> None:
    with pytest.raises(VerificationError) as caught:
        walk(attack(HONEST))
    assert caught.value.check == check
    assert (caught.value.seq or 0) == seq
    assert caught.value.table == ("payloads" if check == "payload" else "entries")
    assert f"Entry {caught.value.seq} of trail " in caught.value.message


def test_the_attacks_reach_every_check_there_is() -> None:
    reached = {check for _, _, check, _ in ATTACKS}
    documented = (check_entry.__doc__ or "").partition("is one of ")[2].partition(".")[0]
    assert reached == {name.strip() for name in documented.split(",")}
    assert reached == {
        "body",
        "key",
        "signature",
        "authority",
        "column",
        "origin",
        "sequence",
        "chain",
        "payload",
    }


@pytest.mark.parametrize("name", ["trail", "seq", "kind", "occurred_at", "body", "keyid", "signature"])
def test_a_finding_about_a_column_names_the_column(name: str) -> None:
    with pytest.raises(VerificationError) as caught:
        walk(column(2, **{name: None})(HONEST))
    assert (caught.value.check, caught.value.column) == ("column", name)


def test_the_table_of_attacks_changes_every_column_of_an_entry() -> None:
    changed = {name.split()[1] for name, *_ in ATTACKS if name.startswith("column ")}
    changed |= {name.split()[0] for name, *_ in ATTACKS if name.split()[0] in {"body", "signature"}}
    assert changed | {"salt", "data"} == set(Entry.__slots__)


def test_the_same_trail_in_another_log_is_not_the_same_trail() -> None:
    with pytest.raises(VerificationError, match="moved here") as caught:
        walk(HONEST, origin="other.invalid/log")
    assert (caught.value.check, caught.value.seq) == ("origin", 1)


def test_a_key_that_may_sign_one_kind_may_sign_that_one() -> None:
    ring = {GRAPH.keyid: IntroducedKey(GRAPH.public, ("run.started",))}
    assert len(walk(HONEST, ring)) == 4
    with pytest.raises(VerificationError) as caught:
        walk([forged(HONEST[0], kind="run.completed")], ring)
    assert caught.value.check == "authority"


def test_the_deployment_key_may_sign_a_decision() -> None:
    entry = sealed(EntryDraft(TRAIL, "review.signed"), signer=DEPLOYMENT)
    assert walk([entry])[0].body.kind == "review.signed"


def test_a_ring_without_the_key_refuses_every_entry() -> None:
    with pytest.raises(VerificationError) as caught:
        walk(HONEST, {})
    assert caught.value.check == "key"


def test_the_key_id_is_only_a_hint() -> None:
    ring = {STRANGER.keyid: RING[GRAPH.keyid]}
    entry = replace(HONEST[0], keyid=STRANGER.keyid)
    assert check_signed(entry, ring).seq == 1


def test_the_signature_comes_before_what_the_body_says() -> None:
    entry = replace(HONEST[1], body=HONEST[1].body.replace(b"test.invalid", b"best.invalid"), seq=9)
    with pytest.raises(VerificationError) as caught:
        check_entry(entry, after=START, origin=ORIGIN, ring=RING)
    assert caught.value.check == "signature"


@given(st.integers(0, 3), st.integers(0, 10_000), st.integers(1, 255))
def test_no_byte_of_a_body_can_be_changed(index: int, place: int, bits: int) -> None:
    body = bytearray(HONEST[index].body)
    body[place % len(body)] ^= bits
    with pytest.raises(VerificationError) as caught:
        walk([*HONEST[:index], replace(HONEST[index], body=bytes(body)), *HONEST[index + 1 :]])
    assert caught.value.check in {"body", "signature"}
    assert caught.value.seq == index + 1


@given(st.permutations(range(4)), st.integers(0, 4))
def test_no_selection_or_order_of_entries_passes_but_a_beginning_of_the_trail(order: list[int], count: int) -> None:
    chosen = order[:count]
    entries = [HONEST[index] for index in chosen]
    if chosen == list(range(count)):
        assert len(walk(entries)) == count
        return
    with pytest.raises(VerificationError) as caught:
        walk(entries)
    assert caught.value.check == "sequence"


def test_a_damaged_entry_whose_payload_is_whole_can_still_be_read() -> None:
    checked = read_damaged(replace(HONEST[1], signature=b""))
    assert checked is not None
    assert checked.payload == {"a": 2}
    assert checked.link.leaf_hash == HONEST[1].leaf_hash


@pytest.mark.parametrize("changes", [{"data": b"{}"}, {"body": b""}, {"body": None}, {"salt": None}], ids=str)
def test_a_damaged_entry_whose_payload_is_not_its_own_says_nothing(changes: dict[str, Any]) -> None:
    assert read_damaged(replace(HONEST[1], **changes)) is None


def test_personal_data_in_a_payload_stays_out_of_the_sentence() -> None:
    entry = sealed(note(1, payload={"name": "Mary"}, actor=Actor("u", "api-key")))
    with pytest.raises(VerificationError) as caught:
        walk([replace(entry, data=canonical({"name": "Mary Smith"}))])
    assert "Mary" not in str(caught.value)
