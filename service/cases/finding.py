"""Lists for callers: of what they may read, and of what they may sign now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from countersign.service.errors import ForbiddenError, InvalidError
from countersign.service.identity.caller import Caller

from . import lists
from .held import Room
from .lists import CaseFilter, EntryFilter
from .reading import readable_case
from .rights import AUDITOR, readable, standing_of
from .rows import CASE_STATUSES, REVIEW_STATUSES, CaseRow, EntryRow, ReviewRow
from .wording import worded


async def list_cases(
    room: Room, caller: Caller, *, after: lists.After | None, most: int, **which: str | None
) -> list[CaseRow]:
    """Return the cases that `caller` may read, the newest first.

    `which` may name workflow, status, case_number and started_by.
    """
    _one_of(which.get("status"), CASE_STATUSES, "status")
    async with room.reading() as conn:
        directory = await room.trails.standing(conn)
        wanted = CaseFilter(readable(directory, caller, room.clock()), **which)
        return await lists.list_cases(conn, wanted, after=after, most=_most(most))


async def list_reviews(
    room: Room,
    caller: Caller,
    *,
    status: str | None,
    mine: bool,
    case: str | None,
    after: lists.After | None,
    most: int,
) -> list[ReviewRow]:
    """Return the reviews of cases that `caller` may read, the oldest first; `mine`: that they may sign now."""
    _one_of(status, REVIEW_STATUSES, "status")
    if mine and status not in (None, "open"):
        raise InvalidError(
            "What is yours to sign is open.", remedy="Leave status away, or say open.", facts={"place": "status"}
        )
    now = room.clock()
    async with room.reading() as conn:
        directory = await room.trails.standing(conn)
        if not mine:
            workflows = readable(directory, caller, now)
            rows = await lists.list_reviews(conn, workflows, status=status, case=case, after=after, most=_most(most))
            return [worded(directory, row) for row in rows]
        standing = standing_of(directory, caller)
        names = sorted({name for name, _ in directory.policies})
        roles = [(name, role) for name in names for role in sorted(standing.roles(name, now))]
        rows = await lists.my_reviews(conn, caller.id, roles, case=case, after=after, most=_most(most))
        return [worded(directory, row) for row in rows]


async def entries(
    room: Room, caller: Caller, which: EntryFilter, *, after: tuple[datetime, str, int] | None, most: int
) -> list[EntryRow]:
    """Return entries, the newest first: all of them to an auditor, those of one case to whoever may read it."""
    async with room.reading() as conn:
        directory = await room.trails.standing(conn)
        standing = standing_of(directory, caller)
        if not standing.holds(AUDITOR, "*", room.clock()):
            if which.trail is None or which.trail.startswith("@"):
                raise ForbiddenError(
                    "Only an auditor reads the entries of all cases.",
                    remedy="Name a case that you may read: trail=ID.",
                    facts={"cause": "role", "roles": [AUDITOR]},
                )
            await readable_case(conn, room, caller, which.trail)
        return await lists.list_entries(conn, room.appender, which, after=after, most=_most(most))


def _most(most: int) -> int:
    if not 1 <= most <= lists.MOST:
        raise InvalidError(f"A page has 1 to {lists.MOST} items.", facts={"place": "limit"})
    return most


def _one_of(value: str | None, known: Sequence[str], place: str) -> None:
    if value is not None and value not in known:
        raise InvalidError(
            f"There is no {place} {value!r}.", remedy=f"It is one of {', '.join(known)}.", facts={"place": place}
        )
