"""A policy in words, for people who check what they wrote."""

from __future__ import annotations

from collections.abc import Iterator

from countersign.audit.gates import Gate, Policy, Stage

from .durations import say_duration

_PLACES = {
    "before": "before {node} runs",
    "after": "before anything behind {node} runs",
    "interrupt": "when {node} asks",
}
_APART = {"starter": "who started the case", "editor": "who corrected it"}


def gate_in_words(gate: Gate) -> Iterator[str]:
    """Yield sentences: when people are asked and what, who signs, what they can decide, and what the time does."""
    place = _PLACES[gate.when].format(node=gate.node)
    yield f'{gate.name}: {place}, "{" ".join(gate.question.split())}"'
    yield f"signed by {', then '.join(_stage(stage) for stage in gate.stages)}"
    if gate.separation:
        yield f"not by {' or '.join(_APART[who] for who in gate.separation)}"
    if gate.accept == "attested":
        yield "what an API key vouches for counts as well"
    for rule in gate.decisions:
        need = "all signatures" if rule.releases else "one signature"
        more = [*(["with a reason"] if rule.reason else []), *(["with values"] if rule.values else [])]
        yield f"{rule.name} takes {', '.join([need, *more])}"
    if gate.edit:
        yield f"may change first: {', '.join(_fields(gate))}"
    yield from _times(gate)


def acts_in_words(policy: Policy) -> Iterator[str]:
    """Yield a sentence for each thing that some role may do to a case, and who decides where no gate is."""
    acts = policy.acts
    for act, roles in (
        ("start", acts.start),
        ("correct", acts.correct),
        (f"send to {' or '.join(acts.to)}", acts.redirect),
        ("stop", acts.stop),
        ("retry", acts.retry),
        ("move to another version", acts.move),
        ("read", acts.read),
    ):
        if roles:
            yield f"{act}: {', '.join(roles)}"
    yield f"where no gate is, {policy.fallback} decides"


def _stage(stage: Stage) -> str:
    return stage.role if stage.count == 1 else f"{stage.count} x {stage.role}"


def _fields(gate: Gate) -> list[str]:
    named = gate.edit.values.get("properties") if gate.edit else None
    return sorted(named) if isinstance(named, dict) else []


def _times(gate: Gate) -> Iterator[str]:
    if gate.remind:
        yield f"reminded after {say_duration(gate.remind)}"
    if gate.escalate:
        yield f"after {say_duration(gate.escalate)} {gate.escalate_to} may sign as well"
    if gate.expire:
        outcome = "the case is stopped" if gate.on_expiry == "stop" else f"it is {gate.on_expiry}"
        yield f"after {say_duration(gate.expire)} {outcome}"
