"""Who signed what in a case, whether it counts, and what it came to: for the report on a bundle. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .body import Body
from .canonical import Json, format_time
from .casestate import Case, members
from .chain import Checked
from .errors import VerificationError
from .governed import CaseReplay
from .kinds import Kind
from .reviews import Phase, Review
from .signing import meaning_of

_GIVEN = (Kind.REVIEW_SIGNED, Kind.REVIEW_ATTESTED)
_LOST = {
    Kind.REVIEW_WITHDRAWN: "it was taken back",
    Kind.STATE_UPDATED: "what was under review was edited",
    Kind.CASE_MOVED: "the case was moved to another version",
}


_SETTLED = {
    Phase.DECIDED: "the review was decided without it",
    Phase.CLOSED: "the review was closed",
    Phase.EXPIRED: "the time of the review is over",
}


@dataclass(slots=True)
class Given:
    """A signature, an API key's word, or a signed annotation, as it is told to people."""

    body: Body
    review: Review | None
    payload: Mapping[str, Json]
    printed_name: str | None
    meaning: str | None
    counted_by: int = 0
    """The decision, or the correction, that rests on it."""
    why: str = ""
    """Why it does not count."""

    def as_json(self, settled: str) -> dict[str, Json]:
        """Return the member of `signatures`; `settled` is why it does not count where nothing was decided on it."""
        detail, reason = self.body.detail, self.payload.get("reason")
        given = reason if isinstance(reason, dict) else {}
        why = self.why or ("" if self.counted_by else settled)
        return {
            "seq": self.body.seq,
            "at": format_time(self.body.occurred_at),
            "signer": self.body.actor.id,
            "printed_name": self.printed_name,
            "role": self.body.actor.role,
            "attested": self.body.kind == Kind.REVIEW_ATTESTED,
            "review": self.review.id if self.review is not None else None,
            "gate": self.review.gate.name if self.review is not None else None,
            "stage": detail.get("stage"),
            "decision": detail.get("decision", "annotate"),
            "meaning": self.meaning,
            "reason": given.get("text"),
            "values": given.get("values"),
            "counts": not why,
            "why_not": why or None,
            "counted_by": self.counted_by or None,
        }


@dataclass(slots=True)
class SignOffs:
    """Takes the entries of one case along with its replay, and what was wrong with each."""

    given: list[Given] = field(default_factory=list)
    _outcomes: dict[str, tuple[Body, bool]] = field(default_factory=dict)
    """By review: the entry that decided it, and whether it breaks no rule."""

    def feed(self, checked: Checked, replay: CaseReplay, errors: Sequence[VerificationError]) -> None:
        """Take over an entry that the replay has just taken over."""
        body, case = checked.body, replay.case
        self._lose(body)
        if body.kind in _GIVEN or (body.kind == Kind.CASE_ANNOTATED and body.detail.get("signed") is True):
            self._give(checked, case, errors)
        elif body.kind == Kind.REVIEW_DECIDED:
            self._outcomes.setdefault(str(body.detail.get("review")), (body, not errors))
            named = body.detail.get("signed")
            self._count(body.seq, named if isinstance(named, list) and not errors else [])
        elif body.kind == Kind.CASE_STOPPED and not errors:
            self._count(body.seq, [body.detail.get("cause")])

    def _count(self, by: int, seqs: Sequence[Json]) -> None:
        for one in self.given:
            if one.body.seq in seqs:
                one.counted_by = by

    def _give(self, checked: Checked, case: Case, errors: Sequence[VerificationError]) -> None:
        body, payload = checked.body, members(checked)
        review = case.reviews.get(str(body.detail.get("review")))
        statement, name = payload.get("statement"), payload.get("printed_name")
        meaning = statement.get("meaning") if isinstance(statement, dict) else None
        if meaning is None and review is not None:
            meaning = meaning_of(review, str(body.detail.get("decision")))
        standing = case.directory.latest(body.actor.id)
        known = standing.printed_name if standing is not None else None
        made = Given(
            body,
            review,
            payload,
            name if isinstance(name, str) else known,
            meaning if isinstance(meaning, str) else None,
        )
        if errors:
            made.why = errors[0].message
        elif body.kind == Kind.REVIEW_ATTESTED and review is not None and review.gate.accept != "attested":
            made.why = "the gate does not count an API key's word"
        elif body.kind == Kind.CASE_ANNOTATED:
            made.why = "an annotation decides nothing"
        self.given.append(made)

    def _lose(self, body: Body) -> None:
        """Take over that what was signed stands no longer since this entry."""
        for one in self.given:
            if one.why or one.counted_by or one.review is None:
                continue
            if any(signature.seq == one.body.seq for signature in one.review.signatures):
                continue
            if body.kind == Kind.CASE_CORRECTED and one.body.seq in one.review.edits:
                one.counted_by = body.seq
            else:
                one.why = f"{_LOST.get(Kind(body.kind), 'it was put aside')} (entry {body.seq})"

    def as_json(self, replay: CaseReplay) -> dict[str, Json]:
        """Return the member of the report's `cases`."""
        case = replay.case
        return {
            "trail": case.trail,
            "workflow": case.workflow.as_json() if case.workflow is not None else None,
            "status": replay.runs.status.value,
            "reviews": [self._review(review) for review in case.reviews.values()],
            "signatures": [one.as_json(self._settled(one.review)) for one in self.given],
        }

    def _review(self, review: Review) -> dict[str, Json]:
        body, allowed = self._outcomes.get(review.id, (None, None))
        detail: Mapping[str, Any] = body.detail if body is not None else {}
        return {
            "review": review.id,
            "gate": review.gate.name,
            "opened": review.seq,
            "status": review.phase.value,
            "decided": body.seq if body is not None else None,
            "outcome": detail.get("outcome"),
            "by": detail.get("by"),
            "allowed": allowed,
        }

    def _settled(self, review: Review | None) -> str:
        """Return why a sound signature counts for nothing where the review is over without it; empty while it may."""
        if review is None or review.phase is Phase.OPEN:
            return ""
        body, allowed = self._outcomes.get(review.id, (None, True))
        if body is not None and not allowed:
            return f"what was decided on it, entry {body.seq}, is not what the policy allows"
        return _SETTLED.get(review.phase, "what was under review was edited")
