"""The rows of a case, brought up to what its trail says: written in the transaction of the entries, never before."""

from __future__ import annotations

from typing import Any, LiteralString

from countersign.audit.gates import Gate
from countersign.audit.reviews import Review

from .following import Followed
from .held import Held

_CASE: LiteralString = """
INSERT INTO countersign.cases AS c
    (id, workflow, version, case_number, status, started_by, started_at, changed_at, mandate, problem)
VALUES (%(id)s, %(workflow)s, %(version)s, %(case_number)s, %(status)s, %(started_by)s, %(started_at)s,
    %(changed_at)s, %(mandate)s, %(problem)s)
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, status = excluded.status, changed_at = excluded.changed_at,
    mandate = excluded.mandate, problem = excluded.problem
WHERE (c.version, c.status, c.mandate, c.problem) IS DISTINCT FROM
    (excluded.version, excluded.status, excluded.mandate, excluded.problem)
RETURNING 1
"""
_REVIEW: LiteralString = """
INSERT INTO countersign.reviews AS r
    (id, case_id, workflow, gate, status, round, role, other_role, barred, opened_at, changed_at, remind_at,
     escalate_at, expire_at, claimed_by, outcome)
VALUES (%(id)s, %(case_id)s, %(workflow)s, %(gate)s, %(status)s, %(round)s, %(role)s, %(other_role)s, %(barred)s,
    %(opened_at)s, %(changed_at)s, %(remind_at)s, %(escalate_at)s, %(expire_at)s, %(claimed_by)s, %(outcome)s)
ON CONFLICT (id) DO UPDATE SET
    status = excluded.status, round = excluded.round, role = excluded.role, other_role = excluded.other_role,
    barred = excluded.barred, changed_at = excluded.changed_at, remind_at = excluded.remind_at,
    escalate_at = excluded.escalate_at, expire_at = excluded.expire_at, claimed_by = excluded.claimed_by,
    outcome = excluded.outcome
WHERE (r.status, r.round, r.role, r.other_role, r.barred, r.remind_at, r.escalate_at, r.expire_at, r.claimed_by,
    r.outcome) IS DISTINCT FROM
    (excluded.status, excluded.round, excluded.role, excluded.other_role, excluded.barred, excluded.remind_at,
     excluded.escalate_at, excluded.expire_at, excluded.claimed_by, excluded.outcome)
RETURNING 1
"""


async def index(held: Held) -> bool:
    """Write the rows of the case and its reviews where they differ from its trail; return whether any did."""
    followed = held.followed
    cursor = await held.conn.execute(_CASE, case_values(followed))
    changed = await cursor.fetchone() is not None
    for review in _to_write(held):
        cursor = await held.conn.execute(_REVIEW, review_values(followed, review))
        changed |= await cursor.fetchone() is not None
    return changed


def _to_write(held: Held) -> list[Review]:
    """Return the reviews whose rows may be others now: those that are open, and those that an entry was about.

    Where nothing was appended all of them are looked at, so that whoever settles a case mends its rows.
    """
    reviews = list(held.followed.reviews.values())
    if not held.appended:
        return reviews
    return [review for review in reviews if review.is_open or held.followed.story.told_of[review.id] >= held.first]


def case_values(followed: Followed) -> dict[str, Any]:
    """Return the columns of a case's row."""
    story, replay = followed.story, followed
    status = str(replay.runs.status)
    return {
        "id": followed.case,
        "workflow": replay.workflow.name,
        "version": replay.workflow.version,
        "case_number": story.case_number,
        "status": status,
        "started_by": story.started_by,
        "started_at": story.started_at,
        "changed_at": story.changed_at,
        "mandate": max(replay.runs.mandates, default=0),
        "problem": story.failure if status == "failed" else None,
    }


def review_values(followed: Followed, review: Review) -> dict[str, Any]:
    """Return the columns of a review's row."""
    story, replay, gate = followed.story, followed, review.gate
    outcome = story.outcomes.get(review.id)
    status = "open" if review.is_open else "decided" if outcome is not None and outcome.decided else "closed"
    due = {what: review.due(what) for what in ("remind", "escalate", "expire")} if review.is_open else {}
    signed = {signature.signer for signature in review.signatures}
    return {
        "id": review.id,
        "case_id": followed.case,
        "workflow": replay.workflow.name,
        "gate": gate.name or "",
        "status": status,
        "round": review.round,
        "role": review.tally().role,
        "other_role": gate.escalate_to if review.escalated else None,
        "barred": sorted(signed | _separated(followed, gate)),
        "opened_at": review.opened_at,
        "changed_at": story.changed_at,
        "remind_at": None if review.reminded else due.get("remind"),
        "escalate_at": None if review.escalated else due.get("escalate"),
        "expire_at": due.get("expire"),
        "claimed_by": story.claims.get(review.id),
        "outcome": outcome.outcome if outcome is not None else None,
    }


def _separated(followed: Followed, gate: Gate) -> set[str]:
    replay = followed
    found: set[str] = set()
    if "starter" in gate.separation and replay.state.parties.starter is not None:
        found.add(replay.state.parties.starter)
    if "editor" in gate.separation:
        found |= replay.state.parties.editors
    return found
