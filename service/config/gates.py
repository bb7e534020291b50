"""The gates of a workflow: from their tables to the policy document, held against each other's rules."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from countersign.audit.canonical import Json

from .forms import check_name, exactly_one
from .keys import DECISION, GATE
from .reading import Item, read_table
from .templates import check_template

PLACES = ("before", "after", "interrupt")
STOP = "stop"
_RESERVED = {
    "edit": "it is what a signature under an edit says",
    STOP: "it ends a case",
    "annotate": "it is what a signed annotation says",
}
_TIMES = ("remind_after", "escalate_after", "expire_after")


def read_gates(item: Item | None) -> list[dict[str, Json]]:
    """Return the gates of a workflow as its policy document has them, in the order of the file.

    Raises ConfigurationError on the first that cannot be meant.
    """
    gates: list[dict[str, Json]] = []
    for element in item.elements() if item else ():
        gate = _gate(element)
        for other in gates:
            _check_pair(element, gate, other)
        gates.append(gate)
    return gates


def roles_of(gate: dict[str, Any]) -> list[str]:
    """Return the roles that may sign at a gate, stage by stage."""
    roles = [stage["role"] for stage in gate["stages"]]
    return [*roles, gate["escalate_to"]] if gate["escalate_to"] else roles


def _check_pair(item: Item, gate: dict[str, Any], other: dict[str, Any]) -> None:
    if gate["name"] == other["name"]:
        item.fail(f"There are two gates {gate['name']!r}.", "Give each a name of its own.", "name")
    if gate["when"] != "before" and (gate["when"], gate["node"]) == (other["when"], other["node"]):
        item.fail(
            f"There are two gates for {gate['when']} = {gate['node']!r}.",
            "Ask in one gate with stages; only before a node there may be several.",
            gate["when"],
        )


def _gate(item: Item) -> dict[str, Json]:
    found = read_table(item, GATE)
    when = exactly_one(item, PLACES)
    _check_times(item, found)
    decisions = _decisions(item.at("decisions"), when, found["on_expiry"])
    _check_expiry(item, found, decisions)
    return {
        "name": found["name"],
        "when": when,
        "node": found[when],
        "question": found["question"],
        "stages": _stages(item, found),
        "accept": found["accept"],
        "separation": found["separation"],
        "decisions": [*decisions.values()],
        "edit": found["edit"],
        "times": {
            "remind": found["remind_after"],
            "escalate": found["escalate_after"],
            "expire": found["expire_after"],
        },
        "escalate_to": found["escalate_to"],
        "on_expiry": found["on_expiry"],
    }


def _stages(item: Item, found: dict[str, Any]) -> list[Json]:
    if exactly_one(item, ("role", "stages")) == "role":
        return [{"role": found["role"], "count": found["count"] or 1}]
    if found["count"] is not None:
        item.fail("`count` belongs to `role`; each of the stages has its own.", "Move it there.", "count")
    stages: list[Json] = found["stages"]
    return stages


def _check_times(item: Item, found: dict[str, Any]) -> None:
    for one, other in (("escalate_after", "escalate_to"), ("expire_after", "on_expiry")):
        for here, missing in ((one, other), (other, one)):
            if found[here] is not None and found[missing] is None:
                item.fail(f"It has {here} and no {missing}.", f"Add {missing}, or take {here} away.", here)
    given = [name for name in _TIMES if found[name] is not None]
    for earlier, later in pairwise(given):
        if found[earlier] >= found[later]:
            item.fail(f"{earlier} is not before {later}.", f"Make it shorter than {later}.", earlier)


def _decisions(item: Item, when: str, on_expiry: str | None) -> dict[str, dict[str, Json]]:
    found: dict[str, dict[str, Json]] = {}
    for name, member in item.members():
        check_name(member, name)
        if name in _RESERVED:
            member.fail(f"No decision can be called {name!r}: {_RESERVED[name]}.", "Choose another word.")
        found[name] = _decision(member, name, when, expires=name == on_expiry)
    if not any(decision["releases"] for decision in found.values()):
        item.fail("No decision releases.", "Write releases = true in the one that approves.")
    return found


def _decision(item: Item, name: str, when: str, *, expires: bool) -> dict[str, Json]:
    found = read_table(item, DECISION)
    key, other = ("resume", "write") if when == "interrupt" else ("write", "resume")
    if other in item.value:
        item.fail(f"At a gate {when} a node, {other!r} means nothing.", f"Say it in {key!r}.", other)
    if key == "resume" and key not in item.value:
        item.fail("The node's interrupt() gets no answer.", 'Say which, as in resume = "$decision".')
    if key == "write" and key in item.value:
        item.at(key).of(dict)
    if key in item.value:
        check_template(item.at(key), found["values"], expires=expires)
    return {
        "name": name,
        "meaning": found["meaning"],
        "releases": found["releases"],
        "reason": found["reason"] == "required",
        "write": found[key],
        "values": found["values"],
    }


def _check_expiry(item: Item, found: dict[str, Any], decisions: dict[str, dict[str, Json]]) -> None:
    chosen = found["on_expiry"]
    if chosen in (None, STOP):
        return
    if chosen not in decisions:
        item.fail(f"There is no decision {chosen!r}.", f"There are: {', '.join(decisions)}; or {STOP!r}.", "on_expiry")
    if decisions[chosen]["releases"]:
        item.fail(
            f"{chosen!r} releases, and that nobody decided in time never lets a case through.",
            f"Name a decision without releases = true, or {STOP!r}.",
            "on_expiry",
        )
