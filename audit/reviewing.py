"""The entries about reviews, one by one, held against the case and its policy. Pure.

Each function takes over one entry and yields a sentence, going on from "Entry 7 of trail x", for each rule it breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .body import Body
from .canonical import Json, format_time, parse_hex32, same
from .casestate import Case, is_erased, members
from .chain import Checked
from .entry import CheckpointRef
from .errors import AuditError, MalformedError
from .gates import STOP
from .kinds import Kind
from .reviews import LATE, Attempt, Phase, Review, person
from .signing import reason_of, state_of, statement_problems, view_problems
from .standing import API_KEY, Standing
from .tally import Signature

Handler = Callable[[Case, Checked], Iterator[str]]
_CLOSE = frozenset(
    {
        Kind.CASE_STOPPED, Kind.CASE_REDIRECTED, Kind.CASE_MOVED, Kind.CASE_CORRECTED, Kind.STATE_UPDATED,
        Kind.RUN_RESUMED, Kind.RUN_COMPLETED, Kind.CHECKPOINT_SAVED, Kind.INTERRUPT_RAISED,
    }
)  # fmt: skip
"""What may make a review void."""


def opened(case: Case, checked: Checked) -> Iterator[str]:
    """Take over that people are asked: about what the case waits at, by the gate whose turn it is."""
    body, detail = checked.body, checked.body.detail
    name, place, interrupt = detail.get("gate"), body.checkpoint, detail.get("interrupt")
    when, nodes = str(detail.get("when")), _texts(detail.get("nodes"))
    review = str(detail.get("review"))
    if review in case.reviews:
        yield f"opens the review {review} again"
        return
    asked = [one for one in case.asks() if one.interrupt == interrupt and _at(one.checkpoint) == _at(place)]
    if not asked:
        yield "opens a review where the case waits for none"
    elif name != asked[0].gate.name:
        yield f"opens a review for {_gate(name)} where it is the turn of {_gate(asked[0].gate.name)}"
    elif nodes != asked[0].nodes:
        yield f"opens a review of other nodes ({', '.join(nodes)}) than those the case waits at"
    gate = case.gate(name if isinstance(name, str) else None, when)
    if gate is None or place is None:
        if case.policy is not None:
            yield f"opens a review for {_gate(name)}, which the policy does not have, or names no checkpoint"
        return
    asks = interrupt if isinstance(interrupt, str) else None
    case.reviews[review] = Review(review, gate, body.seq, body.occurred_at, nodes, place, asks)


def reopened(case: Case, checked: Checked) -> Iterator[str]:
    """Take over that people are asked anew, since what was under review was edited."""
    body, detail = checked.body, checked.body.detail
    review = case.reviews.get(str(detail.get("review")))
    if review is None or review.phase is not Phase.CHANGED or body.checkpoint is None:
        yield "reopens a review that no edit had changed"
        return
    place, was = body.checkpoint, review.interrupt
    asked = [
        one for one in case.asks() if (one.interrupt is None) == (was is None) and _at(one.checkpoint) == _at(place)
    ]
    if not any(one.gate.name == review.gate.name for one in asked):
        yield f"reopens the review of {_gate(review.gate.name)} where it is not its turn"
    if detail.get("cause") != review.changed_by:
        yield f"names another cause than the edit at entry {review.changed_by}"
    voided = set(_ints(detail.get("voided")))
    if not set(review.voided) <= voided <= {*review.voided, *review.edits}:
        yield f"does not name exactly the signatures that the edit voided ({_listed(review.voided)})"
    named = detail.get("interrupt")
    found = next((one for one in asked if named in (None, one.interrupt)), None)
    review.gate = found.gate if found else review.gate
    review.reopen(place, found.interrupt if found else was)


def closed(case: Case, checked: Checked) -> Iterator[str]:
    """Take over that nobody is asked any more."""
    review = case.reviews.get(str(checked.body.detail.get("review")))
    cause = checked.body.detail.get("cause")
    if review is None or not review.is_open:
        yield "closes a review that is not open"
        return
    if not isinstance(cause, int) or cause <= review.seq or case.kinds.get(cause) not in _CLOSE:
        yield f"closes a review without a cause: entry {cause} makes none void"
    review.phase = Phase.CLOSED


def viewed(case: Case, checked: Checked) -> Iterator[str]:
    """Take over what somebody was shown."""
    body = checked.body
    review = case.reviews.get(str(body.detail.get("review")))
    _, said = case.standing(body)
    yield from said
    if review is None or not review.is_open:
        yield "shows a review that is not open"
        return
    salt = None
    if is_erased(checked):
        case.unknown += 1
    else:
        wrong = [*view_problems(case, review, checked)]
        if not wrong:
            wrong += case.views.show(body.seq, review.checkpoint, state_of(members(checked)))
        yield from wrong
        if wrong:
            return
        salt = parse_hex32(members(checked).get("salt"))
    review.viewed[body.actor.id, str(body.detail.get("shown_digest"))] = salt


def signed(case: Case, checked: Checked) -> Iterator[str]:
    """Take over a signature, or an API key's word. One that breaks a rule counts for nothing."""
    body, detail, payload = checked.body, checked.body.detail, members(checked)
    review = case.reviews.get(str(detail.get("review")))
    standing, said = case.standing(body)
    if review is None:
        said.append("is about a review that was never opened")
    if standing is None or review is None:
        yield from said
        return
    said += _vouched(body, standing)
    erased = is_erased(checked)
    case.unknown += erased
    try:
        text, values = ("", {}) if erased else reason_of(payload)
    except MalformedError as error:
        yield from [*said, error.message]
        return
    attempt = Attempt(
        decision=str(detail.get("decision")),
        role=body.actor.role or "",
        standing=standing,
        at=body.occurred_at,
        shown_digest=str(detail.get("shown_digest")),
        values=values,
        reason=text,
        credential=str(detail.get("credential")) if body.kind == Kind.REVIEW_SIGNED else None,
    )
    said += _judged(case, review, attempt, body, erased=erased)
    if body.kind == Kind.REVIEW_SIGNED and not erased:
        said += statement_problems(case, review, body, payload)
        if standing.printed_name not in (None, payload.get("printed_name")):
            said.append("prints another name beside the signature than its user was created with")
    yield from said
    if erased:
        case.erased.add(body.seq)
    if not said:
        review.signatures.append(_signature(body, attempt))


