"""What the signatures that were given come to, by the rules of a gate. Pure.

A signature that was withdrawn, or voided because what was signed changed, is not handed in here at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .canonical import Json, same
from .gates import Gate, Stage, fill


@dataclass(frozen=True, slots=True)
class Signature:
    """A decision that somebody signed or, as an API key, attested, at `seq` of the trail; `stage` counts from 1."""

    seq: int
    signer: str
    role: str
    decision: str
    stage: int
    values: dict[str, Json] = field(default_factory=dict)
    reason: str = ""
    attested: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """Where a review stands: the stage (from 1) whose role signs next, and the outcome once there is one.

    `counted` are the signatures on which that rests, by `seq`; `write` is what the outcome writes. With an outcome,
    `stage` is the one that was reached last.
    """

    stage: int
    role: str
    outcome: str | None
    counted: tuple[int, ...]
    write: Json


def tally(gate: Gate, signatures: Sequence[Signature], *, escalated: bool) -> Tally:
    """Return what these signatures come to, in order of `seq`.

    A decision that releases takes all stages in order, each with as many people as it says, who all named this decision
    and the same values; any other takes one signature of the stage that is due. One person counts once. After
    escalation the role `escalate_to` counts in place of the stage's.
    """
    counted: list[Signature] = []
    stage = 0
    given = 0
    for signature in sorted(signatures, key=lambda one: one.seq):
        if not counts(gate, stage, counted, signature, escalated=escalated):
            continue
        counted.append(signature)
        if not gate.decision(signature.decision).releases:
            return _concluded(gate, stage, [signature])
        given += 1
        if given == gate.stages[stage].count:
            if stage + 1 == len(gate.stages):
                return _concluded(gate, stage, counted)
            stage, given = stage + 1, 0
    return Tally(stage + 1, gate.stages[stage].role, None, tuple(one.seq for one in counted), None)


def counts(gate: Gate, stage: int, before: Sequence[Signature], signature: Signature, *, escalated: bool) -> bool:
    """Tell whether a signature counts at a stage (from 0), behind those counted `before` it."""
    if signature.stage != stage + 1 or (signature.attested and gate.accept != "attested"):
        return False
    if signature.role not in roles_at(gate, gate.stages[stage], escalated=escalated):
        return False
    if any(one.signer == signature.signer for one in before):
        return False
    rule = next((rule for rule in gate.decisions if rule.name == signature.decision), None)
    if rule is None:
        return False
    return not rule.releases or agrees(before, signature.decision, signature.values)


def roles_at(gate: Gate, stage: Stage, *, escalated: bool) -> tuple[str, ...]:
    """Return the roles whose people may sign a stage of a gate."""
    if escalated and gate.escalate_to is not None and gate.escalate_to != stage.role:
        return stage.role, gate.escalate_to
    return (stage.role,)


def agrees(before: Sequence[Signature], decision: str, values: dict[str, Json]) -> bool:
    """Tell whether a decision that releases, with its values, is what those who signed before decided."""
    return all(one.decision == decision and same(one.values, values) for one in before)


def _concluded(gate: Gate, stage: int, counted: Sequence[Signature]) -> Tally:
    last = counted[-1]
    reason = "\n".join(one.reason for one in counted if one.reason)
    write = fill(gate.decision(last.decision).write, decision=last.decision, reason=reason, values=last.values)
    seqs = tuple(one.seq for one in counted)
    return Tally(stage + 1, gate.stages[stage].role, last.decision, seqs, write)
