"""How fast a database is verified, over what Ed25519 alone would take, and in how much memory.

Rates are of all processes together, their start included; the raw rate is `cryptography` verifying signatures of as
long messages in as many processes at once, in the same round. Memory is the sum of PSS (pages that several processes
share count once) over `countersign verify` and its processes, as /proc/*/smaps_rollup says every few hundredths of a
second: the highest sum. The database server's memory is not in it.

The evidence is that of `fill.py`: trails of 13 entries, 11 of them with payloads, and 24 rows of LangGraph's that
they bind. For "body, chain and signature" the same bodies stand there without payloads and rows.

COUNTERSIGN_BENCH_ENTRIES says how many entries the memory is measured with: 1,000,000 unless it says otherwise, and
with 0 it is not measured.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from case import builder, case
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fill import Model, fill
from measure import Goal, report

from countersign.audit import AsyncAuditedPostgresSaver, attach
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.keys import Trust
from countersign.audit.memory import Memory
from countersign.audit.migrate import migrate
from countersign.audit.outside import Outside, log_trust, read_outside
from countersign.audit.verify import Verdict
from countersign.audit.verify_database import verify_database
from countersign.service.embedded import EmbeddedDatabase, embedded

ROUNDS = 15
ENTRIES = 200_000
MOST = int(os.environ.get("COUNTERSIGN_BENCH_ENTRIES", "1000000"))
LEAST = max(MOST // 10, ENTRIES)
JOBS = len(os.sched_getaffinity(0))
MIB = 1024  # /proc counts in KiB
_RAW = 10_000
_PAUSE = 0.03


@dataclass(frozen=True)
class Stand:
    """A migrated database of its own origin, with one real case in it."""

    url: str
    owner_url: str
    home: Path
    trust: Trust
    model: Model

    @classmethod
    async def make(cls, server: EmbeddedDatabase, home: Path, name: str) -> Stand:
        """Return a new one on `server`."""
        with psycopg.connect(server.admin_url, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {name} OWNER countersign_owner")
        url, owner_url = (_on(address, name) for address in (server.app_url, server.owner_url))
        origin = f"bench.invalid/{name}"
        migrate(owner_url, home, origin)
        async with AsyncAuditedPostgresSaver.from_conn_string(url, home=home) as saver:
            await case(attach(builder().compile(interrupt_before=["order"]), saver, name="order"))
        with psycopg.connect(url) as conn:
            ((trail,),) = conn.execute("SELECT DISTINCT trail FROM audit.entries WHERE trail <> '@keys'").fetchall()
        return cls(url, owner_url, home, KeyFolder.of(home, origin).trust(), Model.read(url, trail))

    @property
    def outside(self) -> Outside:
        """What is known outside the database: the memory of its log."""
        return read_outside(log_trust(self.trust), Memory.of(KeyFolder.of(self.home, self.trust.origin)))

    def verify(self) -> float:
        """Return how many entries a second are verified. What is honest must pass."""
        start = time.perf_counter()
        with psycopg.connect(self.url, autocommit=True) as conn:
            found = verify_database(conn, self.trust, outside=self.outside, jobs=JOBS)
        taken = time.perf_counter() - start
        if found.verdict is not Verdict.PASSED:
            raise AssertionError(found.findings[0])
        return found.counts.entries / taken


def _on(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def raw(length: int) -> float:
    """Return how many signatures of messages of `length` bytes this process verifies a second, and nothing else."""
    key = Ed25519PrivateKey.generate()
    signed = [(key.sign(message), message) for message in (os.urandom(length) for _ in range(256))]
    verify = key.public_key().verify
    start = time.perf_counter()
    for number in range(_RAW):
        verify(*signed[number % 256])
    return _RAW / (time.perf_counter() - start)


def in_turns(sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Return the rates of each side, each run once a round."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            rates[name].append(side())
    return rates


def rates(bare: Stand, whole: Stand) -> list[Goal]:
    """Return the two rates over the raw one of the same round."""
    length = statistics.mean(len(entry.body) for entry in whole.model.entries) + 60
    with multiprocessing.get_context("spawn").Pool(JOBS) as pool:

        def together() -> float:
            return sum(pool.map(raw, [round(length)] * JOBS, chunksize=1))

        together()
        taken = in_turns({"raw": together, "bare": bare.verify, "whole": whole.verify})
    for name, values in taken.items():
        print(f"{name}: {statistics.median(values):,.0f} a second in {JOBS} processes")

    def over_raw(name: str) -> float:
        return statistics.median(a / b for a, b in zip(taken[name], taken["raw"], strict=True))

    return [
        Goal("verify: entries/s, body, chain, signature, over raw Ed25519", 0.8, over_raw("bare"), "x", less=False),
        Goal("verify: entries/s, payloads and rows too, over raw Ed25519", 0.5, over_raw("whole"), "x", less=False),
    ]


def peak(stand: Stand) -> float:
    """Return the highest sum of PSS, in MiB, while `countersign verify` runs."""
    command = [str(Path(sys.executable).with_name("countersign")), "verify", "--json", "--jobs", str(JOBS)]
    env = os.environ | {
        "COUNTERSIGN_DATABASE_URL": stand.url,
        "COUNTERSIGN_HOME": str(stand.home),
        "COUNTERSIGN_ORIGIN": stand.trust.origin,
    }
    start = time.perf_counter()
    with (
        subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as process,  # noqa: S603 - our own command
        _sampled(process.pid) as sums,
    ):
        code = process.wait()
    if code != 0:
        raise AssertionError(f"countersign verify ended with {code}")
    print(f"verified in {time.perf_counter() - start:,.0f} s, {len(sums)} samples, at most {max(sums):.0f} MiB")
    return max(sums)


@contextmanager
def _sampled(root: int) -> Iterator[list[float]]:
    sums: list[float] = []
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_PAUSE):
            sums.append(sum(map(_pss, _family(root))) / MIB)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield sums
    finally:
        done.set()
        thread.join()


def _family(root: int) -> list[int]:
    """Return `root` and its children; they have none."""
    found = [root]
    with suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _pss(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def memory(stand: Stand) -> list[Goal]:
    """Return the peaks at a tenth of the entries and at all of them."""
    peaks: list[float] = []
    there = ENTRIES
    for wanted in (LEAST, MOST):
        start = time.perf_counter()
        there += fill(stand.owner_url, stand.home, stand.model, max(0, wanted - there))
        print(f"{there:,} entries; filled in {time.perf_counter() - start:,.0f} s")
        peaks.append(peak(stand))
    few, many = peaks
    return [
        Goal(f"verify: memory of {JOBS + 1} processes, {LEAST:,} entries", 300, few, "MiB"),
        Goal(f"verify: memory of {JOBS + 1} processes, {MOST:,} entries", 300, many, "MiB"),
        Goal(f"verify: growth from {LEAST:,} to {MOST:,} entries", 1.1, many / few, "x"),
    ]


async def stands(server: EmbeddedDatabase, home: Path) -> tuple[Stand, Stand]:
    """Return both databases, empty but for a case each."""
    return await Stand.make(server, home, "bare"), await Stand.make(server, home, "whole")


def main() -> None:
    """Measure on databases of its own."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with embedded(home) as server:
            bare, whole = asyncio.run(stands(server, home))
            fill(bare.owner_url, home, bare.model.without_payloads(), ENTRIES)
            fill(whole.owner_url, home, whole.model, ENTRIES)
            goals = rates(bare, whole)
            report([*goals, *(memory(whole) if MOST else [])])


if __name__ == "__main__":
    main()
