"""What the database must look like before an entry may be written to it, or believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .errors import ConfigurationError
from .rows import TABLES
from .steps import Statement, Steps

REVISION = "0005"
"""The migration this version of the package was written for."""

EVIDENCE: Mapping[str, Mapping[str, str]] = {
    "entries": {
        "trail": "text",
        "seq": "bigint",
        "kind": "text",
        "occurred_at": "timestamp with time zone",
        "body": "bytea",
        "keyid": "bytea",
        "signature": "bytea",
    },
    "payloads": {"trail": "text", "seq": "bigint", "salt": "bytea", "data": "bytea"},
    "leaves": {"trail": "text", "seq": "bigint", "leaf_index": "bigint", "leaf_hash": "bytea"},
    "heads": {"number": "bigint", "tree_size": "bigint", "note": "bytea"},
    "cosignatures": {"tree_size": "bigint", "name": "text", "key_id": "bytea", "line": "bytea"},
    "tokens": {"tree_size": "bigint", "token": "bytea"},
}

FUNCTIONS: Mapping[str, str] = {
    "append": "fae14ab99dc335f204975c7013c974b263038120925b8a73ebead63e5c65e6d9",
    "put": "6c7445c433491cafd070f0a9fc70f6006c0bc3844b5b3376f61a3638856d4b0f",
    "put_writes": "3e808bcc30fc85b126dfb1fab69512a8f4b91592f93eb16c394a96b1fb07f6b6",
}
"""SHA-256 of the source of each function that appends."""

_FUNCTIONS = """
SELECT p.proname, encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'), p.prosecdef OR p.proconfig IS NOT NULL
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'countersign'
"""
_VERSION = """
SELECT to_regclass('countersign.alembic_version') IS NOT NULL, to_regclass('audit.entries') IS NOT NULL
"""
_RELATIONS = """
SELECT c.relname, c.relkind::text, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind NOT IN ('i', 'I', 't') AND
"""
_OF_EVIDENCE = _RELATIONS + " n.nspname = 'audit'"
_OF_LANGGRAPH = (
    _RELATIONS
    + """ c.oid = ANY(ARRAY[
    to_regclass('checkpoints'), to_regclass('checkpoint_blobs'), to_regclass('checkpoint_writes')]::oid[])"""
)


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """A table that is not as it must be. `fatal` ones cannot even be read."""

    table: str
    message: str
    fatal: bool


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


def check_functions_steps() -> Steps[None]:
    """Raise ConfigurationError unless the database's own functions for appending are the ones that were migrated.

    They run on the server, so whoever may change them can make them say that they appended what they did not.
    """
    rows = yield Statement(_FUNCTIONS)
    for name, digest in FUNCTIONS.items():
        # One of that name and no more: an overloaded one could be the one that is called.
        if [(source, settings) for function, source, settings in rows if function == name] != [(digest, False)]:
            raise ConfigurationError(
                f"The database's function countersign.{name} is not the one that was migrated.",
                remedy="Find out who changed it; `countersign migrate --sql` prints the original.",
            )


def check_langgraph_steps() -> Steps[None]:
    """Raise ConfigurationError unless LangGraph's tables have exactly the columns that row digests cover."""
    for problem in (yield from langgraph_problems_steps()):
        raise ConfigurationError(
            problem.message,
            remedy="Run: countersign migrate. If it says the same, install a version of countersign made for this "
            "release of langgraph-checkpoint-postgres.",
        )


def evidence_problems_steps() -> Steps[list[SchemaProblem]]:
    """Return what in the schema `audit` signed bytes do not account for."""
    found = yield from _relations_steps(Statement(_OF_EVIDENCE))
    problems = [
        problem for table, types in EVIDENCE.items() for problem in _compare(f"audit.{table}", table, types, found)
    ]
    return problems + [
        SchemaProblem(table, f"The schema audit holds {table}, which is no table of evidence.", fatal=False)
        for table in sorted(found.keys() - EVIDENCE.keys())
    ]


def langgraph_problems_steps() -> Steps[list[SchemaProblem]]:
    """Return what about LangGraph's tables row digests do not cover."""
    found = yield from _relations_steps(Statement(_OF_LANGGRAPH))
    return [
        problem
        for table in TABLES.values()
        for problem in _compare(f"LangGraph's {table.name}", table.name, table.types, found)
    ]


def _relations_steps(statement: Statement) -> Steps[dict[str, tuple[str, dict[str, str]]]]:
    rows = yield statement
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for table, kind, column, column_type in rows:
        _, columns = found.setdefault(table, (kind, {}))
        if column is not None:
            columns[column] = column_type
    return found


def _compare(
    title: str, table: str, types: Mapping[str, str], found: Mapping[str, tuple[str, dict[str, str]]]
) -> list[SchemaProblem]:
    if table not in found:
        return [SchemaProblem(table, f"The table {title} is not in this database.", fatal=True)]
    kind, columns = found[table]
    if kind != "r":
        return [
            SchemaProblem(
                table, f"In place of the table {title} stands something that is no ordinary table.", fatal=True
            )
        ]
    if columns == types:
        return []
    odd = sorted(column for column in columns.keys() | types.keys() if columns.get(column) != types.get(column))
    readable = all(columns.get(column) == column_type for column, column_type in types.items())
    message = f"The table {title} has other columns than this version of Countersign can account for: {', '.join(odd)}."
    return [SchemaProblem(table, message, fatal=not readable)]
