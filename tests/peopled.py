"""A deployment's people for tests: cheap passwords, a clock that is set, and a few who are there already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from conftest import Database
from countersign.audit.body import Body, parse_body
from countersign.audit.entry import Actor
from countersign.service.errors import RequestError
from countersign.service.identity.caller import Caller
from countersign.service.identity.changes import Limits, Pool
from countersign.service.identity.passwords import Passwords
from countersign.service.identity.people import People, open_people, service_pool
from countersign.service.identity.records import ApiKey, GrantWanted, User

OPERATOR = Actor("uid:0", "os-user")
FIRST, OWN = "a first password", "an own password"
PATIENCE = 60
ADMIN, AUDITOR = GrantWanted("administrator", "*"), GrantWanted("auditor", "*")


@dataclass
class SetClock:
    """The time, as a test says it. It begins later than any key was introduced."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(minutes=1))

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **how: float) -> None:
        self.at += timedelta(**how)


class CountingHasher(Argon2Hasher):
    """Argon2 at its cheapest, which counts what it is asked, and lets a test do something while it verifies."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.verified = 0
        self.hashed = 0
        self._meanwhile: Coroutine[Any, Any, Any] | None = None
        self._loop = asyncio.get_running_loop()

    def meanwhile(self, act: Coroutine[Any, Any, Any]) -> None:
        """Run `act` to its end during the next verification, which is not over before."""
        self._meanwhile = act

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002 - pwdlib's name
        self.verified += 1
        if (act := self._meanwhile) is not None:
            self._meanwhile = None
            asyncio.run_coroutine_threadsafe(act, self._loop).result(PATIENCE)
        return super().verify(password, hash)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hashed += 1
        return super().hash(password, salt=salt)


@dataclass
class Peopled:
    """A deployment with its people, and what tests turn."""

    database: Database
    pool: Pool
    people: People
    clock: SetClock
    hasher: CountingHasher
    limits: Limits = field(default_factory=Limits)

    async def user(self, username: str, *grants: GrantWanted, own: str | None = OWN) -> User:
        """Return a new user with these grants, and with a password of their own unless `own` is None."""
        user, first = await self.people.create_user(OPERATOR, username, username.title(), FIRST, grants)
        if own is not None:
            await self.people.set_password(username, first, own)
        return user

    async def signed_in(self, username: str, *grants: GrantWanted) -> Caller:
        """Return a new user who is signed in."""
        await self.user(username, *grants)
        return await self.enter(username)

    async def enter(self, username: str, password: str = OWN) -> Caller:
        """Return who signs in."""
        token, _ = await self.people.sign_in(username, password)
        return await self.people.session(token)

    async def api_key(self, name: str, scopes: list[str], *, days: float = 1, **how: Any) -> tuple[str, ApiKey]:
        """Return the token of a new API key, and the key."""
        until = self.clock() + timedelta(days=days)
        return await self.people.create_api_key(OPERATOR, name, scopes, until, **how)

    def owner(self, session: str) -> str:
        """Return the id of the user whose session this is."""
        found = self.database.query("SELECT user_id FROM countersign.sessions WHERE id = %s", (session,))
        return str(found[0][0])

    def entries(self) -> list[Body]:
        """Return the bodies of all entries in @system."""
        rows = self.database.query("SELECT body FROM audit.entries WHERE trail = '@system' ORDER BY seq")
        return [parse_body(body) for (body,) in rows]

    def everything(self) -> str:
        """Return all that stands in the service's tables and in the evidence, as text."""
        tables = self.database.query(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('audit', 'countersign')"
        )
        found: list[str] = []
        for (table,) in tables:
            found += (str(row) for row in self.database.query(f"SELECT * FROM {table}"))
        return "\n".join(found)


@asynccontextmanager
async def peopled(database: Database, *, most: int = 4, clock: SetClock | None = None) -> AsyncIterator[Peopled]:
    """Yield the people of a database, as one server process has them."""
    clock, hasher = clock or SetClock(), CountingHasher()
    async with service_pool(database.service_url, most=most) as pool:
        people = await open_people(pool, database.home, passwords=Passwords(hasher), clock=clock)
        yield Peopled(database, pool, people, clock, hasher)


async def refusal(attempt: Awaitable[Any]) -> RequestError:
    """Return with what an attempt was refused."""
    with pytest.raises(RequestError) as refused:
        await attempt
    return refused.value
