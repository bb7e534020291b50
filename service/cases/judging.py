"""Whether somebody may decide what they want to, on what they saw, now: asked when a statement is made, and again under
the lock before it counts. The rules themselves are those that a verifier replays (`audit.governed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, canonical, parse_hex32
from countersign.audit.errors import MalformedError
from countersign.audit.gates import EDIT
from countersign.audit.reviews import Attempt, Phase, Refusal, Review
from countersign.audit.standing import Directory, Standing
from countersign.audit.tally import roles_at
from countersign.service.errors import AbsentError, ConflictError, ForbiddenError, InvalidError, RequestError
from countersign.service.identity.caller import Caller

from .asking import Loaded, view_now
from .following import Followed
from .held import Room
from .rights import standing_of
from .texts import check_known, check_object, check_text, check_values, near
from .view import differences
from .views import Served, last_served, served_as


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to decide. `values` as they came; `tagged` as entries hold them."""

    review: str
    decision: str
    reason: str
    values: Mapping[str, Any]
    tagged: dict[str, Json]
    shown_digest: bytes


@dataclass(frozen=True, slots=True)
class Judged:
    """Somebody may decide it: in which role, at which stage (from 1), with which meaning, on which view."""

    review: Review
    standing: Standing
    role: str
    stage: int
    meaning: str
    served: Served


def read_wanted(review: str, asked: Mapping[str, Any]) -> Wanted:
    """Return what a request asks for: `decision`, `reason`, `values` (or `edits`) and `shown_digest`.

    Raises InvalidError, with the cause that the attempt failed for.
    """
    decision = asked.get("decision")
    if not isinstance(decision, str) or not decision:
        raise InvalidError("The member decision is not a text.", facts={"place": "decision", "cause": "decision"})
    with _cause("digest"):
        digest = _digest(asked.get("shown_digest"))
    with _cause("reason"):
        text = check_text(asked.get("reason"), "reason", needed=False)
    given = asked.get("edits") if asked.get("values") is None else asked["values"]
    with _cause("values"):
        tagged = check_object({} if given is None else given, "values")
    return Wanted(review, decision, text, given or {}, tagged, digest)


def _digest(text: object) -> bytes:
    try:
        return parse_hex32(text)
    except MalformedError as error:
        raise InvalidError(
            "The member shown_digest is not the digest of a view.",
            remedy="Read the review and send the shown_digest that comes with it.",
            facts={"place": "shown_digest"},
        ) from error


@contextmanager
def _cause(cause: str) -> Iterator[None]:
    """Say of an InvalidError inside the block which rule of an attempt it was."""
    try:
        yield
    except InvalidError as error:
        error.facts["cause"] = cause
        raise


async def judge(
    conn: AsyncConnection[Any],
    room: Room,
    followed: Followed,
    directory: Directory,
    caller: Caller,
    wanted: Wanted,
    loaded: Loaded,
    now: datetime,
) -> Judged:
    """Return in which role `caller` may decide what they want. Raises what keeps them from it, with its cause.

    First whether they may decide here at all, so that a stale page hides from nobody that it is not theirs; then
    whether there is such a decision, on what is shown now, with such values and a reason.
    """
    review = review_of(followed, wanted.review)
    standing = standing_of(directory, caller)
    check_open(followed, review, now)
    role = _role(followed, review, standing, now)
    attempt = Attempt(
        decision=wanted.decision,
        role=role,
        standing=standing,
        at=now,
        shown_digest=wanted.shown_digest.hex(),
        values=wanted.tagged,
        reason=wanted.reason,
        credential=caller.credential,
    )
    # Who may decide does not hang on what, nor on an edit under way: any decision of the gate will do to ask that.
    still = replace(review, phase=Phase.OPEN) if review.phase is Phase.CHANGED else review
    barred = followed.state.may_sign(still, replace(attempt, decision=review.gate.decisions[0].name))
    if barred is not None and barred.cause in _WHOSE:
        raise _refused(barred)
    _check_known(review, wanted.decision, attested=attempt.attested)
    served = await _current(conn, room, followed, review, loaded, wanted.shown_digest)
    check_open(followed, review, now)  # without the lock others went on meanwhile, and this names who decided
    meaning = _meaning(review, wanted)
    if wanted.decision == EDIT:
        with _cause("values"):
            check_known(wanted.values, room.trails.fields(followed.workflow), "edits")
    if (found := followed.state.may_sign(review, attempt)) is not None:
        raise _refused(found)
    return Judged(review, standing, role, review.tally().stage, meaning, served)


_WHOSE = frozenset({"closed", "expired", "inactive", "role", "stage", "starter", "editor", "signed-already"})
"""The causes that have nothing to do with what somebody wants to decide."""
_ERRORS: Mapping[str, type[RequestError]] = {
    "closed": ConflictError,
    "expired": ConflictError,
    "digest": ConflictError,
    "not-viewed": ConflictError,
    "signed-already": ConflictError,
    "decision": InvalidError,
    "values": InvalidError,
    "reason": InvalidError,
}
"""What each cause is to the caller; any other is ForbiddenError."""


