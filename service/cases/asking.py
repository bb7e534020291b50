"""What a review is about, put together: what is asked, from the trail; the state, from checked rows; the view of both.

State is read before the case is locked, since that takes a connection of its own. A checkpoint never changes, so under
the lock it is only asked whether the review still stands at the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, parse
from countersign.audit.entry import CheckpointRef
from countersign.audit.errors import AppendError, MalformedError, VerificationError
from countersign.audit.reviews import Review
from countersign.audit.shown import Shown, shown_state
from countersign.audit.statement import shown_digest
from countersign.audit.values import tag_fields
from countersign.service.errors import ConflictError, UnavailableError

from .following import Followed
from .held import Room
from .story import SignOff
from .view import Asked, review_view

_VIEWED = "SELECT data FROM audit.payloads WHERE trail = %s AND seq = %s"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The state at a checkpoint, as it is shown."""

    checkpoint: CheckpointRef
    shown: Shown


async def load_state(room: Room, case: str, checkpoint: CheckpointRef) -> Loaded:
    """Return the state at a checkpoint, every row of it checked against its entry. No graph code is loaded for it.

    Not to be called while a connection is held. Raises ConflictError where the rows are not what was recorded.
    """
    place = {"thread_id": case, "checkpoint_ns": checkpoint.ns, "checkpoint_id": checkpoint.id}
    try:
        found = await room.saver.aget_tuple({"configurable": place})
        if found is None:
            raise ConflictError(f"Case {case} has no checkpoint {checkpoint.id}.", facts={"cause": "damaged"})
        values: Mapping[str, Any] = found.checkpoint["channel_values"]
        fields = tag_fields(values, room.saver.serde)
    except VerificationError as error:
        raise ConflictError(
            f"The state of case {case} is not what was recorded: {error.message}",
            remedy=f"Run: countersign verify --trail {case}",
            facts={"cause": "damaged", "case": case},
        ) from error
    except AppendError as error:
        raise UnavailableError(f"The state of case {case} cannot be read: {error.message}") from error
    return Loaded(checkpoint, shown_state(fields))


def sign_off_before(followed: Followed, review: Review) -> SignOff | None:
    """Return the last sign-off of the case that was not given in this round of this review."""
    others = [
        one
        for one in followed.story.sign_offs.values()
        if (one.review, one.round) != (review.id, review.round) and not one.attested
    ]
    return others[-1] if others else None


async def state_before(conn: AsyncConnection[Any], followed: Followed, review: Review) -> Mapping[str, Json]:
    """Return the state that the last sign-off before this round was given on; nothing when there was none.

    It stands in the view that was signed, as the entry has it by which it was shown.
    """
    last = sign_off_before(followed, review)
    if last is None:
        return {}
    seq = followed.story.shown_by[last.shown_digest]
    cursor = await conn.execute(_VIEWED, (followed.case, seq))
    row = await cursor.fetchone()
    view = _opened(row[0], last.shown_digest) if row else None
    if view is None:
        raise ConflictError(
            f"The view that entry {last.seq} signed is gone or was changed: the payload of entry {seq}.",
            remedy=f"Run: countersign verify --trail {followed.case}",
            facts={"cause": "damaged", "case": followed.case},
        )
    return view["state"]  # type: ignore[no-any-return]


def _opened(data: bytes, digest: str) -> dict[str, Any] | None:
    try:
        payload: Any = parse(data)
        good = shown_digest(bytes.fromhex(payload["salt"]), payload["view"]).hex() == digest
    except (MalformedError, KeyError, TypeError, ValueError):
        return None
    return payload["view"] if good else None


async def view_now(
    conn: AsyncConnection[Any], room: Room, followed: Followed, review: Review, loaded: Loaded
) -> dict[str, Json]:
    """Return the view of a review as the trail has it now."""
    story = followed.story
    asked = Asked(
        origin=room.appender.origin,
        case=followed.case,
        case_number=story.case_number,
        workflow=followed.workflow,
        review=review.id,
        round=review.round,
        gate=review.gate,
        fallback=review.gate.name is None,
        question=story.questions.get(review.interrupt) if review.interrupt is not None else None,
        when=review.gate.when,
        nodes=tuple(review.nodes),
        checkpoint=review.checkpoint,
        opened_at=review.opened_at,
        escalated=review.escalated,
    )
    before = await state_before(conn, followed, review)
    decisions = [_as_it_counts(followed, one).as_json() for one in story.sign_offs.values()]
    return review_view(asked, loaded.shown, before, decisions)


def _as_it_counts(followed: Followed, one: SignOff) -> SignOff:
    """Return a sign-off that says whether it counts: an API key's word does where its gate accepts it."""
    accepted = not one.attested or followed.reviews[one.review].gate.accept == "attested"
    return one if accepted else replace(one, counts=False)
