"""The forms of cases, reviews and entries as they are told and asked: see models.py for what is common to all."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from .models import (
    AnyJson,
    Asked,
    CaseId,
    Digest,
    Moment,
    Next,
    Reason,
    ReviewId,
    RoleName,
    Seq,
    Told,
    WorkflowName,
    text,
)

_STATE = {"dose_mg": 5, "drug": "warfarin", "flags": ["check INR"], "patient": "P-101"}
State = Annotated[
    dict[str, Any],
    Meta(description="Fields of the state; what is no JSON is tagged (docs/formats.md).", examples=[_STATE]),
]
CaseStatus = Annotated[
    str,
    Meta(
        description="starting, running, awaiting_review, failed (its run failed, and may be tried again), finished, "
        "stopped or damaged (its trail does not verify).",
        examples=["awaiting_review"],
    ),
]
ReviewStatus = Annotated[str, Meta(description="open, decided or closed.", examples=["open"])]
Decision = Annotated[str, text("One of the decisions that the gate knows, or edit.", "approved", 100)]
Values = Annotated[
    dict[str, Any], Meta(description="What the decision has to say besides, by its fields.", examples=[{"dose_mg": 4}])
]
ReasonGiven = Annotated[
    str, Meta(max_length=4_000, description="Why, in the signer's words.", examples=["INR is stable."])
]


class StartCase(Asked):
    """A case that shall begin. `input` is what the graph is started with."""

    workflow: WorkflowName
    input: Annotated[
        dict[str, Any],
        Meta(description="What the graph is started with.", examples=[{"drug": "warfarin", "patient": "P-101"}]),
    ]
    case_number: Annotated[str, text("The caller's own number. Content, which can be erased.", "2026-0042")] | None = (
        None
    )
    config: (
        Annotated[dict[str, Any], Meta(description="`configurable` for the nodes. It adds pauses and removes none.")]
        | None
    ) = None


class Correct(Asked):
    """Fields of the state, as they shall be."""

    values: Annotated[dict[str, Any], Meta(description="Fields of the state.", examples=[{"dose_mg": 4}])]
    reason: Reason


class Redirect(Asked):
    """The node at which the case shall go on, of those that the policy names."""

    to: Annotated[str, text("A node.", "analyze")]
    reason: Reason


class Because(Asked):
    """Why something is done."""

    reason: Reason


class Move(Asked):
    """The version with which the case shall go on."""

    version: Annotated[str, text("A registered version of the case's workflow.", "0123456789abcdef0123456789abcdef")]
    reason: Reason


class CredentialGiven(Asked):
    """What a signer proves who they are with: the username too for the first signature of a session."""

    password: Annotated[str, Meta(max_length=1_000, description="The signer's password.")]
    username: Annotated[str, text("The signer's username.", "p.keller")] | None = None


class Annotate(Asked):
    """A remark on a case, or on one of its entries. With a credential it is signed."""

    text: Annotated[str, text("The remark.", "Confirmed by telephone.", 4_000)]
    refers: Annotated[int, Meta(ge=1, le=2**53 - 1, description="The seq of the entry that it is about.")] | None = None
    credential: CredentialGiven | None = None


class Decide(Asked, kw_only=True):
    """A decision, signed in one call. `values` are the decision's fields; `edits` those of the decision `edit`."""

    decision: Decision
    reason: ReasonGiven = ""
    values: Values | None = None
    edits: Values | None = None
    shown_digest: Digest
    credential: CredentialGiven


class BeginSigning(Asked, kw_only=True):
    """A decision for which a statement is to be made."""

    decision: Decision
    reason: ReasonGiven = ""
    values: Values | None = None
    edits: Values | None = None
    shown_digest: Digest


class CompleteSigning(Asked):
    """The credential that makes a statement a signature."""

    credential: CredentialGiven


class Attest(Asked, kw_only=True):
    """A decision for which an API key vouches; it counts only where the gate says so."""

    decision: Decision
    reason: ReasonGiven = ""
    values: Values | None = None
    shown_digest: Digest


class Withdraw(Asked):
    """A signature that is taken back, and why."""

    signed: Annotated[int, Meta(ge=1, le=2**53 - 1, description="The seq of one's own review.signed.", examples=[9])]
    reason: Reason


class Comment(Asked):
    """A remark for those who take part in a review."""

    text: Annotated[str, text("The remark.", "I ask the ward for the last INR.", 4_000)]


class CaseTold(Told):
    """A case."""

    id: CaseId
    workflow: WorkflowName
    version: str
    case_number: str | None
    status: CaseStatus
    started_by: str
    started_at: Moment
    changed_at: Moment
    problem: Annotated[str | None, Meta(description="What is the matter, where something is.")]


class OpenReview(Told):
    """A review of a case that waits for people."""

    id: ReviewId
    gate: str | None
    role: RoleName


class CaseFound(CaseTold, kw_only=True):
    """A case, what it waits for, and what its graph has found so far."""

    reviews: Annotated[list[OpenReview], Meta(description="Reviews that are open.")]
    state: State | None = None


class Cases(Told):
    """A page of cases, the newest first."""

    items: list[CaseTold]
    next: Next


class Done(Told):
    """What was recorded, as which entry of the case's trail, and how the case is now."""

    case: CaseFound
    seq: Seq


class ReviewTold(Told):
    """A review as lists show it."""

    id: ReviewId
    case: CaseId
    workflow: WorkflowName
    gate: Annotated[str | None, Meta(description="null: no gate names this pause, and a fallback role decides.")]
    status: ReviewStatus
    round: int
    role: Annotated[str, Meta(description="Whose turn it is.", examples=["pharmacist"])]
    other_role: Annotated[str | None, Meta(description="Who may decide in their place, since it was escalated.")]
    opened_at: Moment
    changed_at: Moment
    expire_at: Moment | None
    claimed_by: Annotated[str | None, Meta(description="Who said that they are at it. This excludes nobody.")]
    outcome: str | None


class Reviews(Told):
    """A page of reviews, the oldest first."""

    items: list[ReviewTold]
    next: Next


class ReviewShown(Told):
    """A review, with exactly what a signature on it covers."""

    review: ReviewTold
    shown_digest: Annotated[
        str | None,
        Meta(description="SHA-256 of salt and canonical view. A decision names it. null: nothing to decide."),
    ]
    salt: str | None
    view: Annotated[dict[str, Any] | None, Meta(description="The review view (docs/formats.md, section 6).")]
    comments: list[dict[str, Any]]


class Statement(Told):
    """What waits for a credential: single use, five minutes, and nobody else's."""

    id: str
    statement: AnyJson
    expires_at: Moment


class Signed(Told):
    """A signature that was given, and what became of the review with it."""

    case: CaseId
    review: ReviewId
    seq: Seq
    outcome: Annotated[str | None, Meta(description="The decision, where this signature concluded it.")]
    status: ReviewStatus


class EntryTold(Told):
    """An entry, without its content."""

    trail: str
    seq: Seq
    kind: Annotated[str, Meta(examples=["review.signed"])]
    occurred_at: Moment
    actor: dict[str, Any]
    workflow: str | None
    detail: dict[str, Any]
    leaf_hash: Digest


class Entries(Told):
    """A page of entries, the newest first."""

    items: list[EntryTold]
    next: Next
