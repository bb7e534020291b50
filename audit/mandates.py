"""What the entries of a case allow its worker to do, each exactly once, and what of it is still to be done. Pure.

A mandate is an entry by the deployment key. Under it the worker makes its runs and edits, as the actor `entry:<seq>`
with `via` `mandate`. A run that was lost to a crash may be repeated from where it stands; one that paused or came to
its end has used its mandate up, and so has every mandate behind which a later one was acted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .canonical import Json
from .chain import Checked
from .entry import Actor, CheckpointRef
from .kinds import Kind

VIA = "mandate"
END_NODE = "__end__"
KINDS = frozenset({Kind.CASE_OPENED, Kind.CASE_CORRECTED, Kind.CASE_REDIRECTED, Kind.CASE_RETRIED, Kind.REVIEW_DECIDED})
STATIC, ASKING, WITHIN = "static", "question", "within"
_PREFIX = "entry:"
UNKNOWN = object()
"""In place of what an erased payload said."""


class Act(StrEnum):
    """What the worker does next."""

    START = "start"
    """Run the graph with `values` as its input."""
    UPDATE = "update"
    """`update_state(values)` on the root graph, as no node."""
    END = "end"
    """`update_state(None, as_node="__end__")`: nothing is due any more."""
    GOTO = "goto"
    """Run with `Command(goto=values)`."""
    ANSWER = "answer"
    """Run with `Command(resume=values)`, a map from the question's id to its answer."""
    RESUME = "resume"
    """Run with None."""
    PAUSE = "pause"
    """Append the static pause at the latest checkpoint as it now is: `interrupt.raised`, `values` for its `when`."""
    NOTHING = "nothing"


class Status(StrEnum):
    """Where a case stands."""

    RUNNING = "running"
    """Something is to be done by the worker, or is under way."""
    WAITING = "waiting"
    """It waits at a pause or a question."""
    FAILED = "failed"
    COMPLETED = "completed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Todo:
    """The next act under a mandate, with its values as tagged JSON."""

    act: Act
    values: Json = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question that a node asked: its id, the entry that told of it, and the task, which answers at `checkpoint`."""

    id: str
    seq: int
    task: str
    node: str
    checkpoint: CheckpointRef


@dataclass(frozen=True, slots=True)
class Subject:
    """What a review is about, as far as the worker is concerned: the pause, or the question with that id."""

    gate: str | None
    when: str
    checkpoint: CheckpointRef
    interrupt: str | None
    node: str = ""
    """The node that asks, where it is a question."""


@dataclass(slots=True)
class Mandate:
    """An entry that allows something, and what was done under it.

    `values`: the input, the fields to update or the answer, as tagged JSON; UNKNOWN where they were erased. `pause`:
    where the case waited when it was given: `static`, `question`, `within` (statically, in a subgraph), or None.
    """

    seq: int
    kind: str
    values: Json | object = None
    to: str = ""
    subject: Subject | None = None
    resume: bool = True
    sound: bool = True
    """Whether it was rightly given, as far as is known."""
    pause: str | None = None
    when: str = "before"
    retries: Mandate | None = None
    question: Question | None = None
    updated: str | None = None
    """The checkpoint of the edit that was made under it."""
    ran: bool = False
    delivered: bool = False
    """Whether what a `Command` brought, an answer or a `goto`, is among the thread's rows."""
    failed: bool = False
    over: bool = False
    """Whether nothing more may be done under it."""

    @property
    def doing(self) -> Mandate:
        """The mandate whose work this one does: for `case.retried`, the one whose run failed."""
        return self.retries.doing if self.retries is not None else self

    @property
    def updates(self) -> bool:
        """Whether an edit belongs to it."""
        if self.kind == Kind.REVIEW_DECIDED:
            return self.values is not None and not self.answers
        return self.kind in (Kind.CASE_CORRECTED, Kind.CASE_REDIRECTED)

    @property
    def answers(self) -> bool:
        """Whether it answers a question."""
        return self.subject is not None and self.subject.interrupt is not None

    def answer(self) -> Json:
        """Return the map that is passed to `Command(resume=...)`."""
        interrupt = self.subject.interrupt if self.subject else None
        return {str(interrupt): self.values}  # type: ignore[dict-item]  # asked for by who has the values


