"""A review: people asked about one gate of one case, what they signed, and whether somebody may sign now. Pure.

`refusal` is the one answer to that question: the service asks it before it appends, and the replay when it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from .canonical import Json
from .entry import CheckpointRef
from .errors import MalformedError
from .gates import EDIT, DecisionRule, Gate, fill
from .standing import API_KEY, Standing
from .tally import Signature, Tally, agrees, roles_at, tally


class Phase(StrEnum):
    """Where a review is."""

    OPEN = "open"
    CHANGED = "changed"
    """What was under review was edited; it is open again when it has been reopened."""
    EXPIRED = "expired"
    """Its time is over, and what follows from that is still to be recorded."""
    DECIDED = "decided"
    CLOSED = "closed"


LATE = timedelta(minutes=1)
"""How far behind the end of a review's time a signature may be dated: clocks of two machines differ by a little."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody may not: `cause` is the word for it in `review.refused`, `sentence` goes on from who it is."""

    cause: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody, with their standing at that moment, who wants to sign a decision or, as an API key, to attest it."""

    decision: str
    role: str
    standing: Standing
    at: datetime
    shown_digest: str
    values: Mapping[str, Json] = field(default_factory=dict)
    reason: str = ""
    credential: str | None = None
    """None for an API key."""

    @property
    def attested(self) -> bool:
        """Whether no person signs."""
        return self.standing.kind == API_KEY


@dataclass(slots=True)
class Review:
    """One review as the entries of its case have it so far."""

    id: str
    gate: Gate
    seq: int
    """The entry that opened it."""
    opened_at: datetime
    nodes: tuple[str, ...]
    checkpoint: CheckpointRef
    interrupt: str | None = None
    round: int = 1
    """Counts from 1, once more each time it is reopened."""
    phase: Phase = Phase.OPEN
    signatures: list[Signature] = field(default_factory=list)
    """Those that count: neither withdrawn nor voided."""
    viewed: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    """By who saw it and digest in hex: the salt, of the views of this round; None where it was erased."""
    voided: list[int] = field(default_factory=list)
    """The signatures that the last edit voided, until it is reopened."""
    edits: list[int] = field(default_factory=list)
    """The signatures of this round that an edit was made under."""
    changed_by: int = 0
    """The entry that edited what is under review, last."""
    escalated: bool = False
    reminded: bool = False
    expired_by: int = 0
    """The entry that says that its time is over; 0 before."""

    @property
    def is_open(self) -> bool:
        """Whether it may still be decided."""
        return self.phase in (Phase.OPEN, Phase.CHANGED, Phase.EXPIRED)

    def due(self, what: str) -> datetime | None:
        """Return when to `remind`, `escalate` or `expire`; None where the policy has no time for it."""
        seconds: dict[str, int | None] = {
            "remind": self.gate.remind,
            "escalate": self.gate.escalate,
            "expire": self.gate.expire,
        }
        found = seconds[what]
        return None if found is None else self.opened_at + timedelta(seconds=found)

    def tally(self) -> Tally:
        """Return what the signatures come to. One for an edit concludes nothing."""
        return tally(self.gate, [one for one in self.signatures if one.decision != EDIT], escalated=self.escalated)

    def change(self, seq: int) -> None:
        """Void what was signed: what is under review is edited by entry `seq`."""
        self.voided = [*self.voided, *(one.seq for one in self.signatures)]
        self.signatures.clear()
        self.viewed.clear()
        self.changed_by = seq
        if self.phase is Phase.OPEN:
            self.phase = Phase.CHANGED

    def reopen(self, checkpoint: CheckpointRef, interrupt: str | None) -> None:
        """Begin another round, about what the case has come to."""
        self.checkpoint, self.interrupt, self.phase = checkpoint, interrupt, Phase.OPEN
        self.round += 1
        self.voided, self.edits = [], []
        self.viewed.clear()

    def written(self, outcome: Tally | None = None, *, expired: bool = False) -> Json:
        """Return the `write` of the decision that a tally or, if `expired`, the end of the time comes to."""
        if expired:
            name = str(self.gate.on_expiry)
            write = fill(self.gate.decision(name).write, decision=name, reason="", values={})
        else:
            write = outcome.write if outcome is not None else None
        return {"update": write} if self.interrupt is None else {"resume": write}


@dataclass(frozen=True, slots=True)
class Parties:
    """Who took part in a case so far: who started it, and who edited it."""

    workflow: str
    starter: str | None
    editors: frozenset[str]


def person(standing: Standing) -> str:
    """Return who is behind a user or an API key: for the rules, a key is who made it."""
    return standing.made_by if standing.kind == API_KEY else standing.subject


def refusal(review: Review, parties: Parties, attempt: Attempt, *, erased: bool = False) -> Refusal | None:
    """Return why this attempt is not allowed in this review as it stands; None if it is.

    That the schema of a decision's values is kept, and the statement, are for others to check. `erased`: reason and
    values are gone, and not asked for.
    """
    for check in _CHECKS:
        if erased and check in (_agreement, _reason):
            continue
        if (found := check(review, parties, attempt)) is not None:
            return found
    return None


def _phase(review: Review, _: Parties, attempt: Attempt) -> Refusal | None:
    due = review.due("expire")
    if review.phase is Phase.OPEN and (due is None or attempt.at <= due + LATE):
        return None
    if review.phase is Phase.OPEN:
        return Refusal("expired", "the time of the review is over, whether or not an entry says so")
    if review.phase is Phase.EXPIRED or review.expired_by:
        return Refusal("expired", "the time of the review is over")
    if review.phase is Phase.CHANGED:
        return Refusal("digest", "what was under review was edited, and the review is not open again yet")
    return Refusal("closed", f"the review is {review.phase.value}")


def _rule(review: Review, name: str) -> DecisionRule | None:
    return next((rule for rule in review.gate.decisions if rule.name == name), None)


def _decision(review: Review, _: Parties, attempt: Attempt) -> Refusal | None:
    if attempt.decision == EDIT and review.gate.edit is not None and not attempt.attested:
        return None
    if _rule(review, attempt.decision) is None:
        return Refusal("decision", f"the gate has no decision {attempt.decision!r}")
    return None


def _standing(_: Review, __: Parties, attempt: Attempt) -> Refusal | None:
    return None if attempt.standing.active else Refusal("inactive", "they are not active")


def _role(review: Review, parties: Parties, attempt: Attempt) -> Refusal | None:
    number = review.tally().stage
    stage = review.gate.stages[number - 1]
    if attempt.role not in roles_at(review.gate, stage, escalated=review.escalated):
        later = any(attempt.role == one.role for one in review.gate.stages)
        if later:
            return Refusal("stage", f"stage {number} is due, for the role {stage.role!r}, and not {attempt.role!r}")
        return Refusal("role", f"the role {attempt.role!r} is not asked for")
    if not attempt.standing.holds(attempt.role, parties.workflow, attempt.at):
        return Refusal("role", f"they do not have the role {attempt.role!r} for {parties.workflow!r} at that moment")
    if not attempt.standing.holds_by_others(attempt.role, parties.workflow, attempt.at):
        return Refusal("role", f"they gave the role {attempt.role!r} to themselves")
    return None


def _separation(review: Review, parties: Parties, attempt: Attempt) -> Refusal | None:
    who = {attempt.standing.subject, person(attempt.standing)}
    if "starter" in review.gate.separation and parties.starter in who:
        return Refusal("starter", "they started the case")
    if "editor" in review.gate.separation and who & parties.editors:
        return Refusal("editor", "they edited the case")
    return None


def _counting(review: Review) -> list[Signature]:
    """Return the signatures without those by API keys where the gate accepts none: these stand in nobody's way."""
    return [one for one in review.signatures if not one.attested or review.gate.accept == "attested"]


