"""The replay of a governed case: where it stands, and every rule that its entries break (docs/formats.md).

Pure, and one for all: the service knows from it what may be done next, before it appends, and verification finds with
it that something was done that the policy does not allow, even where every signature is by the rightful key.
"""

from __future__ import annotations

from collections.abc import Iterator

from .acts import ACTS, is_time_for, may_act
from .body import Body
from .canonical import same
from .caseruns import CaseRuns
from .casestate import Case, is_erased, members
from .chain import Checked
from .entry import SYSTEM, Workflow
from .errors import MalformedError, NotFoundError, VerificationError
from .gates import EDIT, STOP, Policy
from .kinds import Kind
from .reviewing import HANDLERS
from .reviews import Phase, Refusal, Review, person
from .signing import annotation_problems
from .standing import Directory, Registered, named_place
from .statement import annotation_of

_AFTERWARDS = frozenset({Kind.CASE_ANNOTATED, Kind.REVIEW_CLOSED, Kind.REVIEW_REFUSED, Kind.REVIEW_COMMENTED})
"""What may stand behind the end of a case."""
_OURS = ("case.", "review.")


class CaseReplay:
    """One case, replayed. Feed it the checked entries of its trail in order, from the first on."""

    def __init__(self, origin: str, trail: str, directory: Directory) -> None:
        self.case = Case(origin, trail, directory)
        self._registered: Registered | None = None

    @property
    def runs(self) -> CaseRuns:
        """What the worker did, and what it has to do."""
        return self.case.runs

    @property
    def unknown(self) -> int:
        """How many things could not be judged since a payload was erased."""
        return self.case.unknown + self.runs.unknown

    def feed(self, checked: Checked, leaf: int | None = None) -> list[VerificationError]:
        """Take over the next entry, and return a failure (check `authority`) for each rule that it breaks.

        `leaf`: which leaf of the log it is, where it is one yet; with it goes the Directory's knowledge of leaves.

        What breaks a rule gives no right to anything: a signature that was not allowed does not count, a decision
        without sufficient signatures releases no gate.
        """
        body, self.case.leaf = checked.body, leaf
        said = [*self._place(body), *self._judge(checked)]
        said += self.runs.feed(checked, sound=not said)
        if body.kind == Kind.STATE_UPDATED and body.checkpoint is not None:
            said += self.case.views.tell(body.seq, body.checkpoint, members(checked).get("changes"))
        self._consequences(body)
        self.case.kinds[body.seq] = body.kind
        return [_failed(body, sentence) for sentence in said]

    def _place(self, body: Body) -> Iterator[str]:
        """Yield what is wrong with an entry standing where it does."""
        if (body.seq == 1) != (body.kind == Kind.CASE_OPENED):
            yield "is not the first of its case" if body.seq > 1 else f"begins a case, and is a {body.kind}"
        if body.kind.startswith(_OURS):
            yield from self.case.dated(body)
        if not body.kind.startswith(_OURS) or body.kind in _AFTERWARDS:
            return
        if self.runs.stopped or self.runs.completed:
            yield f"stands behind the {'stop' if self.runs.stopped else 'end'} of the case"
        if body.kind not in (Kind.CASE_OPENED, Kind.CASE_MOVED) and body.workflow != self.case.workflow:
            yield "names another version of the workflow than the case is of"

    def _judge(self, checked: Checked) -> Iterator[str]:
        kind = checked.body.kind
        if kind in (Kind.CASE_OPENED, Kind.CASE_MOVED):
            yield from self._version(checked.body, Kind(kind))
        if self.case.policy is None:
            self.case.unknown += kind in ACTS or kind in HANDLERS
        elif kind in ACTS:
            yield from self._act(checked, self.case.policy)
        elif kind == Kind.CASE_ANNOTATED:
            yield from self._annotated(checked)
        elif kind in HANDLERS:
            yield from HANDLERS[kind](self.case, checked)

    # Acts

    def _act(self, checked: Checked, policy: Policy) -> Iterator[str]:
        body, kind = checked.body, Kind(checked.body.kind)
        if kind == Kind.CASE_STOPPED and body.actor == SYSTEM:
            if not any(one.phase is Phase.EXPIRED and one.gate.on_expiry == STOP for one in self.case.reviews.values()):
                yield "stops the case by nobody, and no review has expired whose policy says so"
            return
        standing, said = self.case.standing(body)
        yield from said
        if standing is None:
            return
        if kind == Kind.CASE_OPENED:
            self.case.starter = person(standing)
        if not self._by_signature(checked):
            refusal = may_act(policy, kind, body.actor.role, standing, body.occurred_at)
            yield from _refused(kind, refusal)
        yield from _refused(kind, is_time_for(kind, self.runs, policy, str(body.detail.get("to", ""))))
        if kind == Kind.CASE_CORRECTED:
            self.case.editors |= {body.actor.id, person(standing)}
            yield from self._signed_edit(checked)

    def _version(self, body: Body, kind: Kind) -> Iterator[str]:
        case, before = self.case, self.case.workflow
        try:
            found = case.directory.registered(named_place(body.detail.get("registered")))
        except (MalformedError, NotFoundError) as error:
            yield f"rests on a policy that is not shown: {error.message.rstrip('.')}"
            case.workflow = body.workflow
            return
        if body.workflow != Workflow(found.name, found.version):
            yield f"names another version than entry {found.place.seq} of @system registers"
        if kind == Kind.CASE_MOVED and before is not None:
            if found.name != before.name:
                yield f"moves the case to another workflow, {found.name!r}"
            if body.detail.get("from") != before.version:
                yield f"moves the case from another version than it is of, {before.version}"
        self._registered = found
        if kind == Kind.CASE_OPENED:
            case.policy, case.workflow = found.policy, body.workflow

    def _by_signature(self, checked: Checked) -> bool:
        """Tell whether an act follows from what its actor signed in a review, and not from their role alone."""
        body = checked.body
        if body.kind == Kind.CASE_CORRECTED:
            return _signed(body) is not None
        return body.kind == Kind.CASE_STOPPED and self._stop_signed(body) is not None

    def _stop_signed(self, body: Body) -> Review | None:
        """Return the review in which the fallback role decided to stop, by the actor of this entry."""
        for review in self.case.reviews.values():
            if review.gate.name is None and review.phase is Phase.OPEN and review.tally().outcome == STOP:
                (signature,) = (one for one in review.signatures if one.seq in review.tally().counted)
                if signature.signer == body.actor.id and body.detail.get("cause", signature.seq) == signature.seq:
                    return review
        return None

    def _signed_edit(self, checked: Checked) -> Iterator[str]:
        """Yield what is wrong with a correction that is made under a signature."""
        body = checked.body
        number = _signed(body)
        if number is None:
            return
        found = [
            (review, one)
            for review in self.case.reviews.values()
            for one in review.signatures
            if one.seq == number and one.decision == EDIT and review.is_open
        ]
        if not found:
            yield f"rests on entry {number}, which is no signature for an edit that counts"
        for review, one in found:
            if (one.signer, one.role) != (body.actor.id, body.actor.role):
                who = f"{body.actor.id} as {body.actor.role}"
                yield f"is an edit by {who}, and entry {number} was signed by {one.signer} as {one.role}"
            erased = is_erased(checked) or number in self.case.erased
            if not erased and not same(members(checked).get("values"), one.values):
                yield f"edits otherwise than entry {number} was signed for"
            review.signatures.remove(one)
            review.edits.append(one.seq)

    def _annotated(self, checked: Checked) -> Iterator[str]:
        body, payload = checked.body, members(checked)
        standing, said = self.case.standing(body)
        yield from said
        refers = body.detail.get("refers")
        if isinstance(refers, int) and refers >= body.seq:
            yield f"refers to entry {refers}, which does not stand before it"
        if body.detail.get("signed") is not True or standing is None:
            return
        if not standing.active or not standing.may_sign_with(str(body.detail.get("credential"))):
            yield "is signed with no credential of its actor that counts"
        if is_erased(checked):
            self.case.unknown += 1
        else:
            review = annotation_of(refers if isinstance(refers, int) else None)
            yield from annotation_problems(self.case, body, payload, review)

    # What follows

    def _consequences(self, body: Body) -> None:
        case, found = self.case, self._registered
        if body.kind in (Kind.CASE_OPENED, Kind.CASE_MOVED):
            if found is not None:
                case.policy, case.workflow = found.policy, Workflow(found.name, found.version)
            case.runs.workflow, case.runs.crossings.policy = case.workflow, case.policy
        if body.kind in (Kind.STATE_UPDATED, Kind.CASE_MOVED):
            for review in case.reviews.values():
                if review.is_open:
                    review.change(body.seq)


def _signed(body: Body) -> int | None:
    """Return the signature that a correction names, if it names one; nothing else stands in place of a role."""
    number = body.detail.get("signed")
    return number if type(number) is int else None


def _refused(kind: Kind, refusal: Refusal | None) -> Iterator[str]:
    if refusal is not None:
        yield f"is a {kind} that is not allowed ({refusal.cause}): {refusal.sentence}"


def _failed(body: Body, sentence: str) -> VerificationError:
    return VerificationError(
        f"Entry {body.seq} of trail {body.trail!r} {sentence}.",
        check="authority",
        trail=body.trail,
        seq=body.seq,
        table="entries",
    )
