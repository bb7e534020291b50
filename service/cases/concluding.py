"""What signatures, or the end of the time, come to: the decision, and the job by which a worker carries it out."""

from __future__ import annotations

from countersign.audit.canonical import Json
from countersign.audit.entry import SYSTEM, Actor, EntryDraft
from countersign.audit.gates import STOP, fill
from countersign.audit.governed import Review
from countersign.audit.kinds import Kind
from countersign.audit.tally import Tally, tally
from countersign.service.engine.jobs import defer_mandate

from .held import Held


def tally_of(review: Review) -> Tally:
    """Return what the signatures of a review that count come to."""
    return tally(review.gate, review.signatures, escalated=review.escalated)


async def decided(held: Held, review_id: str, *, by: str, actor: Actor = SYSTEM) -> int:
    """Append the decision of a review, with the job if a worker has to do something; return the entry's seq.

    `by` is `signatures`, which have to suffice, or `expiry`.
    """
    review = held.followed.replay.reviews[review_id]
    found = tally_of(review)
    if by == "expiry":
        outcome, signed, filled = str(review.gate.on_expiry), (), _filled_by_time(review)
    else:
        if found.outcome is None:
            raise AssertionError("a review is concluded whose signatures do not suffice")
        outcome, signed, filled = found.outcome, found.counted, found.write
    write: dict[str, Json] = {"resume": filled} if review.interrupt is not None else {"update": filled}
    resume = held.followed.replay.resumes(review_id, outcome)
    detail: dict[str, Json] = {
        "review": review_id,
        "outcome": outcome,
        "by": by,
        "signed": [*signed],
        "resume": resume,
    }
    workflow = held.followed.replay.workflow
    draft = EntryDraft(
        held.case, Kind.REVIEW_DECIDED, actor, workflow, detail=detail, payload={"write": write}
    )
    seq = (await held.append(draft))[0].seq
    await hand_over(held, seq)
    return seq


async def hand_over(held: Held, mandate: int) -> None:
    """Have a worker act on an entry, if that leaves it anything to do."""
    replay = held.followed.replay
    if any(one.seq == mandate for one in replay.runs.pending):
        workflow = replay.workflow
        await defer_mandate(
            held.conn, case=held.case, mandate=mandate, workflow=workflow.name, version=workflow.version
        )


def _filled_by_time(review: Review) -> Json:
    rule = review.gate.decision(str(review.gate.on_expiry))
    return fill(rule.write, decision=rule.name, reason="", values={})
