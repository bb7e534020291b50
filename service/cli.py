"""The command `countersign`. Every command prints what it did, or one sentence of what is wrong and what to do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click
import psycopg

from countersign.audit.deployment import claimed_origin_steps
from countersign.audit.errors import AuditError, ConfigurationError, NotFoundError
from countersign.audit.home import home_folder
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.keys import Trust
from countersign.audit.schema import revision_steps
from countersign.audit.steps import Statement, Steps, run
from countersign.audit.trouble import explain
from countersign.audit.verify import EXIT_CODES, Report
from countersign.audit.verify_database import Progress, verify_database

from . import embedded
from .adopt_command import adopt_threads
from .database import Database, database
from .describe import describe, shown
from .seal_command import seal_entries

P = ParamSpec("P")
COULD_NOT_RUN = 2
_MOST_JOBS = 8


def _guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors we know into one sentence and exit code 2; a traceback would only frighten."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AuditError as error:
            _stop(error.message, error.remedy)
        except psycopg.Error as error:
            _stop(*explain(error))
        except OSError as error:  # a full disk or a reader that went away is no verdict either
            _stop(f"{error.filename or 'Reading or writing'} failed: {error.strerror or error}.", "")

    return guarded


def _stop(what: str, remedy: str) -> NoReturn:
    click.echo(f"countersign: {what}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)
    sys.exit(COULD_NOT_RUN)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="countersign")
def main() -> None:
    """Signed sign-off trails for LangGraph, committed with every checkpoint.

    The database is the one COUNTERSIGN_DATABASE_URL names, or an embedded PostgreSQL under COUNTERSIGN_HOME.
    """


_url = click.option("--database-url", "url", metavar="URL", help="Instead of COUNTERSIGN_DATABASE_URL.")


@main.command("migrate")
@click.option("--sql", is_flag=True, help="Print what a database administrator would run, and change nothing.")
@_url
@_guarded
def migrate_command(sql: bool, url: str | None) -> None:  # noqa: FBT001 - click passes flags so
    """Prepare the database: tables, guards, roles, LangGraph's own tables, keys. Repeating it changes nothing."""
    from countersign.audit.migrate import migrate, migration_sql  # noqa: PLC0415 - SQLAlchemy, Alembic, LangGraph

    if sql:
        click.echo(migration_sql())
        return
    with database(url) as target:
        done = migrate(target.owner_url, target.home, os.environ.get("COUNTERSIGN_ORIGIN"))
    click.echo("The database is prepared." if done.schema_changed else "The database was prepared already.")
    if done.keys_created:
        click.echo(f"New keys for {done.origin} in {done.keys}: back this folder up, it cannot be made again.")
        click.echo(f"Give {done.keys / 'trust.json'} to whoever shall verify without trusting you.")


@main.command("verify")
@click.option("--trail", metavar="T", help="Only this trail (and @keys).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--trust",
    "trust_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Instead of this machine's trust.json.",
)
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes at most; without: one a processor, up to 8."
)
@_url
@_guarded
def verify_command(
    trail: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
    trust_file: Path | None,
    jobs: int | None,
    url: str | None,
) -> None:
    """Verify every entry, every payload and every row of LangGraph's tables.

    Exit code 0: passed, 1: failed, 2: could not run, 3: indeterminate.
    """
    with database(url) as target, shown(sys.stderr, wanted=not as_json) as progress:
        report = verify(target, trail=trail, trust_file=trust_file, jobs=jobs or usual_jobs(), progress=progress)
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else describe(report))
    sys.exit(EXIT_CODES[report.verdict])


