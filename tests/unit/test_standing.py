"""Standings replayed from `@system`: who could do what when, the chains that prove it, and the policies registered."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from countersign.audit.canonical import format_time
from countersign.audit.chain import Checked
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import MalformedError, NotFoundError
from countersign.audit.standing import Directory, Place, Relied, named_place, part_digest, version_of
from unit.governing import NAME, World, directory, policy, walked
from unit.honest_paths import approved
from unit.samples import DEPLOYMENT, WHEN

LATER = WHEN + timedelta(hours=1)


def standing(world: World, who: str) -> Any:
    return directory(world).latest(who)


def test_a_grant_holds_for_its_role_workflow_and_time() -> None:
    world = World()
    world.grant("u-pha", "chief", until=format_time(LATER))
    world.grant("u-pha", "auditor", workflow="*")
    found = standing(world, "u-pha")
    assert found.roles(NAME, WHEN) == {"pharmacist", "chief", "auditor"}
    assert found.roles(NAME, LATER) == {"pharmacist", "auditor"}
    assert found.roles("loans", WHEN) == {"auditor"}
    assert found.roles(NAME, WHEN - timedelta(microseconds=1)) == frozenset()
    assert found.holds("chief", NAME, LATER - timedelta(microseconds=1))
    assert not found.holds("chief", NAME, LATER)


def test_what_is_revoked_is_gone() -> None:
    world = World()
    name = world.grant("u-pha", "chief")
    world.about("grant.revoked", "u-pha", grant=name)
    world.about("credential.enrolled", "u-pha", credential="c-2", method="password", own=False)
    assert standing(world, "u-pha").roles(NAME, LATER) == {"pharmacist"}
    assert standing(world, "u-pha").may_sign_with("c-u-pha")
    assert not standing(world, "u-pha").may_sign_with("c-2")
    world.about("credential.revoked", "u-pha", credential="c-u-pha")
    assert not standing(world, "u-pha").may_sign_with("c-u-pha")


def test_whoever_is_deactivated_has_no_role_until_they_are_reactivated() -> None:
    world = World()
    world.about("user.deactivated", "u-pha")
    assert (standing(world, "u-pha").active, standing(world, "u-pha").roles(NAME, LATER)) == (False, frozenset())
    world.about("user.reactivated", "u-pha")
    assert standing(world, "u-pha").roles(NAME, LATER) == {"pharmacist"}


def test_a_key_has_its_roles_until_it_ends_or_is_revoked() -> None:
    world = World()
    world.key("k-1", ["pharmacist"], by="u-sup")
    found = standing(world, "k-1")
    assert (found.kind, found.made_by, found.scopes) == ("api-key", "u-sup", {"cases"})
    assert found.roles(NAME, LATER) == {"pharmacist"}
    assert found.roles(NAME, WHEN + timedelta(days=9)) == frozenset()
    world.about("api-key.revoked", "k-1", member="key")
    assert standing(world, "k-1").roles(NAME, LATER) == frozenset()


def test_a_standing_of_before_stays_what_it_was() -> None:
    world = World()
    before = named_place(world.places["u-pha"])
    world.about("user.deactivated", "u-pha")
    found = directory(world)
    assert found.at("u-pha", before).active
    assert found.after(found.at("u-pha", before)) == found.latest("u-pha")
    assert found.after(found.at("u-pha", named_place(world.places["u-pha"]))) is None


@pytest.mark.parametrize(
    ("subject", "place"),
    [
        ("u-pha", Place(1, "00" * 32)),
        ("u-nobody", Place(1, "00" * 32)),
    ],
)
def test_what_was_not_read_is_not_found(subject: str, place: Place) -> None:
    with pytest.raises(NotFoundError):
        directory(World()).at(subject, place)
    with pytest.raises(NotFoundError):
        directory(World()).registered(place)


def test_the_chains_alone_are_enough() -> None:
    """A bundle shows of `@system` what its case rests on, and no more."""
    world = approved()
    relied = Relied()
    for checked in walked(world.entries):
        relied.feed(checked.body)
    shown = [checked for checked in walked(world.system) if relied.needs(checked.body)]
    assert 0 < len(shown) < len(world.system)
    found, whole = Directory(), directory(world, sealed=0)
    assert [error for checked in shown for error in found.feed(checked)] == []
    assert found.latest("u-pha") == whole.latest("u-pha")
    assert found.latest("u-chi") is None
    assert found.policies == whole.policies


def test_a_directory_goes_to_another_process() -> None:
    world = World()
    found = pickle.loads(pickle.dumps(directory(world)))  # noqa: S301 - to workers of a verification
    assert found.latest("u-pha") == directory(world).latest("u-pha")
    assert found.policies == directory(world).policies


def said(world: World) -> list[str]:
    found = Directory()
    return [error.message for checked in walked(world.system) for error in found.feed(checked)]


def a_newcomer(world: World, behind: timedelta) -> None:
    world.dated(world.now - behind)
    world.about("user.created", "u-9")


def left_out(world: World) -> None:
    number = next(number for number, entry in enumerate(world.system) if b"grant.given" in entry.body)
    before = world.places["u-pre"]
    world.about("user.deactivated", "u-pre", before={"seq": number, "leaf_hash": before["leaf_hash"]})


Break = Callable[[World], Any]
BROKEN: list[tuple[str, Break, str]] = [
    ("an entry left out", left_out, "does not name the entry before it about 'u-pre'"),
    ("no entry before", lambda world: world.about("user.deactivated", "u-pha", before=None), "does not name the entry"),
    ("created again", lambda world: world.about("user.created", "u-pha"), "creates 'u-pha' again"),
    ("nobody", lambda world: world.about("user.deactivated", "u-9"), "is about 'u-9', of whom nothing was read"),
    (
        "a grant that is not there",
        lambda world: world.about("grant.revoked", "u-pha", grant="g-9"),
        "takes away 'g-9', which is not there",
    ),
    (
        "a credential that is not there",
        lambda world: world.about("credential.revoked", "u-pha", credential="c-9"),
        "takes away 'c-9', which is not there",
    ),
    (
        "a grant from no moment",
        lambda world: world.about("grant.given", "u-pha", grant="g", role="r", workflow="*", **{"from": "now"}),
        "names no moment as its from",
    ),
    (
        "dated more than a minute back",
        lambda world: a_newcomer(world, timedelta(minutes=1, microseconds=1)),
        "and an entry of @system that stands before it",
    ),
    ("a grant without a role", lambda world: world.about("grant.given", "u-pha", grant="g"), "does not say its role"),
]


@pytest.mark.parametrize(("put", "sentence"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_chain_is_found(put: Break, sentence: str) -> None:
    world = World()
    put(world)
    (found,) = said(world)
    assert sentence in found
    assert found.startswith(f"Entry {world.system[-1].seq} of trail '@system' ")


def test_a_clock_that_is_a_minute_behind_is_none_of_this() -> None:
    world = World()
    a_newcomer(world, timedelta(minutes=1))
    assert said(world) == []


def test_who_gave_themselves_a_role_holds_it_and_does_not_sign_with_it() -> None:
    world = World()
    world.grant("u-sup", "pharmacist", by="u-sup")
    found = standing(world, "u-sup")
    assert found.holds("pharmacist", NAME, LATER)
    assert not found.holds_by_others("pharmacist", NAME, LATER)
    assert found.holds_by_others("supervisor", NAME, LATER)
    world.grant("u-sup", "pharmacist")
    assert standing(world, "u-sup").holds_by_others("pharmacist", NAME, LATER)


def registered(**changes: Any) -> list[str]:
    """Return what is said of a version that is registered with other members than its own."""
    world = World()
    documents: dict[str, Any] = {"policy": policy(title="Another"), "graph": {}, "code": {}, "packages": {}}
    parts: dict[str, Any] = {name: part_digest(part) for name, part in documents.items()} | changes.pop("parts", {})
    detail: dict[str, Any] = {"name": NAME, "version": version_of(NAME, parts), "parts": parts}
    payload = documents | changes.pop("payload", {})
    draft = EntryDraft("@system", "workflow.registered", detail=detail | changes, payload=payload)
    world._append(world.system, draft, DEPLOYMENT)
    return said(world)


BAD_POLICY: Any = policy() | {"spec": "countersign/policy/9"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": "0" * 32}, "which its name and parts do not come to"),
        ({"parts": {"graph": "0" * 64}}, "has another graph in its payload than its detail commits to"),
        ({"payload": {"code": {"a": 1}}}, "has another code in its payload"),
        ({"payload": {"policy": policy()}}, "has another policy in its payload"),
        ({"parts": {"more": "0" * 64}}, "does not name the parts"),
        ({"name": ""}, "does not say its name"),
        (
            {"payload": {"policy": BAD_POLICY}, "parts": {"policy": part_digest(BAD_POLICY)}},
            "has a policy that cannot be kept: spec is",
        ),
    ],
)
def test_a_version_that_is_not_what_it_says_is_found(changes: dict[str, Any], sentence: str) -> None:
    (found,) = registered(**changes)
    assert sentence in found


def test_a_version_with_the_policy_of_another_workflow_is_found() -> None:
    document = policy(workflow="loans")
    (found,) = registered(payload={"policy": document}, parts={"policy": part_digest(document)})
    assert "registers 'orders' with the policy of 'loans'" in found


def test_a_version_whose_payload_was_erased_has_no_policy() -> None:
    world = World()
    found = Directory()
    for checked in walked(world.system):
        bare = checked._replace(payload=None) if checked.body.kind == "workflow.registered" else checked
        assert found.feed(Checked(*bare)) == []
    assert found.policies[NAME, world.workflow.version].policy is None


@pytest.mark.parametrize(
    "value",
    [None, {}, {"seq": 0, "leaf_hash": "00" * 32}, {"seq": True, "leaf_hash": "00" * 32}, {"seq": 1, "leaf_hash": "0"}],
)
def test_what_names_no_place_is_refused(value: Any) -> None:
    with pytest.raises(MalformedError):
        named_place(value)
