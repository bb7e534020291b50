"""Everything the service asks about people, in one place: who they are, who they become, and what they proved."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from psycopg_pool import AsyncConnectionPool

from countersign.audit.append import Appender
from countersign.audit.deployment import open_operator_steps
from countersign.audit.steps import arun

from ..clock import Clock, now
from ..errors import UnauthenticatedError
from . import accounts, api_keys, grants, sessions
from .caller import Caller
from .changes import By, Limits, Pool, Room
from .directory import DirectoryReader
from .passwords import Passwords
from .records import ApiKey, Credential, Grant, GrantWanted, Session, User

PAGE = 100


class People:
    """Users, sessions, grants and API keys of one deployment. All methods raise service/errors.py.

    Each change is one transaction: a row, and an entry in @system that the deployment key signs. `by` is a caller, who
    has to be an administrator at that moment, or the operator at the command line. No method may be called within a
    transaction of the caller's that holds the lock of @system.
    """

    def __init__(
        self,
        pool: Pool,
        appender: Appender,
        directory: DirectoryReader,
        *,
        passwords: Passwords | None = None,
        limits: Limits | None = None,
        clock: Clock = now,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        passwords = passwords or Passwords(random=random)
        self._room = Room(pool, appender, directory, passwords, clock, random, limits or Limits())
        self.appender = appender
        self.directory = directory

    async def sign_in(self, username: str, password: str) -> tuple[str, Session]:
        """Open a session and return its token: see sessions.sign_in."""
        return await sessions.sign_in(self._room, username, password)

    async def sign_out(self, session: str) -> None:
        """Close the session with this id."""
        await sessions.sign_out(self._room, session)

    async def session(self, token: str) -> Caller:
        """Return whose session it is, if it is open and its user active. Raises UnauthenticatedError."""
        return await sessions.look_up(self._room, token)

    async def api_key(self, token: str) -> Caller:
        """Return whose API key it is, if it counts. Raises UnauthenticatedError."""
        return await sessions.look_up_key(self._room, token)

    async def caller(self, token: str) -> Caller:
        """Return who holds the token of a session or an API key. Raises UnauthenticatedError."""
        if token.startswith(sessions.API_KEY_TOKEN):
            return await self.api_key(token)
        if token.startswith(sessions.SESSION_TOKEN):
            return await self.session(token)
        raise UnauthenticatedError("This is no token of a session or an API key.", remedy="Sign in.")

    async def verify_password(self, session: str, username: str | None, password: str) -> Credential:
        """Return the credential that was proved for a signature in the session with this id: see sessions."""
        return await sessions.verify_password(self._room, session, username, password)

    async def create_user(
        self,
        by: By,
        username: str,
        printed_name: str,
        password: str | None = None,
        grants: Sequence[GrantWanted] = (),
    ) -> tuple[User, str]:
        """Make a user with the grants, and return the password that they have to replace: see accounts."""
        return await accounts.create_user(self._room, by, username, printed_name, password, grants)

    async def set_password(self, username: str, old: str, new: str) -> None:
        """Replace one's own password. Needs no session."""
        await accounts.set_password(self._room, username, old, new)

    async def reset_password(self, by: By, user: str, password: str | None = None) -> str:
        """Give a user a password that they have to replace, and return it."""
        return await accounts.reset_password(self._room, by, user, password)

    async def deactivate(self, by: By, user: str, reason: str | None = None) -> None:
        """Deactivate a user and close their sessions. Raises ConflictError for the last administrator."""
        await accounts.deactivate(self._room, by, user, reason)

    async def reactivate(self, by: By, user: str, reason: str | None = None) -> None:
        """Let a user that was deactivated sign in again."""
        await accounts.reactivate(self._room, by, user, reason)

    async def give_grant(
        self,
        by: By,
        user: str,
        role: str,
        workflow: str,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> Grant:
        """Give a role for a workflow, or for all (`*`), from now or a later moment on."""
        return await grants.give_grant(self._room, by, user, GrantWanted(role, workflow, valid_from, valid_until))

    async def revoke_grant(self, by: By, grant: str) -> None:
        """Take a grant back. Raises ConflictError for that of the last administrator."""
        await grants.revoke_grant(self._room, by, grant)

    async def create_api_key(
        self,
        by: By,
        name: str,
        scopes: Iterable[str],
        expires_at: datetime,
        roles: Iterable[str] = (),
        workflow: str = "*",
    ) -> tuple[str, ApiKey]:
        """Make an API key and return its token, which is shown this once."""
        return await api_keys.create_api_key(self._room, by, name, scopes, roles, workflow, expires_at)

    async def revoke_api_key(self, by: By, key: str) -> None:
        """Let an API key count no longer."""
        await api_keys.revoke_api_key(self._room, by, key)

    async def list_users(self, by: By, after: str | None = None, limit: int = PAGE) -> list[User]:
        """Return users in the order in which they were made, to an administrator or auditor."""
        async with self._room.reading() as conn:
            await self._room.may_read(conn, by)
            return await accounts.list_users(conn, after, limit)

    async def get_user(self, by: By, user: str) -> User:
        """Return a user, to themselves, an administrator or an auditor. Raises AbsentError."""
        async with self._room.reading() as conn:
            await self._room.may_read(conn, by, of=user)
            return await accounts.user_by_id(conn, user)

    async def find_user(self, by: By, username: str) -> User:
        """Return the user of this name, to an administrator or auditor. Raises AbsentError."""
        async with self._room.reading() as conn:
            await self._room.may_read(conn, by)
            return await accounts.user_by_name(conn, username)

    async def list_grants(
        self, by: By, user: str | None = None, after: str | None = None, limit: int = PAGE
    ) -> list[Grant]:
        """Return grants as they begin: one's own to everybody, all to an administrator or auditor."""
        async with self._room.reading() as conn:
            await self._room.may_read(conn, by, of=user)
            return await grants.list_grants(conn, user, after, limit)

    async def list_api_keys(self, by: By, after: str | None = None, limit: int = PAGE) -> list[ApiKey]:
        """Return API keys in the order in which they were made, to an administrator or auditor."""
        async with self._room.reading() as conn:
            await self._room.may_read(conn, by)
            return await api_keys.list_api_keys(conn, after, limit)


async def open_people(
    pool: Pool,
    home: Path,
    *,
    passwords: Passwords | None = None,
    limits: Limits | None = None,
    clock: Clock = now,
    random: Callable[[int], bytes] = os.urandom,
) -> People:
    """Return the people of the deployment whose keys are below `home`. Needs the deployment key.

    Raises ConfigurationError where database or keys are not ready, VerificationError where @keys does not hold.
    """
    async with pool.connection() as conn:
        appender = await arun(conn, open_operator_steps(home, now=clock))
    return People(
        pool, appender, DirectoryReader(appender), passwords=passwords, limits=limits, clock=clock, random=random
    )


def service_pool(url: str, *, most: int = 10) -> Pool:
    """Return a pool of the service's own connections, not yet open: autocommit off, explicit transactions."""
    return AsyncConnectionPool(url, min_size=1, max_size=most, close_returns=True, open=False)