@main.command("verify-bundle")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="The log's verifier key, from its owner.")
@click.option("--witness", "witnesses", multiple=True, metavar="KEY", help="A witness's verifier key. Repeatable.")
@click.option(
    "--quorum", type=click.IntRange(min=0), metavar="N", help="How many of the witnesses must have cosigned; else all."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_guarded
def verify_bundle_command(
    file: Path,
    vkeys: tuple[str, ...],
    witnesses: tuple[str, ...],
    quorum: int | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Verify the evidence in a bundle, without database or network.

    Exit code 0: passed, 1: failed, 2: could not run, 3: indeterminate.
    """
    from .bundle_command import check_bundle  # noqa: PLC0415 - the other commands need no zip

    report = check_bundle(file, vkeys, witnesses, quorum)
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else describe(report))
    sys.exit(EXIT_CODES[report.verdict])


@main.command("adopt")
@click.argument("threads", nargs=-1, metavar="THREAD...")
@click.option("--all", "every", is_flag=True, help="All threads that have rows and no entry that binds any.")
@click.option("--dry-run", is_flag=True, help="List them with their rows, and write nothing.")
@_url
@_guarded
def adopt_command(threads: tuple[str, ...], every: bool, dry_run: bool, url: str | None) -> None:  # noqa: FBT001
    """Take in threads that LangGraph wrote before Countersign was there, as they are now.

    Needs the deployment key. Whoever writes to LangGraph's tables waits meanwhile, for one thread at a time.

    Exit code 0: done, 2: at least one could not be adopted.
    """
    with database(url) as target:
        good = adopt_threads(target, threads, every=every, dry_run=dry_run)
    sys.exit(0 if good else COULD_NOT_RUN)


@main.command("check")
@click.argument("target", metavar="MODULE:GRAPH")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@_guarded
def check_command(target: str, as_json: bool) -> None:  # noqa: FBT001
    """Look at a graph before it is attached: what would be recorded, and what to change.

    MODULE:GRAPH or path/to/file.py:GRAPH; a compiled graph, a StateGraph, or a function without arguments that returns
    one. Needs no database and changes nothing.

    Exit code 0: nothing to change, 1: something to change, 2: could not run.
    """
    from .check_command import check_graph  # noqa: PLC0415 - the other commands need no graph

    sys.exit(0 if check_graph(target, as_json=as_json) else 1)


@main.command("seal")
@click.option("--watch", is_flag=True, help="Go on sealing until SIGTERM or Ctrl-C.")
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Which witnesses to ask. Instead of COUNTERSIGN_WITNESS_POLICY, or witness-policy beside the keys.",
)
@_url
@_guarded
def seal_command(watch: bool, policy: Path | None, url: str | None) -> None:  # noqa: FBT001 - click passes flags so
    """Make every committed entry a leaf of the log, sign its tree head, and ask the witnesses to cosign it.

    Needs the log's key and its memory, the folder log beside it. Any number of processes may seal one database. A
    witness that is away holds nothing up.

    Exit code 0: done, 1: a trail was left out since it does not go on where it was sealed, or a witness holds another
    history of this log and nothing more is signed, 2: could not run.
    """
    with database(url) as target:
        good = seal_entries(target, watch=watch, policy=policy)
    sys.exit(0 if good else 1)


@main.command("witness")
@click.option("--state", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="Its key and memory.")
@click.option("--init", is_flag=True, help="Make a new witness in FOLDER; then, with --listen, run it.")
@click.option("--name", metavar="NAME", help="Of a new witness, such as witness.example.org/one.")
@click.option("--listen", metavar="HOST:PORT", help="Where to answer; port 0 is any free one.")
@click.option("--log", "logs", multiple=True, metavar="VKEY", help="The verifier key of a log to cosign. Repeatable.")
@_guarded
def witness_command(state: Path, init: bool, name: str | None, listen: str | None, logs: tuple[str, ...]) -> None:  # noqa: FBT001
    """Cosign the heads of other people's logs, so that nobody can be shown another history of them.

    Needs no database. What it remembers must not be lost or put back from a copy; then make another witness.

    Exit code 0: ended as told, 2: could not run.
    """
    from .witness_command import make_witness, run_witness  # noqa: PLC0415 - few need it

    if not init and listen is None:
        raise ConfigurationError("Nothing to do.", remedy="Say --listen HOST:PORT to run it, --init to make a new one.")
    if init:
        make_witness(state, name)
    if listen is not None:
        run_witness(state, listen, logs, name)


@main.group("keys")
def keys_group() -> None:
    """Hand out public keys."""


@keys_group.command("export")
@click.option("--vkey", is_flag=True, required=True, help="The log's verifier key, one line for each it ever had.")
@_url
@_guarded
def keys_export_command(vkey: bool, url: str | None) -> None:  # noqa: ARG001, FBT001
    """Print what somebody needs who shall believe the log's tree heads without trusting you."""
    with database(url) as target, psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn:
        for key in _trust(conn, target, None).log:
            click.echo(key)


@main.group("database")
def database_group() -> None:
    """Keep the embedded PostgreSQL running, or stop it."""


@database_group.command("start")
@_guarded
def database_start() -> None:
    """Start the embedded PostgreSQL and leave it running until `countersign database stop`."""
    server = embedded.keep(home_folder())
    click.echo(f"Running. The application connects as {server.app_url}")
    click.echo(f"psql: {server.psql} '{server.app_url}'")


@database_group.command("stop")
@_guarded
def database_stop() -> None:
    """Stop the embedded PostgreSQL, unless another process uses it."""
    stopped = embedded.release(home_folder())
    click.echo("Stopped." if stopped else "Another process still uses it; it stops with the last one.")


@main.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-output"), show_default=True,
    help="Where the trail is left as files.",
)  # fmt: skip
@_guarded
def demo_command(out: Path) -> None:
    """Run a medication order through an audited graph, verify it, then cheat and be caught."""
    from .demo import demo  # noqa: PLC0415 - the only command that runs a graph

    demo(out)


def usual_jobs() -> int:
    """Return how many processes verify when nobody says: one for each processor this one may use, but no crowd."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_JOBS)


def verify(
    target: Database,
    *,
    trail: str | None = None,
    trust_file: Path | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Report:
    """Return the report on a database. A database without @keys is failed, whoever asks."""
    with psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn:
        if run(conn, revision_steps()) is None and not _has_evidence(conn):
            raise ConfigurationError(
                "This database was never prepared for Countersign.", remedy="Run: countersign migrate"
            )
        trust = _trust(conn, target, trust_file)
        if trail is not None and not run(conn, _known_steps(trail)):
            raise NotFoundError(f"There is no trail {trail!r}.", remedy="A trail's name is LangGraph's thread id.")
        return verify_database(conn, trust, trail=trail, jobs=jobs, progress=progress)


def _known_steps(trail: str) -> Steps[bool]:
    """Tell whether there is anything of this name: entries, or rows that somebody left without entries."""
    rows = yield Statement(
        "SELECT EXISTS (SELECT FROM audit.entries WHERE trail = %(trail)s)"
        " OR EXISTS (SELECT FROM checkpoints WHERE thread_id = %(trail)s)"
        " OR EXISTS (SELECT FROM checkpoint_writes WHERE thread_id = %(trail)s)"
        " OR EXISTS (SELECT FROM checkpoint_blobs WHERE thread_id = %(trail)s)",
        {"trail": trail},  # type: ignore[arg-type]
    )
    return bool(rows[0][0])


def _has_evidence(conn: psycopg.Connection[Any]) -> bool:
    row = conn.execute("SELECT to_regclass('audit.entries') IS NOT NULL").fetchone()
    return bool(row and row[0])


def _trust(conn: psycopg.Connection[Any], target: Database, trust_file: Path | None) -> Trust:
    if trust_file is not None:
        return Trust.load(trust_file)
    configured = os.environ.get("COUNTERSIGN_ORIGIN")
    claimed = configured or run(conn, claimed_origin_steps())
    folders = (
        [KeyFolder.of(target.home, claimed)] if claimed else sorted(_key_folders(target.home), key=lambda f: f.path)
    )
    for folder in folders:
        if folder.path.is_dir():
            return folder.trust()
    raise ConfigurationError(
        f"No trust file for this database on this machine (looked in {target.home}).",
        remedy="Give the trust.json that its first migration wrote: --trust FILE.",
    )


def _key_folders(home: Path) -> list[KeyFolder]:
    return [KeyFolder(path.parent) for path in home.glob("*/trust.json")]


if __name__ == "__main__":
    main()