@dataclass(frozen=True, slots=True)
class Pause:
    """A static pause, told by entry `seq`: `when`, at which checkpoint, and the nodes that are due there."""

    seq: int
    when: str
    nodes: tuple[str, ...]
    checkpoint: CheckpointRef


@dataclass(slots=True)
class Run:
    """A run of the graph: the entry that opened it, and how it ended as far as an entry says so."""

    id: str
    seq: int
    mandate: Mandate | None
    command: tuple[str, ...] = ()
    starts: bool = False
    asked: bool = False
    ended: str | None = None
    """The kind that ended it; None while none did, also when it was lost to a crash."""


def actor_of(seq: int) -> Actor:
    """Return the actor of what is done under the mandate at `seq`."""
    return Actor(f"{_PREFIX}{seq}", VIA)


def named_mandate(actor: Actor) -> int | None:
    """Return the `seq` of the mandate that an actor stands for; None when it stands for none."""
    digits = actor.id.removeprefix(_PREFIX)
    if actor.via != VIA or digits == actor.id or not digits.isascii() or not digits.isdigit():
        return None
    return int(digits) if str(int(digits)) == digits else None


def mandate_in(checked: Checked) -> Mandate:
    """Return the mandate that an entry of one of the KINDS gives; of a decision, without its review's subject."""
    body = checked.body
    payload = checked.payload if isinstance(checked.payload, dict) else None
    if payload is None and body.payload_digest is not None:
        mandate = Mandate(body.seq, body.kind, UNKNOWN)
    else:
        mandate = Mandate(body.seq, body.kind, _values(body.kind, payload or {}))
    if body.kind == Kind.CASE_REDIRECTED:
        mandate.to = str(body.detail.get("to", ""))
    if body.kind == Kind.REVIEW_DECIDED:
        mandate.resume = body.detail.get("resume") is True
    return mandate


def next_act(mandate: Mandate, *, started: bool, gated: str | None, again: bool = False) -> Todo:
    """Return what the worker does next under a mandate, when all that was done is told in `mandate`.

    `started`: the thread has a checkpoint. `gated`: how the case pauses at its latest checkpoint as it now is, `before`
    or `after`, where a gate stands there that is not released; None where none does. `again`: a run that failed is
    tried once more.
    """
    if mandate.over or (mandate.failed and not again):
        return Todo(Act.NOTHING)
    todo = _next(mandate.doing, started=started)
    return Todo(Act.PAUSE, gated) if todo.act is Act.RESUME and gated else todo


def _next(work: Mandate, *, started: bool) -> Todo:
    if work.updates and work.updated is None:
        return Todo(Act.END) if work.kind == Kind.CASE_REDIRECTED else Todo(Act.UPDATE, _known(work.values))
    if work.kind == Kind.CASE_OPENED and not started:
        return Todo(Act.START, _known(work.values))
    if work.kind == Kind.CASE_REDIRECTED and not work.delivered:
        return Todo(Act.GOTO, work.to)
    if work.answers and not work.delivered:
        return Todo(Act.ANSWER, work.answer())
    if (work.kind == Kind.CASE_CORRECTED and work.pause == STATIC) or (work.updates and not work.resume):
        return Todo(Act.PAUSE, work.when)
    goes_on = work.resume and not (work.kind == Kind.CASE_CORRECTED and work.pause is None)
    return Todo(Act.RESUME) if goes_on else Todo(Act.NOTHING)


def _values(kind: str, payload: dict[str, Json]) -> Json:
    if kind == Kind.CASE_OPENED:
        return payload.get("input")
    if kind == Kind.CASE_CORRECTED:
        return payload.get("values")
    write = payload.get("write") if kind == Kind.REVIEW_DECIDED else None
    if not isinstance(write, dict):
        return None
    return write["resume"] if "resume" in write else write.get("update")


def _known(values: Json | object) -> Json:
    return None if values is UNKNOWN else values  # type: ignore[return-value]  # the only object that is no Json
