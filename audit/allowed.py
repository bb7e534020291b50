"""Whether a run or an edit does what its mandate says, and nothing else. Pure.

Each function yields a sentence for whatever nobody allowed, and None for what cannot be told any more since a payload
was erased. Values are compared as the tagged JSON that entries hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .canonical import Json, same
from .chain import Checked
from .gates import Policy
from .kinds import Kind
from .mandates import END_NODE, STATIC, UNKNOWN, Mandate

_ALL = "*"


def run_allowed(checked: Checked, mandate: Mandate, tip: str | None, policy: Policy | None) -> Iterator[str | None]:
    """Yield what is wrong with an opening of a run under this mandate, on a thread whose latest checkpoint is `tip`."""
    yield from _pauses_left_out(checked, policy)
    if checked.body.kind == Kind.RUN_STARTED:
        yield from _start_allowed(checked, mandate, tip)
    else:
        yield from _resume_allowed(checked, mandate)


def edit_allowed(checked: Checked, mandate: Mandate, tip: str | None) -> Iterator[str | None]:
    """Yield what is wrong with an edit under this mandate, on a thread whose latest checkpoint is `tip`."""
    body, work = checked.body, mandate.doing
    if not work.updates:
        yield f"edits the state under entry {mandate.seq}, which allows no edit"
        return
    if work.updated is not None:
        yield f"edits the state a second time under entry {mandate.seq}"
    place = body.checkpoint
    if place is None or place.ns:
        yield f"edits a subgraph under entry {mandate.seq}, which allows an edit of the case's own state"
    elif place.parent != tip:
        yield "edits another checkpoint than the latest"
    expected = END_NODE if work.kind == Kind.CASE_REDIRECTED else None
    nodes = body.detail.get("as_node", [] if "as_node_count" not in body.detail else None)
    if body.detail.get("source") != "update" or nodes != ([expected] if expected else []):
        yield f"edits the state as {_said(nodes)}, which entry {mandate.seq} does not say"
    yield from _same_edit(checked, mandate, expected)


def _same_edit(checked: Checked, mandate: Mandate, as_node: str | None) -> Iterator[str | None]:
    payload, values = _payload(checked), mandate.doing.values
    if payload is None or values is UNKNOWN:
        yield None
        return
    wanted: Json = [{"values": None if as_node else values, "as_node": as_node}]  # type: ignore[dict-item]
    if not same(payload.get("given"), wanted):
        yield f"writes other values than entry {mandate.seq} says"


def _start_allowed(checked: Checked, mandate: Mandate, tip: str | None) -> Iterator[str | None]:
    work, payload = mandate.doing, _payload(checked)
    if work.kind != Kind.CASE_OPENED:
        yield f"starts the graph with an input under entry {mandate.seq}, which allows none"
        return
    if tip is not None:
        yield "starts the graph anew: the case has taken in its input already"
    if _command(checked):
        yield "starts the graph with a Command"
    if payload is None or work.values is UNKNOWN:
        yield None
    elif not same(payload.get("input"), work.values):  # type: ignore[arg-type]
        yield f"starts the graph with another input than entry {mandate.seq} says"


def _resume_allowed(checked: Checked, mandate: Mandate) -> Iterator[str | None]:
    work = mandate.doing
    if work.updates and work.updated is None:
        yield f"goes on before the edit was made that entry {mandate.seq} says"
    if work.kind == Kind.CASE_CORRECTED and work.pause in (None, STATIC):
        yield f"goes on under entry {mandate.seq}, which allows an edit and no more"
    if not work.resume:
        yield f"goes on under entry {mandate.seq}, which does not let the case go on"
    if work.answers and not work.sound:
        yield f"answers a question under entry {mandate.seq}, whose decision does not suffice"
    command, expected = _command(checked), _expected(work)
    if command != expected and (command or not work.ran):
        yield f"goes on with {_said(command)}, and entry {mandate.seq} says {_said(expected)}"
    elif command:
        yield from _same_command(checked, mandate)


def _same_command(checked: Checked, mandate: Mandate) -> Iterator[str | None]:
    work, payload = mandate.doing, _payload(checked)
    if payload is None or work.values is UNKNOWN:
        yield None
    elif work.answers and not same(payload.get("resume"), work.answer()):
        yield f"answers otherwise than entry {mandate.seq} says"
    elif work.kind == Kind.CASE_REDIRECTED and not same(payload.get("goto"), work.to):
        yield f"goes on at another node than entry {mandate.seq} says, {work.to!r}"


def _expected(work: Mandate) -> list[str]:
    if work.delivered:
        return []
    if work.answers:
        return ["resume"]
    return ["goto"] if work.kind == Kind.CASE_REDIRECTED else []


def _pauses_left_out(checked: Checked, policy: Policy | None) -> Iterator[str | None]:
    for when in ("before", "after"):
        name = f"interrupt_{when}"
        detail, payload = checked.body.detail, _payload(checked) or {}
        chosen: Any = detail.get(name, payload.get(name))
        if chosen is None:
            if f"{name}_count" in detail:
                yield None
            continue
        for gate in policy.gates if policy is not None and chosen != _ALL else ():
            if gate.when == when and gate.node not in chosen:
                yield f"runs with pauses of its own ({name}) that leave out the gate {gate.name!r}"


def _command(checked: Checked) -> list[str]:
    command = checked.body.detail.get("command")
    return [str(word) for word in command] if isinstance(command, list) else []


def _payload(checked: Checked) -> dict[str, Json] | None:
    """Return the payload's members; None where it was erased."""
    if checked.payload is None and checked.body.payload_digest is not None:
        return None
    return checked.payload if isinstance(checked.payload, dict) else {}


def _said(words: Any) -> str:
    return ", ".join(map(str, words)) if isinstance(words, list) and words else "no more than that"
