"""Finding cases, reviews and entries, page by page. What a row says is for finding; what counts is in the trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from psycopg import AsyncConnection

from countersign.audit.append import Appender
from countersign.audit.chain import check_signed
from countersign.audit.entry import Entry
from countersign.audit.errors import VerificationError
from countersign.audit.steps import arun
from countersign.service.errors import ConflictError

from .rows import CaseRow, EntryRow, ReviewRow

MOST = 1_000
"""Items that are read at once; how many a page has is for whoever shows it."""
After = tuple[datetime, str]
"""Where the next page begins: behind an item's time and id."""

_CASES: LiteralString = """
SELECT id, workflow, version, case_number, status, started_by, started_at, changed_at, mandate, problem
FROM countersign.cases c
"""
_COLUMNS: LiteralString = """
SELECT r.id, r.case_id, r.workflow, nullif(r.gate, ''), r.status, r.round, r.role, r.other_role, r.opened_at,
       r.changed_at, r.expire_at, r.claimed_by, r.outcome,
       (SELECT c.version FROM countersign.cases c WHERE c.id = r.case_id),
       (SELECT c.case_number FROM countersign.cases c WHERE c.id = r.case_id)
"""
_REVIEWS: LiteralString = _COLUMNS + "FROM countersign.reviews r"
_ONE_CASE: LiteralString = "AND r.case_id = %(case)s"


def mine_statement(one_case: LiteralString = "") -> LiteralString:
    """Return the statement of `my_reviews`: a walk along an index for each role that somebody has, however many reviews
    are open; what stands in the rows of cases is looked up for those alone that are shown.
    """
    walks: LiteralString = """
        SELECT x.* FROM unnest(%(workflows)s::text[], %(roles)s::text[]) AS g (workflow, role) CROSS JOIN LATERAL (
            SELECT * FROM countersign.reviews r
            WHERE r.status = 'open' AND r.workflow = g.workflow AND """
    rest: LiteralString = """
            AND (r.opened_at, r.id) > (%(at)s, %(id)s) AND NOT r.barred @> ARRAY[%(me)s] """
    end: LiteralString = """
            ORDER BY r.opened_at, r.id LIMIT %(most)s) x"""
    first = walks + "r.role = g.role" + rest + one_case + end
    other = walks + "r.other_role = g.role AND r.other_role IS NOT NULL" + rest + one_case + end
    found = "SELECT * FROM (" + first + " UNION " + other + ") u ORDER BY opened_at, id LIMIT %(most)s"
    return _COLUMNS + "FROM (" + found + ") r ORDER BY r.opened_at, r.id"


_ACTOR: LiteralString = (
    """substring(encode(substring(e.body from 1 for 600), 'escape') from '^\\{"actor":\\{"id":"([^"]*)"')"""
)
_OF_PERSONS: LiteralString = "e.kind !~ '^(checkpoint|writes|interrupt)\\.' AND "
"""As the index of entries by person has it, word for word: without it the index is not used."""
_ENTRIES: LiteralString = """
SELECT e.trail, e.seq, e.kind, e.occurred_at, e.body, e.keyid, e.signature FROM audit.entries e
"""
_FIRST = ("-infinity", "")


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases; None is no condition. `workflows`: those that the caller may read."""

    workflows: Sequence[str] | None = None
    workflow: str | None = None
    status: str | None = None
    case_number: str | None = None
    started_by: str | None = None


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries; None is no condition. `since` is included, `until` is not."""

    person: str | None = None
    kind: str | None = None
    workflow: str | None = None
    trail: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_cases(conn: AsyncConnection[Any], which: CaseFilter, *, after: After | None, most: int) -> list[CaseRow]:
    """Return cases, the newest first."""
    where, params = _where(
        ("c.workflow = ANY(%s)", _listed(which.workflows)),
        ("c.workflow = %s", which.workflow),
        ("c.status = %s", which.status),
        ("c.case_number = %s", which.case_number),
        ("c.started_by = %s", which.started_by),
        ("(c.started_at, c.id) < (%s, %s)", after),
    )
    sql = _CASES + where + " ORDER BY c.started_at DESC, c.id DESC LIMIT %s"
    cursor = await conn.execute(sql, [*params, most])
    return [CaseRow(*row) for row in await cursor.fetchall()]


async def case_row(conn: AsyncConnection[Any], case: str) -> CaseRow | None:
    """Return the row of a case."""
    cursor = await conn.execute(_CASES + " WHERE c.id = %s", (case,))
    row = await cursor.fetchone()
    return CaseRow(*row) if row else None


