"""Honest cases whose state looks otherwise to the worker, which edits it, than to the server, which shows it."""

from __future__ import annotations

import hashlib

from countersign.audit.canonical import Json
from unit.governing import World, finish, waiting


def looking_otherwise(edited: Json, shown: Json) -> World:
    world = waiting()
    mandate = world.act("case.corrected", "u-pha2", payload={"values": {"found": edited}, "reason": "misread"})
    world.update(mandate, {"found": edited})
    world.pause("review")
    world.reopen()
    world.look("u-pha", view=world.view("r-1") | {"state": dict(world.state) | {"found": shown}})
    world.state["found"] = shown
    world.sign("u-pha", looks=False)
    finish(world, world.decide())
    return world


def a_number_that_a_database_writes_out() -> World:
    return looking_otherwise({"$float": "1e+22"}, {"$int": "10000000000000000000000"})


def a_zero_without_its_sign() -> World:
    return looking_otherwise([{"$float": "-0.0"}], [{"$float": "0.0"}])


def an_object_that_only_the_worker_knows() -> World:
    one: Json = {"$type": "lab.Result", "$repr": "Result(inr=2)", "$sha256": "00" * 32}
    return looking_otherwise({"lab": one}, {"lab": {"inr": 2}})


def bytes_that_are_shown_by_their_digest() -> World:
    digest = hashlib.sha256(bytes(300)).hexdigest()
    return looking_otherwise({"$bytes": "AAAA" * 100}, {"$attachment": digest})
