"""The API served by a thread of the test's own process, over a real socket; passwords are cheap to hash."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from pwdlib.hashers.argon2 import Argon2Hasher

from conftest import ORIGIN, Database
from countersign.service.api.app import create_app
from countersign.service.api.parts import Settings
from countersign.service.api.serve import Server
from countersign.service.errors import ConflictError
from countersign.service.identity.passwords import Passwords
from countersign.service.identity.people import People, open_people, service_pool
from countersign.service.identity.records import GrantWanted
from peopled import OPERATOR

PASSWORD = "a password of their own"  # noqa: S105 - of nobody real


class Api(httpx.AsyncClient):
    """A client of one server, which can make people."""

    def __init__(self, url: str, people: People) -> None:
        super().__init__(base_url=url, timeout=30)
        self.people = people
        self.ids: dict[str, str] = {}

    async def person(self, name: str, *grants: GrantWanted) -> None:
        """Make somebody, unless they are there already."""
        try:
            user, first = await self.people.create_user(OPERATOR, name, name.title(), None, grants)
        except ConflictError:
            return
        await self.people.set_password(name, first, PASSWORD)
        self.ids[name] = user.id

    async def sign_in(self, name: str) -> httpx.Response:
        answer = await self.post("/api/sessions", json={"username": name, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return answer

    async def enter(self, name: str) -> dict[str, str]:
        """Return the header of a new session, which no cookie goes with."""
        token = (await self.sign_in(name)).json()["token"]
        self.cookies.clear()
        return {"authorization": f"Bearer {token}"}


def bearer(session: Mapping[str, str]) -> dict[str, str]:
    return {"authorization": f"Bearer {session['token']}"}


@asynccontextmanager
async def served_here(database: Database, **settings: Any) -> AsyncIterator[Api]:
    """Yield a client of a server on `database`."""
    cheap = Passwords(Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1))
    how = {"passwords": cheap, "connections": 6, "sweep": 0.5, "tick": 0.5, **settings}
    ready = threading.Event()
    app = create_app(Settings(database.service_url, database.home, ORIGIN, **how), begun=ready.set)
    server = Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=5))
    server.app = app
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=_run, args=(server, bound, ready))
        thread.start()
        try:
            ready.wait()
            async with service_pool(database.service_url, most=1) as pool:
                people = await open_people(pool, database.home, passwords=cheap)
                async with Api(f"http://127.0.0.1:{bound.getsockname()[1]}", people) as client:
                    yield client
        finally:
            server.should_exit = True
            thread.join()


def _run(server: Server, bound: socket.socket, ready: threading.Event) -> None:
    try:
        server.run(sockets=[bound])
    finally:
        ready.set()  # also where it did not begin: nobody waits for it then
