"""The demonstration's last cheat: a case that never was. Rows, entries and leaves go; what remains fits together."""

from __future__ import annotations

import psycopg

from .database import Database

_KEPT = "countersign_demo"
_OF_TRAIL = {"audit.entries": "trail", "audit.payloads": "trail", "audit.leaves": "trail"}
_OF_THREAD = dict.fromkeys(("checkpoints", "checkpoint_blobs", "checkpoint_writes"), "thread_id")
TABLES = {**_OF_TRAIL, **_OF_THREAD}
# What keeps an application from doing this does not keep whoever owns the server from it.
NO_TRIGGERS = "SET session_replication_role = replica"


def removal(case: str) -> list[str]:
    """Return what an administrator types who makes a case vanish."""
    return [NO_TRIGGERS, *(f"DELETE FROM {table} WHERE {column} = '{case}'" for table, column in TABLES.items())]


def vanish(target: Database, case: str) -> bool:
    """Make a case vanish, and keep its rows to put them back. False, and nothing done, where the server forbids it."""
    try:
        with psycopg.connect(admin_url(target)) as conn:
            conn.execute(f"CREATE SCHEMA {_KEPT}")
            for table, column in TABLES.items():
                kept = f"{_KEPT}.{table.rpartition('.')[2]}"
                conn.execute(f"CREATE TABLE {kept} AS SELECT * FROM {table} WHERE {column} = %s", (case,))
            for statement in removal(case):
                conn.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def put_back(target: Database) -> bool:
    """Undo `vanish`, also that of a demonstration that was killed. Tells whether there was anything to undo."""
    with psycopg.connect(admin_url(target)) as conn:
        (there,) = conn.execute("SELECT to_regnamespace(%s) IS NOT NULL", (_KEPT,)).fetchall()[0]
        if there:
            conn.execute(NO_TRIGGERS)
            for table in TABLES:
                conn.execute(f"INSERT INTO {table} SELECT * FROM {_KEPT}.{table.rpartition('.')[2]}")
            conn.execute(f"DROP SCHEMA {_KEPT} CASCADE")
    return bool(there)


def admin_url(target: Database) -> str:
    """Return how to connect as whoever owns the server, where that is known."""
    return target.embedded.admin_url if target.embedded else target.owner_url
