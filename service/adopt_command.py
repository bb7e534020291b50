"""The command `countersign adopt`: threads that LangGraph wrote before Countersign was there become trails."""

from __future__ import annotations

from collections.abc import Sequence

import click
import psycopg

from countersign.audit.adopt import Adoption, adopt, adoptable, open_adopter
from countersign.audit.errors import AuditError, ConfigurationError
from countersign.audit.trouble import explain

from .database import Database


def adopt_threads(target: Database, threads: Sequence[str], *, every: bool, dry_run: bool) -> bool:
    """Adopt `threads`, or all that can be, one transaction each, and print what came of each.

    Goes on behind one that cannot be adopted; returns whether there was none. Raises ConfigurationError when nothing
    can be begun.
    """
    if bool(threads) == every:
        raise ConfigurationError(
            "Say which threads: names, or --all.", remedy="`countersign adopt --all --dry-run` lists those there are."
        )
    # As the owner where there is one: it may wait for the writes of everybody.
    with psycopg.connect(target.owner_url, autocommit=True, connect_timeout=10) as conn:
        appender = open_adopter(conn, target.home, dry_run=dry_run)
        names = adoptable(conn) if every else list(dict.fromkeys(threads))
        if not names:
            click.echo("No thread is without entries: there is nothing to adopt.")
        good = True
        for name in names:
            try:
                click.echo(_line(adopt(conn, appender, name, dry_run=dry_run)))
            except (AuditError, psycopg.Error) as error:
                good = False
                _complain(error)
                if conn.broken:
                    break
        return good


def _complain(error: AuditError | psycopg.Error) -> None:
    what, remedy = explain(error) if isinstance(error, psycopg.Error) else (error.message, error.remedy)
    click.echo(f"countersign: {what}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)


def _line(done: Adoption) -> str:
    if done.already:
        return f"{done.thread}: adopted already, in entry {done.seq}"
    rows = ", ".join(f"{count} in {table}" for table, count in done.counts.items())
    if done.seq is None:
        return f"{done.thread}: would be adopted: {rows}"
    return f"{done.thread}: adopted in entry {done.seq}: {rows}"
