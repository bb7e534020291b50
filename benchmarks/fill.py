"""Honest evidence in bulk: one real case, made anew for as many threads as wanted, signed in several processes.

The case is the one of `case.py` with `attach`: run, static pause, edit, resume, end. Bodies, payloads and LangGraph's
rows are those that it left; thread, row digests, salts, links and signatures are each trail's own. They go in by COPY.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.rows import tuple_row

from countersign.audit.canonical import canonical, parse
from countersign.audit.entry import GENESIS, Entry, leaf_hash, pae, payload_digest
from countersign.audit.keyfolder import GRAPH, KeyFolder
from countersign.audit.keys import FileKey
from countersign.audit.read import entries_statement, entry_of, rows_statement
from countersign.audit.rows import TABLES, RowKey, row_hash

PROCESSES = len(os.sched_getaffinity(0))
_TRAILS_AT_ONCE = 200
_COPY: dict[str, LiteralString] = {
    "entries": "audit.entries (trail, seq, kind, occurred_at, body, keyid, signature)",
    "payloads": "audit.payloads (trail, seq, salt, data)",
    "checkpoints": (
        "checkpoints (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)"
    ),
    "checkpoint_blobs": "checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)",
    "checkpoint_writes": (
        "checkpoint_writes (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)"
    ),
}
Rows = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True)
class Model:
    """A case as it is in a database: what every other is made from."""

    entries: list[Entry]
    bodies: list[dict[str, Any]]
    payloads: list[dict[str, Any] | None]
    rows: dict[RowKey, tuple[Any, ...]]

    @classmethod
    def read(cls, url: str, trail: str) -> Model:
        """Return the case of this trail."""
        statement = entries_statement(trail)
        with psycopg.connect(url, row_factory=tuple_row) as conn, conn.cursor(binary=True) as cursor:
            entries = [entry_of(row) for row in cursor.execute(statement.sql, statement.params).fetchall()]
            rows = {
                table.key_of(row): row
                for table in TABLES.values()
                for row in cursor.execute(rows_statement(table) + " WHERE thread_id = %s", (trail,)).fetchall()
            }
        bodies: list[Any] = [parse(entry.body) for entry in entries]
        payloads: list[Any] = [parse(entry.data) if entry.data is not None else None for entry in entries]
        return cls(entries, bodies, payloads, rows)

    def without_payloads(self) -> Model:
        """Return the same chain of bodies alone."""
        bodies = [{name: value for name, value in body.items() if name != "payload"} for body in self.bodies]
        return Model(self.entries, bodies, [None] * len(bodies), {})

    def again(self, trail: str, key: FileKey) -> Rows:
        """Return the rows of the case as another thread would have them."""
        made: Rows = {name: [] for name in _COPY}
        digests: dict[RowKey, str] = {}
        for (table, parts), row in self.rows.items():
            mine = (trail, *row[1:])
            digests[table, (trail, *parts[1:])] = row_hash(mine)
            made[table].append(mine)
        prev = GENESIS
        for entry, body, payload in zip(self.entries, self.bodies, self.payloads, strict=True):
            mine_too = {**body, "trail": trail, "prev": prev.hex()}
            if payload is not None:
                salt, data = os.urandom(32), canonical(_rebound(payload, trail, digests))
                mine_too["payload"] = {"digest": payload_digest(salt, data).hex(), "size": len(data)}
                made["payloads"].append((trail, entry.seq, salt, data))
            encoded = canonical(mine_too)
            prev = leaf_hash(encoded)
            made["entries"].append(
                (trail, entry.seq, entry.kind, entry.occurred_at, encoded, key.keyid, key.sign(pae(encoded)))
            )
        return made


def _rebound(payload: dict[str, Any], trail: str, digests: dict[RowKey, str]) -> dict[str, Any]:
    if "rows" not in payload:
        return payload
    mine = copy.deepcopy(payload)
    for row in mine["rows"]:
        row["key"][0] = trail
        row["sha256"] = digests[row["table"], tuple(row["key"])]
    return mine


def fill(url: str, home: Path, model: Model, entries: int) -> int:
    """Add honest trails until there are at least `entries` more, as the owner of the tables. Return how many."""
    trails = -(-entries // len(model.entries))
    share = -(-trails // PROCESSES)
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        left = [min(share, trails - share * number) for number in range(PROCESSES)]
        pool.starmap(_fill, [(url, home, model, count) for count in left])
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("ANALYZE")
    return trails * len(model.entries)


def _fill(url: str, home: Path, model: Model, trails: int) -> None:
    key = KeyFolder.of(home, model.bodies[0]["origin"]).key(GRAPH)
    with psycopg.connect(url) as conn:
        for first in range(0, trails, _TRAILS_AT_ONCE):
            made = [model.again(str(uuid.uuid4()), key) for _ in range(min(_TRAILS_AT_ONCE, trails - first))]
            for name, columns in _COPY.items():
                with conn.cursor() as cursor, cursor.copy("COPY " + columns + " FROM STDIN") as into:
                    for row in _all(made, name):
                        into.write_row(row)
            conn.commit()


def _all(made: list[Rows], name: str) -> Iterator[tuple[Any, ...]]:
    for rows in made:
        yield from rows[name]
