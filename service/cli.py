"""The command `countersign`. Every command prints what it did, or one sentence of what is wrong and what to do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click
import psycopg

from countersign.audit.errors import ConfigurationError
from countersign.audit.home import home_folder
from countersign.audit.verify import EXIT_CODES

from . import embedded
from .adopt_command import adopt_threads
from .api.service_command import service_command
from .api_key_command import api_key_group
from .config_command import config_group, init_command
from .database import database
from .describe import describe, shown
from .grant_command import grant_group
from .guard import COULD_NOT_RUN
from .guard import guarded as _guarded
from .guard import url_option as _url
from .log_command import log_group
from .log_http import credential_command, serve_command
from .monitor_command import monitor_command
from .time_options import time_token_options, tsa_ca_option
from .user_command import user_group
from .verify_command import Asked, trust_of, verify

_path: Any = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="countersign")
def main() -> None:
    """Signed sign-off trails for LangGraph, committed with every checkpoint.

    The database is the one COUNTERSIGN_DATABASE_URL names, or an embedded PostgreSQL under COUNTERSIGN_HOME.
    """


@main.command("migrate")
@click.option("--sql", is_flag=True, help="Print what a database administrator would run, and change nothing.")
@_url
@_guarded
def migrate_command(sql: bool, url: str | None) -> None:  # noqa: FBT001 - click passes flags so
    """Prepare the database: tables, guards, roles, LangGraph's own tables, keys. Repeating it changes nothing."""
    from countersign.audit.migrate import migrate, migration_sql  # noqa: PLC0415 - SQLAlchemy, Alembic, LangGraph

    from .optional import jobs_sql, prepare_jobs  # noqa: PLC0415

    if sql:
        click.echo("\n".join([migration_sql(), *jobs_sql()]))
        return
    with database(url) as target:
        done = migrate(target.owner_url, target.home, os.environ.get("COUNTERSIGN_ORIGIN"))
        changed = prepare_jobs(target.owner_url) or done.schema_changed
    click.echo("The database is prepared." if changed else "The database was prepared already.")
    if done.keys_created:
        click.echo(f"New keys for {done.origin} in {done.keys}: back this folder up, it cannot be made again.")
        click.echo(f"Give {done.keys / 'trust.json'} to whoever shall verify without trusting you.")


@main.command("verify")
@click.option("--trail", metavar="T", help="Of the entries only those of this trail, and of @keys.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--trust",
    "trust_file",
    type=_path,
    metavar="FILE",
    help="Instead of this machine's trust.json.",
)
@click.option(
    "--head", "heads", type=_path, multiple=True, metavar="FILE", help="A tree head that you kept. Repeatable."
)
@click.option("--since", type=_path, metavar="FILE", help="A tree head verified before: read only what is new since.")
@click.option("--save-head", type=_path, metavar="FILE", help="Where to keep the tree head, if the verdict is passed.")
@click.option("--witness", "witnesses", multiple=True, metavar="KEY", help="A witness's verifier key. Repeatable.")
@click.option(
    "--quorum", type=click.IntRange(min=0), metavar="N", help="How many of the witnesses must have cosigned; else all."
)
@tsa_ca_option("The CA certificate of the time stamping authority. Without: time tokens are not checked.")
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Processes at most; without: one a processor, up to 8."
)
@_url
@_guarded
def verify_command(
    as_json: bool,  # noqa: FBT001 - click passes flags so
    url: str | None,
    **asked: Any,
) -> None:
    """Verify every entry, every payload, every row of LangGraph's tables, and the log.

    The log is held against its memory under COUNTERSIGN_HOME and against each --head; with neither the verdict is
    indeterminate at best, since nothing shows that the database was not cut.

    Exit code 0: passed, 1: failed, 2: could not run, 3: indeterminate.
    """
    with database(url) as target, shown(sys.stderr, wanted=not as_json) as progress:
        report = verify(target, Asked(**asked), progress)
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else describe(report))
    sys.exit(EXIT_CODES[report.verdict])


