"""What a case's trail tells besides who may do what: sign-offs in full, questions, where its state stood. Pure.

Fed with the same checked entries as `audit.governed`, which alone says what counts; this keeps what people are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from countersign.audit.body import Body
from countersign.audit.canonical import Json, format_time
from countersign.audit.chain import Checked
from countersign.audit.kinds import Kind

_SAVES = (Kind.CHECKPOINT_SAVED, Kind.STATE_UPDATED)
_ELSEWHERE = (Kind.CASE_REDIRECTED, Kind.CASE_MOVED)
_MOVES = (Kind.STATE_UPDATED, Kind.CASE_STOPPED, *_ELSEWHERE)
_ADVERTISED = re.compile(r"\n*For troubleshooting, visit: ?\S*\s*$")
_ACTS = (Kind.REVIEW_SIGNED, Kind.REVIEW_ATTESTED)


@dataclass(frozen=True, slots=True)
class SignOff:
    """One person's decision, or what an API key vouched for, as it is shown to those who come later."""

    seq: int
    review: str
    round: int
    gate: str | None
    decision: str
    stage: int
    meaning: str
    role: str
    signer: str
    printed_name: str
    at: datetime
    reason: str
    values: Json
    shown_digest: str
    attested: bool
    counts: bool = True
    """False since it was withdrawn or voided."""

    def as_json(self) -> dict[str, Json]:
        """Return the member of a view's `decisions`."""
        return {
            "seq": self.seq,
            "review": self.review,
            "gate": self.gate,
            "decision": self.decision,
            "meaning": self.meaning,
            "role": self.role,
            "printed_name": self.printed_name,
            "at": format_time(self.at),
            "reason": self.reason,
            "values": self.values,
            "counts": self.counts,
        }


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment on a review."""

    seq: int
    by: str
    at: datetime
    text: str


def signed_in(checked: Checked) -> dict[str, Json] | None:
    """Return what somebody decided with an entry, as what, why and with which values; a signed remark likewise.

    None where an entry is none of these, or what it says was erased.
    """
    body, payload = checked.body, checked.payload
    if body.kind not in (*_ACTS, Kind.CASE_ANNOTATED) or not isinstance(payload, dict) or "reason" not in payload:
        return None
    statement: Any = payload.get("statement") or {}
    reason: Any = payload["reason"]
    return {
        "decision": statement.get("decision", body.detail.get("decision")),
        "meaning": statement.get("meaning"),
        "printed_name": payload.get("printed_name"),
        "reason": reason["text"],
        "values": reason["values"],
    }


def without_advert(message: str) -> str:
    """Return what a run failed with, without the page that LangGraph points to behind its own messages."""
    return _ADVERTISED.sub("", message)


@dataclass(slots=True)
class Story:
    """What one case's entries told so far."""

    sign_offs: dict[int, SignOff] = field(default_factory=dict)
    questions: dict[str, Json] = field(default_factory=dict)
    """What is asked, by the question's id."""
    rounds: dict[str, int] = field(default_factory=dict)
    gates: dict[str, str | None] = field(default_factory=dict)
    places: list[tuple[int, str]] = field(default_factory=list)
    """The root graph's checkpoints, in order, each behind the entry that bound it."""
    remarks: dict[str, list[Remark]] = field(default_factory=dict)
    claims: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    shown_by: dict[str, int] = field(default_factory=dict)
    """The entry that holds a view, by its digest."""
    moved: int = 1
    """The last entry that can have made a review void."""
    elsewhere: int = 0
    """The last entry that had the case go on at another node, or under another policy: what was asked before it is not
    asked any more."""
    told_of: dict[str, int] = field(default_factory=dict)
    """The last entry about a review."""
    asked_by: dict[str, int] = field(default_factory=dict)
    """The entry that opened or reopened a review last."""
    case_number: str | None = None
    failure: str | None = None
    started_by: str = ""
    started_at: datetime | None = None
    changed_at: datetime | None = None

    def fork(self) -> Story:
        """Return a copy that can be fed for itself: what it holds is never changed in place but for its collections."""
        return replace(
            self,
            sign_offs=dict(self.sign_offs),
            questions=dict(self.questions),
            rounds=dict(self.rounds),
            gates=dict(self.gates),
            places=list(self.places),
            remarks={review: list(remarks) for review, remarks in self.remarks.items()},
            claims=dict(self.claims),
            outcomes=dict(self.outcomes),
            asked_by=dict(self.asked_by),
            told_of=dict(self.told_of),
            shown_by=dict(self.shown_by),
        )

    def feed(self, checked: Checked) -> None:
        """Take over what a checked entry tells."""
        body = checked.body
        payload: Mapping[str, Any] = checked.payload if isinstance(checked.payload, dict) else {}
        self.changed_at = body.occurred_at
        if body.kind in _MOVES:
            self.moved = body.seq
            if body.kind in _ELSEWHERE:
                self.elsewhere = body.seq
        if body.kind in _SAVES and body.checkpoint is not None and not body.checkpoint.ns:
            self.places.append((body.seq, body.checkpoint.id))
        elif body.kind == Kind.INTERRUPT_RAISED:
            if body.detail["when"] == "dynamic":
                self.questions[str(body.detail["interrupt"])] = payload.get("value")
        elif body.kind == Kind.RUN_FAILED:
            self.failure = f"{body.detail['error']}: {without_advert(str(payload.get('message', '')))}"
        elif body.kind in (Kind.RUN_RESUMED, Kind.RUN_STARTED):
            self.failure = None
        elif body.kind == Kind.CASE_OPENED:
            self.started_by, self.started_at = body.actor.id, body.occurred_at
            self.case_number = payload.get("case_number")
        elif body.kind.startswith("review."):
            self._feed_review(body, payload)

    def _feed_review(self, body: Body, payload: Mapping[str, Any]) -> None:
        """Take over what an entry tells of a review."""
        review = str(body.detail["review"])
        self.told_of[review] = body.seq
        if body.kind in (Kind.REVIEW_OPENED, Kind.REVIEW_REOPENED):
            self._ask(body, review)
        elif body.kind == Kind.REVIEW_WITHDRAWN:
            self._uncount(body.detail["signed"])
        elif body.kind == Kind.REVIEW_VIEWED:
            self.shown_by.setdefault(str(body.detail["shown_digest"]), body.seq)
        elif body.kind in _ACTS:
            self.sign_offs[body.seq] = self._sign_off(body, payload)
        elif body.kind == Kind.REVIEW_CLAIMED:
            self.claims[review] = body.actor.id
        elif body.kind == Kind.REVIEW_COMMENTED:
            remark = Remark(body.seq, body.actor.id, body.occurred_at, str(payload.get("text", "")))
            self.remarks.setdefault(review, []).append(remark)
        elif body.kind in (Kind.REVIEW_DECIDED, Kind.REVIEW_CLOSED):
            self.outcomes[review] = Outcome.of(body)

    def _ask(self, body: Body, review: str) -> None:
        self.asked_by[review] = body.seq
        if body.kind == Kind.REVIEW_OPENED:
            self.rounds[review], self.gates[review] = 1, body.detail["gate"]  # type: ignore[assignment]
            return
        self.rounds[review] = self.rounds.get(review, 1) + 1
        for seq in body.detail["voided"]:  # type: ignore[union-attr]
            self._uncount(seq)

    def _uncount(self, seq: Any) -> None:
        if seq in self.sign_offs:
            self.sign_offs[seq] = replace(self.sign_offs[seq], counts=False)

    def _sign_off(self, body: Body, payload: Mapping[str, Any]) -> SignOff:
        review, detail = str(body.detail["review"]), body.detail
        reason = payload.get("reason") or {}
        return SignOff(
            seq=body.seq,
            review=review,
            round=self.rounds.get(review, 1),
            gate=self.gates.get(review),
            decision=str(detail["decision"]),
            stage=int(str(detail["stage"])),
            meaning=str((payload.get("statement") or {}).get("meaning", "")),
            role=body.actor.role or "",
            signer=body.actor.id,
            printed_name=str(payload.get("printed_name", "")),
            at=body.occurred_at,
            reason=str(reason.get("text", "")),
            values=reason.get("values"),
            shown_digest=str(detail["shown_digest"]),
            attested=body.kind == Kind.REVIEW_ATTESTED,
        )

    def place_at(self, seq: int) -> str | None:
        """Return the root graph's newest checkpoint as of the entry `seq`."""
        return next((place for at, place in reversed(self.places) if at <= seq), None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a review ended: with which entry, and what it said."""

    seq: int
    decided: bool
    outcome: str | None
    by: str
    signed: tuple[int, ...]

    @classmethod
    def of(cls, body: Body) -> Outcome:
        """Return what a review.decided or review.closed says."""
        if body.kind == Kind.REVIEW_CLOSED:
            return cls(body.seq, decided=False, outcome=None, by="closed", signed=())
        signed = body.detail["signed"]
        return cls(
            body.seq,
            decided=True,
            outcome=str(body.detail["outcome"]),
            by=str(body.detail["by"]),
            signed=tuple(int(str(seq)) for seq in signed) if isinstance(signed, list) else (),
        )
