"""What an entry costs to append, over an INSERT and COMMIT of the very same bytes into tables that look the same.

The audited side is the production way of entries that bind no rows: `record_plan`, one statement that takes locks,
checks the trail's end, inserts and compares. The bare side is one statement too, with both inserts in it, prepared, on
an equal connection. Each client extends a trail of its own.
"""

from __future__ import annotations

import asyncio
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from measure import Goal, in_turns, report
from psycopg import AsyncConnection

from countersign.audit import Actor, AsyncAuditedPostgresSaver, Workflow
from countersign.audit.entry import Entry, EntryDraft
from countersign.audit.migrate import migrate
from countersign.audit.plans import record_plan
from countersign.service.embedded import EmbeddedDatabase, embedded

ROUNDS = 25
CLIENTS = 4
EACH = 50  # entries a client appends in a turn
OPTIONS: dict[str, Any] = {"autocommit": True, "prepare_threshold": 2}
_TABLES = """
CREATE SCHEMA bare;
CREATE TABLE bare.entries (LIKE audit.entries INCLUDING ALL);
CREATE TABLE bare.payloads (LIKE audit.payloads INCLUDING ALL);
GRANT USAGE ON SCHEMA bare TO countersign_app;
GRANT INSERT ON bare.entries, bare.payloads TO countersign_app;
"""
_INSERT = """
WITH payload AS (INSERT INTO bare.payloads (trail, seq, salt, data) VALUES (%s, %s, %b, %b))
INSERT INTO bare.entries (trail, seq, kind, occurred_at, body, keyid, signature) VALUES (%s, %s, %s, %s, %b, %b, %b)
"""


def draft(trail: str) -> EntryDraft:
    """Return an entry of a usual size, with a payload."""
    return EntryDraft(
        trail,
        "run.started",
        Actor("pharmacist-17", "application", "pharmacist"),
        Workflow("medication-order", "1"),
        run=str(uuid.uuid4()),
        detail={"continues": False},
        payload={"input": {"drug": "warfarin", "note": "x" * 200}},
    )


async def audited(saver: AsyncAuditedPostgresSaver) -> list[Entry]:
    """Append a turn's entries, one by one, each committed; return them."""
    made: list[Entry] = []
    trail = str(uuid.uuid4())
    for _ in range(EACH):
        made += await saver.adrive(record_plan([draft(trail)]))
    return made


async def bare(conn: AsyncConnection[Any], entries: list[Entry]) -> None:
    """Insert the bytes of these entries, each committed."""
    trail = str(uuid.uuid4())
    for e in entries:
        await conn.execute(
            _INSERT,
            (trail, e.seq, e.salt, e.data, trail, e.seq, e.kind, e.occurred_at, e.body, e.keyid, e.signature),
        )


def side(turns: Sequence[Callable[[], Awaitable[Any]]]) -> Callable[[], Awaitable[None]]:
    """Return a side on which the clients take their turns at the same time."""

    async def together() -> None:
        await asyncio.gather(*(turn() for turn in turns))

    return together


async def measure(server: EmbeddedDatabase, home: Path) -> list[Goal]:
    """Return what was measured, beside the goals."""
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(await AsyncConnection.connect(server.owner_url, autocommit=True))
        await owner.execute(_TABLES)
        conns = [
            await stack.enter_async_context(await AsyncConnection.connect(server.app_url, **OPTIONS))
            for _ in range(2 * CLIENTS)
        ]
        savers = [AsyncAuditedPostgresSaver(conn, home=home) for conn in conns[:CLIENTS]]
        same = await audited(savers[0])
        ours = [partial(audited, saver) for saver in savers]
        theirs = [partial(bare, conn, same) for conn in conns[CLIENTS:]]
        goals: list[Goal] = []
        for clients in (1, CLIENTS):
            taken = await in_turns({"ours": side(ours[:clients]), "bare": side(theirs[:clients])}, rounds=ROUNDS)
            print(f"{clients} clients: {clients * EACH / taken['ours']:,.0f} entries a second")
            name = f"append: entries/s, {clients} client{'s' if clients > 1 else ''}, over a bare INSERT and COMMIT"
            goals.append(Goal(name, 0.8, taken["bare"] / taken["ours"], "x", less=False))
    return goals


def main() -> None:
    """Measure on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        home = Path(folder)
        home.chmod(0o711)
        with embedded(home) as server:
            migrate(server.owner_url, home)
            report(asyncio.run(measure(server, home)))


if __name__ == "__main__":
    main()
