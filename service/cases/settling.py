"""What follows from where a case stands: reviews are opened, opened anew and closed. From the trail alone, and again
and again the same: whoever settles a case that is settled adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

from countersign.audit.canonical import Json
from countersign.audit.caseruns import Status
from countersign.audit.entry import SYSTEM, CheckpointRef, EntryDraft
from countersign.audit.gates import Gate
from countersign.audit.kinds import Kind
from countersign.audit.values import listed
from countersign.service.errors import ConflictError

from .following import Followed
from .held import Held, Room
from .indexing import index

_AT_WORK: LiteralString = """
SELECT c.id FROM countersign.cases c
WHERE c.status IN ('starting', 'running') ORDER BY c.changed_at LIMIT %s
"""
_ROUNDS = 100  # what follows from what: more than any case has pauses at once


@dataclass(frozen=True, slots=True)
class Wait:
    """A place at which people have to be asked: a gate of a static pause, or a question."""

    gate: Gate
    when: str
    nodes: tuple[str, ...]
    checkpoint: CheckpointRef
    interrupt: str | None


async def settle(room: Room, case: str) -> bool:
    """Settle a case; return whether anything was new. Idempotent, also for several at once."""
    async with room.holding(case) as held:
        return await settle_held(held)


async def sweep(room: Room, most: int) -> int:
    """Settle the cases of whose runs nobody told; return how many had anything new. A damaged one is passed over."""
    async with room.reading() as conn:
        cursor = await conn.execute(_AT_WORK, (most,))
        cases = [row[0] for row in await cursor.fetchall()]
    done = 0
    for case in cases:
        try:
            done += await settle(room, case)
        except ConflictError:
            continue
    return done


async def settle_held(held: Held) -> bool:
    """Append what follows from where the case stands, and bring its rows up to date; return whether anything is new."""
    for _ in range(_ROUNDS):
        drafts = list(due_entries(held))
        if not drafts:
            break
        await held.append(*drafts)
    changed = await index(held)
    if changed or held.appended:
        await held.tell()
    return changed or bool(held.appended)


def due_entries(held: Held) -> Iterator[EntryDraft]:
    """Yield what is to be recorded before the case is settled; fed with it, perhaps more is."""
    followed = held.followed
    replay = followed.replay
    open_reviews = [review for review in replay.reviews.values() if review.is_open]
    cause = followed.story.moved
    if replay.status is Status.RUNNING:
        return
    waits = list(waits_of(followed)) if replay.status is Status.WAITING else []
    for review in open_reviews:
        if any(_same(review, wait) and review.checkpoint == wait.checkpoint for wait in waits):
            continue
        again = next((wait for wait in waits if _same(review, wait)), None)
        if again is None:
            yield _draft(held, Kind.REVIEW_CLOSED, {"review": review.id, "cause": cause})
        else:
            voided: Json = [signature.seq for signature in review.signatures]
            detail: dict[str, Json] = {"review": review.id, "cause": cause, "voided": voided}
            yield _draft(held, Kind.REVIEW_REOPENED, detail, again.checkpoint)
    for wait in waits:
        if not any(_same(review, wait) for review in open_reviews):
            yield _opened(held, wait)


def waits_of(followed: Followed) -> Iterator[Wait]:
    """Yield where people have to be asked now: the next gate of a static pause, and every question that is open."""
    runs = followed.replay.runs
    policy = followed.replay.policy
    if (pause := runs.pause) is not None:
        gates = runs.due()
        gate = gates[0] if gates else policy.gate(None, pause.when)
        yield Wait(gate, pause.when, pause.nodes, pause.checkpoint, None)
    for question in runs.questions.values():
        named = policy.gates_at("interrupt", question.node) if not question.checkpoint.ns else ()
        gate = named[0] if named else policy.gate(None, "interrupt")
        yield Wait(gate, "interrupt", (question.node,), question.checkpoint, question.id)


def _same(review: object, wait: Wait) -> bool:
    """Tell whether a review is about a wait: the same question, or the same gate of a static pause."""
    return (review.gate.name, review.interrupt) == (wait.gate.name, wait.interrupt) and (
        wait.interrupt is not None or review.gate.when == wait.when
    )


def _opened(held: Held, wait: Wait) -> EntryDraft:
    short, _ = listed("nodes", sorted(wait.nodes))
    detail: dict[str, Json] = {
        "review": held.room.new_id("r"),
        "gate": wait.gate.name,
        "when": wait.when,
        **short,
    }
    if wait.interrupt is not None:
        detail["interrupt"] = wait.interrupt
    return _draft(held, Kind.REVIEW_OPENED, detail, wait.checkpoint)


def _draft(held: Held, kind: Kind, detail: dict[str, Json], checkpoint: CheckpointRef | None = None) -> EntryDraft:
    workflow = held.followed.replay.workflow
    return EntryDraft(held.case, kind, SYSTEM, workflow, checkpoint=checkpoint, detail=detail)
