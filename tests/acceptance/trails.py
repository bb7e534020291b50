"""What the acceptance tests ask of a trail; every answer comes from entries that were checked."""

from __future__ import annotations

from typing import Any

import psycopg

from conftest import Database
from countersign.audit.chain import Checked
from countersign.audit.verify_database import checked_trail

STORY = ("run.started", "interrupt.raised", "state.updated", "run.resumed", "run.completed", "run.failed")


def entries(database: Database, trail: str, *kinds: str) -> list[Checked]:
    """Return a trail's entries of these kinds, or of all."""
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        found = checked_trail(conn, database.trust, trail)
    return [entry for entry in found if not kinds or entry.body.kind in kinds]


def story(database: Database, trail: str) -> list[str]:
    """Return the kinds that tell what people and graph did, without LangGraph's own bookkeeping."""
    return [entry.body.kind for entry in entries(database, trail, *STORY)]


def changes(database: Database, trail: str) -> list[dict[str, tuple[Any, Any]]]:
    """Return for each edit which channels changed, as (old value, new value); None where there was no value."""
    return [
        {change["channel"]: (change.get("old"), change.get("new")) for change in payload(entry)["changes"]}
        for entry in entries(database, trail, "state.updated")
    ]


def actors(database: Database, trail: str, kind: str) -> list[str]:
    """Return who acted in the entries of one kind, in order."""
    return [entry.body.actor.id for entry in entries(database, trail, kind)]


def pauses(database: Database, trail: str) -> list[tuple[Any, Any]]:
    """Return for each static pause whether it was before or after a node, and which nodes come next."""
    return [
        (entry.body.detail["when"], entry.body.detail["next"])
        for entry in entries(database, trail, "interrupt.raised")
        if entry.body.detail["when"] != "dynamic"
    ]


def payload(entry: Checked) -> dict[str, Any]:
    assert isinstance(entry.payload, dict)
    return entry.payload
