"""Signatures that the policy does not allow: too few, by whom it does not ask, or for what it does not have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from countersign.audit.canonical import Json, format_time
from unit.breaking import APPROVED, CROSSED, STAGES, TWO, breaks, carried_out, signed_by
from unit.governing import World, asking, decision, finish, gate, policy, waiting
from unit.honest_paths import ATTESTED, answer
from unit.samples import WHEN


@breaks("one signature short", "without sufficient sign-off: stage 1 is not complete")
def one_short() -> World:
    world = waiting(TWO)
    number = world.sign("u-pha")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("one signature short, and the node ran", CROSSED)
def one_short_and_ran() -> World:
    return one_short()


@breaks("a stage short", "without sufficient sign-off: stage 2 is not complete")
def a_stage_short() -> World:
    world = waiting(STAGES)
    number = world.sign("u-pha")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("no signature at all", "without sufficient sign-off")
def nobody_signed() -> World:
    return carried_out(waiting(), signed=[], outcome="approved", write={"update": APPROVED})


@breaks("the starter signed", "(starter): they started the case")
def starter() -> World:
    return signed_by("u-pre", before=lambda world: world.grant("u-pre", "pharmacist"))


@breaks("the starter signed, whose key started it", "(starter): they started the case")
def starter_by_key() -> World:
    world = World()
    world.key("k-1", ["prescriber"], by="u-pha")
    world.open("k-1", "prescriber", via="api-key")
    world.start()
    world.pause("review")
    world.settle()
    number = world.sign("u-pha")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("the editor signed", "(editor): they edited the case")
def editor() -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha", payload={"values": {"dose": 3}, "reason": "misread"})
    world.update(mandate, {"dose": 3})
    world.pause("review")
    world.reopen()
    number = world.sign("u-pha")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("an edit signed by one and made as another", "is an edit by u-pre2 as prescriber, and entry 11 was signed by")
def edited_as_another() -> World:
    """Who edited would then be free to sign."""
    world = waiting()
    number = world.sign("u-pha", "edit", values={"dose": 600})
    mandate = world.act("case.corrected", "u-pre2", detail={"signed": number}, payload={"values": {"dose": 600}})
    world.update(mandate, {"dose": 600})
    world.pause("review")
    world.reopen()
    number = world.sign("u-pha")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("a correction under no signature and without the role", "(role): the role 'prescriber' may not correct a case")
def corrected_under_null() -> World:
    world = waiting()
    world.act("case.corrected", "u-pre2", detail={"signed": None}, payload={"values": {"dose": 600}, "reason": "so"})
    return world


@breaks("signed behind the time, which no entry says is over", "(expired): the time of the review is over")
def signed_too_late() -> World:
    return signed_by("u-pha", before=lambda world: world.later(3700))


@breaks("grant revoked before", "they do not have the role 'pharmacist' for 'orders' at that moment")
def revoked() -> World:
    def revoke(world: World) -> None:
        name = world.grant("u-chi", "pharmacist")
        world.about("grant.revoked", "u-chi", grant=name)

    return signed_by("u-chi", before=revoke)


@breaks("grant revoked before, and an old standing named", "names an old standing of 'u-chi': entry ")
def old_standing() -> World:
    world = waiting()
    name = world.grant("u-chi", "pharmacist")
    old = world.places["u-chi"]
    world.about("grant.revoked", "u-chi", grant=name)
    world.later(62)  # no clock is that wrong
    world.look("u-chi")
    number = world.sign("u-chi", role="pharmacist", standing=old, looks=False)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("a standing older than the one named before", "names an older standing of 'u-pha' than an entry before it did")
def older_standing() -> World:
    world = waiting()
    old = world.places["u-pha"]
    before = world.now
    world.now = WHEN + timedelta(days=2)
    world.grant("u-pha", "chief")
    world.now = before
    world.look("u-pha")
    number = world.sign("u-pha", standing=old, looks=False)
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("a standing that is nobody's", "rests on a standing of 'u-pha' that is not shown")
def no_standing() -> World:
    return signed_by("u-pha", standing={"seq": 2, "leaf_hash": "00" * 32})


@breaks("the standing of somebody else", "rests on a standing of 'u-pha' that is not shown")
def another_standing() -> World:
    world = waiting()
    number = world.sign("u-pha", standing=world.places["u-pha2"])
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("grant expired", "they do not have the role 'pharmacist' for 'orders' at that moment")
def grant_expired() -> World:
    return signed_by("u-chi", before=lambda world: world.grant("u-chi", "pharmacist", until=format_time(WHEN)))


@breaks("grant not begun", "they do not have the role 'pharmacist' for 'orders' at that moment")
def grant_not_begun() -> World:
    later = format_time(WHEN + timedelta(days=1))

    def give(world: World) -> None:
        detail: dict[str, Any] = {"grant": "g-9", "role": "pharmacist", "workflow": "orders", "from": later}
        world.about("grant.given", "u-chi", **detail)

    return signed_by("u-chi", before=give)


@breaks("grant for another workflow", "they do not have the role 'pharmacist' for 'orders' at that moment")
def grant_elsewhere() -> World:
    return signed_by("u-chi", before=lambda world: world.grant("u-chi", "pharmacist", workflow="loans"))


@breaks("a role that the signer gave to themselves", "(role): they gave the role 'pharmacist' to themselves")
def own_grant() -> World:
    return signed_by("u-chi", before=lambda world: world.grant("u-chi", "pharmacist", by="u-chi"))


@breaks("a role of another that the signer gave to themselves for all workflows", "they gave the role 'pharmacist' to")
def own_grant_for_all() -> World:
    return signed_by("u-chi", before=lambda world: world.grant("u-chi", "pharmacist", workflow="*", by="u-chi"))


@breaks("deactivated", "(inactive): they are not active")
def deactivated() -> World:
    return signed_by("u-pha", before=lambda world: world.about("user.deactivated", "u-pha"))


@breaks("role not asked for", "(role): the role 'supervisor' is not asked for")
def role_not_asked_for() -> World:
    return signed_by("u-sup", role="supervisor")


@breaks("before it was escalated to that role", "(role): the role 'chief' is not asked for")
def not_escalated() -> World:
    return signed_by("u-chi", role="chief")


@breaks("out of order", "(stage): stage 1 is due, for the role 'pharmacist'")
def out_of_order() -> World:
    world = waiting(STAGES)
    first = world.sign("u-chi", detail={"stage": 2})
    second = world.sign("u-pha")
    return carried_out(world, signed=[first, second], outcome="approved", write={"update": APPROVED})


@breaks("a stage that is not due", "names stage 2, and stage 1 is due")
def wrong_stage() -> World:
    return signed_by("u-pha", detail={"stage": 2})


@breaks("twice the same person", "(signed-already): they have signed in this round already")
def twice() -> World:
    world = waiting(TWO)
    numbers = [world.sign("u-pha"), world.sign("u-pha", looks=False)]
    return carried_out(world, signed=numbers, outcome="approved", write={"update": APPROVED})


@breaks("twice the same person, the second time by their key", "(signed-already)")
def twice_by_key() -> World:
    world = waiting(policy(gate(accept="attested", stages=[{"role": "pharmacist", "count": 2}])))
    world.key("k-1", ["pharmacist"], by="u-pha")
    numbers = [world.sign("u-pha"), world.attest("k-1")]
    return carried_out(world, signed=numbers, outcome="approved", write={"update": APPROVED})


@breaks("two who do not agree", "(decision): those who signed before did not decide 'released'")
def no_agreement() -> World:
    rules: list[Json] = [decision("approved", releases=True), decision("released", releases=True)]
    world = waiting(policy(gate(stages=[{"role": "pharmacist", "count": 2}], decisions=rules, on_expiry="stop")))
    numbers = [world.sign("u-pha"), world.sign("u-pha2", "released")]
    return carried_out(world, signed=numbers, outcome="approved", write={"update": APPROVED})


@breaks("two who gave other values", "(values): those who signed before gave other values")
def other_values() -> World:
    rules: list[Json] = [decision("approved", releases=True, write={"dose": "$values.dose"}, values={})]
    world = waiting(policy(gate(stages=[{"role": "pharmacist", "count": 2}], decisions=rules, on_expiry="stop")))
    numbers = [world.sign("u-pha", values={"dose": 1}), world.sign("u-pha2", values={"dose": True})]
    mandate = world.decide(signed=numbers, outcome="approved", write={"update": {"dose": 1}})
    finish(world, mandate)
    return world


@breaks("values that the decision does not take", "(values): the decision 'approved' takes no values")
def values_not_taken() -> World:
    return signed_by("u-pha", values={"dose": 60})


@breaks("a value that is written and was not given", "(values): The values have no member 'answer'")
def value_missing() -> World:
    world = asking()
    number = world.sign("u-pha", values={})
    answer(world, world.decide(signed=[number], write={"resume": "yes"}), "yes")
    world.end()
    return world


@breaks("a decision that the gate does not have", "(decision): the gate has no decision 'waved'")
def no_such_decision() -> World:
    return signed_by("u-pha", name="waved")


@breaks("an edit where none may be made", "(decision): the gate has no decision 'edit'")
def no_edit() -> World:
    world = waiting(policy(gate(edit=None)))
    world.sign("u-pha", "edit", values={"dose": 3})
    return world


@breaks("a reason that is missing", "(reason): the decision 'rejected' needs a reason")
def no_reason() -> World:
    world = waiting()
    world.sign("u-pha", "rejected", text="  ")
    return world


@breaks("a credential of somebody else", "(credential): 'c-u-pha2' is no credential of theirs that counts")
def another_credential() -> World:
    return signed_by("u-pha", detail={"credential": "c-u-pha2"})


@breaks("a credential that was revoked", "(credential): 'c-u-pha' is no credential of theirs that counts")
def revoked_credential() -> World:
    return signed_by("u-pha", before=lambda world: world.about("credential.revoked", "u-pha", credential="c-u-pha"))


@breaks("a password that somebody else chose", "(own-password): the credential was not chosen by themselves")
def not_own() -> World:
    def enrol(world: World) -> None:
        world.about("credential.enrolled", "u-pha", credential="c-new", method="password", own=False)

    return signed_by("u-pha", before=enrol, detail={"credential": "c-new"})


@breaks("a key that signs", "is a signature by an API key, which never signs")
def key_signs() -> World:
    world = waiting(ATTESTED)
    world.key("k-1", ["pharmacist"])
    number = world.sign("k-1", role="pharmacist", looks=False, via="api-key")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("attested where signed is asked", "without sufficient sign-off: stage 1 is not complete")
def attested() -> World:
    world = waiting()
    world.key("k-1", ["pharmacist"])
    number = world.attest("k-1")
    return carried_out(world, signed=[number], outcome="approved", write={"update": APPROVED})


@breaks("attested by a person", "is an API key's word, and its actor is none")
def attested_by_a_person() -> World:
    world = waiting(ATTESTED)
    world.attest("u-pha")
    return world


@breaks("attested by a key that was revoked", "(inactive): they are not active")
def attested_by_a_revoked_key() -> World:
    world = waiting(ATTESTED)
    world.key("k-1", ["pharmacist"])
    world.about("api-key.revoked", "k-1", member="key")
    world.attest("k-1")
    return world


# What was seen and said
