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
_REVIEWS: LiteralString = """
SELECT r.id, r.case_id, r.workflow, nullif(r.gate, ''), r.status, r.round, r.role, r.other_role, r.opened_at,
       r.changed_at, r.expire_at, r.claimed_by, r.outcome
FROM countersign.reviews r
"""
# One walk along an index for each role that somebody has, however many reviews are open.
_MINE: LiteralString = f"""
SELECT * FROM (
    SELECT x.* FROM unnest(%(workflows)s::text[], %(roles)s::text[]) AS g (workflow, role) CROSS JOIN LATERAL (
        {_REVIEWS} WHERE r.status = 'open' AND r.workflow = g.workflow AND r.role = g.role
        AND (r.opened_at, r.id) > (%(at)s, %(id)s) AND NOT r.barred @> ARRAY[%(me)s]
        ORDER BY r.opened_at, r.id LIMIT %(most)s) x
    UNION
    SELECT x.* FROM unnest(%(workflows)s::text[], %(roles)s::text[]) AS g (workflow, role) CROSS JOIN LATERAL (
        {_REVIEWS} WHERE r.status = 'open' AND r.workflow = g.workflow AND r.other_role = g.role
        AND r.other_role IS NOT NULL AND (r.opened_at, r.id) > (%(at)s, %(id)s) AND NOT r.barred @> ARRAY[%(me)s]
        ORDER BY r.opened_at, r.id LIMIT %(most)s) x
) mine ORDER BY opened_at, id LIMIT %(most)s
"""
_ACTOR: LiteralString = (
    """substring(encode(substring(e.body from 1 for 600), 'escape') from '^\\{"actor":\\{"id":"([^"]*)"')"""
)
_OF_PERSONS: LiteralString = "e.kind !~ '^(checkpoint|writes|interrupt)\\.' AND "
"""As the index of entries by person has it, word for word: without it the index is not used."""
_ENTRIES: LiteralString = """
SELECT e.trail, e.seq, e.kind, e.occurred_at, e.body, e.keyid, e.signature FROM audit.entries e WHERE true
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
    clauses: list[LiteralString] = ["true"]
    params: list[Any] = []
    if which.workflows is not None:
        clauses.append("c.workflow = ANY(%s)")
        params.append(list(which.workflows))
    named: tuple[tuple[LiteralString, str | None], ...] = (
        ("c.workflow = %s", which.workflow),
        ("c.status = %s", which.status),
        ("c.case_number = %s", which.case_number),
        ("c.started_by = %s", which.started_by),
    )
    for clause, value in named:
        if value is not None:
            clauses.append(clause)
            params.append(value)
    if after is not None:
        clauses.append("(c.started_at, c.id) < (%s, %s)")
        params += after
    sql = _CASES + " WHERE " + " AND ".join(clauses) + " ORDER BY c.started_at DESC, c.id DESC LIMIT %s"
    cursor = await conn.execute(sql, [*params, most])
    return [CaseRow(*row) for row in await cursor.fetchall()]


async def case_row(conn: AsyncConnection[Any], case: str) -> CaseRow | None:
    """Return the row of a case."""
    cursor = await conn.execute(_CASES + " WHERE c.id = %s", (case,))
    row = await cursor.fetchone()
    return CaseRow(*row) if row else None


async def my_reviews(
    conn: AsyncConnection[Any], me: str, roles: Sequence[tuple[str, str]], *, after: After | None, most: int
) -> list[ReviewRow]:
    """Return the open reviews that `me` may sign now with `roles` (workflow and role), the oldest first."""
    at, behind = after or _FIRST
    params = {
        "workflows": [workflow for workflow, _ in roles],
        "roles": [role for _, role in roles],
        "me": me,
        "at": at,
        "id": behind,
        "most": most,
    }
    cursor = await conn.execute(_MINE, params)
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
    clauses: list[LiteralString] = ["true"]
    params: list[Any] = []
    conditions: tuple[tuple[LiteralString, Any], ...] = (
        ("r.workflow = ANY(%s)", None if workflows is None else list(workflows)),
        ("r.status = %s", status),
        ("r.case_id = %s", case),
    )
    for clause, value in conditions:
        if value is not None:
            clauses.append(clause)
            params.append(value)
    if after is not None:
        clauses.append("(r.opened_at, r.id) > (%s, %s)")
        params += after
    sql = _REVIEWS + " WHERE " + " AND ".join(clauses) + " ORDER BY r.opened_at, r.id LIMIT %s"
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
    clauses: list[LiteralString] = []
    params: list[Any] = []
    conditions: tuple[tuple[LiteralString, Any], ...] = (
        (_OF_PERSONS + _ACTOR + " = %s", which.person),
        ("e.kind = %s", which.kind),
        ("e.trail IN (SELECT id FROM countersign.cases WHERE workflow = %s)", which.workflow),
        ("e.trail = %s", which.trail),
        ("e.occurred_at >= %s", which.since),
        ("e.occurred_at < %s", which.until),
    )
    for clause, value in conditions:
        if value is not None:
            clauses.append(clause)
            params.append(value)
    if after is not None:
        clauses.append("(e.occurred_at, e.trail, e.seq) < (%s, %s, %s)")
        params += after
    sql = _ENTRIES + "".join(" AND " + clause for clause in clauses)
    sql += " ORDER BY e.occurred_at DESC, e.trail DESC, e.seq DESC LIMIT %s"
    cursor = await conn.execute(sql, [*params, most])
    entries = [Entry(*row) for row in await cursor.fetchall()]
    if any(entry.keyid not in appender.ring for entry in entries):
        await arun(conn, appender.ring_steps())
    return [_entry_row(entry, appender) for entry in entries]


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
