"""What follows from where a case stands: reviews are opened, opened anew and closed. From the trail alone, and again
and again the same: whoever settles a case that is settled adds nothing.
"""

from __future__ import annotations

from typing import LiteralString

from countersign.audit.canonical import Json
from countersign.audit.casestate import Asked
from countersign.audit.entry import SYSTEM, CheckpointRef, EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.reviews import Phase, Review
from countersign.service.errors import ConflictError

from .following import Followed
from .held import Held, Room
from .indexing import index

_AT_WORK: LiteralString = """
SELECT c.id FROM countersign.cases c
WHERE c.status = 'running' ORDER BY c.changed_at LIMIT %s
"""
_ROUNDS = 100  # what follows from what: more than any case has pauses at once


async def settle(room: Room, case: str) -> bool:
    """Settle a case; return whether anything was new. Idempotent, also for several at once."""
    async with room.holding(case) as held:
        return await settle_held(held)


async def sweep(room: Room, most: int) -> int:
    """Settle the cases of whose runs nobody told; return how many had anything new. A damaged one is passed over."""
    async with room.reading() as conn:
        cursor = await conn.execute(_AT_WORK, (most,))
        cases = [row[0] for row in await cursor.fetchall()]
    done = 0
    for case in cases:
        try:
            done += await settle(room, case)
        except ConflictError:
            continue
    return done


async def settle_held(held: Held) -> bool:
    """Append what follows from where the case stands, and bring its rows up to date; return whether anything is new."""
    for _ in range(_ROUNDS):
        draft = next_entry(held)
        if draft is None:
            break
        await held.append(draft)
    changed = await index(held)
    if changed or held.appended:
        await held.tell()
    return changed or bool(held.appended)


def next_entry(held: Held) -> EntryDraft | None:
    """Return the next entry that is missing before the case is settled; None when it is."""
    followed = held.followed
    asked = followed.state.asks()
    for review in followed.reviews.values():
        if not review.is_open or followed.runs.pending or _stands(followed, review):
            continue
        story = followed.story
        elsewhere = story.elsewhere > story.asked_by[review.id]
        again = next((one for one in asked if _same(review, one)), None)
        if again is None or elsewhere or review.phase is not Phase.CHANGED:
            cause = story.elsewhere if elsewhere and not followed.runs.stopped else story.moved
            return _draft(held, Kind.REVIEW_CLOSED, {"review": review.id, "cause": cause})
        voided: Json = [*review.voided]
        detail: dict[str, Json] = {"review": review.id, "cause": review.changed_by, "voided": voided}
        if again.interrupt is not None:
            detail["interrupt"] = again.interrupt
        return _draft(held, Kind.REVIEW_REOPENED, detail, again.checkpoint)
    return _opened(held, asked[0]) if asked else None


def _stands(followed: Followed, review: Review) -> bool:
    """Tell whether the case still waits at what a review is about, as it was when the review was opened."""
    if followed.runs.stopped or followed.runs.completed or review.phase is Phase.CHANGED:
        return False
    if review.interrupt is not None:
        return review.interrupt in followed.runs.questions
    pause = followed.runs.pause
    return pause is not None and pause.checkpoint.id == review.checkpoint.id


def _same(review: Review, asked: Asked) -> bool:
    """Tell whether a review is about what is asked: the same gate, and both of a pause or both of a question."""
    return review.gate.name == asked.gate.name and (review.interrupt is None) == (asked.interrupt is None)


def _opened(held: Held, asked: Asked) -> EntryDraft:
    detail: dict[str, Json] = {
        "review": held.room.new_id("r"),
        "gate": asked.gate.name,
        "when": asked.when,
        "nodes": list(asked.nodes),
    }
    if asked.interrupt is not None:
        detail["interrupt"] = asked.interrupt
    return _draft(held, Kind.REVIEW_OPENED, detail, asked.checkpoint)


def _draft(held: Held, kind: Kind, detail: dict[str, Json], checkpoint: CheckpointRef | None = None) -> EntryDraft:
    return EntryDraft(held.case, kind, SYSTEM, held.followed.workflow, checkpoint=checkpoint, detail=detail)
