"""What an entry says that somebody saw and signed, held against the case: view, statement, reason. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .body import Body
from .canonical import Json, parse_hex32, same
from .casestate import Case, members
from .chain import Checked
from .errors import MalformedError
from .gates import EDIT
from .reviews import Review
from .statement import VIEW, Statement, in_time, parse_statement, reason_digest, shown_digest


def reason_of(payload: Mapping[str, Json]) -> tuple[str, dict[str, Json]]:
    """Return the reason of a signature, text and values. Raises MalformedError when it has none."""
    reason = payload.get("reason")
    if isinstance(reason, dict) and reason.keys() == {"text", "values"}:
        text, values = reason["text"], reason["values"]
        if isinstance(text, str) and isinstance(values, dict):
            return text, values
    raise MalformedError("It gives no reason of text and values.")


def view_problems(case: Case, review: Review, checked: Checked) -> Iterator[str]:
    """Yield what is wrong with a view that somebody was shown, as a view of this review in its round."""
    payload, digest = members(checked), checked.body.detail.get("shown_digest")
    view = payload.get("view")
    try:
        salt = parse_hex32(payload.get("salt"))
    except MalformedError:
        yield "has no salt for what was shown"
        return
    if not isinstance(view, dict) or shown_digest(salt, view).hex() != digest:
        yield "names another digest than that of the view it holds"
        return
    place = review.checkpoint
    wanted: dict[str, Json] = {
        "spec": VIEW,
        "origin": case.origin,
        "case": case.trail,
        "review": review.id,
        "gate": review.gate.name,
        "checkpoint": {"id": place.id, "ns": place.ns},
        "workflow": case.workflow.as_json() if case.workflow else None,
    }
    for name, value in wanted.items():
        if name not in view or not same(view[name], value):
            yield f"shows a view with another {name} than that of the review"
    if not isinstance(view.get("state"), dict):
        yield "shows a view without a state"


def state_of(payload: Mapping[str, Json]) -> dict[str, Json]:
    """Return the state that a view in a payload shows; empty where it shows none."""
    view = payload.get("view")
    state = view.get("state") if isinstance(view, dict) else None
    return state if isinstance(state, dict) else {}


def meaning_of(review: Review, decision: str) -> str | None:
    """Return what it means to sign a decision, by the policy."""
    if decision == EDIT:
        return review.gate.edit.meaning if review.gate.edit else None
    return next((rule.meaning for rule in review.gate.decisions if rule.name == decision), None)


def statement_problems(case: Case, review: Review, body: Body, payload: Mapping[str, Json]) -> Iterator[str]:
    """Yield what is wrong with the statement of a signature: any member that is not what the entry and policy say."""
    detail = body.detail
    decision = str(detail.get("decision"))
    salt = review.viewed.get((body.actor.id, str(detail.get("shown_digest"))))
    yield from _problems(
        case,
        body,
        payload,
        review=review.id,
        shown_digest=detail.get("shown_digest"),
        decision=decision,
        meaning=meaning_of(review, decision),
    )
    if salt is not None and _salt(payload, "shown") != salt:
        yield "has another salt for what was shown than the entry of the view"


def annotation_problems(case: Case, body: Body, payload: Mapping[str, Json], review: str) -> Iterator[str]:
    """Yield what is wrong with the statement of a signed annotation."""
    yield from _problems(case, body, payload, review=review, decision="annotate")


def _problems(case: Case, body: Body, payload: Mapping[str, Json], **wanted: Json) -> Iterator[str]:
    try:
        statement = parse_statement(payload.get("statement"))
        text, values = reason_of(payload)
        salt = _salt(payload, "reason")
    except MalformedError as error:
        yield f"holds no statement that can be read: {error.message.rstrip('.')}"
        return
    document = statement.as_json()
    wanted = {
        "origin": case.origin,
        "trail": case.trail,
        "signer": body.actor.id,
        "role": body.actor.role,
        "reason_digest": reason_digest(salt, text, values).hex(),
        **wanted,
    }
    for name, value in wanted.items():
        if not same(document[name], value):
            yield f"is signed with a statement of another {name}"
    yield from _used(case, statement, body)


def _used(case: Case, statement: Statement, body: Body) -> Iterator[str]:
    if statement.nonce in case.nonces:
        yield "is signed with a statement that was used before"
    case.nonces.add(statement.nonce)
    if not in_time(statement, body.occurred_at):
        yield "is signed with a statement that was not issued within the five minutes before"


def _salt(payload: Mapping[str, Json], name: str) -> bytes:
    salts = payload.get("salts")
    return parse_hex32(salts.get(name) if isinstance(salts, dict) else None)