def _refused(found: Refusal) -> RequestError:
    kind = _ERRORS.get(found.cause, ForbiddenError)
    place: dict[str, Json] = {"place": found.cause} if kind is InvalidError else {}
    return kind(f"This is not allowed: {found.sentence}.", facts={"cause": found.cause, **place})


def _check_known(review: Review, decision: str, *, attested: bool) -> None:
    """Raise InvalidError where the gate has no such decision: it says which there are."""
    known = [rule.name for rule in review.gate.decisions]
    if review.gate.edit is not None and not attested:
        known.append(EDIT)
    if decision not in known:
        raise InvalidError(
            f"This is not allowed: the gate has no decision {decision!r}.",
            remedy=f"It has {', '.join(known)}.{near(decision, known)}",
            facts={"cause": "decision", "place": "decision", "known": [*known]},
        )


def _role(followed: Followed, review: Review, standing: Standing, now: datetime) -> str:
    """Return the role in which somebody signs: one that is asked for now, if they have it, else any of theirs."""
    held = standing.roles(followed.workflow.name, now)
    stage = review.gate.stages[review.tally().stage - 1]
    asked = roles_at(review.gate, stage, escalated=review.escalated)
    others = [one.role for one in review.gate.stages]
    return next((role for role in (*asked, *others) if role in held), min(held, default=stage.role))


def review_of(followed: Followed, review: str) -> Review:
    """Return a review of a case. Raises AbsentError."""
    found = followed.reviews.get(review)
    if found is None:
        raise AbsentError(f"There is no review {review}.")
    return found


def check_open(followed: Followed, review: Review, now: datetime) -> None:
    """Raise ConflictError unless people are still asked: it names who decided, and what."""
    due = review.due("expire")
    if review.is_open and due is not None and due <= now:
        raise ConflictError("The time of this review is over.", remedy="Look at the case.", facts={"cause": "expired"})
    if review.is_open:
        return
    outcome = followed.story.outcomes.get(review.id)
    if outcome is None or not outcome.decided:
        raise ConflictError(
            "This review was closed: what it was about has changed, or the case was stopped.",
            remedy="Look at the case.",
            facts={"cause": "closed"},
        )
    if outcome.by == "expiry":
        raise ConflictError(
            f"This review expired, and so is {outcome.outcome}.",
            facts={"cause": "expired", "winner": {"actor": "system", "decision": outcome.outcome}},
        )
    last = followed.story.sign_offs[max(outcome.signed)]
    raise ConflictError(
        f"This review is decided: {outcome.outcome}, by {last.printed_name or last.signer}.",
        remedy="Look at the case; an annotation can say what you think of it.",
        facts={
            "cause": "closed",
            "winner": {"actor": last.signer, "decision": outcome.outcome, "seq": outcome.seq},
        },
    )


async def _current(
    conn: AsyncConnection[Any], room: Room, followed: Followed, review: Review, loaded: Loaded, digest: bytes
) -> Served:
    """Return the view as it was served last, if it is what would be served now and what the caller names."""
    if loaded.checkpoint != review.checkpoint:
        raise ConflictError(
            "The case moved on while this was looked at.", remedy="Read the review again.", facts={"cause": "digest"}
        )
    view = await view_now(conn, room, followed, review, loaded)
    served = await last_served(conn, review.id)
    if served is not None and served.digest == digest and served.data == canonical(view):
        return served
    shown = await served_as(conn, review.id, digest)
    if shown is None:
        raise ConflictError(
            "This digest is of no view of this review.",
            remedy="Read the review and sign what you are shown.",
            facts={"cause": "digest", "changed": None},
        )
    raise ConflictError(
        "The case has moved on since you were shown this review.",
        remedy="Read the review again: `changed` says what is different.",
        facts={"cause": "digest", "changed": differences(shown.view, view)},
    )


def _meaning(review: Review, wanted: Wanted) -> str:
    """Return what the decision means. Raises InvalidError where the values are not what the policy's schema asks for.

    Whether there is such a decision at all, and what else it needs, `refusal` says.
    """
    gate = review.gate
    rule = next((rule for rule in gate.decisions if rule.name == wanted.decision), None)
    schema = gate.edit.values if wanted.decision == EDIT and gate.edit is not None else rule.values if rule else None
    if schema is not None:
        with _cause("values"):
            check_values(dict(schema), dict(wanted.values), "values")
    if wanted.decision == EDIT and gate.edit is not None:
        if not wanted.reason:
            raise InvalidError("An edit needs a reason.", facts={"place": "reason", "cause": "reason"})
        return gate.edit.meaning
    return rule.meaning if rule else ""
