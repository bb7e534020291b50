"""Attempts to decide that failed or were not allowed: each is an entry of its own transaction, and names the rule.

Never what somebody typed. The entry is there before the caller hears of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from countersign.audit.canonical import Json
from countersign.audit.entry import EntryDraft
from countersign.audit.kinds import Kind
from countersign.service.errors import RequestError
from countersign.service.identity.caller import Caller

from .held import Held, Room

CAUSES = frozenset(
    {
        "role", "digest", "not-viewed", "starter", "editor", "signed-already", "credential", "closed", "expired",
        "stage", "decision", "values", "reason", "statement-used", "statement-expired", "session", "inactive",
        "own-password",
    }
)  # fmt: skip


@asynccontextmanager
async def attempting(room: Room, caller: Caller, case: str, review: str, decision: str | None) -> AsyncIterator[None]:
    """Record, and raise again, what keeps `caller` from deciding inside the block, if it is one of CAUSES."""
    try:
        yield
    except RequestError as error:
        if (cause := error.facts.get("cause")) in CAUSES:
            await refused(room, caller, case, review, str(cause), decision)
        raise


async def refused(room: Room, caller: Caller, case: str, review: str, cause: str, decision: str | None) -> None:
    """Append that an attempt was refused. The decision is named only where the policy knows one of that name."""
    async with room.holding(case) as held:
        await held.append(_draft(held, caller, review, cause, decision))
        await held.tell()


def _draft(held: Held, caller: Caller, review: str, cause: str, decision: str | None) -> EntryDraft:
    replay = held.followed
    detail: dict[str, Json] = {"review": review, "cause": cause}
    gate = replay.reviews[review].gate
    names = {rule.name for rule in gate.decisions} | ({"edit"} if gate.edit is not None else set())
    if decision in names:
        detail["decision"] = decision
    standing = held.directory.latest(caller.id)
    if standing is not None:
        detail["standing"] = standing.place.as_json()
    return EntryDraft(held.case, Kind.REVIEW_REFUSED, caller.actor(), replay.workflow, detail=detail)
