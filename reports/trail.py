"""A trail as neutral rows: what a person reads, whatever it is printed on. Made from checked entries only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.chain import Checked


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


def _what(kind: str, detail: Mapping[str, Any], payload: Mapping[str, Any]) -> str:  # noqa: C901, PLR0911 - by kind
    """Return what the entry says, in a line."""
    if kind == "state.updated":
        return "; ".join(_change(change) for change in payload.get("changes", []))
    if kind == "interrupt.raised":
        if detail.get("when") == "dynamic":
            return f"asks: {plain(payload.get('value'))}"
        return f"paused {detail.get('when')} {', '.join(detail.get('next', payload.get('next', [])))}"
    if kind == "writes.saved":
        path = str(detail.get("path", ""))
        node = "the edit" if path.startswith("~__interrupt__") else path.rpartition(", ")[2]
        return f"{node or 'a task'} wrote {_channels(detail)}"
    if kind == "checkpoint.saved":
        return f"step {detail.get('step')} ({detail.get('source')}), {len(payload.get('rows', []))} rows bound"
    if kind in ("run.refused", "run.failed"):
        return str(payload.get("message", ""))
    if kind == "run.started":
        return "new input"
    if kind == "run.resumed":
        answers = {name: value for name, value in payload.items() if name in ("resume", "update", "goto")}
        return f"resumed with {plain(answers)}" if answers else "resumed"
    if kind == "key.introduced":
        return f"key for {', '.join(detail.get('kinds', []))}"
    if kind == "trail.adopted":
        return f"taken in as found, {len(payload.get('rows', []))} rows bound"
    return ""


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
