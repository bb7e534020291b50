"""The demonstration's first cheat: a dose that is raised in LangGraph's own row, while people look at the old one."""

from __future__ import annotations

import shlex
import subprocess

import psycopg

from .database import Database
from .embedded import EmbeddedDatabase

HONEST, CHEATED = 60, 600
WAITING = r"^order-[0-9a-f]{6}-4$"
"""The case numbers of the cases that the demonstration leaves waiting, and cheats on."""


def raised_dose(case: str) -> str:
    """Return the statement that somebody with psql types."""
    return _edit(case, CHEATED)


def restored_dose(case: str) -> str:
    """Return the statement that takes it back."""
    return _edit(case, HONEST)


def put_back(target: Database) -> bool:
    """Undo the cheat of a demonstration that was killed: only rows of its own cases that hold just what it wrote."""
    with psycopg.connect(target.service_url) as conn:
        cases = conn.execute("SELECT id FROM countersign.cases WHERE case_number ~ %s", (WAITING,)).fetchall()
    with psycopg.connect(target.app_url) as conn:
        done = conn.execute(
            "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose_mg}', %s::text::jsonb) "
            "WHERE thread_id = ANY(%s) AND checkpoint #>> '{channel_values,dose_mg}' = %s",
            (str(HONEST), [case for (case,) in cases], str(CHEATED)),
        )
        return done.rowcount > 0


def psql_line(target: Database, sql: str) -> str:
    """Return the line by which somebody runs a statement."""
    # Not the address itself: it may hold a password.
    if not target.embedded:
        return f'psql -qX "$COUNTERSIGN_DATABASE_URL" -c "{sql}"'
    return shlex.join(_command(target.embedded, sql)[:-1]) + f' "{sql}"'


def psql(target: Database, sql: str) -> None:
    """Run a statement as that line does."""
    if target.embedded:
        subprocess.run(_command(target.embedded, sql), check=True)  # noqa: S603 - the line that was just printed
        return
    with psycopg.connect(target.app_url) as conn:
        conn.execute(sql.encode())


def _edit(case: str, dose: int) -> str:
    return (
        f"UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{{channel_values,dose_mg}}', '{dose}') "
        f"WHERE thread_id = '{case}' AND checkpoint_id = "
        f"(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = '{case}')"
    )


def _command(server: EmbeddedDatabase, sql: str) -> list[str]:
    return [str(server.psql), "-qX", server.admin_url, "-c", sql]
