"""A trail as neutral rows: what a person reads, whatever it is printed on. Made from checked entries only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.chain import Checked

Members = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrailRow:
    """One entry for readers. `of` is how many entries the trail has, so that no selection passes for the whole."""

    seq: int
    of: int
    occurred_at: datetime
    kind: str
    actor: str
    role: str
    via: str
    what: str
    leaf_hash: str


def trail_rows(trail: Sequence[Checked]) -> list[TrailRow]:
    """Return one row per entry, in order."""
    return [_row(checked, len(trail)) for checked in trail]


def _row(checked: Checked, total: int) -> TrailRow:
    body = checked.body
    payload = checked.payload if isinstance(checked.payload, dict) else {}
    return TrailRow(
        seq=body.seq,
        of=total,
        occurred_at=body.occurred_at,
        kind=body.kind,
        actor=body.actor.id,
        role=body.actor.role or "",
        via=body.actor.via,
        what=_what(body.kind, body.detail, payload),
        leaf_hash=checked.link.leaf_hash.hex(),
    )


def _what(kind: str, detail: Members, payload: Members) -> str:
    """Return what the entry says, in a line."""
    return _SAYINGS[kind](detail, payload) if kind in _SAYINGS else ""


def _updated(detail: Members, payload: Members) -> str:
    nodes = ", ".join(detail.get("as_node", []))
    return (f"as {nodes}: " if nodes else "") + "; ".join(map(_change, payload.get("changes", [])))


def _raised(detail: Members, payload: Members) -> str:
    if detail.get("when") == "dynamic":
        return f"asks: {plain(payload.get('value'))}"
    return f"paused {detail.get('when')} {', '.join(detail.get('next', payload.get('next', [])))}"


def _wrote(detail: Members, _: Members) -> str:
    path = str(detail.get("path", ""))
    node = "the edit" if path.startswith("~__interrupt__") else detail.get("node") or path.rpartition(", ")[2]
    return f"{node or 'a task'} wrote {_channels(detail)}"


def _saved(detail: Members, payload: Members) -> str:
    return f"step {detail.get('step')} ({detail.get('source')}), {len(payload.get('rows', []))} rows bound"


def _started(detail: Members, payload: Members) -> str:
    aside = len(detail.get("interrupts", payload.get("interrupts", [])))
    return "new input" + (f", questions put aside: {aside}" if aside else "")


def _resumed(_: Members, payload: Members) -> str:
    answers = {name: value for name, value in payload.items() if name in ("resume", "update", "goto")}
    return f"resumed with {plain(answers)}" if answers else "resumed"


def _paused(detail: Members, payload: Members) -> str:
    return f"waits; questions open: {len(detail.get('interrupts', payload.get('interrupts', [])))}"


def _decided(detail: Members, payload: Members) -> str:
    text = (payload.get("reason") or {}).get("text", "")
    return f"{detail.get('decision')}, stage {detail.get('stage')}" + (f": {text}" if text else "")


def _opened(detail: Members, _: Members) -> str:
    gate = detail.get("gate")
    return f"{detail.get('when')} {', '.join(detail.get('nodes', []))}, " + (
        f"gate {gate}" if gate is not None else "for which the policy names no gate"
    )


def _reason(_: Members, payload: Members) -> str:
    reason = payload.get("reason")
    return str(reason) if isinstance(reason, str) else ""


def _message(_: Members, payload: Members) -> str:
    return str(payload.get("message", ""))


_SAYINGS: Mapping[str, Callable[[Members, Members], str]] = {
    "state.updated": _updated,
    "interrupt.raised": _raised,
    "writes.saved": _wrote,
    "checkpoint.saved": _saved,
    "run.started": _started,
    "run.resumed": _resumed,
    "run.forked": lambda detail, _: f"leaves checkpoint {detail.get('latest')} aside",
    "run.paused": _paused,
    "run.failed": _message,
    "run.refused": _message,
    "trail.adopted": lambda _, payload: f"taken in as found, {len(payload.get('rows', []))} rows bound",
    "case.opened": lambda _, payload: f"begins with {plain(payload.get('input'))}",
    "case.corrected": lambda detail, payload: f"{plain(payload.get('values'))}: {_reason(detail, payload)}",
    "case.redirected": lambda detail, payload: f"to {detail.get('to')}: {_reason(detail, payload)}",
    "case.moved": lambda detail, payload: f"from version {detail.get('from')}: {_reason(detail, payload)}",
    "case.retried": _reason,
    "case.stopped": _reason,
    "case.annotated": lambda _, payload: str(payload.get("text", "")),
    "review.opened": _opened,
    "review.reopened": lambda detail, _: f"since entry {detail.get('cause')} changed what was under review",
    "review.closed": lambda detail, _: f"since entry {detail.get('cause')}",
    "review.signed": _decided,
    "review.attested": _decided,
    "review.refused": lambda detail, _: f"refused: {detail.get('cause')}",
    "review.withdrawn": lambda detail, payload: f"entry {detail.get('signed')}: {_reason(detail, payload)}",
    "review.decided": lambda detail, _: f"{detail.get('outcome')}, by {detail.get('by')}",
    "review.escalated": lambda detail, _: f"to {detail.get('to')}, due {detail.get('due')}",
    "review.reminded": lambda detail, _: f"due {detail.get('due')}",
    "review.expired": lambda detail, _: f"due {detail.get('due')}",
    "review.commented": lambda _, payload: str(payload.get("text", "")),
    "key.introduced": lambda detail, _: f"key for {', '.join(detail.get('kinds', []))}",
}


def _change(change: Mapping[str, Any]) -> str:
    old = plain(change["old"]) if "old" in change else "nothing"
    new = plain(change["new"]) if "new" in change else "nothing"
    return f"{change['channel']}: {old} -> {new}"


def _channels(detail: Mapping[str, Any]) -> str:
    if "channels_count" in detail:
        return f"{detail['channels_count']} channels"
    shown = [name for name in detail.get("channels", []) if not str(name).startswith(("branch:", "__pregel"))]
    return ", ".join(shown) or "nothing of the state"


def plain(value: Json) -> str:
    """Return a tagged value for readers: JSON, with numbers, bytes and times as themselves."""
    return json.dumps(_untagged(value), ensure_ascii=False)


def _untagged(value: Json) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, inner),) = value.items()
        if tag in ("$float", "$int", "$time", "$bytes"):
            return inner
        if tag == "$map" and isinstance(inner, list):
            return [_untagged(item) for item in inner]
    if "$type" in value:
        return value.get("$repr")
    return {key.removeprefix("$") if key.startswith("$$") else key: _untagged(item) for key, item in value.items()}