async def my_reviews(
    conn: AsyncConnection[Any],
    me: str,
    roles: Sequence[tuple[str, str]],
    *,
    case: str | None = None,
    after: After | None,
    most: int,
) -> list[ReviewRow]:
    """Return the open reviews, of one case or of all, that `me` may sign now with `roles` (workflow and role), the
    oldest first.
    """
    at, behind = after or _FIRST
    params = {
        "workflows": [workflow for workflow, _ in roles],
        "roles": [role for _, role in roles],
        "me": me,
        "at": at,
        "id": behind,
        "most": most,
        "case": case,
    }
    cursor = await conn.execute(mine_statement("" if case is None else _ONE_CASE), params)
    return [ReviewRow(*row) for row in await cursor.fetchall()]


async def list_reviews(
    conn: AsyncConnection[Any],
    workflows: Sequence[str] | None,
    *,
    status: str | None,
    case: str | None,
    after: After | None,
    most: int,
) -> list[ReviewRow]:
    """Return reviews of these workflows (None: of all), the oldest first."""
    where, params = _where(
        ("r.workflow = ANY(%s)", _listed(workflows)),
        ("r.status = %s", status),
        ("r.case_id = %s", case),
        ("(r.opened_at, r.id) > (%s, %s)", after),
    )
    sql = _REVIEWS + where + " ORDER BY r.opened_at, r.id LIMIT %s"
    cursor = await conn.execute(sql, [*params, most])
    return [ReviewRow(*row) for row in await cursor.fetchall()]


async def review_row(conn: AsyncConnection[Any], review: str) -> ReviewRow | None:
    """Return the row of a review."""
    cursor = await conn.execute(_REVIEWS + " WHERE r.id = %s", (review,))
    row = await cursor.fetchone()
    return ReviewRow(*row) if row else None


async def list_entries(
    conn: AsyncConnection[Any],
    appender: Appender,
    which: EntryFilter,
    *,
    after: tuple[datetime, str, int] | None,
    most: int,
) -> list[EntryRow]:
    """Return entries, the newest first, each checked to be signed by a key that may sign it.

    Raises ConflictError at the first that is not: what cannot be believed is not listed beside what can.
    """
    where, params = _where(
        (_OF_PERSONS + _ACTOR + " = %s", which.person),
        ("e.kind = %s", which.kind),
        ("e.trail IN (SELECT id FROM countersign.cases WHERE workflow = %s)", which.workflow),
        ("e.trail = %s", which.trail),
        ("e.occurred_at >= %s", which.since),
        ("e.occurred_at < %s", which.until),
        ("(e.occurred_at, e.trail, e.seq) < (%s, %s, %s)", after),
    )
    sql = _ENTRIES + where + " ORDER BY e.occurred_at DESC, e.trail DESC, e.seq DESC LIMIT %s"
    cursor = await conn.execute(sql, [*params, most])
    entries = [Entry(*row) for row in await cursor.fetchall()]
    if any(entry.keyid not in appender.ring for entry in entries):
        await arun(conn, appender.ring_steps())
    return [_entry_row(entry, appender) for entry in entries]


def _where(*conditions: tuple[LiteralString, Any]) -> tuple[LiteralString, list[Any]]:
    """Return the WHERE of those conditions that have a value, and the parameters: a tuple is as many as it has items.

    None is no condition.
    """
    asked = [(clause, value) for clause, value in conditions if value is not None]
    clauses: list[LiteralString] = [clause for clause, _ in asked]
    params = [item for _, value in asked for item in (value if isinstance(value, tuple) else (value,))]
    return (" WHERE " + " AND ".join(clauses) if clauses else ""), params


def _listed(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else list(names)


def _entry_row(entry: Entry, appender: Appender) -> EntryRow:
    try:
        body = check_signed(entry, appender.ring)
    except VerificationError as error:
        raise ConflictError(
            error.message, remedy=f"Run: countersign verify --trail {entry.trail}", facts={"cause": "damaged"}
        ) from error
    if (body.trail, body.seq, body.kind, body.occurred_at, body.origin) != (
        entry.trail,
        entry.seq,
        entry.kind,
        entry.occurred_at,
        appender.origin,
    ):
        raise ConflictError(
            f"Entry {entry.seq} of trail {entry.trail} is not where, or not what, it was signed as.",
            remedy=f"Run: countersign verify --trail {entry.trail}",
            facts={"cause": "damaged"},
        )
    workflow = body.workflow.name if body.workflow else None
    return EntryRow(
        body.trail,
        body.seq,
        body.kind,
        body.occurred_at,
        body.actor.as_json(),
        workflow,
        dict(body.detail),
        entry.leaf_hash.hex(),
    )
