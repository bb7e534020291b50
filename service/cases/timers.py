"""What time does when nobody decides: a review is reminded of, escalated, and expires; each once, by an entry.

The moment is the policy's, counted from the entry that opened the review, so any number of processes that look at once
or again come to the same; the trail's lock and what stands in the trail make it once.
"""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

from countersign.audit.canonical import Json, format_time
from countersign.audit.entry import SYSTEM, EntryDraft
from countersign.audit.gates import STOP
from countersign.audit.kinds import Kind
from countersign.audit.reviews import Phase, Review
from countersign.service.errors import ConflictError

from .concluding import decided
from .held import Held, Room
from .settling import settle_held

_DUE: LiteralString = """
SELECT DISTINCT case_id FROM (
    SELECT case_id FROM countersign.reviews
    WHERE status = 'open' AND least(remind_at, escalate_at, expire_at) <= %s
    ORDER BY least(remind_at, escalate_at, expire_at) LIMIT %s
) due
"""
_NEXT: LiteralString = """
SELECT min(least(remind_at, escalate_at, expire_at)) FROM countersign.reviews WHERE status = 'open'
"""
_AT_ONCE = 200


async def keep_time(room: Room) -> int:
    """Do what is due by now; return how many entries it took. Never twice, whoever else does the same."""
    now = room.clock()
    async with room.reading() as conn:
        cursor = await conn.execute(_DUE, (now, _AT_ONCE))
        cases = [row[0] for row in await cursor.fetchall()]
    done = 0
    for case in cases:
        try:
            async with room.holding(case) as held:
                done += await _keep(held, now)
        except ConflictError:
            continue  # a damaged case: whoever opens it is told
    return done


async def next_due(room: Room) -> datetime | None:
    """Return the moment at which something is due next; None while nothing is."""
    async with room.reading() as conn:
        row = await (await conn.execute(_NEXT)).fetchone()
    return row[0] if row else None


async def _keep(held: Held, now: datetime) -> int:
    replay = held.followed
    for review in [review for review in replay.reviews.values() if review.is_open]:
        await _due(held, review, now)
    if not held.appended:
        # Its row says otherwise than its trail: it was written by hand, or a decision is being carried out.
        return 0
    await settle_held(held)
    return len(held.appended)


async def _due(held: Held, review: Review, now: datetime) -> None:
    for what, kind, done in (
        ("remind", Kind.REVIEW_REMINDED, review.reminded),
        ("escalate", Kind.REVIEW_ESCALATED, review.escalated),
    ):
        due = review.due(what)
        if due is not None and due <= now and not done:
            detail: dict[str, Json] = {"review": review.id, "due": format_time(due)}
            if what == "escalate":
                detail["to"] = review.gate.escalate_to
            await held.append(_draft(held, kind, detail))
    expires = review.due("expire")
    if expires is not None and expires <= now and review.phase is Phase.OPEN and not held.followed.runs.pending:
        detail = {"review": review.id, "due": format_time(expires)}
        (expired,) = await held.append(_draft(held, Kind.REVIEW_EXPIRED, detail))
        if review.gate.on_expiry == STOP:
            await held.append(_draft(held, Kind.CASE_STOPPED, {"cause": expired.seq}, {"reason": "A review expired."}))
        else:
            await decided(held, review.id, by="expiry")


def _draft(held: Held, kind: Kind, detail: dict[str, Json], payload: dict[str, Json] | None = None) -> EntryDraft:
    return EntryDraft(held.case, kind, SYSTEM, held.followed.workflow, detail=detail, payload=payload)
