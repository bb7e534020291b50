"""The API for tests that need no process of its own: served in the test's own loop, passwords cheap to hash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
from litestar import Litestar
from pwdlib.hashers.argon2 import Argon2Hasher

from conftest import ORIGIN, Database
from countersign.service.api.app import create_app
from countersign.service.api.parts import Settings
from countersign.service.errors import ConflictError
from countersign.service.identity.passwords import Passwords
from countersign.service.identity.records import GrantWanted
from peopled import OPERATOR

PASSWORD = "a password of their own"  # noqa: S105 - of nobody real


class Api(httpx.AsyncClient):
    """A client of one application, which can make people."""

    def __init__(self, app: Litestar) -> None:
        super().__init__(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://api")
        self.app = app

    async def person(self, name: str, *grants: GrantWanted) -> None:
        """Make somebody, unless they are there already."""
        people = self.app.state.service.people
        try:
            _, first = await people.create_user(OPERATOR, name, name.title(), None, grants)
        except ConflictError:
            return
        await people.set_password(name, first, PASSWORD)

    async def sign_in(self, name: str) -> httpx.Response:
        answer = await self.post("/api/sessions", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return answer


@asynccontextmanager
async def served_here(database: Database) -> AsyncIterator[Api]:
    """Yield a client of an application on `database`."""
    cheap = Passwords(Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1))
    app = create_app(Settings(database.service_url, database.home, ORIGIN, passwords=cheap, connections=4))
    ready, done = asyncio.Event(), asyncio.Event()

    async def living() -> None:
        # Litestar's lifespan has to end in the task in which it began.
        async with app.lifespan():
            ready.set()
            await done.wait()

    task = asyncio.create_task(living())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not task.done():
            async with Api(app) as client:
                yield client
    finally:
        done.set()
        await task
