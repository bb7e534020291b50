"""The review view: what a person is shown, and therefore signs (docs/formats.md, section 6). Pure.

The same case gives the same bytes whoever looks, whenever: nothing in it depends on the clock or on the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from countersign.audit.canonical import Json, format_time
from countersign.audit.entry import CheckpointRef, Workflow
from countersign.audit.gates import Gate
from countersign.audit.shown import Shown

SPEC = "countersign/view/1"
_MOMENTS = ("remind", "escalate", "expire")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a review is about, as its case's trail has it."""

    origin: str
    case: str
    case_number: str | None
    workflow: Workflow
    review: str
    round: int
    gate: Gate
    fallback: bool
    question: Json
    when: str
    nodes: tuple[str, ...]
    checkpoint: CheckpointRef
    opened_at: datetime
    escalated: bool


def changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> list[Json]:
    """Return what differs, by field: `old` and `new`, each left out where the field held nothing."""
    found: list[Json] = []
    for field in sorted(old.keys() | new.keys()):
        if field in old and field in new and old[field] == new[field]:
            continue
        change: dict[str, Json] = {"field": field}
        for name, state in (("old", old), ("new", new)):
            if field in state:
                change[name] = state[field]
        found.append(change)
    return found


def review_view(
    asked: Asked, shown: Shown, before: Mapping[str, Json], decisions: Sequence[Mapping[str, Json]]
) -> dict[str, Json]:
    """Return the view of a review; `before` is the state that the last sign-off was given on, empty at first."""
    view: dict[str, Json] = {
        "spec": SPEC,
        "origin": asked.origin,
        "case": asked.case,
        "workflow": {"name": asked.workflow.name, "version": asked.workflow.version},
        "review": asked.review,
        "round": asked.round,
        "gate": None if asked.fallback else asked.gate.name,
        "question": asked.gate.question,
        "asked": asked.question,
        "when": asked.when,
        "nodes": list(asked.nodes),
        "checkpoint": {"id": asked.checkpoint.id, "ns": asked.checkpoint.ns},
        "state": dict(shown.fields),
        "changes": changes(before, shown.fields),
        "decisions": [dict(decision) for decision in decisions],
        "attachments": [attachment.as_json() for attachment in shown.attachments],
        "policy": policy_in_words(asked.gate, asked.opened_at, escalated=asked.escalated),
    }
    if asked.case_number is not None:
        view["case_number"] = asked.case_number
    return view


def policy_in_words(gate: Gate, opened_at: datetime, *, escalated: bool) -> dict[str, Json]:
    """Return what a gate asks for, in words, and when something happens if nobody decides."""
    decisions: list[Json] = [
        {
            "name": rule.name,
            "meaning": rule.meaning,
            "needs_reason": rule.reason,
            "fields": dict(rule.values) if rule.values is not None else None,
        }
        for rule in gate.decisions
    ]
    if gate.edit is not None:
        decisions.append(
            {"name": "edit", "meaning": gate.edit.meaning, "needs_reason": True, "fields": dict(gate.edit.values)}
        )
    due = {name: format_time(moment) for name, moment in due_times(gate, opened_at).items()}
    words: dict[str, Json] = {
        "question": gate.question,
        "stages": [_stage(number, stage.role, stage.count) for number, stage in enumerate(gate.stages, 1)],
        "decisions": decisions,
        "separation": _separation(gate.separation),
        "accept": "A person has to sign."
        if gate.accept == "signed"
        else "A program's word counts as well as a person's signature.",
        "due": dict(due),
    }
    if gate.escalate_to is not None:
        words["escalation"] = (
            f"It was escalated: a {gate.escalate_to} may decide as well."
            if escalated
            else f"When it is escalated, a {gate.escalate_to} may decide as well."
        )
    if gate.on_expiry is not None:
        words["expiry"] = (
            "When it expires, the case is stopped."
            if gate.on_expiry == "stop"
            else f"When it expires, it is {gate.on_expiry}."
        )
    return words


def due_times(gate: Gate, opened_at: datetime) -> dict[str, datetime]:
    """Return the moments at which a review is reminded, escalated and expires, as far as the policy names them."""
    seconds = {name: getattr(gate, name) for name in _MOMENTS}
    return {name: opened_at + timedelta(seconds=after) for name, after in seconds.items() if after is not None}


def _stage(number: int, role: str, count: int) -> str:
    return f"{number}. {count} signature{'s' if count > 1 else ''} as {role}"


def _separation(rules: Iterable[str]) -> str:
    words = {"starter": "Whoever started the case does not sign.", "editor": "Whoever corrected it does not sign."}
    return " ".join([*(words[rule] for rule in ("starter", "editor") if rule in rules), "One person signs once."])


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Json]:
    """Return what moved between two views of a review: which members, which fields of the state, which decisions."""
    members = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    before = {decision["seq"]: decision for decision in old["decisions"]}
    return {
        "members": [*members],
        "fields": [change["field"] for change in changes(old["state"], new["state"])],  # type: ignore[call-overload,index]
        "decisions": [
            {name: decision[name] for name in ("seq", "decision", "role", "printed_name", "counts")}
            for decision in new["decisions"]
            if before.get(decision["seq"]) != decision
        ],
    }
