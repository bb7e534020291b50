"""What `countersign migrate` does for the service, where its extra is installed: the audit alone needs no jobs."""

from __future__ import annotations

import importlib.util


def jobs_sql() -> list[str]:
    """Return the SQL that prepares the tables of jobs, in parts; none without the extra `service`."""
    if not _installed():
        return []
    from .engine.jobs_schema import jobs_sql as sql  # noqa: PLC0415

    return [sql()]


def prepare_jobs(owner_url: str) -> bool:
    """Prepare the tables of jobs, and return whether anything was changed; nothing is without the extra `service`."""
    if not _installed():
        return False
    from .engine.jobs_schema import prepare_jobs as prepare  # noqa: PLC0415

    return prepare(owner_url)


def _installed() -> bool:
    return importlib.util.find_spec("procrastinate") is not None