def _once(review: Review, _: Parties, attempt: Attempt) -> Refusal | None:
    given = review.signatures if attempt.attested else _counting(review)
    if any(one.signer == person(attempt.standing) for one in given):
        return Refusal("signed-already", "they have signed in this round already")
    return None


def _agreement(review: Review, _: Parties, attempt: Attempt) -> Refusal | None:
    rule = _rule(review, attempt.decision)
    values = dict(attempt.values)
    if rule is None:
        return None if values else Refusal("values", "an edit names no field")
    if rule.values is None and values:
        return Refusal("values", f"the decision {rule.name!r} takes no values")
    try:
        fill(rule.write, decision=rule.name, reason="", values=values)
    except MalformedError as error:
        return Refusal("values", error.message.rstrip("."))
    before = [one for one in _counting(review) if one.decision != EDIT]
    if rule.releases and not agrees(before, rule.name, values):
        if any(one.decision != rule.name for one in before):
            return Refusal("decision", f"those who signed before did not decide {rule.name!r}")
        return Refusal("values", "those who signed before gave other values")
    return None


def _reason(review: Review, _: Parties, attempt: Attempt) -> Refusal | None:
    rule = _rule(review, attempt.decision)
    if rule is not None and rule.reason and not attempt.reason.strip():
        return Refusal("reason", f"the decision {rule.name!r} needs a reason")
    return None


def _credential(_: Review, __: Parties, attempt: Attempt) -> Refusal | None:
    if attempt.attested:
        return None
    found = attempt.standing.credentials.get(attempt.credential or "")
    if found is None:
        return Refusal("credential", f"{attempt.credential!r} is no credential of theirs that counts")
    return None if found.own else Refusal("own-password", "the credential was not chosen by themselves")


def _view(review: Review, _: Parties, attempt: Attempt) -> Refusal | None:
    if not attempt.attested and (attempt.standing.subject, attempt.shown_digest) not in review.viewed:
        return Refusal("not-viewed", "they were not shown the view with that digest in this round")
    return None


_CHECKS: tuple[Callable[[Review, Parties, Attempt], Refusal | None], ...] = (
    _phase, _decision, _standing, _role, _separation, _once, _agreement, _reason, _credential, _view,
)  # fmt: skip
