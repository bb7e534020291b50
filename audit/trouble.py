"""PostgreSQL's errors in words an operator can act on: one table, used wherever a statement may fail."""

from __future__ import annotations

import psycopg

_BY_STATE: dict[str, tuple[str, str]] = {
    "42P01": ("A table is missing", "Run: countersign migrate"),
    "3F000": ("A schema is missing", "Run: countersign migrate"),
    "42501": (
        "The database role may not do this",
        "Connect as a member of countersign_app (GRANT countersign_app TO your_role).",
    ),
    "53100": ("The database's disk is full", "Free space on the database server; nothing was written."),
    "53300": ("The database accepts no more connections", "Raise max_connections, or make the pool smaller."),
    "25006": ("The database accepts no writes", "Connect to the primary, not to a standby."),
    "55P03": ("A lock was not obtained in time", "Try again; another process holds this trail or a migration runs."),
    "57014": ("The statement took longer than allowed", "Try again, or raise statement_timeout for this role."),
    "40P01": ("The database ended a deadlock", "Try again; nothing was written."),
    "22P05": ("A text holds a character the database cannot store", "Remove it: PostgreSQL stores no NUL in text."),
    "22021": ("A text holds a character the database cannot store", "Remove it: PostgreSQL stores no NUL in text."),
    "CS001": ("A trigger or rule changes rows on their way in", "Look for triggers on LangGraph's tables."),
    "CS002": ("A trigger or rule changes evidence on its way in", "Look for triggers on the tables of schema audit."),
    "23505": ("An entry of this place exists already", "Run: countersign verify; something writes around the locks."),
}


def explain(error: psycopg.Error) -> tuple[str, str]:
    """Return (what happened, what to do) for an error of the driver or the server."""
    known = _BY_STATE.get(error.sqlstate or "")
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if known:
        return f"{known[0]}: {text}", known[1]
    if isinstance(error, psycopg.DataError) and "NUL" in text:
        return f"A text holds a NUL character: {text}", "Remove it: PostgreSQL stores no NUL in text."
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        # libpq's own message repeats the address, password and all.
        return (
            "The database's address is not one",
            "Check COUNTERSIGN_DATABASE_URL: it begins with postgresql://, special characters percent-encoded.",
        )
    if isinstance(error, psycopg.OperationalError):
        return (
            f"The database cannot be reached, or the connection broke: {text}",
            "Check COUNTERSIGN_DATABASE_URL and the server, then try again.",
        )
    return f"The database refused: {text}", "Nothing was written."
