"""What signatures, or the end of the time, come to: the decision, and the job by which a worker carries it out."""

from __future__ import annotations

from countersign.audit.canonical import Json
from countersign.audit.entry import SYSTEM, Actor, EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.reviews import Review
from countersign.service.engine.jobs import defer_mandate

from .held import Held


async def decided(held: Held, review_id: str, *, by: str, actor: Actor = SYSTEM) -> int:
    """Append the decision of a review, with the job if a worker has to do something; return the entry's seq.

    `by` is `signatures`, which have to suffice, or `expiry`.
    """
    review = held.followed.reviews[review_id]
    found = review.tally()
    expired = by == "expiry"
    outcome = str(review.gate.on_expiry) if expired else found.outcome
    if outcome is None:
        raise AssertionError("a review is concluded whose signatures do not suffice")
    signed: list[Json] = [] if expired else [*found.counted]
    detail: dict[str, Json] = {
        "review": review_id,
        "outcome": outcome,
        "by": by,
        "signed": signed,
        "resume": _goes_on(held, review),
    }
    payload: dict[str, Json] = {"write": review.written(found, expired=expired)}
    workflow = held.followed.workflow
    draft = EntryDraft(held.case, Kind.REVIEW_DECIDED, actor, workflow, detail=detail, payload=payload)
    seq = (await held.append(draft))[0].seq
    await hand_over(held, seq)
    return seq


async def hand_over(held: Held, mandate: int) -> None:
    """Have a worker act on an entry, if that leaves it anything to do."""
    replay = held.followed
    if any(one.seq == mandate for one in replay.runs.pending):
        workflow = replay.workflow
        await defer_mandate(
            held.conn, case=held.case, mandate=mandate, workflow=workflow.name, version=workflow.version
        )


def _goes_on(held: Held, review: Review) -> bool:
    """Tell whether the case goes on with this decision: it does unless another gate stands at the same pause."""
    if review.interrupt is not None:
        return True
    return all(gate.name == review.gate.name for gate in held.followed.runs.due())
