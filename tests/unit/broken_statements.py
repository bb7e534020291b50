"""Signatures on what their signer did not see or say: views, statements and signed remarks."""

from __future__ import annotations

from typing import Any

from countersign.audit.canonical import Json
from unit.breaking import APPROVED, TWO, Make, breaks, carried_out, signed_by
from unit.governing import World, waiting
from unit.honest_paths import approved


@breaks("not viewed", "(not-viewed): they were not shown the view with that digest in this round")
def not_viewed() -> World:
    return signed_by("u-pha", looks=False)


@breaks("viewed by somebody else", "(not-viewed)")
def viewed_by_another() -> World:
    world = waiting()
    digest = world.look("u-pha2")
    number = world.sign("u-pha", looks=False, shown=digest)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("digest of another view", "names another digest than that of the view it holds")
def another_view() -> World:
    world = waiting()
    view = world.view("r-1")
    detail: dict[str, Json] = {"review": "r-1", "shown_digest": "07" * 32}
    world.act("review.viewed", "u-pha", detail=detail, payload={"salt": "00" * 32, "view": view})
    number = world.sign("u-pha", looks=False, shown="07" * 32)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


def viewing(**changes: Any) -> Make:
    def make() -> World:
        world = waiting()
        digest = world.look("u-pha", view=world.view("r-1") | changes)
        number = world.sign("u-pha", looks=False, shown=digest)
        return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})

    return make


for member, value in {
    "case": "case-2",
    "origin": "another.invalid",
    "review": "r-9",
    "gate": "chief",
    "checkpoint": {"id": "c0", "ns": ""},
    "workflow": {"name": "orders", "version": "0" * 32},
    "spec": "countersign/view/0",
}.items():
    breaks(f"a view of another {member}", f"shows a view with another {member} than that of the review")(
        viewing(**{member: value})
    )


def saying(**said: Any) -> Make:
    return lambda: signed_by("u-pha", said=said)


for member, said in {
    "review": "r-9",
    "trail": "case-2",
    "origin": "another.invalid",
    "shown_digest": bytes(32),
    "decision": "rejected",
    "meaning": "I have seen it.",
    "reason_digest": bytes(32),
    "signer": "u-pha2",
    "role": "chief",
}.items():
    breaks(f"a statement of another {member}", f"is signed with a statement of another {member}")(
        saying(**{member: said})
    )


@breaks("a statement that was used before", "is signed with a statement that was used before")
def used_before() -> World:
    world = waiting(TWO)
    nonce = bytes([7]) * 32
    world.sign("u-pha", said={"nonce": nonce})
    world.sign("u-pha2", said={"nonce": nonce})
    return world


@breaks("a statement that is too old", "is signed with a statement that was not issued within the five minutes before")
def too_old() -> World:
    world = waiting()
    issued = world.now
    world.later(400)
    number = world.sign("u-pha", said={"issued_at": issued})
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("no statement", "holds no statement that can be read")
def no_statement() -> World:
    return signed_by("u-pha", payload={"statement": {}})


@breaks("no reason of text and values", "It gives no reason of text and values")
def no_reason_object() -> World:
    return signed_by("u-pha", payload={"reason": "because"})


@breaks("an annotation with the statement of a review", "is signed with a statement of another review")
def annotation() -> World:
    world = approved()
    world.annotate("u-pha", 11, review="r-1")
    return world


@breaks("an annotation signed with a credential that was revoked", "is signed with no credential of its actor")
def annotation_without_credential() -> World:
    world = approved()
    world.about("credential.revoked", "u-pha", credential="c-u-pha")
    world.annotate("u-pha", 11)
    return world


@breaks("an annotation of what comes later", "refers to entry 999, which does not stand before it")
def annotation_of_later() -> World:
    world = approved()
    world.annotate("u-pha", 999)
    return world


@breaks("another name beside the signature", "prints another name beside the signature than its user was created with")
def under_another_name() -> World:
    return signed_by("u-pha", payload={"printed_name": "Prof. Dr. Somebody Else"})
