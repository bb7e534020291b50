"""What the database must look like before an entry may be written to it."""

from __future__ import annotations

from .errors import ConfigurationError
from .rows import TABLES
from .steps import Statement, Steps

REVISION = "0001"
"""The migration this version of the package was written for."""

_VERSION = """
SELECT to_regclass('countersign.alembic_version') IS NOT NULL, to_regclass('audit.entries') IS NOT NULL
"""
_COLUMNS = """
SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.oid = ANY(ARRAY[to_regclass('checkpoints'), to_regclass('checkpoint_blobs'), to_regclass('checkpoint_writes')])
AND a.attnum > 0 AND NOT a.attisdropped
"""


def revision_steps() -> Steps[str | None]:
    """Return the revision of the schema `audit`, or None when this database was never migrated."""
    rows = yield Statement(_VERSION)
    if not all(rows[0]):
        return None
    rows = yield Statement("SELECT version_num FROM countersign.alembic_version")
    return str(rows[0][0]) if rows else None


def check_revision_steps() -> Steps[None]:
    """Raise ConfigurationError, naming the remedy, unless the schema is the one this package was written for."""
    revision = yield from revision_steps()
    if revision is None:
        raise ConfigurationError(
            "This database was never prepared for Countersign: the schema audit is not there.",
            remedy="Run: countersign migrate",
        )
    if revision < REVISION:
        raise ConfigurationError(
            f"This database is older than this version of Countersign (revision {revision}, needed {REVISION}).",
            remedy="Run: countersign migrate",
        )
    if revision > REVISION:
        raise ConfigurationError(
            f"This database is newer than this version of Countersign (revision {revision}, known {REVISION}).",
            remedy="Upgrade the package: pip install --upgrade countersign",
        )


def check_langgraph_steps() -> Steps[None]:
    """Raise ConfigurationError unless LangGraph's tables have exactly the columns that row digests cover."""
    rows = yield Statement(_COLUMNS)
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    for table in TABLES.values():
        columns = found.get(table.name)
        if columns is None:
            raise ConfigurationError(
                f"LangGraph's table {table.name} is not in this database.", remedy="Run: countersign migrate"
            )
        if columns != set(table.columns):
            odd = ", ".join(sorted(columns ^ set(table.columns)))
            raise ConfigurationError(
                f"LangGraph's table {table.name} has other columns than this version of Countersign can bind: {odd}.",
                remedy="Install a version of countersign made for this release of langgraph-checkpoint-postgres.",
            )