@main.command("verify-bundle")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--vkey", "vkeys", multiple=True, metavar="KEY", help="The log's verifier key, from its owner.")
@click.option("--witness", "witnesses", multiple=True, metavar="KEY", help="A witness's verifier key. Repeatable.")
@click.option(
    "--quorum", type=click.IntRange(min=0), metavar="N", help="How many of the witnesses must have cosigned; else all."
)
@tsa_ca_option("The CA certificate of the time stamping authority. Without: time tokens are not checked.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@_guarded
def verify_bundle_command(
    file: Path,
    vkeys: tuple[str, ...],
    witnesses: tuple[str, ...],
    quorum: int | None,
    tsa_ca: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Verify the evidence in a bundle, without database or network.

    Exit code 0: passed, 1: failed, 2: could not run, 3: indeterminate.
    """
    from .bundle_command import check_bundle  # noqa: PLC0415 - the other commands need no zip

    report = check_bundle(file, vkeys, witnesses, quorum, tsa_ca)
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
@time_token_options
@_url
@_guarded
def seal_command(
    watch: bool,  # noqa: FBT001 - click passes flags so
    policy: Path | None,
    tsa_url: str | None,
    tsa_ca: Path | None,
    tsa_every: float,
    url: str | None,
) -> None:
    """Make every committed entry a leaf of the log, sign its tree head, and ask the witnesses to cosign it.

    Needs the log's key and its memory, the folder log beside it. Any number of processes may seal one database. A
    witness that is away holds nothing up.

    Exit code 0: done, 1: a trail was left out since it does not go on where it was sealed, or a witness holds another
    history of this log and nothing more is signed, 2: could not run.
    """
    from .seal_command import seal_entries  # noqa: PLC0415 - the other commands need no network
    from .time_tokens import token_plan  # noqa: PLC0415

    tokens = token_plan(tsa_url, tsa_ca, tsa_every)
    with database(url) as target:
        good = seal_entries(target, watch=watch, policy=policy, tokens=tokens)
    sys.exit(0 if good else 1)


@main.command("export")
@click.argument("trail")
@click.option("--format", "form", type=click.Choice(["bundle"]), required=True, help="What is written.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Where it is written.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="How long to wait for the witnesses of the policy; without: 10.",
)
@time_token_options
@_url
@_guarded
def export_command(
    trail: str,
    form: str,  # noqa: ARG001 - there is one so far
    out: Path,
    force: bool,  # noqa: FBT001 - click passes flags so
    wait: float,
    tsa_url: str | None,
    tsa_ca: Path | None,
    tsa_every: float,
    url: str | None,
) -> None:
    """Write the evidence of TRAIL to a file that is checked without database and network.

    Needs the deployment key, the log's key and its memory. The export is recorded in the trail and sealed first. Only
    you can read FILE, since it holds all that was typed.

    Exit code 0: written, 1: nothing was written, since something does not verify, 2: could not run.
    """
    from .export_command import export_bundle  # noqa: PLC0415 - SQLAlchemy, Alembic
    from .time_tokens import token_plan  # noqa: PLC0415

    tokens = token_plan(tsa_url, tsa_ca, tsa_every)
    with database(url) as target:
        good = export_bundle(target, trail, out, force=force, wait=wait, tokens=tokens)
    sys.exit(0 if good else 1)


main.add_command(init_command)
main.add_command(config_group)
main.add_command(log_group)
log_group.add_command(credential_command)
log_group.add_command(serve_command)
main.add_command(monitor_command)
main.add_command(service_command)
main.add_command(user_group)
main.add_command(grant_group)
main.add_command(api_key_group)


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
        for key in trust_of(conn, target, None).log:
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


@main.command("worker")
@click.option(
    "--config", "config", type=click.Path(path_type=Path), default=Path("countersign.toml"), show_default=True,
    help="The configuration that the server has.",
)  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes.")
@click.option(
    "--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Cases at a time in each."
)
@_url
@_guarded
def worker_command(config: Path, processes: int, concurrency: int, url: str | None) -> None:
    """Run the graphs of cases, with the graph key alone. As many as you like, on as many machines.

    Connects to what COUNTERSIGN_WORKER_DATABASE_URL names: a role that is a member of countersign_worker, not through
    a pooler. COUNTERSIGN_WORKER_ENV names further variables that the graphs need; nothing else is passed to them.
    """
    from .engine.worker_command import run_workers  # noqa: PLC0415 - the other commands run no graph

    with database(url) as target:
        run_workers(config, url or target.worker_url, number=processes, concurrency=concurrency)


@main.command("demo")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-output"), show_default=True,
    help="Where the trail is left as files.",
)  # fmt: skip
@_guarded
def demo_command(out: Path) -> None:
    """Run cases under sign-off through the service, verify them, then cheat and be caught."""
    from .demo import demo  # noqa: PLC0415 - the only command that runs a graph

    demo(out)


if __name__ == "__main__":
    main()
