"""Grants: who has which role, for which workflow, from when and until when; each change is an entry of @system."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, format_time
from countersign.audit.kinds import Kind

from ..errors import AbsentError, ConflictError, ForbiddenError, InvalidError
from .caller import Caller
from .changes import By, Change, Room, rows, utc
from .names import ADMINISTRATOR, EVERY_WORKFLOW, check_grant, known_form
from .once import note
from .records import Grant, GrantWanted

_USER = "SELECT active FROM countersign.users WHERE id = %s FOR UPDATE"
_ADD = """
INSERT INTO countersign.grants (id, user_id, role, workflow, valid_from, valid_until) VALUES (%s, %s, %s, %s, %s, %s)
"""
_COLUMNS = "id, user_id, role, workflow, valid_from, valid_until, revoked_at"
_GRANT = f"SELECT {_COLUMNS} FROM countersign.grants WHERE id = %s FOR UPDATE"
_REVOKE = "UPDATE countersign.grants SET revoked_at = %s WHERE id = %s"
_ADMINISTRATORS = """
SELECT DISTINCT user_id FROM countersign.grants
WHERE role = %s AND workflow = %s AND revoked_at IS NULL AND id <> %s AND user_id <> %s
AND valid_from <= %s AND (valid_until IS NULL OR valid_until > %s)
"""
_PAGE = f"""
SELECT {_COLUMNS} FROM countersign.grants WHERE (%s::text IS NULL OR user_id = %s)
AND (%s::text IS NULL OR (valid_from, id) > (SELECT valid_from, id FROM countersign.grants WHERE id = %s))
ORDER BY valid_from, id LIMIT %s
"""


async def give_grant(room: Room, by: By, user: str, wanted: GrantWanted) -> Grant:
    """Give a role to an active user. Raises InvalidError for what is no role, workflow or time.

    Raises ForbiddenError where an administrator means themselves: the roles that somebody has, others gave them.
    """
    async with room.administering(by) as change:
        if isinstance(by, Caller) and by.id == known_form(user):
            raise ForbiddenError(
                "Nobody gives a role to themselves.",
                remedy="Ask another administrator, or the operator of the machine: countersign grant give.",
                facts={"cause": "self"},
            )
        grant = await give(room, change, user, wanted)
        await note(change.conn, by, grant)
        return grant


async def give(room: Room, change: Change, user: str, wanted: GrantWanted) -> Grant:
    """Give a role within a change that is under way."""
    role, workflow = check_grant(wanted.role, wanted.workflow)
    found = await change.one(_USER, known_form(user))
    if found is None:
        raise AbsentError("There is no such user.")
    if not found[0]:
        raise ConflictError("The user is not active.", remedy="Reactivate them first.")
    begins, ends = wanted.valid_from or change.now, wanted.valid_until
    if begins < change.now:
        raise InvalidError("A grant does not begin in the past.", facts={"place": "valid_from"})
    if ends is not None and ends <= begins:
        raise InvalidError("A grant ends after it begins.", facts={"place": "valid_until"})
    grant = Grant(room.new_id("g"), user, role, workflow, begins, ends, None)
    await change.run(_ADD, grant.id, user, role, workflow, begins, ends)
    detail: dict[str, Json] = {"user": user, "grant": grant.id, "role": role, "workflow": workflow}
    detail["from"] = format_time(begins)
    if ends is not None:
        detail["until"] = format_time(ends)
    await change.record(Kind.GRANT_GIVEN, user, detail)
    return grant


async def revoke_grant(room: Room, by: By, grant: str) -> None:
    """Take a grant back, from now on.

    Raises ConflictError where it was taken back, or makes somebody the last active administrator; AbsentError.
    """
    async with room.administering(by) as change:
        found = await change.one(_GRANT, known_form(grant))
        if found is None:
            raise AbsentError("There is no such grant.")
        known = _grant(found)
        if known.revoked_at is not None:
            raise ConflictError("The grant was revoked already.")
        if (known.role, known.workflow) == (ADMINISTRATOR, EVERY_WORKFLOW):
            await check_administrators(change, without_grant=grant, of=known.user)
        await change.run(_REVOKE, change.now, grant)
        await change.record(Kind.GRANT_REVOKED, known.user, {"user": known.user, "grant": grant})


async def check_administrators(
    change: Change, *, without_user: str = "", without_grant: str = "", of: str = ""
) -> None:
    """Raise ConflictError if this user, or grant of a user, is all that makes anybody an administrator."""
    subject = change.directory.latest(without_user or of)
    if subject is None or not subject.active or not subject.holds(ADMINISTRATOR, EVERY_WORKFLOW, change.now):
        return
    asked = (ADMINISTRATOR, EVERY_WORKFLOW, without_grant, without_user, change.now, change.now)
    for (other,) in await rows(change.conn, _ADMINISTRATORS, *asked):
        standing = change.directory.latest(other)
        if standing and standing.active and standing.holds(ADMINISTRATOR, EVERY_WORKFLOW, change.now):
            return
    raise ConflictError(
        "This is the last active administrator.", remedy="Give the role administrator to somebody else first."
    )


async def list_grants(conn: AsyncConnection[Any], user: str | None, after: str | None, limit: int) -> list[Grant]:
    """Return up to `limit` grants, of one user or of all, in the order in which they begin, behind the one `after`."""
    whose, behind = user and known_form(user), after and known_form(after)
    return [_grant(row) for row in await rows(conn, _PAGE, whose, whose, behind, behind, limit)]


def _grant(row: tuple[Any, ...]) -> Grant:
    ends, revoked = (utc(moment) if moment is not None else None for moment in row[5:7])
    return Grant(row[0], row[1], row[2], row[3], utc(row[4]), ends, revoked)
