"""Reading a policy: a document from outside becomes a Policy, or is refused with the place that is wrong.

A place is written as in `gates[0].decisions[1].meaning`, counting from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from .canonical import Json, canonical
from .errors import MalformedError
from .gates import (
    ANYTHING,
    EDIT,
    SPEC,
    STOP,
    Acts,
    DecisionRule,
    EditRule,
    Gate,
    Policy,
    Retention,
    Stage,
    fill,
    placeholders,
)

__all__ = ["Acts", "DecisionRule", "EditRule", "Gate", "Policy", "Retention", "Stage", "fill", "parse_policy"]

T = TypeVar("T")
_LONGEST_NAME = 255
_MOST = 100
_DAYS = 36_525
_SECONDS = 366 * 24 * 3600
_WHEN = ("before", "after", "interrupt")
_ACCEPT = ("signed", "attested")
_SEPARATION = ("starter", "editor")
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_RESERVED = (EDIT, STOP)


def parse_policy(document: Json) -> Policy:
    """Return the policy that a document of spec version 1 is.

    Raises MalformedError, which names the place, for any other: unknown or missing members, two gates that cannot be
    told apart, a time without its consequence, a schema that refers to another document.
    """
    members = _object(document, "", "spec", "workflow", "title", "fallback", "retention", "acts", "gates")
    if members["spec"] != SPEC:
        _refuse("spec", f"is {members['spec']!r}; this version reads {SPEC!r}")
    try:
        canonical(document)
    except MalformedError as error:
        raise MalformedError(f"The policy cannot be written down: {error.message}") from error
    workflow = _name(members["workflow"], "workflow")
    if workflow == ANYTHING:
        _refuse("workflow", "is *, which stands for all workflows in a grant")
    retention = _object(members["retention"], "retention", "class", "days")
    gates = _items(members["gates"], "gates", _gate)
    _check_apart(gates)
    policy = Policy(
        workflow,
        _text(members["title"], "title"),
        _name(members["fallback"], "fallback"),
        Retention(_name(retention["class"], "retention.class"), _count(retention["days"], "retention.days", _DAYS)),
        _acts(members["acts"]),
        gates,
    )
    for number, node in enumerate(policy.acts.to):
        if guarding := policy.gates_at("before", node):
            _refuse(
                f"acts.redirect.to[{number}]",
                f"is {node}, which stands behind the gate {guarding[0].name!r}: to go on there would go around it",
            )
    return policy


def _acts(value: Json) -> Acts:
    members = _object(value, "acts", "start", "correct", "redirect", "stop", "move", "retry", "read")
    redirect = _object(members.pop("redirect"), "acts.redirect", "roles", "to")
    return Acts(
        redirect=_names(redirect["roles"], "acts.redirect.roles"),
        to=_names(redirect["to"], "acts.redirect.to"),
        **{name: _names(roles, f"acts.{name}") for name, roles in members.items()},
    )


def _gate(value: Json, place: str) -> Gate:
    members = _object(
        value, place, "name", "when", "node", "question", "stages", "accept", "separation", "decisions", "edit",
        "times", "escalate_to", "on_expiry",
    )  # fmt: skip
    when = _one_of(members["when"], f"{place}.when", _WHEN)
    decisions = _items(members["decisions"], f"{place}.decisions", lambda item, at: _decision(item, at, when))
    times = _object(members["times"], f"{place}.times", "remind", "escalate", "expire")
    seconds = {name: _seconds(times[name], f"{place}.times.{name}") for name in times}
    separation = _names(members["separation"], f"{place}.separation")
    for number, who in enumerate(separation):
        _one_of(who, f"{place}.separation[{number}]", _SEPARATION)
    gate = Gate(
        name=_name(members["name"], f"{place}.name"),
        when=when,
        node=_name(members["node"], f"{place}.node"),
        question=_text(members["question"], f"{place}.question"),
        stages=_items(members["stages"], f"{place}.stages", _stage),
        accept=_one_of(members["accept"], f"{place}.accept", _ACCEPT),
        separation=separation,
        decisions=decisions,
        edit=_edit(members["edit"], f"{place}.edit"),
        escalate_to=_optional(members["escalate_to"], f"{place}.escalate_to", _name),
        on_expiry=_optional(members["on_expiry"], f"{place}.on_expiry", _name),
        **seconds,
    )
    _check_gate(gate, place)
    return gate


def _check_gate(gate: Gate, place: str) -> None:
    if not gate.stages:
        _refuse(f"{place}.stages", "is empty: nobody would sign")
    if not any(rule.releases for rule in gate.decisions):
        _refuse(f"{place}.decisions", "has none that releases: nothing could ever go on")
    names = [rule.name for rule in gate.decisions]
    for number, name in enumerate(names):
        if name in names[:number]:
            _refuse(f"{place}.decisions[{number}].name", f"is {name!r} again")
    _check_times(gate, place)


def _check_times(gate: Gate, place: str) -> None:
    if (gate.escalate is None) != (gate.escalate_to is None):
        _refuse(f"{place}.escalate_to", "and times.escalate go together: give both, or null for both")
    if (gate.expire is None) != (gate.on_expiry is None):
        _refuse(f"{place}.on_expiry", "and times.expire go together: give both, or null for both")
    for name, earlier in (("remind", gate.remind), ("escalate", gate.escalate)):
        if gate.expire is not None and earlier is not None and earlier >= gate.expire:
            _refuse(f"{place}.times.{name}", "is not before times.expire, so it would never be")
    if gate.on_expiry in (None, STOP):
        return
    rule = next((rule for rule in gate.decisions if rule.name == gate.on_expiry), None)
    if rule is None:
        _refuse(f"{place}.on_expiry", f"is {gate.on_expiry!r}, which is neither a decision of this gate nor {STOP!r}")
    if rule.releases:
        _refuse(f"{place}.on_expiry", f"is {gate.on_expiry!r}, which releases: the end of time approves nothing")
    if rule.values is not None:
        _refuse(f"{place}.on_expiry", f"is {gate.on_expiry!r}, which needs values that nobody gives then")


def _decision(value: Json, place: str, when: str) -> DecisionRule:
    members = _object(value, place, "name", "meaning", "releases", "reason", "write", "values")
    name = _name(members["name"], f"{place}.name")
    if name in _RESERVED:
        _refuse(f"{place}.name", f"is {name!r}, which means something of its own")
    write, values = members["write"], _optional(members["values"], f"{place}.values", _schema)
    if when != "interrupt" and write is not None and not isinstance(write, dict):
        _refuse(f"{place}.write", "is not an object of state fields, or null")
    for found in placeholders(write):
        if found not in ("$decision", "$reason", "$values") and not found.removeprefix("$values."):
            _refuse(f"{place}.write", f"has {found!r}, which names no member")
        if found not in ("$decision", "$reason", "$values") and not found.startswith("$values."):
            _refuse(f"{place}.write", f"has {found!r}, which stands for nothing; write $${found[1:]} for that text")
        if found.startswith("$values") and values is None:
            _refuse(f"{place}.write", f"has {found!r}, and this decision takes no values")
    return DecisionRule(
        name,
        _text(members["meaning"], f"{place}.meaning"),
        releases=_flag(members["releases"], f"{place}.releases"),
        reason=_flag(members["reason"], f"{place}.reason"),
        write=write,
        values=values,
    )


def _edit(value: Json, place: str) -> EditRule | None:
    if value is None:
        return None
    members = _object(value, place, "meaning", "values")
    return EditRule(_text(members["meaning"], f"{place}.meaning"), _schema(members["values"], f"{place}.values"))


def _stage(value: Json, place: str) -> Stage:
    members = _object(value, place, "role", "count")
    return Stage(_name(members["role"], f"{place}.role"), _count(members["count"], f"{place}.count", _MOST))


def _check_apart(gates: tuple[Gate, ...]) -> None:
    names: set[str | None] = set()
    asked: set[str | None] = set()
    for number, gate in enumerate(gates):
        if gate.name in names:
            _refuse(f"gates[{number}].name", f"is {gate.name!r} again")
        if gate.when == "interrupt" and gate.node in asked:
            _refuse(f"gates[{number}].node", f"is {gate.node!r} again: a question has one gate")
        names.add(gate.name)
        asked |= {gate.node} if gate.when == "interrupt" else set()


def _schema(value: Json, place: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        _refuse(place, "is not a JSON schema, an object")
    _check_references(value, place)
    return value


def _check_references(value: Json, place: str) -> None:
    if isinstance(value, list):
        for number, item in enumerate(value):
            _check_references(item, f"{place}[{number}]")
    if isinstance(value, dict):
        for key, item in value.items():
            if key in _REFERENCES and isinstance(item, str) and not item.startswith("#"):
                _refuse(f"{place}.{key}", f"is {item!r}, another document: a policy stands by itself; begin with #")
            _check_references(item, f"{place}.{key}")


def _object(value: Json, place: str, *names: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        _refuse(place, "is not an object")
    if missing := [name for name in names if name not in value]:
        _refuse(place, f"lacks {', '.join(missing)}")
    if unknown := sorted(value.keys() - set(names)):
        _refuse(place, f"has members that mean nothing here: {', '.join(unknown)}")
    return dict(value)


def _items(value: Json, place: str, read: Callable[[Json, str], T]) -> tuple[T, ...]:
    if not isinstance(value, list) or len(value) > _MOST:
        _refuse(place, f"is not a list of at most {_MOST}")
    return tuple(read(item, f"{place}[{number}]") for number, item in enumerate(value))


def _names(value: Json, place: str) -> tuple[str, ...]:
    names = _items(value, place, _name)
    for number, name in enumerate(names):
        if name in names[:number]:
            _refuse(f"{place}[{number}]", f"is {name!r} again")
    return names


def _text(value: Json, place: str) -> str:
    if not isinstance(value, str) or not value.strip():
        _refuse(place, "is not a text")
    return value


def _name(value: Json, place: str) -> str:
    text = _text(value, place)
    if len(text) > _LONGEST_NAME or not text.isprintable() or text != text.strip():
        _refuse(place, f"is not a name: 1 to {_LONGEST_NAME} printable characters, without space around them")
    return text


def _one_of(value: Json, place: str, words: tuple[str, ...]) -> str:
    if value not in words or not isinstance(value, str):
        _refuse(place, f"is {value!r}, and none of {', '.join(words)}")
    return value


def _optional(value: Json, place: str, read: Callable[[Json, str], T]) -> T | None:
    return None if value is None else read(value, place)


def _flag(value: Json, place: str) -> bool:
    if not isinstance(value, bool):
        _refuse(place, "is neither true nor false")
    return value


def _count(value: Json, place: str, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        _refuse(place, f"is not a number from 1 to {most}")
    return value


def _seconds(value: Json, place: str) -> int | None:
    return None if value is None else _count(value, place, _SECONDS)


def _refuse(place: str, what: str) -> NoReturn:
    raise MalformedError(f"{place or 'The policy'} {what}.")
