"""The tables of procrastinate: installed or brought up to date with ours, and granted to those who need them.

procrastinate keeps no note of what was applied, so ours stands as a comment on its first table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from procrastinate.schema import SchemaManager

from countersign.audit.errors import ConfigurationError
from countersign.audit.trouble import explain

LOCK_TIMEOUT = "5s"
_LOCK = 0x6A6F6273  # "jobs": one preparation at a time
_NOTE = "countersign: schema of procrastinate up to "

_STATE = """
SELECT to_regclass('procrastinate_jobs') IS NOT NULL, obj_description(to_regclass('procrastinate_jobs'), 'pg_class')
"""
_GRANTED = """
SELECT has_table_privilege('countersign_service', 'procrastinate_jobs', 'INSERT')
   AND has_table_privilege('countersign_worker', 'procrastinate_workers', 'INSERT')
"""
_GRANTS: tuple[LiteralString, ...] = (
    # The service defers, looks for what has stopped, and gives it to another worker.
    "GRANT SELECT, INSERT, UPDATE ON procrastinate_jobs TO countersign_service",
    "GRANT SELECT ON procrastinate_workers TO countersign_service",
    "GRANT INSERT ON procrastinate_events TO countersign_service",
    "GRANT USAGE ON SEQUENCE procrastinate_jobs_id_seq, procrastinate_events_id_seq TO countersign_service",
    # A worker takes jobs and says what became of them; it makes none, and does not change what they are about.
    """GRANT SELECT, DELETE, UPDATE (status, worker_id, attempts, scheduled_at, abort_requested, priority, queue_name,
    lock) ON procrastinate_jobs TO countersign_worker""",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON procrastinate_workers TO countersign_worker",
    "GRANT INSERT ON procrastinate_events TO countersign_worker",
    "GRANT USAGE ON SEQUENCE procrastinate_events_id_seq TO countersign_worker",
    "GRANT SELECT (job_id), UPDATE (job_id) ON procrastinate_periodic_defers TO countersign_worker",
)


def prepare_jobs(owner_url: str) -> bool:
    """Bring procrastinate's tables in the database at `owner_url` to the installed version. Repeating it is free.

    To be called after `audit.migrate.migrate`, which makes the roles. Returns whether anything was changed; whatever
    fails, the database is as it was. Raises ConfigurationError with the remedy, also for tables of procrastinate that
    somebody else installed, or that a newer version did.
    """
    with _explained(), psycopg.connect(owner_url, connect_timeout=10) as conn:
        conn.execute("SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(%s)", (LOCK_TIMEOUT, _LOCK))
        changed = _bring_up(conn)
        granted = conn.execute(_GRANTED).fetchone()
        if changed or granted != (True,):
            for grant in _GRANTS:
                conn.execute(grant)
            return True
    return False


def jobs_sql() -> str:
    """Return what a database administrator would run, on a new database, in place of `prepare_jobs`."""
    return "\n".join(
        ["-- procrastinate's tables", SchemaManager.get_schema().strip(), _noting(_migrations()[-1].name) + ";"]
        + [f"{grant};" for grant in _GRANTS]
        + [""]
    )


def _bring_up(conn: psycopg.Connection) -> bool:
    there, note = conn.execute(_STATE).fetchone() or (False, None)
    files = _migrations()
    if not there:
        conn.execute(SchemaManager.get_schema())
        conn.execute(_noting(files[-1].name))
        return True
    behind = _behind(str(note or ""), files)
    for file in behind:
        # As procrastinate's documentation has it: what is run before, and after, the new version takes over.
        conn.execute(file.read_text())
        conn.execute(_noting(file.name))
    return bool(behind)


def _behind(note: str, files: list[Path]) -> list[Path]:
    if not note.startswith(_NOTE):
        raise ConfigurationError(
            "This database holds tables of procrastinate that Countersign did not install.",
            remedy="Use a database of its own for one of the two.",
        )
    applied = note.removeprefix(_NOTE)
    if applied not in {file.name for file in files}:
        raise ConfigurationError(
            f"The tables of procrastinate in this database are of a version that is not known here: {applied}.",
            remedy="Use the version of this project that prepared them, or a newer one.",
        )
    return [file for file in files if file.name > applied]


def _migrations() -> list[Path]:
    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"), key=lambda file: file.name)


def _noting(name: str) -> LiteralString:
    # A comment takes no parameters; the names are those of files that procrastinate ships.
    return f"COMMENT ON TABLE procrastinate_jobs IS '{_NOTE}{name}'"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        what, remedy = explain(error)
        if error.sqlstate == "42501":
            remedy = "Let a database administrator run what `countersign migrate --sql` prints, then migrate again."
        raise ConfigurationError(what, remedy=remedy) from error