def _judged(case: Case, review: Review, attempt: Attempt, body: Body, *, erased: bool) -> Iterator[str]:
    found = case.may_sign(review, attempt, erased=erased)
    if found is not None:
        yield f"is no signature that {_gate(review.gate.name)} allows ({found.cause}): {found.sentence}"
    stage = review.tally().stage
    if body.detail.get("stage") != stage:
        yield f"names stage {body.detail.get('stage')}, and stage {stage} is due"


def _vouched(body: Body, standing: Standing) -> list[str]:
    key = standing.kind == API_KEY
    if body.kind == Kind.REVIEW_SIGNED and (key or body.actor.via == "api-key"):
        return ["is a signature by an API key, which never signs"]
    if body.kind == Kind.REVIEW_ATTESTED and not key:
        return ["is an API key's word, and its actor is none"]
    return []


def _signature(body: Body, attempt: Attempt) -> Signature:
    return Signature(
        seq=body.seq,
        signer=person(attempt.standing),
        role=attempt.role,
        decision=attempt.decision,
        stage=int(str(body.detail.get("stage"))),
        values=dict(attempt.values),
        reason=attempt.reason,
        attested=attempt.attested,
    )


def withdrawn(case: Case, checked: Checked) -> Iterator[str]:
    """Take over that somebody took a signature of theirs back, before it had an effect."""
    body = checked.body
    review, number = case.reviews.get(str(body.detail.get("review"))), body.detail.get("signed")
    standing, said = case.standing(body)
    yield from said
    found = next((one for one in review.signatures if one.seq == number), None) if review else None
    if review is None or found is None or not review.is_open:
        yield f"takes back entry {number}, which is no signature that counts in an open review"
    elif standing is None or person(standing) != found.signer:
        yield f"takes back entry {number}, which somebody else signed"
    else:
        review.signatures.remove(found)


def decided(case: Case, checked: Checked) -> Iterator[str]:
    """Take over what signatures, or the end of the time, came to: exactly what the policy makes of them."""
    body, detail = checked.body, checked.body.detail
    review = case.reviews.get(str(detail.get("review")))
    if review is None or not review.is_open:
        yield "decides a review that is not open"
        return
    by_expiry = detail.get("by") == "expiry"
    yield from _expired_so(review, detail) if by_expiry else (*_sufficed(review, detail), *_at_once(review, body))
    if review.phase is Phase.CHANGED:
        yield "decides a review of what was edited since, and that was not opened again"
    yield from _goes_on(case, review, body)
    yield from _written(case, review, checked, expired=by_expiry)
    review.phase = Phase.DECIDED


def _sufficed(review: Review, named: Mapping[str, Json]) -> Iterator[str]:
    if review.expired_by:
        yield f"counts signatures although entry {review.expired_by} says that the time was over"
    tally, rests = review.tally(), sorted(_ints(named.get("signed")))
    decides = f"decides {named.get('outcome')!r} for {_gate(review.gate.name)}"
    if tally.outcome is None:
        yield (
            f"{decides} without sufficient sign-off: stage {tally.stage} is not complete, and the signatures that "
            f"count are {_listed(tally.counted)}"
        )
    elif rests != sorted(tally.counted):
        yield f"{decides}, and rests on entries {_listed(rests)} where {_listed(tally.counted)} are what counts"
    elif tally.outcome != named.get("outcome"):
        yield f"{decides}, and the signatures come to {tally.outcome!r}"
    elif review.gate.name is None and tally.outcome == STOP:
        yield "decides to stop, which only case.stopped does"


