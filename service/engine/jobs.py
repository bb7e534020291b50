"""Jobs: who shall carry out which mandate, kept by procrastinate in tables of its own beside LangGraph's.

A job is a hint, never an authority: it names a case and a mandate, and whoever takes it reads in the case's trail what
is allowed. So a job that is lost, doubled or forged costs time at most. It is deferred on the caller's own connection,
and so commits with the entry that is the mandate, or vanishes with it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from procrastinate import PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task
from psycopg import AsyncConnection

from countersign.audit.append import check_transaction

TASK = "countersign.run"
"""The one task there is: carry out what is outstanding of a case."""

_LONGEST = 40
"""Characters of a queue's name: PostgreSQL takes channels of 63 bytes, and procrastinate puts 23 in front."""

_manager = JobManager(PsycopgConnector())


def queue_of(workflow: str, version: str) -> str:
    """Return the queue of one version of a workflow, `<workflow>@<version>`, at most 40 characters of ASCII.

    What is longer, or other than ASCII, is cut and made distinct by a hash.
    """
    name = f"{workflow}@{version}"
    if len(name) <= _LONGEST and name.isascii() and name.isprintable():
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    start = "".join(char for char in workflow if char.isascii() and char.isalnum())[:15]
    return f"{start}@{digest[:24]}"


async def defer_mandate(conn: AsyncConnection[Any], *, case: str, mandate: int, workflow: str, version: str) -> None:
    """Have a worker carry out entry `mandate` of `case`, as soon as the caller's transaction is committed.

    The job joins that transaction; nothing here begins, commits or rolls back. Raises AppendError without a
    transaction: a job of a mandate that was rolled back would be run for nothing, a mandate without its job would wait.
    """
    check_transaction(conn)
    job = configure_task(name=TASK, job_manager=_manager, lock=case, queue=queue_of(workflow, version), connection=conn)
    try:
        await job.defer_async(case=case, mandate=mandate)
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.Error):
            raise error.__cause__ from None
        raise


async def requeue(conn: AsyncConnection[Any], *, case: str, workflow: str, version: str) -> None:
    """Have the jobs of a case that wait taken by workers of another version: what a move of the case has to do.

    procrastinate takes jobs of one case in their order, so one that waits for a version which nobody runs any more
    would hold up all behind it. Joins the caller's transaction.
    """
    await conn.execute(_REQUEUE, (queue_of(workflow, version), case, queue_of(workflow, version)))


_REQUEUE = """
UPDATE procrastinate_jobs SET queue_name = %s WHERE lock = %s AND status = 'todo' AND queue_name <> %s
"""
