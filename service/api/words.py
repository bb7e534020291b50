"""How the API names what the rows name otherwise, and entries as it tells them."""

from __future__ import annotations

from dataclasses import asdict

from countersign.audit.chain import Checked

from ..cases.rows import CASE_STATUSES
from .forms import EntryWhole

_WAITING, _AWAITING = "waiting", "awaiting_review"


def told_status(status: str) -> str:
    """Return a case's status as it is told: that it waits is told with for what."""
    return _AWAITING if status == _WAITING else status


def case_status(told: str | None) -> str | None:
    """Return a status as rows have it."""
    return next((status for status in CASE_STATUSES if told_status(status) == told), None)


def whole_entry(checked: Checked) -> EntryWhole:
    """Return an entry as it is told, content included."""
    body = checked.body
    return EntryWhole(
        trail=body.trail,
        seq=body.seq,
        kind=body.kind,
        occurred_at=body.occurred_at,
        actor=body.actor.as_json(),
        workflow=body.workflow.name if body.workflow else None,
        detail=dict(body.detail),
        leaf_hash=checked.link.leaf_hash.hex(),
        prev=body.prev.hex(),
        run=body.run,
        checkpoint=asdict(body.checkpoint) if body.checkpoint else None,
        payload=checked.payload,
    )
