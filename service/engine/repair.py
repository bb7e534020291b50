"""Jobs that nobody is at any more, and mandates that have none: found, and given to a worker again.

To be called every few seconds by the server. Repeating it is free, and any number of servers may.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection

from .jobs import TASK, defer_mandate, requeue
from .locks import NUMBERS, WORKER_CLASS


class Outstanding(NamedTuple):
    """A mandate that was not carried out, and the version that its case goes on with."""

    case: str
    mandate: int
    workflow: str
    version: str


# A job is somebody's for as long as that worker's own lock is held: its number is in the job, its lock in pg_locks.
_STALLED: LiteralString = """
UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, attempts = attempts + 1, scheduled_at = NULL,
    abort_requested = false
WHERE id IN (
    SELECT job.id FROM procrastinate_jobs job
    WHERE job.status = 'doing' AND job.task_name = %(task)s
    AND NOT EXISTS (
        SELECT FROM pg_locks held WHERE held.locktype = 'advisory' AND held.granted
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND held.objsubid = 2 AND held.classid = %(class)s::oid AND held.objid = (job.worker_id %% %(numbers)s)::oid
    )
    FOR UPDATE SKIP LOCKED
)
RETURNING id, queue_name
"""
_JOBLESS = """
SELECT asked.place FROM unnest(%s::text[], %s::bigint[]) WITH ORDINALITY AS asked (trail, mandate, place)
WHERE NOT EXISTS (
    SELECT FROM procrastinate_jobs job WHERE job.lock = asked.trail AND job.task_name = %s
    AND (job.status IN ('todo', 'doing') OR (job.status = 'failed' AND (job.args ->> 'mandate')::bigint >= mandate))
)
"""


async def repair(conn: AsyncConnection[Any]) -> int:
    """Give back the jobs whose worker is gone, and return how many. Joins the caller's transaction, if there is one.

    A killed worker's locks are gone with its connections, so its jobs are found at once, without waiting for a
    heartbeat that does not come.
    """
    params = {"task": TASK, "class": WORKER_CLASS, "numbers": NUMBERS}
    async with await conn.execute(_STALLED, params) as cursor:
        found = await cursor.fetchall()
    for job, queue in found:
        # procrastinate tells its workers of new jobs only.
        said = json.dumps({"type": "job_inserted", "job_id": job})
        await conn.execute("SELECT pg_notify(%s, %s)", (f"procrastinate_queue_v1#{queue}", said))
    return len(found)


async def defer_missing(conn: AsyncConnection[Any], outstanding: Iterable[Outstanding]) -> int:
    """Defer a job for each mandate whose case has none: a worker may have deleted it. Returns how many.

    Jobs of these cases that wait for another version are put to the one given. Joins the caller's transaction, and
    raises AppendError without one.
    """
    asked = list(outstanding)
    for one in asked:
        await requeue(conn, case=one.case, workflow=one.workflow, version=one.version)
    params = ([one.case for one in asked], [one.mandate for one in asked], TASK)
    async with await conn.execute(_JOBLESS, params) as cursor:
        places = [place for (place,) in await cursor.fetchall()]
    for place in places:
        await defer_mandate(conn, **asked[place - 1]._asdict())
    return len(places)
