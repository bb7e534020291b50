"""Where one case stands: what every part of its replay reads and changes. Pure, and mutable on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from .body import Body
from .canonical import Json
from .caseruns import CaseRuns
from .chain import Checked
from .clocks import SKEW, backwards
from .entry import CheckpointRef, Workflow
from .errors import MalformedError, NotFoundError
from .gates import Gate, Policy
from .mandates import Pause, Question
from .reviews import Attempt, Parties, Phase, Refusal, Review, refusal
from .shown import Views
from .standing import Directory, Standing, named_place


@dataclass(frozen=True, slots=True)
class Asked:
    """A pause or question for which people are to be asked, and of whom: the next gate there, with its place."""

    gate: Gate
    when: str
    nodes: tuple[str, ...]
    checkpoint: CheckpointRef
    interrupt: str | None = None


@dataclass(slots=True)
class Case:
    """One case as its entries have it so far, under the policy of the version it is of at that point."""

    origin: str
    trail: str
    directory: Directory
    policy: Policy | None = None
    """None where it was erased: then what rests on it is not judged."""
    workflow: Workflow | None = None
    starter: str | None = None
    """Who started it: a user, or whoever made the API key that did."""
    editors: set[str] = field(default_factory=set)
    runs: CaseRuns = field(default_factory=CaseRuns)
    reviews: dict[str, Review] = field(default_factory=dict)
    kinds: dict[int, str] = field(default_factory=dict)
    """The kinds of the entries that others may name as their cause, by `seq`."""
    nonces: set[bytes] = field(default_factory=set)
    erased: set[int] = field(default_factory=set)
    """The signatures whose reason and values are gone."""
    unknown: int = 0
    """How many things could not be judged since a payload was erased."""
    named: dict[str, int] = field(default_factory=dict)
    """By actor: the entry of @system that was named last for their standing."""
    views: Views = field(default_factory=Views)
    """What signers were shown of the state, and what entries say of it."""
    leaf: int | None = None
    """Which leaf of the log the entry at hand is; None where it is none yet."""
    latest: datetime | None = None
    """The latest moment at which people or the service did something."""

    @property
    def parties(self) -> Parties:
        """Who took part so far."""
        name = self.workflow.name if self.workflow else ""
        return Parties(name, self.starter, frozenset(self.editors))

    def standing(self, body: Body) -> tuple[Standing | None, list[str]]:
        """Return the standing that an entry names for its actor, and a sentence for what is wrong with it."""
        who = body.actor.id
        try:
            place = named_place(body.detail.get("standing"))
            found = self.directory.at(who, place)
        except (MalformedError, NotFoundError) as error:
            return None, [f"rests on a standing of {who!r} that is not shown: {error.message.rstrip('.')}"]
        said = self._in_turn(found, body)
        if self.named.get(who, 0) > place.seq:
            said.append(f"names an older standing of {who!r} than an entry before it did")
        self.named[who] = max(self.named.get(who, 0), place.seq)
        return found, said

    def _in_turn(self, found: Standing, body: Body) -> list[str]:
        """Return a sentence if the standing named is not the last one before the act, by the log or by the clock.

        Whoever acts holds off every change of standing until their entry is committed, and entries become leaves in the
        order of those locks: so in the log the standing stands before the act, and what ended it behind.
        """
        later, at = self.directory.after(found), self.directory.leaf_of(found)
        if at is not None and self.leaf is not None and self.leaf <= at:
            return [f"is leaf {self.leaf}, and names a standing of {found.subject!r} that is leaf {at}, behind it"]
        if later is None:
            return []
        said = f"names an old standing of {found.subject!r}: entry {later.place.seq} of @system came before it"
        ended = self.directory.leaf_of(later)
        if ended is not None and (self.leaf is None or ended < self.leaf):
            mine = "is not sealed yet" if self.leaf is None else f"is leaf {self.leaf}"
            return [f"{said} (that one is leaf {ended} of the log, this one {mine})"]
        return [said] if later.since + SKEW < body.occurred_at else []

    def dated(self, body: Body) -> list[str]:
        """Take over when something was done, and return a sentence if that is before what was done before it."""
        said = backwards(self.latest, body.occurred_at, "this case")
        self.latest = max(self.latest or body.occurred_at, body.occurred_at)
        return said

    def gate(self, name: str | None, when: str) -> Gate | None:
        """Return the gate of this name as the policy has it now, or the implicit one; None where it has none."""
        try:
            return self.policy.gate(name, when) if self.policy is not None else None
        except NotFoundError:
            return None

    def asks(self) -> list[Asked]:
        """Return for what people are to be asked now, and are not yet: what `settle` opens reviews for."""
        if self.policy is None or self.runs.stopped or self.runs.completed:
            return []
        return [*self._asks_at_pause(), *self._asks_of_questions()]

    def _asks_at_pause(self) -> list[Asked]:
        pause = self.runs.pause
        if pause is None or self.runs.pending or self.at_pause(pause):
            return []
        due = self.runs.due()
        gate = due[0] if due else self.gate(None, pause.when)
        if gate is None:
            return []
        return [Asked(gate, gate.when, pause.nodes, pause.checkpoint)]

    def at_pause(self, pause: Pause) -> list[Review]:
        """Return the reviews of a static pause that are not over, or decided without letting the case go on."""
        return [
            one
            for one in self.reviews.values()
            if one.is_open and one.interrupt is None and one.phase is not Phase.CHANGED
            and one.checkpoint.id == pause.checkpoint.id
        ]  # fmt: skip

    def _asks_of_questions(self) -> list[Asked]:
        answered = {one.subject.interrupt for one in self.runs.pending if one.subject is not None}
        if any(not one.answers for one in self.runs.pending):
            return []
        return [
            asked
            for question in self.runs.questions.values()
            if question.id not in answered
            and not self.asked_about(question.id)
            and (asked := self._ask(question)) is not None
        ]

    def _ask(self, question: Question) -> Asked | None:
        gate = self.gate_of(question)
        if gate is None:
            return None
        return Asked(gate, "interrupt", (question.node,), question.checkpoint, question.id)

    def gate_of(self, question: Question) -> Gate | None:
        """Return the gate at a question: that of its node in the root graph, or the implicit one."""
        if self.policy is None:
            return None
        named = self.policy.gates_at("interrupt", question.node) if not question.checkpoint.ns else ()
        return named[0] if named else self.gate(None, "interrupt")

    def asked_about(self, interrupt: str) -> list[Review]:
        """Return the reviews about this question that are not over."""
        return [
            one for one in self.reviews.values()
            if one.is_open and one.interrupt == interrupt and one.phase is not Phase.CHANGED
        ]  # fmt: skip

    def may_sign(self, review: Review, attempt: Attempt, *, erased: bool = False) -> Refusal | None:
        """Return why this attempt to sign is not allowed as the case stands; None if it is."""
        return refusal(review, self.parties, attempt, erased=erased) or self._moved_on(review)

    def _moved_on(self, review: Review) -> Refusal | None:
        """Tell whether the case is no longer, or soon no longer, what is under review."""
        if self.runs.stopped or self.runs.completed:
            return Refusal("closed", "the case is over")
        if review.interrupt is None:
            pause = self.runs.pause
            stands = pause is not None and pause.checkpoint.id == review.checkpoint.id and not self.runs.pending
        else:
            stands = review.interrupt in self.runs.questions and all(one.answers for one in self.runs.pending)
        return None if stands else Refusal("digest", "the case goes on from what is under review, or is edited")


def members(checked: Checked) -> dict[str, Json]:
    """Return the members of an entry's payload; none where it has none, or it was erased."""
    return checked.payload if isinstance(checked.payload, dict) else {}


def is_erased(checked: Checked) -> bool:
    """Tell whether an entry's payload was erased."""
    return checked.payload is None and checked.body.payload_digest is not None