def _at_once(review: Review, body: Body) -> Iterator[str]:
    """Yield where signatures are counted later than with the last of them: both commit together, or neither."""
    counted = review.tally().counted
    if not counted:
        return
    if body.seq != counted[-1] + 1:
        yield f"counts signatures later than with the last of them, entry {counted[-1]}"
    due = review.due("expire")
    if due is not None and body.occurred_at > due + LATE:
        yield f"counts signatures behind the end of the time, {format_time(due)}"


def _expired_so(review: Review, named: Mapping[str, Json]) -> Iterator[str]:
    if not review.expired_by:
        yield "decides by the end of a time that no entry says is over"
    elif named.get("outcome") != review.gate.on_expiry or named.get("signed"):
        yield f"decides {named.get('outcome')!r} at the end of the time, and the policy says {review.gate.on_expiry!r}"


def _goes_on(case: Case, review: Review, body: Body) -> Iterator[str]:
    """Yield where the case is no longer at what was decided, or goes on with a gate there still to be decided."""
    runs, resume = case.runs, body.detail.get("resume")
    if review.interrupt is not None:
        if review.interrupt not in runs.questions or resume is not True:
            yield "decides a question that is not open, or does not let its answer go on"
        return
    if runs.pause is None or runs.pause.checkpoint.id != review.checkpoint.id or runs.pending:
        yield "decides a pause that the case is no longer at"
        return
    left = [gate.name for gate in runs.due() if gate.name != review.gate.name]
    if resume is not (not left):
        said = "lets the case go on" if resume else "does not let the case go on"
        yield f"{said}, and the gates still due there are: {', '.join(map(str, left)) or 'none'}"


def _written(case: Case, review: Review, checked: Checked, *, expired: bool) -> Iterator[str]:
    if is_erased(checked) or case.erased & set(_ints(checked.body.detail.get("signed"))):
        case.unknown += 1
        return
    try:
        wanted = review.written(None if expired else review.tally(), expired=expired)
    except AuditError as error:
        yield f"cannot write what was decided: {error.message.rstrip('.')}"
        return
    if not same(members(checked).get("write"), wanted):
        yield "writes something else than what was signed"


def timed(case: Case, checked: Checked) -> Iterator[str]:
    """Take over that a review waited longer than the policy allows: once each, and not before it is due."""
    body, detail = checked.body, checked.body.detail
    review = case.reviews.get(str(detail.get("review")))
    if review is None or not review.is_open:
        yield "tells that the time of a review is over that is not open"
        return
    what = {Kind.REVIEW_REMINDED: "remind", Kind.REVIEW_ESCALATED: "escalate"}.get(Kind(body.kind), "expire")
    due = review.due(what)
    done = {"remind": review.reminded, "escalate": review.escalated, "expire": bool(review.expired_by)}
    if due is None:
        yield f"is one for which {_gate(review.gate.name)} has no time"
        return
    if done[what]:
        yield "tells a second time what happens once"
    if detail.get("due") != format_time(due):
        yield f"names another moment than the policy, {format_time(due)}"
    if body.occurred_at < due:
        yield f"comes before it is due at {format_time(due)}"
        return
    if what == "escalate" and detail.get("to") != review.gate.escalate_to:
        yield f"escalates to {detail.get('to')!r}, and the policy to {review.gate.escalate_to!r}"
        return
    review.reminded = review.reminded or what == "remind"
    review.escalated = review.escalated or what == "escalate"
    if what == "expire":
        review.expired_by, review.phase = body.seq, Phase.EXPIRED


def remarked(case: Case, checked: Checked) -> Iterator[str]:
    """Take over a claim or a comment."""
    _, said = case.standing(checked.body)
    yield from said
    if str(checked.body.detail.get("review")) not in case.reviews:
        yield "is about a review that was never opened"


def _gate(name: Json) -> str:
    return f"the gate {name!r}" if name is not None else "the fallback role"


def _at(place: CheckpointRef | None) -> tuple[str, str] | None:
    return (place.id, place.ns) if place else None


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _ints(value: Json) -> list[int]:
    return [item for item in value if type(item) is int] if isinstance(value, list) else []


def _listed(seqs: Sequence[int]) -> str:
    return ", ".join(map(str, seqs)) or "none"


HANDLERS: dict[str, Handler] = {
    Kind.REVIEW_OPENED: opened,
    Kind.REVIEW_REOPENED: reopened,
    Kind.REVIEW_CLOSED: closed,
    Kind.REVIEW_VIEWED: viewed,
    Kind.REVIEW_SIGNED: signed,
    Kind.REVIEW_ATTESTED: signed,
    Kind.REVIEW_WITHDRAWN: withdrawn,
    Kind.REVIEW_DECIDED: decided,
    Kind.REVIEW_REMINDED: timed,
    Kind.REVIEW_ESCALATED: timed,
    Kind.REVIEW_EXPIRED: timed,
    Kind.REVIEW_CLAIMED: remarked,
    Kind.REVIEW_COMMENTED: remarked,
}
"""By kind. `review.refused` says nothing that a rule could hold against anybody."""
