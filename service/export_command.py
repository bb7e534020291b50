"""The command `countersign export`: the evidence of one trail as a file, for somebody who trusts nobody's server."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg

from countersign.audit.errors import VerificationError
from countersign.audit.export import Ask, Exporter, await_cosignatures, check_exportable, open_exporter, record_export
from countersign.audit.gather import TOKEN, gathered
from countersign.audit.note import Note, VerifierKey
from countersign.audit.outside import read_outside
from countersign.audit.treehead import LogTrust, TreeHead
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_database import verify_database
from countersign.audit.witness import OtherHistoryError
from countersign.audit.witnesses import PATIENCE
from countersign.reports.bundle import bundle_file
from countersign.reports.readme import readme_text

from .database import Database
from .describe import describe
from .seal_witnesses import Witnessing
from .time_tokens import TimeTokens, TokenPlan


class Export(NamedTuple):
    """A bundle that was written and verified."""

    path: Path
    trail: str
    entries: int
    head: Note
    stamped: bool
    trust: LogTrust
    report: Report
    cosigners: tuple[VerifierKey, ...]


def export_trail(
    target: Database,
    trail: str,
    out: Path,
    *,
    force: bool = False,
    wait: float = 0,
    ask: Ask | None = None,
    tokens: TokenPlan | None = None,
) -> Export:
    """Record, seal, write and verify the bundle of a trail, and return what was done.

    What cannot be written is refused before the export is recorded. Then the witnesses of the policy are asked, if
    there is one, and get up to `wait` seconds; or `ask` asks them; and a time token is asked for, where `tokens` says
    from whom. Raises VerificationError, with nothing written,
    where trail, log or bundle do not verify or a witness holds another history of the log, and ConfigurationError or
    NotFoundError for what cannot be begun.
    """
    check_exportable(trail)
    with (
        bundle_file(out, force=force) as file,
        psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn,
    ):
        exporter = open_exporter(conn, target.home)
        witnesses = Witnessing(conn, exporter.sealer, None)
        witnesses.check()
        exporter.sealer.seal(conn)  # or whatever keeps the log from being gone on with
        _check_verified(_verified(conn, exporter, trail), trail)
        entry = record_export(conn, exporter, trail)
        await_cosignatures(conn, exporter, entry, wait, ask or (lambda *_: _ask(witnesses, wait)))
        if tokens is not None:
            TimeTokens(target, tokens.authority).stamp(exporter.sealer.caught_up(conn).head)
        readme = readme_text(exporter.trust.origin, trail)
        memory, trust = exporter.sealer.memory, exporter.trust
        with gathered(conn, memory, trust, entry, readme=readme, created_at=datetime.now(UTC)) as contents:
            report = file.write(contents, trust)
        cosigners = tuple(witnesses.cosigners(contents.head))
    return Export(out, trail, entry.seq, contents.head, TOKEN in contents.others, trust, report, cosigners)


def _verified(conn: psycopg.Connection[Any], exporter: Exporter, trail: str) -> Report:
    """Return the report on one trail. The whole log is not read: what a bundle proves of it is verified there."""
    from countersign.audit.states import CheckedStates  # noqa: PLC0415 - LangGraph takes a second to import

    outside = read_outside(exporter.trust, exporter.sealer.memory)
    since = outside.memory.head if outside.memory else None
    return verify_database(
        conn, exporter.appender.trust, outside=outside, since=since, trail=trail, states=CheckedStates()
    )


def _ask(witnesses: Witnessing, wait: float) -> None:
    try:
        witnesses.ask_once(wait or PATIENCE)
    except OtherHistoryError as alarm:
        kept = witnesses.keep(alarm)
        remedy = f"{alarm.remedy} What it answered is kept in {kept}"
        raise VerificationError(alarm.message, check="witness", remedy=remedy) from alarm


def _check_verified(report: Report, trail: str) -> None:
    if report.verdict is Verdict.FAILED:
        raise VerificationError(
            f"The trail {trail!r} is not exported, since it does not verify.\n{describe(report)}", check="trail"
        )


def export_bundle(
    target: Database, trail: str, out: Path, *, force: bool, wait: float, tokens: TokenPlan | None = None
) -> bool:
    """Export, and print what was written or why nothing was. Returns whether there is a bundle now."""
    try:
        done = export_trail(target, trail, out, force=force, wait=wait, tokens=tokens)
    except VerificationError as error:
        click.echo(f"countersign: {error.message}", err=True)
        if error.remedy:
            click.echo(f"  {error.remedy}", err=True)
        return False
    click.echo("\n".join(said(done)))
    return True


def said(done: Export) -> list[str]:
    """Return what was written, in lines, the last of which is what its receiver runs."""
    head = TreeHead.parse(done.head.text)
    witnesses = [line.name for line in done.head.signatures if line.name != head.origin]
    names = f": {', '.join(witnesses)}" if witnesses else ""
    return [
        f"Exported {done.entries} entries of {done.trail} to {done.path}: {done.path.stat().st_size} bytes",
        f"tree head: {head.size} leaves, root {head.root.hex()}",
        f"cosignatures: {len(witnesses)}{names}; time token: {'one' if done.stamped else 'none'}",
        f"verdict: {done.report.verdict.value}. Whoever receives it checks it with",
        check_command(done),
    ]


def check_command(done: Export, program: str = "countersign") -> str:
    """Return the command that checks the bundle, to be run anywhere."""
    keys = " ".join(
        [f"--vkey {shlex.quote(key.text)}" for key in done.trust.logs]
        + [f"--witness {shlex.quote(key.text)}" for key in done.cosigners]
    )
    return f"{program} verify-bundle {shlex.quote(str(done.path))} {keys}"
