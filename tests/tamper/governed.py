"""Governed cases put into a database, each entry signed with that database's own keys."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from conftest import ORIGIN, Database
from countersign.audit.entry import Entry
from countersign.audit.keyfolder import DEPLOYMENT, GRAPH
from countersign.audit.keys import IntroducedKey
from countersign.audit.kinds import GRAPH_KINDS
from unit.governing import Deployment, World, deployed

_ENTRY = (
    "INSERT INTO audit.entries (trail, seq, kind, occurred_at, body, keyid, signature) "
    "VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
_PAYLOAD = "INSERT INTO audit.payloads (trail, seq, salt, data) VALUES (%s, %s, %s, %s)"


def deployment_of(database: Database) -> Deployment:
    first, second = (database.folder.key(name) for name in (DEPLOYMENT, GRAPH))
    ring = {
        first.keyid: IntroducedKey(first.public, ("*",)),
        second.keyid: IntroducedKey(second.public, GRAPH_KINDS),
    }
    return Deployment(ORIGIN, first, second, ring)


def put(database: Database, make: Callable[[], World]) -> World:
    """Write a case with the keys of this database into it, as whoever holds all of them could."""
    with deployed(deployment_of(database)):
        world = make()
    with psycopg.connect(database.admin_url) as conn:
        for entry in world.order:
            _insert(conn, entry)
    return world


def _insert(conn: psycopg.Connection[tuple[object, ...]], entry: Entry) -> None:
    columns = (entry.trail, entry.seq, entry.kind, entry.occurred_at, entry.body, entry.keyid, entry.signature)
    conn.execute(_ENTRY, columns)
    if entry.data is not None:
        conn.execute(_PAYLOAD, (entry.trail, entry.seq, entry.salt, entry.data))
