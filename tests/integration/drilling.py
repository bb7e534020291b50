"""Two servers with a worker each on one database, people who act at the same instant, and who kills what when.

The graph's last node tells a receiver of its effect, with its key: what a receiver counts that honours keys is what was
done in the world.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from conftest import Database
from integration.drill_flow import ORDERS, Receiver, configured, receiving
from serving import COUNTERSIGN, PASSWORD, PATIENCE, make_people

DECISIONS = ("approved", "halved", "rejected")
MANY = [f"racer-{number}" for number in range(8)]
PEOPLE = {
    "pat": [("prescriber", "*")],
    "boss": [("corrector", "*"), ("pharmacist", "*")],
    "sue": [("supervisor", "*")],
    "late": [("pharmacist", "*")],
    "leaver": [("pharmacist", "*")],
    "root": [("administrator", "*")],
    **{name: [("pharmacist", "*")] for name in MANY},
}
ENDS = ("completed", "stopped", "failed", "damaged")


@dataclass
class Member:
    """One server process, which is started again whenever it was killed."""

    environment: Mapping[str, str]
    config: Path
    process: subprocess.Popen[str]
    url: str = ""
    errors: list[str] = field(default_factory=list)
    readers: list[threading.Thread] = field(default_factory=list)

    def kill(self) -> None:
        """Kill it with -9, and start another in its place."""
        self.process.kill()
        self.process.wait()
        self.close()
        self.process = _begun(self.environment, self.config)
        self.read()

    def read(self) -> None:
        """Return when it listens."""
        reader = threading.Thread(target=lambda stream: self.errors.extend(stream or ()), args=(self.process.stderr,))
        reader.start()
        self.readers.append(reader)
        for line in self.process.stdout or ():
            if line.startswith("Serving "):
                self.url = line.split(" at ")[1].strip()
                return
        raise AssertionError(f"it did not begin: {''.join(self.errors)}")

    def close(self) -> None:
        for reader in self.readers:
            reader.join()
        self.readers.clear()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def end(self) -> None:
        """Return when it has ended, as it was told, and in order."""
        code = self.process.wait()
        self.close()
        assert code == 0, "".join(self.errors)

    def worker(self) -> int | None:
        """Return the process of its worker; None while there is none."""
        told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        pairs = [line.split() for line in told.splitlines()]
        return next((int(pid) for pid, parent in pairs if int(parent) == self.process.pid), None)


def _begun(environment: Mapping[str, str], config: Path) -> subprocess.Popen[str]:
    words = [str(COUNTERSIGN), "serve", "--config", str(config)]
    return subprocess.Popen(
        words, env=dict(environment), cwd=config, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@dataclass
class Answer:
    """What somebody was told of what they sent."""

    name: str
    sent: dict[str, Any]
    status: int
    said: Any

    @property
    def facts(self) -> dict[str, Any]:
        return dict(self.said.get("facts") or {})


@dataclass
class Site:
    """Two servers, who is signed in there, and what everybody was told."""

    database: Database
    members: list[Member]
    receiver: Receiver
    ids: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)
    cases: list[str] = field(default_factory=list)
    decided: list[Answer] = field(default_factory=list)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=PATIENCE))

    def enter(self, name: str) -> None:
        """Sign somebody in; a session is one on both servers."""
        said = self.send(None, 0, "POST", "/api/sessions", json={"username": name, "password": PASSWORD})
        assert said.status_code == 201, said.text
        self.tokens[name] = str(said.json()["token"])

    def send(self, name: str | None, server: int, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request to a server, and to the other one when that is gone, until one has answered."""
        if name is not None and name not in self.tokens:
            self.enter(name)
        headers = dict(more.pop("headers", {}))
        if name is not None:
            headers["authorization"] = f"Bearer {self.tokens[name]}"
        until = time.monotonic() + PATIENCE
        while True:
            member = self.members[server % len(self.members)]
            try:
                return self.client.request(method, f"{member.url}{path}", headers=headers, **more)
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                server += 1
                time.sleep(0.02)

    def start(self, workflow: str = ORDERS, server: int = 0, key: str | None = None) -> tuple[str, str]:
        """Return a case that waits, and its review."""
        headers = {"prefer": f"wait={PATIENCE}", **({"idempotency-key": key} if key else {})}
        body = {"workflow": workflow, "input": {"patient": "P-1"}}
        said = self.send("pat", server, "POST", "/api/cases", json=body, headers=headers)
        assert said.status_code == 202, said.text
        self.cases.append(said.json()["id"])
        case = self.resting(said.json()["id"])
        assert len(case["reviews"]) == 1, self.story(case["id"])
        return case["id"], case["reviews"][0]["id"]

    def resting(self, case: str, server: int = 0) -> dict[str, Any]:
        """Return a case as soon as it waits for people, or is at its end."""
        until = time.monotonic() + 2 * PATIENCE
        while True:
            said = self.send("pat", server, "GET", f"/api/cases/{case}", headers={"prefer": "wait=5"})
            assert said.status_code == 200, said.text
            found: dict[str, Any] = said.json()
            if found["status"] in ENDS or found["reviews"]:
                return found
            assert time.monotonic() < until, self.story(case)
            server += 1

    def ended(self, case: str) -> dict[str, Any]:
        """Return a case as soon as it is at its end, whoever brings it there."""
        until = time.monotonic() + 2 * PATIENCE
        with psycopg.connect(self.database.app_url, autocommit=True) as conn:
            conn.execute("LISTEN countersign_case")
            while True:
                found = self.resting(case)
                if found["status"] in ENDS or time.monotonic() > until:
                    return found
                next((told for told in conn.notifies(timeout=1) if told.payload == case), None)

    def shown(self, name: str, review: str, server: int = 0) -> str:
        """Return the digest of a review as it is shown to somebody now."""
        said = self.send(name, server, "GET", f"/api/reviews/{review}")
        assert said.status_code == 200, said.text
        return str(said.json()["shown_digest"])

    def decide(self, name: str, server: int, review: str, digest: str, decision: str, **more: Any) -> Answer:
        """Sign a decision. `key`: the Idempotency-Key."""
        key = more.pop("key", None)
        body = {
            "decision": decision,
            "reason": f"says {name}",
            "shown_digest": digest,
            "credential": {"username": name, "password": PASSWORD},
            **more,
        }
        headers = {"idempotency-key": key} if key else {}
        said = self.send(name, server, "POST", f"/api/reviews/{review}/decisions", json=body, headers=headers)
        answer = Answer(name, {"decision": decision, "review": review, "server": server}, said.status_code, said.json())
        if answer.status == 201:
            self.decided.append(answer)
        return answer

    def trail(self, case: str) -> list[dict[str, Any]]:
        said = self.send("pat", 0, "GET", f"/api/cases/{case}/trail")
        assert said.status_code == 200, said.text
        found: list[dict[str, Any]] = said.json()["items"]
        return found

    def story(self, case: str, answers: Sequence[Answer] = ()) -> str:
        """Return what is needed to understand what went wrong in a case."""
        rows = self.database.query(
            "SELECT seq, kind, convert_from(body, 'UTF8') FROM audit.entries WHERE trail = %s ORDER BY seq", (case,)
        )
        jobs = self.database.query("SELECT id, status, attempts, args FROM procrastinate_jobs WHERE lock = %s", (case,))
        row = self.database.query("SELECT status, problem, mandate FROM countersign.cases WHERE id = %s", (case,))
        lines = [f"case {case}: {row}", *(f"  {seq} {kind} {body}" for seq, kind, body in rows)]
        lines += [f"  effect {effect}" for effect in self.receiver.of(case)]
        lines += [f"  job {job}" for job in jobs]
        lines += [f"  {one.name} {one.sent} -> {one.status} {one.said}" for one in answers]
        lines += [f"  server said: {line.rstrip()}" for member in self.members for line in member.errors[-20:]]
        return "\n".join(lines)


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """Do all of it at the same instant, each in a thread of its own; return what each returned."""
    ready = threading.Barrier(len(work))

    def do(one: Callable[[], Any]) -> Any:
        ready.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as threads:
        return [done.result() for done in [threads.submit(do, one) for one in work]]


@contextmanager
def two_servers(database: Database, folder: Path) -> Iterator[Site]:
    """Yield two servers that serve one database, each with a worker of its own."""
    receiver = Receiver()
    ids = make_people(database, PEOPLE)
    environment = {
        **os.environ,
        "COUNTERSIGN_HOME": str(database.home),
        "COUNTERSIGN_DATABASE_URL": database.service_url,
        "COUNTERSIGN_WORKER_DATABASE_URL": database.worker_url,
    }
    with ExitStack() as stack:
        config = configured(folder, stack.enter_context(receiving(receiver)))
        members = [Member(environment, config, _begun(environment, config)) for _ in range(2)]
        for member in members:
            stack.callback(member.end)
            member.read()
        stack.callback(_tell_to_end, members)
        site = Site(database, members, receiver, ids)
        with site.client:
            yield site


def _tell_to_end(members: Sequence[Member]) -> None:
    for member in members:
        member.process.terminate()


def kill_worker(member: Member) -> bool:
    """Kill a server's worker with -9; return whether there was one."""
    worker = member.worker()
    if worker is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    return True
