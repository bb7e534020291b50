"""Users and their passwords: made, deactivated, reactivated, never deleted; each change is an entry of @system."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json
from countersign.audit.entry import Actor
from countersign.audit.kinds import Kind

from ..errors import AbsentError, ConflictError, InvalidError, UnauthenticatedError
from .bound import bound_id
from .changes import By, Change, Room, one, rows, utc
from .grants import check_administrators, give
from .names import (
    check_password,
    check_printed_name,
    check_reason,
    check_username,
    fold_username,
    known_form,
    typed_password,
)
from .once import note
from .records import GrantWanted, User
from .sessions import prove

_ONE_TIME_BYTES = 15
BY_PASSWORD = "password"  # noqa: S105 - how an actor proved who they are

_TAKEN = "SELECT 1 FROM countersign.users WHERE username = %s"
_ADD_USER = """
INSERT INTO countersign.users (id, username, printed_name, active, created_at) VALUES (%s, %s, %s, true, %s)
"""
_ENROL = """
INSERT INTO countersign.credentials (id, user_id, kind, secret, own, enrolled_at)
VALUES (%s, %s, 'password', %s, %s, %s)
"""
_TAKE_BACK = """
UPDATE countersign.credentials SET revoked_at = %s WHERE user_id = %s AND kind = 'password' AND revoked_at IS NULL
RETURNING id
"""
_CLOSE_SESSIONS = "UPDATE countersign.sessions SET closed_at = %s WHERE user_id = %s AND closed_at IS NULL"
_USER = "SELECT username, active FROM countersign.users WHERE id = %s FOR UPDATE"
_SET_ACTIVE = "UPDATE countersign.users SET active = %s WHERE id = %s"
_USERS = """
SELECT u.id, u.username, u.printed_name, u.active, u.created_at,
    CASE c.own WHEN true THEN 'own' WHEN false THEN 'temporary' ELSE 'none' END
FROM countersign.users u
LEFT JOIN countersign.credentials c ON c.user_id = u.id AND c.kind = 'password' AND c.revoked_at IS NULL
"""
_USER_BY_ID = _USERS + "WHERE u.id = %s"
_USER_BY_NAME = _USERS + "WHERE u.username = %s"
_PAGE = (
    _USERS
    + """WHERE %s::text IS NULL
   OR (u.created_at, u.id) > (SELECT created_at, id FROM countersign.users WHERE id = %s)
