"""The rows by which cases, reviews and entries are found: an index of what trails say, never evidence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from countersign.audit.canonical import Json, format_time

CASE_STATUSES = ("running", "waiting", "failed", "completed", "stopped", "damaged")
"""running: a worker is at it, or is to be; waiting: for people; failed: its run failed, and may be tried again;
damaged: its trail does not verify."""
REVIEW_STATUSES = ("open", "decided", "closed")


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One case as lists show it."""

    id: str
    workflow: str
    version: str
    case_number: str | None
    status: str
    started_by: str
    started_at: datetime
    changed_at: datetime
    mandate: int
    problem: str | None

    def as_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        return {
            "id": self.id,
            "workflow": self.workflow,
            "version": self.version,
            "case_number": self.case_number,
            "status": self.status,
            "started_by": self.started_by,
            "started_at": format_time(self.started_at),
            "changed_at": format_time(self.changed_at),
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One review as lists show it. `role`: whose turn it is; `other_role`: who may decide in their place."""

    id: str
    case: str
    workflow: str
    gate: str | None
    status: str
    round: int
    role: str
    other_role: str | None
    opened_at: datetime
    changed_at: datetime
    expire_at: datetime | None
    claimed_by: str | None
    outcome: str | None
    version: str
    """The version that its case is of."""
    case_number: str | None
    title: str | None = None
    """The workflow's, by the policy of that version; None, as the question is, where that was erased or has no such
    gate any more.
    """
    question: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        return {
            "id": self.id,
            "case": self.case,
            "case_number": self.case_number,
            "workflow": self.workflow,
            "title": self.title,
            "question": self.question,
            "gate": self.gate,
            "status": self.status,
            "round": self.round,
            "role": self.role,
            "other_role": self.other_role,
            "opened_at": format_time(self.opened_at),
            "changed_at": format_time(self.changed_at),
            "expires_at": format_time(self.expire_at) if self.expire_at else None,
            "claimed_by": self.claimed_by,
            "outcome": self.outcome,
        }


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry as lists show it: what its signed body says, without the payload."""

    trail: str
    seq: int
    kind: str
    occurred_at: datetime
    actor: dict[str, Json]
    workflow: str | None
    detail: dict[str, Json]
    leaf_hash: str

    def as_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        return {
            "trail": self.trail,
            "seq": self.seq,
            "kind": self.kind,
            "occurred_at": format_time(self.occurred_at),
            "actor": dict(self.actor),
            "workflow": self.workflow,
            "detail": dict(self.detail),
            "leaf_hash": self.leaf_hash,
        }
