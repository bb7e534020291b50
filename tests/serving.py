"""`countersign serve` as operators run it: a process, its workers, a configuration, and clients that sign in."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pwdlib.hashers.argon2 import Argon2Hasher

from conftest import Database
from countersign.service.identity.passwords import Passwords
from countersign.service.identity.people import open_people, service_pool
from countersign.service.identity.records import GrantWanted
from integration.sealing import own_log
from peopled import OPERATOR

COUNTERSIGN = Path(sys.executable).with_name("countersign")
PASSWORD = "a password of their own"  # noqa: S105 - of nobody real
PATIENCE = 60


@dataclass
class Server:
    """One running server, and who is signed in there."""

    url: str
    database: Database
    process: subprocess.Popen[str]
    said: list[str]
    clients: dict[str, httpx.Client] = field(default_factory=dict)

    def of(self, name: str) -> httpx.Client:
        """Return a client of somebody who is signed in."""
        if name not in self.clients:
            client = httpx.Client(base_url=self.url, timeout=PATIENCE)
            said = client.post("/api/sessions", json={"username": name, "password": PASSWORD})
            assert said.status_code == 201, said.text
            client.cookies.clear()
            client.headers["authorization"] = f"Bearer {said.json()['token']}"
            self.clients[name] = client
        return self.clients[name]

    def start(self, name: str, workflow: str, given: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """Start a case and return it when it rests."""
        body = {"workflow": workflow, "input": dict(given)}
        said = self.of(name).post("/api/cases", json=body, headers={"prefer": f"wait={PATIENCE}", **headers})
        assert said.status_code == 202, said.text
        case: dict[str, Any] = said.json()
        return case

    def shown(self, name: str, review: str) -> dict[str, Any]:
        """Return a review as it is shown to somebody."""
        said = self.of(name).get(f"/api/reviews/{review}")
        assert said.status_code == 200, said.text
        page: dict[str, Any] = said.json()
        return page

    def decide(self, name: str, review: str, decision: str, reason: str = "", **more: Any) -> httpx.Response:
        """Sign a decision on what is shown now, or on the `shown_digest` that is given."""
        digest = more.pop("shown_digest", None) or self.shown(name, review)["shown_digest"]
        body = {
            "decision": decision,
            "reason": reason,
            "shown_digest": digest,
            "credential": {"username": name, "password": PASSWORD},
            **more,
        }
        headers = {"prefer": f"wait={PATIENCE}"}
        return self.of(name).post(f"/api/reviews/{review}/decisions", json=body, headers=headers)


def own_home(database: Database, folder: Path) -> Database:
    """Return the database with a home of its own, whose log nobody else seals."""
    return own_log(database, folder).database


def make_people(database: Database, people: Mapping[str, list[tuple[str, str]]]) -> dict[str, str]:
    """Make people who have these roles for these workflows, and return their ids by name."""

    async def make() -> dict[str, str]:
        cheap = Passwords(Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1))
        ids = {}
        async with service_pool(database.service_url, most=1) as pool:
            office = await open_people(pool, database.home, passwords=cheap)
            for name, roles in people.items():
                grants = [GrantWanted(role, workflow) for role, workflow in roles]
                user, first = await office.create_user(OPERATOR, name, name.title(), None, grants)
                await office.set_password(name, first, PASSWORD)
                ids[name] = user.id
        return ids

    return asyncio.run(make())


@contextmanager
def home_folder() -> Iterator[Path]:
    """Yield a folder for a home, which others may traverse: pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="countersign-served-") as folder:
        yield Path(folder)


@contextmanager
def served(database: Database, config: Path, *options: str) -> Iterator[Server]:
    """Run a server of the configuration in the folder `config` until the block ends; it has to end in order."""
    words = [str(COUNTERSIGN), "serve", "--config", str(config), "--listen", "127.0.0.1:0", *options]
    environment = {
        **os.environ,
        "COUNTERSIGN_HOME": str(database.home),
        "COUNTERSIGN_DATABASE_URL": database.service_url,
        "COUNTERSIGN_WORKER_DATABASE_URL": database.worker_url,
    }
    process = subprocess.Popen(
        words, env=environment, cwd=config, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
    reader.start()
    server = Server("", database, process, [])
    try:
        server.url = _listening(server)
        yield server
    finally:
        for client in server.clients.values():
            client.close()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate()
        reader.join()
        server.said += rest.splitlines()
    # That somebody mistyped a password is a warning; nothing else went wrong.
    assert process.returncode == 0, "".join(errors)
    assert not [line for line in errors if " WARNING countersign.service.identity" not in line], "".join(errors)


def _listening(server: Server) -> str:
    for line in server.process.stdout or ():
        server.said.append(line.rstrip("\n"))
        if line.startswith("Serving "):
            return line.split(" at ")[1].strip()
    raise AssertionError(f"it did not begin: {server.said}")


def sample(folder: Path) -> Path:
    """Return a folder with the sample's workflows, as `countersign init` writes them."""
    from countersign.service import samples  # noqa: PLC0415 - only for its folder

    source = Path(samples.__file__).parent
    for name in ("countersign.toml", "orders.py"):
        shutil.copy(source / name, folder / name)
    return folder