ORDER BY u.created_at, u.id LIMIT %s"""
)


async def create_user(
    room: Room, by: By, username: str, printed_name: str, password: str | None, grants: Sequence[GrantWanted]
) -> tuple[User, str]:
    """Make a user with a password that they have to replace, and return both.

    Raises ConflictError where the name is taken, InvalidError for a name, password or grant that cannot be.
    """
    name, printed = check_username(username), check_printed_name(printed_name)
    first = check_password(password, name) if password is not None else one_time_password(room)
    secret = await room.passwords.hash(first)
    async with room.administering(by) as change:
        if await change.one(_TAKEN, name) is not None:
            raise ConflictError(
                "There is a user of this name, perhaps one that was deactivated.", remedy="Choose another name."
            )
        user = User(room.new_id("u"), name, printed, True, change.now, "temporary")  # noqa: FBT003
        await change.run(_ADD_USER, user.id, name, printed, change.now)
        payload = {"username": name, "printed_name": printed}
        await change.record(Kind.USER_CREATED, user.id, {"user": user.id}, payload)
        await _enrol(change, user.id, secret, own=False)
        for wanted in grants:
            await give(room, change, user.id, wanted)
        await note(change.conn, by, user.id)
    return user, first


async def set_password(room: Room, username: str, old: str, new: str) -> None:
    """Replace one's own password, whoever had set the old one; sessions of the user are closed.

    Raises UnauthenticatedError, the same for an unknown name and a wrong password, and InvalidError for a new password
    that cannot be one or is the old one.
    """
    password = check_password(new, fold_username(username), "new")
    if password == typed_password(old):
        raise InvalidError("The new password is the old one.", facts={"place": "new"})
    proved = await prove(room, username, old)
    secret = await room.passwords.hash(password)
    async with room.changing(Actor(proved.user, BY_PASSWORD)) as change:
        found = await change.one(_USER, proved.user)
        if found is None or not found[1] or await _revoke_password(change, proved.user) != proved.credential:
            raise UnauthenticatedError("The user or the password was changed meanwhile.", remedy="Try again.")
        await _enrol(change, proved.user, secret, own=True)


async def reset_password(room: Room, by: By, user: str, password: str | None) -> str:
    """Give a user a password that they have to replace, and return it; sessions of the user are closed."""
    username = await _name_of(room, by, user)
    first = check_password(password, username) if password is not None else one_time_password(room)
    secret = await room.passwords.hash(first)
    async with room.administering(by) as change:
        await _locked(change, user)
        await _revoke_password(change, user)
        await _enrol(change, user, secret, own=False)
        await note(change.conn, by, user)
    return first


async def deactivate(room: Room, by: By, user: str, reason: str | None) -> None:
    """Let nobody sign in or sign as `user` any more; sessions are closed at once.

    Raises ConflictError where they are inactive, or are the last active administrator.
    """
    payload = {"reason": check_reason(reason)} if reason is not None else None
    async with room.administering(by) as change:
        _, active = await _locked(change, user)
        if not active:
            raise ConflictError("The user is not active already.")
        await check_administrators(change, without_user=user)
        await change.run(_SET_ACTIVE, False, user)  # noqa: FBT003
        await change.run(_CLOSE_SESSIONS, change.now, user)
        await change.record(Kind.USER_DEACTIVATED, user, {"user": user}, payload)
        await note(change.conn, by, user)


async def reactivate(room: Room, by: By, user: str, reason: str | None) -> None:
    """Let a user that was deactivated sign in again, with the password and the grants that they have."""
    payload = {"reason": check_reason(reason)} if reason is not None else None
    async with room.administering(by) as change:
        _, active = await _locked(change, user)
        if active:
            raise ConflictError("The user is active already.")
        await change.run(_SET_ACTIVE, True, user)  # noqa: FBT003
        await change.record(Kind.USER_REACTIVATED, user, {"user": user}, payload)
        await note(change.conn, by, user)


async def list_users(conn: AsyncConnection[Any], after: str | None, limit: int) -> list[User]:
    """Return up to `limit` users in the order in which they were made, behind the one with the id `after`."""
    behind = after and known_form(after)
    return [_user(row) for row in await rows(conn, _PAGE, behind, behind, limit)]


async def user_by_id(conn: AsyncConnection[Any], user: str) -> User:
    """Return a user. Raises AbsentError where there is none."""
    row = await one(conn, _USER_BY_ID, known_form(user))
    if row is None:
        raise no_user()
    return _user(row)


async def user_by_name(conn: AsyncConnection[Any], username: str) -> User:
    """Return the user of this name, however it is spelled. Raises AbsentError where there is none."""
    row = await one(conn, _USER_BY_NAME, check_username(username))
    if row is None:
        raise no_user()
    return _user(row)


def one_time_password(room: Room) -> str:
    """Return a password of 24 characters that nobody chose."""
    return base64.b32encode(room.random(_ONE_TIME_BYTES)).decode("ascii").lower()


def no_user() -> AbsentError:
    """Return the failure for an id or a name that no user has."""
    return AbsentError("There is no such user.")


async def _enrol(change: Change, user: str, secret: str, *, own: bool) -> None:
    credential = bound_id("c", user, secret)
    await change.run(_ENROL, credential, user, secret, own, change.now)
    detail: dict[str, Json] = {"user": user, "credential": credential, "method": "password", "own": own}
    await change.record(Kind.CREDENTIAL_ENROLLED, user, detail)


async def _revoke_password(change: Change, user: str) -> str | None:
    found = await change.one(_TAKE_BACK, change.now, user)
    if found is None:
        return None
    await change.run(_CLOSE_SESSIONS, change.now, user)
    await change.record(Kind.CREDENTIAL_REVOKED, user, {"user": user, "credential": found[0]})
    return str(found[0])


async def _locked(change: Change, user: str) -> tuple[str, bool]:
    found = await change.one(_USER, known_form(user))
    if found is None:
        raise no_user()
    return found[0], found[1]


async def _name_of(room: Room, by: By, user: str) -> str:
    async with room.reading() as conn:
        await room.may_read(conn, by)
        return (await user_by_id(conn, user)).username


def _user(row: tuple[Any, ...]) -> User:
    return User(row[0], row[1], row[2], row[3], utc(row[4]), row[5])
