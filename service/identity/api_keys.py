"""API keys: hashed, for scopes, until a time; each change is an entry of @system. Who holds one never signs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, format_time
from countersign.audit.kinds import Kind

from ..errors import AbsentError, ConflictError, InvalidError
from .bound import bound_id
from .changes import By, Room, rows, utc
from .names import ADMINISTRATOR, check_grant, check_label, check_scopes, check_workflow, known_form
from .once import note
from .records import ApiKey
from .sessions import API_KEY_TOKEN, TOKEN_BYTES, digest, new_token

LONGEST = timedelta(days=366)
_ADD = """
INSERT INTO countersign.api_keys (id, digest, name, made_by, scopes, roles, workflow, made_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_KEY = "SELECT revoked_at FROM countersign.api_keys WHERE id = %s FOR UPDATE"
_REVOKE = "UPDATE countersign.api_keys SET revoked_at = %s WHERE id = %s"
_PAGE = """
SELECT id, name, made_by, scopes, roles, workflow, made_at, expires_at, revoked_at FROM countersign.api_keys
WHERE %s::text IS NULL OR (made_at, id) > (SELECT made_at, id FROM countersign.api_keys WHERE id = %s)
ORDER BY made_at, id LIMIT %s
"""


async def create_api_key(
    room: Room,
    by: By,
    name: str,
    scopes: Iterable[str],
    roles: Iterable[str],
    workflow: str,
    expires_at: datetime,
) -> tuple[str, ApiKey]:
    """Make an API key and return its token, of which only a digest is kept. It lasts 366 days at most.

    Raises InvalidError for a scope, role, workflow or time that cannot be, and for the role administrator.
    """
    label, what, where = check_label(name), check_scopes(scopes), check_workflow(workflow)
    whose = sorted({check_grant(role, where)[0] for role in roles})
    if ADMINISTRATOR in whose:
        raise InvalidError("No API key is an administrator.", facts={"place": "roles"})
    token = new_token(API_KEY_TOKEN, room.random(TOKEN_BYTES))
    async with room.administering(by) as change:
        if not change.now < expires_at <= change.now + LONGEST:
            raise InvalidError(
                f"An API key expires in the future, within {LONGEST.days} days.", facts={"place": "expires_at"}
            )
        key = ApiKey(
            bound_id("k", token), label, change.actor.id, tuple(what), tuple(whose), where, change.now, expires_at, None
        )
        await change.run(_ADD, key.id, digest(token), label, key.made_by, what, whose, where, change.now, expires_at)
        detail: dict[str, Json] = {
            "key": key.id, "scopes": [*what], "roles": [*whose], "workflow": where, "until": format_time(expires_at),
        }  # fmt: skip
        await change.record(Kind.API_KEY_CREATED, key.id, detail, {"name": label})
        await note(change.conn, by, key.id)
    return token, key


async def revoke_api_key(room: Room, by: By, key: str) -> None:
    """Let a key count no longer, at once. Raises AbsentError, or ConflictError where it was revoked already."""
    async with room.administering(by) as change:
        found = await change.one(_KEY, known_form(key))
        if found is None:
            raise AbsentError("There is no such API key.")
        if found[0] is not None:
            raise ConflictError("The API key was revoked already.")
        await change.run(_REVOKE, change.now, key)
        await change.record(Kind.API_KEY_REVOKED, key, {"key": key})


async def list_api_keys(conn: AsyncConnection[Any], after: str | None, limit: int) -> list[ApiKey]:
    """Return up to `limit` API keys in the order in which they were made, behind the one with the id `after`."""
    behind = after and known_form(after)
    return [_key(row) for row in await rows(conn, _PAGE, behind, behind, limit)]


def _key(row: tuple[Any, ...]) -> ApiKey:
    revoked = utc(row[8]) if row[8] is not None else None
    return ApiKey(row[0], row[1], row[2], tuple(row[3]), tuple(row[4]), row[5], utc(row[6]), utc(row[7]), revoked)
