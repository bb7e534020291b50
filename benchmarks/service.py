"""What the service costs: a start that comes to a pause, a decision that comes to an end, and the list of what waits.

Over HTTP, against a real server and its worker processes. A decision is measured twice: signed with a password, and
attested by a key where the gate accepts that, which is the same way without the verification of a credential (argon2,
made to be slow). Beside both stand that verification and a bare request of the same server.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
from measure import Goal, report

from countersign.service.embedded import embedded

ROUNDS, WARM_UP = 40, 5
CLIENTS = 8
OPEN = 100_000
QUERIES = 40
_SAMPLE = Path(__file__).parents[1] / "service" / "samples"
_GATE = """
[workflows.attested]
graph = "./orders.py:medication_order"
title = "Order that a key attests"
retention = "clinical"
[workflows.attested.roles]
start = ["prescriber"]
fallback = "supervisor"
[[workflows.attested.gates]]
name = "checker"
before = "review"
question = "May this order be given?"
role = "checker"
accept = "attested"
[workflows.attested.gates.decisions.approved]
meaning = "A program has checked this order."
releases = true
write = { decision = "$decision", notes = "$reason" }
"""


@dataclass(slots=True)
class Taken:
    """Seconds, as measured."""

    seconds: list[float] = field(default_factory=list)

    async def time(self, work: Awaitable[Any]) -> Any:
        """Await `work` and note how long it took."""
        start = time.perf_counter()
        done = await work
        self.seconds.append(time.perf_counter() - start)
        return done

    def at(self, percent: int) -> float:
        """Return a percentile in milliseconds."""
        return statistics.quantiles(self.seconds, n=100)[percent - 1] * 1000


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Yield the address of a server of its own."""
    config = folder / "countersign.toml"
    config.write_text((_SAMPLE / "countersign.toml").read_text() + _GATE)
    (folder / "orders.py").write_text((_SAMPLE / "orders.py").read_text())
    command = [str(Path(sys.executable).with_name("countersign")), "serve", "--try-out"]
    command += ["--config", str(config), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        if process.stdout is None:
            raise AssertionError("no output")
        for line in process.stdout:
            if line.startswith("Serving "):
                yield line.split(" at ")[1].strip()
                return
        raise AssertionError("the server did not start")
    finally:
        process.terminate()
        process.wait()


class Client:
    """Somebody with a connection and a session or a key."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self.http = http
        self.headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Return the answer's document. Raises AssertionError for any other answer than success."""
        answer = await self.http.request(method, path, json=body, headers=self.headers | headers)
        if answer.is_error:
            raise AssertionError((method, path, answer.status_code, answer.text))
        return answer.json()


async def signed_in(http: httpx.AsyncClient, name: str) -> Client:
    """Sign in as one of the users of the try-out."""
    return Client(http, (await _session(http, name))["token"])


async def _session(http: httpx.AsyncClient, name: str) -> Any:
    answer = await http.post("/api/sessions", json={"username": name, "password": f"try-out-{name}-password"})
    return answer.raise_for_status().json()


async def start(starter: Client, workflow: str) -> Any:
    """Start a case and return how it is when it waits for people."""
    order = {"workflow": workflow, "input": {"patient": "P-1", "drug": "warfarin"}}
    found = await starter.call("POST", "/api/cases", order, Prefer="wait=30")
    if found["status"] != "awaiting_review" or "dose_mg" not in found["state"]:
        raise AssertionError(found)
    return found


async def decide(signer: Client, case: Any, path: str, extra: dict[str, Any]) -> Callable[[], Any]:
    """Look at the review of a case, and return the call that decides and waits for the end."""
    review = case["reviews"][0]["id"]
    shown = await signer.call("GET", f"/api/reviews/{review}")
    body = {"decision": "approved", "reason": "", "shown_digest": shown["shown_digest"], **extra}

    async def decided() -> None:
        found = (await signer.call("POST", f"/api/reviews/{review}/{path}", body, Prefer="wait=30"))["now"]
        if found["status"] != "completed" or not found["state"]["order"].startswith("GIVE"):
            raise AssertionError(found)

    return decided


@dataclass(slots=True)
class Figures:
    """All that is measured of one number of clients."""

    starts: Taken = field(default_factory=Taken)
    attested: Taken = field(default_factory=Taken)
    signed: Taken = field(default_factory=Taken)


async def client(url: str, key: str, figures: Figures, rounds: int) -> None:
    """Go through cases one after the other, as one program with its signer."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        starter, signer = await signed_in(http, "prescriber"), await signed_in(http, "pharmacist")
        program = Client(http, key)
        credential = {"username": "pharmacist", "password": "try-out-pharmacist-password"}
        for number in range(-WARM_UP, rounds):
            kept = figures if number >= 0 else Figures()
            case = await kept.starts.time(start(starter, "attested"))
            await kept.attested.time((await decide(program, case, "attestations", {}))())
            case = await start(starter, "medication-order")
            extra = {"credential": credential}
            await kept.signed.time((await decide(signer, case, "decisions", extra))())


async def beside(url: str) -> tuple[Taken, Taken]:
    """Return what a bare request takes, and one that does little more than verify a password."""
    bare, credential = Taken(), Taken()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for _ in range(ROUNDS):
            await bare.time(http.get("/healthz"))
            await credential.time(_session(http, "auditor"))
    return bare, credential


async def api_key(url: str) -> str:
    """Return a key that may read and attest."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        administrator = await signed_in(http, "administrator")
        wanted = {
            "name": "checker",
            "scopes": ["cases:read", "reviews:read", "reviews:attest"],
            "roles": ["checker"],
            "workflow": "attested",
            "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="microseconds")[:-6] + "Z",
        }
        made = await administrator.call("POST", "/api/api-keys", wanted)
        return str(made["token"])


async def inbox(url: str) -> Taken:
    """Return how long the list of what waits for one person takes."""
    taken = Taken()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        signer = await signed_in(http, "pharmacist")
        for number in range(-WARM_UP, QUERIES):
            kept = taken if number >= 0 else Taken()
            page = await kept.time(signer.call("GET", "/api/reviews?status=open&mine=true&limit=50"))
            if len(page["items"]) != 50 or page["next"] is None:  # noqa: PLR2004 - the limit above
                raise AssertionError(page)
    return taken


def fill(url: str) -> None:
    """Let many reviews be open: rows only, since nothing but the list is asked for."""
    with psycopg.connect(url) as conn:
        conn.execute(
            """
            INSERT INTO countersign.cases
                (id, workflow, version, status, started_by, started_at, changed_at, mandate)
            SELECT gen_random_uuid()::text, 'medication-order', 'v', 'waiting', 'u-1',
                now() - n * interval '1 second', now(), 1
            FROM generate_series(1, %s) n
            """,
            (OPEN,),
        )
        conn.execute(
            """
            INSERT INTO countersign.reviews
                (id, case_id, workflow, gate, status, round, role, barred, opened_at, changed_at)
            SELECT 'r-' || md5(id), id, workflow, 'pharmacist', 'open', 1,
                CASE WHEN right(id, 1) < '8' THEN 'pharmacist' ELSE 'physician' END, '{}', started_at, started_at
            FROM countersign.cases WHERE status = 'waiting' AND version = 'v'
            """
        )
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("ANALYZE countersign.cases")
        conn.execute("ANALYZE countersign.reviews")


async def measure(url: str, clients: int, key: str) -> Figures:
    """Return the figures of this number of clients at once."""
    figures = Figures()
    rounds = ROUNDS if clients == 1 else ROUNDS // 2
    await asyncio.gather(*(client(url, key, figures, rounds) for _ in range(clients)))
    return figures


def goals_of(one: Figures, many: Figures, bare: Taken, credential: Taken, listed: Taken) -> Sequence[Goal]:
    """Print what stands beside the goals, and return these."""
    for name, taken in (
        ("a bare request", bare),
        ("a sign-in, which verifies a password", credential),
        ("start to pause, 1 client", one.starts),
        (f"start to pause, {CLIENTS} clients", many.starts),
        ("decision to end, attested, 1 client", one.attested),
        (f"decision to end, attested, {CLIENTS} clients", many.attested),
        ("decision to end, signed, 1 client", one.signed),
        (f"decision to end, signed, {CLIENTS} clients", many.signed),
        (f"inbox over {OPEN:,} open reviews", listed),
    ):
        print(f"{name:45}  p50 {taken.at(50):8.1f} ms   p95 {taken.at(95):8.1f} ms")
    return [
        Goal("service: start to pause, 1 client, p50", 35, one.starts.at(50), "ms"),
        Goal("service: decision to end without the credential, 1 client, p50", 35, one.attested.at(50), "ms"),
        Goal(f"service: inbox over {OPEN:,} open reviews, p50", 50, listed.at(50), "ms"),
    ]


def main() -> None:
    """Measure on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        home = folder / "home"
        home.mkdir(mode=0o711)
        os.environ["COUNTERSIGN_HOME"] = str(home)
        os.environ.pop("COUNTERSIGN_DATABASE_URL", None)
        with serving(folder) as url, embedded(home) as server:
            key = asyncio.run(api_key(url))
            one = asyncio.run(measure(url, 1, key))
            many = asyncio.run(measure(url, CLIENTS, key))
            bare, credential = asyncio.run(beside(url))
            fill(server.service_url)
            listed = asyncio.run(inbox(url))
        report([*goals_of(one, many, bare, credential, listed)])


if __name__ == "__main__":
    main()
