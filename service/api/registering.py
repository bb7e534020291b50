"""Versions of workflows, registered when a server starts: an entry of @system, and a row by which it is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import Connection

from countersign.audit.append import Appender
from countersign.audit.canonical import Json, canonical
from countersign.audit.entry import SYSTEM_TRAIL, Actor, EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.steps import run

from ..config.version import Description

_KNOWN: LiteralString = "SELECT 1 FROM countersign.workflows WHERE name = %s AND version = %s"
_ADD: LiteralString = """
INSERT INTO countersign.workflows (name, version, seq, leaf_hash, policy, parts, registered_at)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


def register_versions(
    conn: Connection[Any], appender: Appender, descriptions: Sequence[Description], actor: Actor
) -> list[Description]:
    """Register those versions that are not known yet, in one transaction, and return them.

    A version whose entry is there and whose row was lost is registered again, which changes nothing of what counts.
    """
    with conn.transaction():
        # Under the lock of @system, so that of two servers that start at once one registers.
        heads = run(conn, appender.lock_steps((SYSTEM_TRAIL,)))
        new = [found for found in descriptions if not conn.execute(_KNOWN, (found.workflow, found.version)).fetchone()]
        if not new:
            return []
        entries = run(conn, appender.insert_steps(heads, [_draft(found, actor) for found in new]))
        for entry, found in zip(entries, new, strict=True):
            policy, parts = canonical(found.documents["policy"]), canonical(_parts(found))
            place = (found.workflow, found.version, entry.seq, entry.leaf_hash)
            conn.execute(_ADD, (*place, policy, parts, entry.occurred_at))
    appender.committed(entries)
    return new


def _draft(found: Description, actor: Actor) -> EntryDraft:
    detail: dict[str, Json] = {"name": found.workflow, "version": found.version, "parts": _parts(found)}
    return EntryDraft(SYSTEM_TRAIL, Kind.WORKFLOW_REGISTERED, actor, detail=detail, payload=dict(found.documents))


def _parts(found: Description) -> dict[str, Json]:
    return dict(found.parts)
