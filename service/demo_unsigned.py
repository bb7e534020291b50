"""The demonstration's second cheat: a decision that nobody signed, written by somebody who holds every key."""

from __future__ import annotations

import psycopg

from countersign.audit.canonical import Json
from countersign.audit.deployment import open_operator_steps
from countersign.audit.entry import SYSTEM, EntryDraft, Workflow
from countersign.audit.kinds import Kind
from countersign.audit.steps import run

from .database import Database
from .demo_vanish import NO_TRIGGERS, admin_url

_ADDED = "countersign_demo_added"


def unsigned(target: Database, case: str, review: str) -> bool:
    """Append to a case that waits the approval that its one gate asks for, without a signature.

    Keeps in mind what was added. False, and nothing done, where the server forbids to take it out again.
    """
    try:
        with psycopg.connect(admin_url(target), autocommit=True) as conn:
            appender = run(conn, open_operator_steps(target.home))
            with conn.transaction():
                # Without triggers nothing lists it for a sealer either: it is gone again before anybody seals.
                conn.execute(NO_TRIGGERS)
                (found,) = conn.execute("SELECT workflow, version FROM countersign.cases WHERE id = %s", (case,))
                (entry,) = appender.append(conn, _approval(case, review, Workflow(*found)))
                conn.execute(f"CREATE SCHEMA {_ADDED}")
                conn.execute(
                    f"CREATE TABLE {_ADDED}.entries AS SELECT %s::text trail, %s::bigint seq", (case, entry.seq)
                )
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def put_back(target: Database) -> bool:
    """Undo `unsigned`, also that of a demonstration that was killed. Tells whether there was anything to undo."""
    with psycopg.connect(admin_url(target)) as conn:
        (there,) = conn.execute("SELECT to_regnamespace(%s) IS NOT NULL", (_ADDED,)).fetchall()[0]
        if there:
            conn.execute(NO_TRIGGERS)
            for table in ("audit.payloads", "audit.entries"):
                conn.execute(f"DELETE FROM {table} WHERE (trail, seq) IN (SELECT trail, seq FROM {_ADDED}.entries)")
            conn.execute(f"DROP SCHEMA {_ADDED} CASCADE")
    return bool(there)


def _approval(case: str, review: str, workflow: Workflow) -> EntryDraft:
    detail: dict[str, Json] = {
        "review": review,
        "outcome": "approved",
        "by": "signatures",
        "signed": [],
        "resume": True,
    }
    write: Json = {"update": {"decision": "approved", "notes": ""}}
    return EntryDraft(case, Kind.REVIEW_DECIDED, SYSTEM, workflow, detail=detail, payload={"write": write})
