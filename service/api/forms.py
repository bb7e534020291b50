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
        description="running, awaiting_review, failed (its run failed, and may be tried again), completed, stopped or "
        "damaged (its trail does not verify).",
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


class ReviewTold(Told):
    """A review as lists show it."""

    id: ReviewId
    case: CaseId
    case_number: str | None
    workflow: WorkflowName
    title: Annotated[str | None, Meta(description="The workflow's, for people.", examples=["Medication order"])]
    question: Annotated[
        str | None, Meta(description="What the gate asks; null where the policy has it no more.", examples=["Give it?"])
    ]
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


class CaseFound(CaseTold, kw_only=True):
    """A case, what it waits for, and what its graph has found so far."""

    seq: Annotated[int, Meta(description="How many entries its trail has.")]
    reviews: Annotated[list[ReviewTold], Meta(description="Reviews that are open.")]
    state: Annotated[State | None, Meta(description="null: there is none yet, or it is not what was recorded.")]


class CaseBegun(Told):
    """A case that was started, to somebody who may not read it any more."""

    id: CaseId


class Cases(Told):
    """A page of cases, the newest first."""

    items: list[CaseTold]
    next: Next


class StateTold(Told):
    """The state of a case as of entry `seq`. null stands for a checkpoint where there is none yet."""

    seq: Seq
    checkpoint: str | None
    state: State


class SignedLine(Told):
    """What somebody signed, or what an API key vouched for: the decision, and whatever was said with it."""

    decision: Decision
    meaning: Annotated[str | None, Meta(description="null: an API key, which signs nothing.")]
    printed_name: Annotated[str | None, Meta(description="As it stands on the signature.", examples=["Petra Keller"])]
    reason: str
    values: Annotated[dict[str, Any], Meta(description="As entries hold them: what is no JSON is tagged.")]


class Line(Told):
    """An entry in words. `of`: how many the trail has."""

    seq: Seq
    of: int
    occurred_at: Moment
    kind: str
    actor: str
    role: str
    via: str
    what: str
    leaf_hash: Digest
    signed: Annotated[
        SignedLine | None, Meta(description="null: the entry is no signature, or what it says was erased.")
    ]


class History(Told):
    """What happened in a case, a line for each entry."""

    case: CaseId
    items: list[Line]


class Done(Told):
    """What was recorded, as which entry of the case's trail, and how the case is now."""

    case: Annotated[
        CaseFound | None, Meta(description="null: it is done, and whoever did it may not read the case any more.")
    ]
    seq: Seq


class Recorded(Told):
    """As which entry it was recorded."""

    trail: CaseId
    seq: Seq


class Reviews(Told):
    """A page of reviews, the oldest first."""

    items: list[ReviewTold]
    next: Next


class Remark(Told):
    """What somebody said in a review."""

    seq: Seq
    by: str
    at: Moment
    text: str


class ReviewShown(ReviewTold, kw_only=True):
    """A review, with exactly what a signature on it covers."""

    shown_digest: Annotated[Digest, Meta(description="A decision has to name it: it is that of what is shown here.")]
    view: Annotated[dict[str, Any], Meta(description="What is signed (docs/formats.md, section 6).")]
    comments: list[Remark]


class Statement(Told):
    """What waits for a credential: for one use, within five minutes, in this session."""

    id: Annotated[str, Meta(examples=["g-5f0c1c1e8a534d5c9a5e6f2a4c3b7d10"])]
    statement: Annotated[dict[str, Any], Meta(description="Exactly what the signature will cover.")]
    expires_at: Moment


class SignedOff(Told):
    """A signature that was given, and what came of it."""

    case: CaseId
    review: ReviewId
    seq: Seq
    decision: str
    outcome: Annotated[
        str | None, Meta(description="As what the review was decided with it; null: others have to sign.")
    ]
    decided: Annotated[int | None, Meta(description="The entry that the case goes on by.")]


class Signed(SignedOff, kw_only=True):
    """A signature, and how the case is now."""

    now: Annotated[
        CaseFound | None, Meta(description="null: it counts, and the signer may not read the case any more.")
    ]


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


class EntryWhole(EntryTold, kw_only=True):
    """An entry with its content."""

    prev: Digest
    run: str | None
    checkpoint: dict[str, Any] | None
    payload: AnyJson


class Trail(Told):
    """All entries of a case, from the first on."""

    case: CaseId
    items: list[EntryWhole]


class WorkflowTold(Told):
    """A workflow, in the version that new cases get, with its policy."""

    name: WorkflowName
    version: str
    title: str
    roles: Annotated[list[str], Meta(description="The roles that the caller has in it.")]
    policy: Annotated[dict[str, Any], Meta(description="The policy document (countersign/policy/1).")]


class Workflows(Told):
    """The workflows that the caller may read, by name."""

    items: list[WorkflowTold]
