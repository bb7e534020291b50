"""Signing in and out, sessions, and the password that is given again for a signature.

No database transaction is open while a password is verified. What was true before is therefore looked at again
afterwards, under locks of the rows that a deactivation or a new password changes: of the two one is first.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import NamedTuple

from countersign.audit.standing import Standing

from ..errors import ForbiddenError, UnauthenticatedError
from .bound import bound_id, is_bound, keyed_id
from .caller import API_KEY, SESSION, Caller
from .changes import Room, one
from .names import fold_username, typed_password
from .records import Credential, Session

_log = logging.getLogger(__name__)

SESSION_TOKEN, API_KEY_TOKEN = "css_", "csk_"
TOKEN_BYTES = 32
PASSWORD, USER_ID = "password", "user-id"
_SEEN_EVERY = timedelta(seconds=30)

_BY_NAME = """
SELECT u.id, c.id, c.secret, c.own, u.active FROM countersign.users u
JOIN countersign.credentials c ON c.user_id = u.id AND c.kind = 'password' AND c.revoked_at IS NULL
WHERE u.username = %s
"""
_STILL_GOOD = """
SELECT 1 FROM countersign.users u JOIN countersign.credentials c ON c.user_id = u.id
WHERE u.id = %s AND c.id = %s AND u.active AND c.revoked_at IS NULL FOR SHARE
"""
_OPEN = """
INSERT INTO countersign.sessions (id, digest, user_id, credential_id, opened_at, seen_at, expires_at, signed)
VALUES (%s, %s, %s, %s, %s, %s, %s, false)
"""
_LIVE = """
s.closed_at IS NULL AND s.expires_at > %(now)s AND s.seen_at > %(idle)s AND u.active AND c.revoked_at IS NULL
"""
_LOOK_UP = f"""
WITH live AS (
    SELECT s.id, s.user_id, s.credential_id FROM countersign.sessions s
    JOIN countersign.users u ON u.id = s.user_id JOIN countersign.credentials c ON c.id = s.credential_id
    WHERE s.digest = %(digest)s AND {_LIVE}
), touched AS (
    UPDATE countersign.sessions t SET seen_at = %(now)s FROM live WHERE t.id = live.id AND t.seen_at < %(long_ago)s
)
SELECT id, user_id, credential_id FROM live
"""
_TO_SIGN = f"""
SELECT s.user_id, u.username, c.id, c.secret, c.own, s.signed FROM countersign.sessions s
JOIN countersign.users u ON u.id = s.user_id JOIN countersign.credentials c ON c.id = s.credential_id
WHERE s.id = %(id)s AND {_LIVE}
"""
_SIGNED = """
UPDATE countersign.sessions s SET seen_at = %s, signed = signed OR %s FROM countersign.credentials c
WHERE s.id = %s AND s.closed_at IS NULL AND s.expires_at > %s AND c.id = s.credential_id AND c.revoked_at IS NULL
RETURNING 1
"""
_CLOSE = "UPDATE countersign.sessions SET closed_at = %s WHERE id = %s AND closed_at IS NULL"
_API_KEY = """
SELECT id FROM countersign.api_keys WHERE digest = %s AND revoked_at IS NULL AND expires_at > %s
"""


class Proved(NamedTuple):
    """A user whose password was right when it was looked at."""

    user: str
    credential: str
    own: bool


async def prove(room: Room, username: str, password: str) -> Proved:
    """Return who has this name and password. Raises UnauthenticatedError, the same and after the same work, otherwise.

    What was typed as a name is kept nowhere.
    """
    async with room.reading() as conn:
        found = await one(conn, _BY_NAME, fold_username(username)) if _can_be_sent(username) else None
        standing = (await room.directory.current(conn)).latest(found[0]) if found else None
    good = await room.passwords.verify(typed_password(password), found[2] if found else None)
    # What counts is what an entry enrolled: a row that was put there or changed by hand opens nothing.
    if found is None or not good or not found[4] or not _is_enrolled(standing, *found[:3]):
        _log.warning("A password was refused, of %s.", found[0] if found else "nobody that is known")
        raise UnauthenticatedError(
            "The username or the password is wrong, or the user is not active.",
            remedy="Try again, or ask an administrator.",
        )
    return Proved(found[0], found[1], found[3])


async def sign_in(room: Room, username: str, password: str) -> tuple[str, Session]:
    """Open a session and return its token, of which only a digest is kept.

    Raises UnauthenticatedError as `prove` does; ForbiddenError (own-password) where an administrator set the password.
    """
    proved = await prove(room, username, password)
    if not proved.own:
        raise own_password_needed()
    token = new_token(SESSION_TOKEN, room.random(TOKEN_BYTES))
    now = room.clock()
    made = _session_id(room, token, proved.user, proved.credential)
    session = Session(made, proved.user, proved.credential, now, now + room.limits.absolute)
    async with room.transaction() as conn:
        if await one(conn, _STILL_GOOD, proved.user, proved.credential) is None:
            raise UnauthenticatedError("The user or the password was changed meanwhile.", remedy="Sign in again.")
        values = (session.id, digest(token), session.user, session.credential, now, now, session.expires_at)
        await conn.execute(_OPEN, values)
    return token, session


async def look_up(room: Room, token: str) -> Caller:
    """Return whose session it is. Raises UnauthenticatedError unless it is open and its user active, at this moment."""
    now = room.clock()
    params = {"now": now, "idle": now - room.limits.idle, "digest": digest(token), "long_ago": now - _SEEN_EVERY}
    async with room.reading() as conn:
        found = await (await conn.execute(_LOOK_UP, params)).fetchone()
    if found is None or not token.startswith(SESSION_TOKEN):
        raise session_over()
    if not is_bound(found[0], _session_id(room, token, found[1], found[2])):
        raise session_over()
    return Caller(found[1], SESSION, found[0], found[2])


async def look_up_key(room: Room, token: str) -> Caller:
    """Return whose API key it is. Raises UnauthenticatedError unless it is neither revoked nor expired.

    The row only finds it; what it is for stands in the entry by which it was made.
    """
    standing = None
    async with room.reading() as conn:
        found = await one(conn, _API_KEY, digest(token), room.clock())
        if found is not None and token.startswith(API_KEY_TOKEN) and is_bound(found[0], bound_id("k", token)):
            standing = (await room.directory.current(conn)).latest(found[0])
    if standing is None or not standing.active:
        raise UnauthenticatedError("The API key is unknown, revoked or expired.", remedy="Ask for another one.")
    return Caller(standing.subject, API_KEY, is_api_key=True, scopes=standing.scopes)


async def sign_out(room: Room, session: str) -> None:
    """Close the session with this id; one that is closed already stays so."""
    async with room.reading() as conn:
        await conn.execute(_CLOSE, (room.clock(), session))


async def verify_password(room: Room, session: str, username: str | None, password: str) -> Credential:
    """Return the credential that was proved for a signature in `session`, and by which components.

    The first time in a session the username is needed too, later the password alone will do. To be called outside any
    transaction, since it takes long; whoever signs then looks at the standing of the user under the lock of @system.

    Raises UnauthenticatedError (cause session) where the session is over, ForbiddenError with the cause own-password
    where an administrator set the password, and credential where a component is wrong or not given.
    """
    now = room.clock()
    params = {"id": session, "now": now, "idle": now - room.limits.idle}
    async with room.reading() as conn:
        found = await (await conn.execute(_TO_SIGN, params)).fetchone()
    if found is None:
        raise session_over()
    user, name, credential, secret, own, signed = found
    if username is None and not signed:
        raise ForbiddenError(
            "The first signature of a session needs username and password.",
            remedy="Send both.",
            facts={"cause": "credential", "place": "username"},
        )
    good = await room.passwords.verify(typed_password(password), secret)
    good = good and is_bound(credential, bound_id("c", user, secret))
    if not good or (username is not None and fold_username(username) != name):
        _log.warning("A password was refused for a signature, of %s.", user)
        raise ForbiddenError(
            "The username or the password is wrong.", remedy="Try again.", facts={"cause": "credential"}
        )
    if not own:
        raise own_password_needed()
    now = room.clock()
    async with room.reading() as conn:
        if await one(conn, _SIGNED, now, username is not None, session, now) is None:
            raise session_over()
    return Credential(credential, user, session, (PASSWORD, USER_ID) if username is not None else (PASSWORD,))


def _is_enrolled(standing: Standing | None, user: str, credential: str, secret: str) -> bool:
    """Tell whether an entry enrolled this credential, which is not revoked, with this very secret."""
    enrolled = standing is not None and credential in standing.credentials
    return enrolled and is_bound(credential, bound_id("c", user, secret))


def _session_id(room: Room, token: str, user: str, credential: str) -> str:
    """Return the id of a session, which only this service can make: whose it is cannot be changed in its row."""
    return keyed_id("s", room.appender.secret("sessions"), token, user, credential)


def new_token(prefix: str, random: bytes) -> str:
    """Return a token made of 32 random bytes."""
    return f"{prefix}{random.hex()}"


def digest(token: str) -> bytes:
    """Return what is kept of a token. Nobody can guess 32 random bytes, so the plain digest is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def own_password_needed() -> ForbiddenError:
    """Return the refusal of a password that somebody else knows."""
    return ForbiddenError(
        "This password was set by an administrator: it neither opens a session nor signs.",
        remedy="Set your own first.",
        facts={"cause": "own-password"},
    )


def session_over() -> UnauthenticatedError:
    """Return the refusal of a session that is not open."""
    return UnauthenticatedError("The session is over.", remedy="Sign in again.", facts={"cause": "session"})


def _can_be_sent(text: str) -> bool:
    """Tell whether PostgreSQL takes the text at all."""
    return "\x00" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
