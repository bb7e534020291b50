"""The command `countersign monitor`: somebody who trusts nobody's server watches a log from outside."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from countersign.audit.errors import ConfigurationError
from countersign.audit.monitor import MissingError, Outcome, monitor
from countersign.audit.treehead import LogTrust
from countersign.audit.verify import EXIT_CODES

from .bundle_command import log_trust
from .describe import describe
from .guard import guarded
from .log_reader import HttpLog, check_url, http_client
from .monitor_state import keep_evidence, one_at_a_time, read_state, write_state


@click.command("monitor")
@click.argument("url", metavar="URL")
@click.option("--vkey", "vkeys", multiple=True, required=True, metavar="KEY", help="The log's verifier key.")
@click.option("--witness", "witnesses", multiple=True, metavar="KEY", help="A witness's verifier key. Repeatable.")
@click.option(
    "--quorum", type=click.IntRange(min=0), metavar="N", help="How many of the witnesses must have cosigned; else all."
)
@click.option(
    "--credential",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The credential that the log's operator gave you, to read all entries. Without: heads and tiles only.",
)
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="FILE", help="What was verified, to go on from next time."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@guarded
def monitor_command(
    url: str,
    vkeys: tuple[str, ...],
    witnesses: tuple[str, ...],
    quorum: int | None,
    credential: Path | None,
    state: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags so
) -> None:
    """Watch the log that is published at URL, such as https://HOST/log.

    Is its head signed, does it extend every head seen before, do all entries lead to it, has every trail one branch?
    Needs no database and trusts nothing but the keys. To be run again and again, with --state.

    Exit code 0: passed, 1: failed, 2: could not run, 3: indeterminate.
    """
    trust = log_trust(vkeys, witnesses, quorum)
    prefix = check_url(url, secret=credential is not None)
    secret = _read_credential(credential) if credential else None
    with one_at_a_time(state) if state else nullcontext(), http_client() as client:
        outcome = watch(HttpLog(client, prefix, secret), trust, state, entries=secret is not None)
    report = outcome.report
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else describe(report))
    sys.exit(EXIT_CODES[report.verdict])


def watch(source: HttpLog, trust: LogTrust, file: Path | None, *, entries: bool) -> Outcome:
    """Return the outcome of one run, having kept in `file`, if there is one, what the next goes on from.

    Raises ConfigurationError where the log shows no head.
    """
    known = read_state(file, trust) if file else None
    try:
        outcome = monitor(source, trust, known=known, entries=entries)
    except MissingError as error:
        raise ConfigurationError(
            f"There is no tree head to judge: {error.message}",
            remedy="Is this the address of the log? Try again later.",
        ) from error
    if file and outcome.state:
        write_state(file, outcome.state)
    if file:
        for path in keep_evidence(file, outcome.evidence):
            outcome.report.trust.append({"what": "evidence", "status": "kept", "detail": str(path)})
    return outcome


def _read_credential(file: Path) -> str:
    text = file.read_text("ascii", "replace").strip()
    if not text or not text.isprintable() or " " in text or not text.isascii():
        raise ConfigurationError(
            f"{file} holds no credential.", remedy="It has to hold what `countersign log credential` printed, one line."
        )
    return text
