"""procrastinate as a worker uses it: jobs are fetched the moment they are there, and are its own by a session lock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from procrastinate import App, BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.jobs import Job, Notification, Status
from procrastinate.manager import JobManager, NotificationCallback
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from .deliver import Engine, LaterError
from .jobs import TASK
from .locks import Locks

_WAKE: Notification = {"type": "job_inserted", "job_id": 0}


class Backoff(BaseRetryStrategy):
    """Try again what may go well later, after a wait that doubles; leave everything else as failed."""

    def __init__(self, first: timedelta, longest: timedelta) -> None:
        self.first = first
        self.longest = longest

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when a job is tried again, if it is."""
        if not isinstance(exception, LaterError):
            return None
        return RetryDecision(retry_at=datetime.now(UTC) + self.wait(job.attempts))

    def wait(self, attempts: int) -> timedelta:
        """Return how long to wait behind the attempt with this number, counted from 0."""
        return min(self.first * (1 << min(attempts, 30)), self.longest)


class Manager(JobManager):
    """procrastinate's, with three things more: its worker has a lock, no job is overlooked, and none waits for a poll.

    procrastinate's worker forgets notifications that come while it fetches, and is not told of a job that waits for
    another of the same case to end.
    """

    def __init__(self, connector: PsycopgConnector, locks: Locks) -> None:
        super().__init__(connector)
        self._locks = locks
        self._told = 0
        self._tell: NotificationCallback | None = None

    async def register_worker(self) -> int:
        """Register the worker, and take its lock before it fetches anything."""
        number = await super().register_worker()
        await self._locks.be(number)
        return number

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Fetch a job; if there was none, and one was announced meanwhile, look again."""
        while True:
            told = self._told
            job = await super().fetch_job(queues, worker_id)
            if job is not None or told == self._told:
                return job

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen, and count what is heard."""

        async def heard(*, channel: str, notification: Notification) -> None:
            self._told += 1
            await on_notification(channel=channel, notification=notification)

        self._tell = heard
        await super().listen_for_jobs(on_notification=heard, queues=queues)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001 - as procrastinate's
        """Finish a job, and look whether another of the same case was waiting for that."""
        await super().finish_job(job, status, delete_job)
        if self._tell is not None:
            await self._tell(channel="", notification=_WAKE)


def make_app(url: str, engine: Engine, backoff: Backoff) -> App:
    """Return the app of a worker that carries out mandates with `engine`, as the role that `url` names."""
    connector = PsycopgConnector(conninfo=url, min_size=2, max_size=4, configure=_configure, pool_factory=_pool)
    app = App(connector=connector)
    app.job_manager = Manager(connector, engine.locks)

    @app.task(name=TASK, retry=backoff, pass_context=True)
    async def run(context: JobContext, case: str, mandate: int) -> None:  # noqa: ARG001 - the trail says what is due
        await engine.deliver(case, attempt=context.job.attempts)

    return app


def _pool(**how: Any) -> AsyncConnectionPool:
    # Looking whether a connection lives is one more round trip a statement. A worker whose database went away loses its
    # locks as well, and begins anew.
    return AsyncConnectionPool(**{**how, "check": None})


async def _configure(conn: AsyncConnection[Any]) -> None:
    # Each of procrastinate's statements is a transaction of its own; three round trips for one would be two too many.
    await conn.set_autocommit(True)
