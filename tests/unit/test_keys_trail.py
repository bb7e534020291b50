"""The trail @keys: it begins with a key that was trusted before, and only keys it introduced may sign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from countersign.audit.chain import check_keys_trail
from countersign.audit.entry import Entry, EntryDraft
from countersign.audit.errors import VerificationError
from countersign.audit.keys import Trust, introduction
from countersign.audit.kinds import GRAPH_KINDS
from unit.samples import (
    DEPLOYMENT,
    GRAPH,
    ORIGIN,
    STRANGER,
    TRUST,
    chain,
    forged,
    introducing,
    key_of_seed,
    keys_trail,
    note,
    sealed,
    walk,
)

SUCCESSOR = key_of_seed(8)


def failed(entries: list[Entry], trust: Trust = TRUST) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        check_keys_trail(entries, trust)
    return caught.value


def test_the_trail_of_the_first_migration_gives_both_keys_and_their_kinds() -> None:
    entries = keys_trail()
    ring, link = check_keys_trail(entries, TRUST)
    assert {keyid: key.kinds for keyid, key in ring.items()} == {
        DEPLOYMENT.keyid: ("*",),
        GRAPH.keyid: GRAPH_KINDS,
    }
    assert (link.seq, link.leaf_hash) == (2, entries[1].leaf_hash)


def test_a_key_that_was_introduced_signs_from_then_on() -> None:
    ring, _ = check_keys_trail(keys_trail(introducing(STRANGER.public, ("run.*",))), TRUST)
    assert len(walk(chain(note(1), note(2), signer=STRANGER), ring)) == 2


def test_before_it_is_introduced_a_key_signs_nothing() -> None:
    ring, _ = check_keys_trail(keys_trail(), TRUST)
    with pytest.raises(VerificationError) as caught:
        walk(chain(note(1), signer=STRANGER), ring)
    assert caught.value.check == "key"


def test_a_successor_that_was_introduced_introduces_the_next() -> None:
    entries = keys_trail(introducing(SUCCESSOR.public, ("*",)))
    entries.append(sealed(introducing(STRANGER.public, ("report.*",)), entries[-1], signer=SUCCESSOR))
    ring, link = check_keys_trail(entries, TRUST)
    assert ring[STRANGER.keyid].kinds == ("report.*",)
    assert link.seq == 4


def test_a_log_key_gets_no_place_in_the_ring() -> None:
    log = introduction(STRANGER.public, ()) | {"purpose": "log"}
    ring, link = check_keys_trail(keys_trail(EntryDraft("@keys", "key.introduced", detail=log)), TRUST)
    assert STRANGER.keyid not in ring
    assert link.seq == 3


def test_without_entries_no_key_can_be_believed() -> None:
    error = failed([])
    assert (error.check, error.trail, error.table) == ("key", "@keys", "entries")
    assert "countersign migrate" in error.remedy


def test_a_trail_that_a_key_nobody_trusts_begins_is_refused_whole() -> None:
    theirs = chain(introducing(STRANGER.public, ("*",)), introducing(GRAPH.public, GRAPH_KINDS), signer=STRANGER)
    error = failed(theirs)
    assert (error.check, error.seq, error.column) == ("key", 1, "keyid")


def test_a_stranger_cannot_begin_the_trail_under_the_trusted_key_id() -> None:
    entry = replace(chain(introducing(STRANGER.public, ("*",)), signer=STRANGER)[0], keyid=DEPLOYMENT.keyid)
    assert failed([entry]).check == "signature"


def test_one_of_several_trusted_keys_is_enough() -> None:
    trust = Trust(ORIGIN, (STRANGER.public, DEPLOYMENT.public))
    assert check_keys_trail(keys_trail(), trust)[1].seq == 2


def test_no_trusted_key_trusts_nothing() -> None:
    assert failed(keys_trail(), Trust(ORIGIN, ())).check == "key"


def test_a_trail_of_another_log_is_refused() -> None:
    assert failed(keys_trail(), Trust("other.invalid/log", (DEPLOYMENT.public,))).check == "origin"


def test_the_graph_key_introduces_no_key() -> None:
    entries = keys_trail()
    entries.append(sealed(introducing(STRANGER.public, ("*",)), entries[-1], signer=GRAPH))
    error = failed(entries)
    assert (error.check, error.seq) == ("authority", 3)


def test_a_key_does_not_introduce_itself_behind_the_first_entry() -> None:
    entries = keys_trail()
    entries.append(sealed(introducing(STRANGER.public, ("*",)), entries[-1], signer=STRANGER))
    error = failed(entries)
    assert (error.check, error.seq) == ("key", 3)


@pytest.mark.parametrize("kind", ["run.started", "keys.introduced", "policy.changed"])
def test_only_events_of_keys_stand_there(kind: str) -> None:
    error = failed(keys_trail(EntryDraft("@keys", kind)))
    assert (error.check, error.seq, error.column) == ("authority", 3, "kind")


UNUSABLE: list[dict[str, Any]] = [
    {},
    {"purpose": "entry", "kinds": [], "public_key": "AAAA"},
    {"purpose": "entry", "kinds": ["run*"], "public_key": introduction(STRANGER.public, ())["public_key"]},
    {"purpose": "entry", "kinds": ["*"], "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
]


@pytest.mark.parametrize("detail", UNUSABLE, ids=["nothing", "no kinds", "no pattern", "small order"])
def test_a_key_that_cannot_be_used_is_a_finding(detail: dict[str, Any]) -> None:
    error = failed(keys_trail(EntryDraft("@keys", "key.introduced", detail=detail)))
    assert (error.check, error.seq, error.column) == ("key", 3, "body")


def test_an_entry_cut_from_the_middle_is_seen() -> None:
    entries = keys_trail(introducing(STRANGER.public, ("run.*",)))
    error = failed([entries[0], entries[2]])
    assert (error.check, error.seq) == ("sequence", 3)


def test_a_key_cannot_widen_what_it_may_sign() -> None:
    entries = keys_trail()
    entries.append(sealed(introducing(GRAPH.public, ("*",)), entries[-1], signer=GRAPH))
    assert (failed(entries).check, failed(entries).seq) == ("authority", 3)


def test_the_first_entry_introduces_the_key_that_signs_it() -> None:
    """Section 4: the deployment key introduces itself at seq 1."""
    assert failed(chain(introducing(GRAPH.public, GRAPH_KINDS), signer=DEPLOYMENT)).seq == 1


@pytest.mark.parametrize("kind", ["key.retired", "key.revoked"])
def test_a_key_that_was_taken_back_is_not_believed_as_if_nothing_had_been_said(kind: str) -> None:
    """A reader that cannot tell where the key's entries lie in the log must not pass them silently."""
    detail: dict[str, Any] = {"keyid": STRANGER.keyid.hex()}
    if kind == "key.revoked":
        detail["since"] = 0
    entries = keys_trail(introducing(STRANGER.public, ("run.*",)), EntryDraft("@keys", kind, detail=detail))
    try:
        ring, _ = check_keys_trail(entries, TRUST)
    except VerificationError:
        return
    assert STRANGER.keyid not in ring


def test_what_stands_in_another_trail_is_not_the_trail_of_keys() -> None:
    entries = chain(EntryDraft("@system", "key.introduced", detail=introduction(DEPLOYMENT.public, ("*",))))
    assert failed([forged(entries[0], DEPLOYMENT)]).trail == "@system"
