"""What the log costs: sealing, proofs, a bundle, and what there is to do beside a log that has become large.

Two databases, one with few entries and one with many, both sealed. Their entries are those of `fill.py`; for the bundle
there are trails of about 100 entries with payloads and the rows they bind. Appends are paired: both databases take
turns in one run. Inclusion proofs are each made by a reader that has just opened the log's files.

COUNTERSIGN_BENCH_ENTRIES says how many are many: 1,000,000 unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
from appends import OPTIONS, audited
from case import builder, case_on
from fill import Model, fill
from measure import Goal, in_turns, report
from psycopg import AsyncConnection
from verify import Stand

from countersign.audit import AsyncAuditedPostgresSaver, attach
from countersign.audit.merkle import inclusion_proof, root_hash, verify_inclusion
from countersign.audit.seal import open_sealer
from countersign.audit.tiles import Tile, TileReader, grow
from countersign.audit.verify import Verdict
from countersign.audit.verify_database import verify_database
from countersign.service.database import Database
from countersign.service.embedded import EmbeddedDatabase, embedded
from countersign.service.export_command import export_trail

FEW = 1_000
MANY = int(os.environ.get("COUNTERSIGN_BENCH_ENTRIES", "1000000"))
LEAVES = 1_000_000
PROOFS = 300
BUNDLES = 15
APPENDS = 25
NEW = 1_000
INCREMENTS = 5
_ONE_TRAIL = 100  # entries


def seal(stand: Stand) -> float:
    """Seal all that waits in a database, and return how many entries a second became leaves."""
    with psycopg.connect(stand.url, autocommit=True) as conn:
        sealer = open_sealer(conn, stand.home)
        start = time.perf_counter()
        done = sealer.seal(conn)
        taken = time.perf_counter() - start
    if done.refused or not done.entries:
        raise AssertionError(f"{done.entries} entries sealed, {len(done.refused)} trails refused")
    print(f"sealed {done.entries:,} entries in {taken:.1f} s")
    return done.entries / taken


def sealing(few: Stand, many: Stand) -> list[Goal]:
    """Fill both databases and return how fast the large one is sealed."""
    for stand, entries in ((few, FEW), (many, MANY)):
        fill(stand.owner_url, stand.home, stand.model.without_payloads(), entries)
    seal(few)
    return [Goal(f"log: entries sealed a second, of {MANY:,}", 20_000, seal(many), "/s", less=False)]


def proofs(folder: Path) -> list[Goal]:
    """Return how long an inclusion proof takes from the hash tiles of 10^6 leaves, read as files, and checked."""
    leaves = [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(LEAVES)]
    for tile, data in grow(lambda _: b"", 0, leaves):
        path = folder / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    root = root_hash(leaves)

    def fetch(tile: Tile) -> bytes:
        return (folder / tile.path).read_bytes()

    seconds: list[float] = []
    for index in random.sample(range(LEAVES), PROOFS):
        start = time.perf_counter()
        reader = TileReader(fetch, tree_size=LEAVES, root_hash=root)
        proof = inclusion_proof(reader.read, index, LEAVES)
        seconds.append(time.perf_counter() - start)
        verify_inclusion(proof, leaf_hash=leaves[index], leaf_index=index, tree_size=LEAVES, root_hash=root)
    return [Goal(f"log: an inclusion proof from {LEAVES:,} leaves", 5, statistics.median(seconds) * 1000, "ms")]


async def long_case(stand: Stand) -> Stand:
    """Return the database with a trail of about 100 entries for a model: one thread, run again and again."""
    trail = "long"
    async with AsyncAuditedPostgresSaver.from_conn_string(stand.url, home=stand.home) as saver:
        graph = attach(builder().compile(interrupt_before=["order"]), saver, name="order")
        while True:
            await case_on(graph, trail)
            model = Model.read(stand.url, trail)
            if len(model.entries) >= _ONE_TRAIL:
                return replace(stand, model=model)


def bundles(stand: Stand, folder: Path) -> list[Goal]:
    """Return how long the export of a trail of about 100 entries takes, sealing and verification included."""
    long = asyncio.run(long_case(stand))
    length = len(long.model.entries)
    fill(long.owner_url, long.home, long.model, length * BUNDLES)
    seal(long)
    with psycopg.connect(long.url) as conn:
        found = conn.execute(
            "SELECT trail FROM audit.entries GROUP BY trail HAVING count(*) = %s AND trail <> 'long'", (length,)
        ).fetchall()
    target = Database(long.url, long.owner_url, long.home)
    seconds: list[float] = []
    os.environ["COUNTERSIGN_ORIGIN"] = long.trust.origin
    for number, (trail,) in enumerate(found):
        start = time.perf_counter()
        done = export_trail(target, trail, folder / f"{number}.zip")
        seconds.append(time.perf_counter() - start)
        if done.report.verdict is not Verdict.PASSED or done.entries != length + 1:
            raise AssertionError(done)
    print(f"{len(seconds)} bundles of {length + 1} entries, {(folder / '0.zip').stat().st_size:,} bytes each")
    return [Goal(f"log: a bundle of {_ONE_TRAIL} entries", 0.5, statistics.median(seconds), "s")]


def increments(stand: Stand) -> list[Goal]:
    """Return how long it takes to verify what is new since a head that was verified before: new cases, sealed."""
    since = stand.outside.memory
    if since is None:
        raise AssertionError("no memory")
    new = fill(stand.owner_url, stand.home, stand.model, NEW)
    seal(stand)
    seconds: list[float] = []
    for _ in range(INCREMENTS):
        start = time.perf_counter()
        with psycopg.connect(stand.url, autocommit=True) as conn:
            found = verify_database(conn, stand.trust, outside=stand.outside, since=since.head)
        seconds.append(time.perf_counter() - start)
        if found.verdict is not Verdict.PASSED or found.counts.entries < new:
            raise AssertionError(found)
    print(f"{new:,} new entries on {since.head.size:,} verified since a head")
    return [Goal(f"log: verification of {NEW:,} new entries on {MANY:,}", 2.0, statistics.median(seconds), "s")]


async def appends(few: Stand, many: Stand) -> list[Goal]:
    """Return what an entry costs to append beside many, over what it costs beside few."""
    async with AsyncExitStack() as stack:
        sides: dict[str, Callable[[], object]] = {}
        for name, stand in (("few", few), ("many", many)):
            conn = await stack.enter_async_context(await AsyncConnection.connect(stand.url, **OPTIONS))
            sides[name] = partial(audited, AsyncAuditedPostgresSaver(conn, home=stand.home))
        taken = await in_turns(sides, rounds=APPENDS)  # type: ignore[arg-type]
    return [Goal(f"log: cost of an append, {MANY:,} entries over {FEW:,}", 1.1, taken["many"] / taken["few"], "x")]


async def stands(server: EmbeddedDatabase, home: Path) -> tuple[Stand, Stand]:
    """Return both databases, empty but for a case each."""
    return await Stand.make(server, home, "few"), await Stand.make(server, home, "many")


def main() -> None:
    """Measure on databases of its own."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with tempfile.TemporaryDirectory(prefix="countersign-bench-") as beside, embedded(home) as server:
            goals = proofs(Path(beside) / "tiles")
            shutil.rmtree(Path(beside) / "tiles")
            few, many = asyncio.run(stands(server, home))
            goals += sealing(few, many)
            goals += asyncio.run(appends(few, many))
            goals += increments(many)
            goals += bundles(many, Path(beside))
        report(goals)


if __name__ == "__main__":
    main()
