"""`countersign demo`: four medication orders, their trails, a verification, and two cheats that are caught."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import psycopg

from countersign.audit.attachment import attach
from countersign.audit.call import acting_as
from countersign.audit.errors import AuditError, ConfigurationError, VerificationError
from countersign.audit.keys import Trust
from countersign.audit.migrate import migrate
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.seal import open_sealer
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_database import checked_trail, verify_database
from countersign.reports.files import trail_csv, trail_jsonl
from countersign.reports.trail import trail_rows

from .bundle_command import check_bundle
from .database import Database, database
from .demo_vanish import put_back, removal, vanish
from .describe import describe
from .embedded import EmbeddedDatabase
from .export_command import check_command, export_trail
from .order_workflow import new_order, order_workflow
from .verify_command import Asked, outside_of

_HONEST, _CHEATED = 60, 600
_LOCK = 0x64656D6F
_SHOWN = ("run.started", "interrupt.raised", "state.updated", "run.resumed", "run.completed", "run.refused")


def demo(out: Path) -> None:
    """Run the demonstration in this process's database and leave the evidence in `out`. Can be repeated.

    Raises ConfigurationError when `out` cannot be written, or when the database did not verify to begin with.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {out} cannot be made: {error.strerror}.", remedy="Choose another: countersign demo --out DIR"
        ) from error
    with database() as target:
        _say("Preparing PostgreSQL" + (" (embedded, started for this demonstration)" if target.embedded else ""))
        done = migrate(target.owner_url, target.home, os.environ.get("COUNTERSIGN_ORIGIN"))
        _note(f"schema, roles and keys are ready; keys and trust.json in {done.keys}")
        trust = Trust.load(done.keys / "trust.json")
        with _alone(target):
            caught = _story(target, trust, out)
    if not caught:
        sys.exit(1)


def _story(target: Database, trust: Trust, out: Path) -> bool:
    """Tell the story; return whether it ended as it should."""
    if _put_back(target) | put_back(target):
        _note("an earlier demonstration was killed in the middle of its cheat; its rows are put back")
    before = _verify(target, trust)
    if before.verdict is not Verdict.PASSED:
        _say("This database does not verify to begin with, so the demonstration stops")
        for line in describe(before).splitlines():
            _note(line)
        return False
    rejected, revised, waiting = asyncio.run(_orders(target))
    _seal(target)
    report = _verify(target, trust)
    _leave(target, trust, revised, report, out)
    proven = _export(target, revised, out / "bundle.zip")
    caught = _cheat(target, trust, waiting)
    caught &= _vanish(target, trust, rejected)
    _seal(target)
    _say("What you have now")
    _note(f"{out}/trail.jsonl  every entry of case {revised} as a signed DSSE envelope")
    _note(f"{out}/trail.csv    the same for a spreadsheet")
    _note(f"{out}/bundle.zip   the same, one entry longer by its export, and its proofs, for whoever has the log's key")
    _note(f"{out}/verify.json  the report on the honest database")
    _try_it(target, waiting)
    return proven and caught and report.verdict is Verdict.PASSED


@contextmanager
def _alone(target: Database) -> Iterator[None]:
    """Hold off other demonstrations on this database: they would verify while this one cheats."""
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        taken = conn.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if not (taken and taken[0]):
            _note("waiting for another demonstration on this database")
            conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield


def _put_back(target: Database) -> bool:
    """Undo the cheat of a demonstration that was killed: only rows of its own cases that hold just what it wrote."""
    with psycopg.connect(target.app_url) as conn:
        done = conn.execute(
            "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose_mg}', %s::text::jsonb) "
            "WHERE thread_id ~ '^order-[0-9a-f]{6}-4$' AND checkpoint #>> '{channel_values,dose_mg}' = %s",
            (str(_HONEST), str(_CHEATED)),
        )
        return done.rowcount > 0


async def _orders(target: Database) -> tuple[str, str, str]:
    """Run the four cases; return the ids of the one rejected, the one revised twice, and the one that still waits."""
    batch = uuid.uuid4().hex[:6]
    async with _graph(target) as graph:
        _say("Four medication orders; each pauses for a pharmacist after the analysis")
        await _case(graph, f"order-{batch}-1", "P-101", "warfarin", [("approved", "INR stable, standard monitoring")])
        rejected = f"order-{batch}-2"
        await _case(graph, rejected, "P-102", "methotrexate", [("rejected", "pregnancy not excluded")])
        revised = f"order-{batch}-3"
        await _case(
            graph,
            revised,
            "P-103",
            "vancomycin",
            [
                ("needs_revision", "renal function: reduce by 50%"),
                ("needs_revision", "still high: reduce by 25%"),
                ("approved", "as adjusted"),
            ],
        )
        waiting = f"order-{batch}-4"
        await _case(graph, waiting, "P-104", "heparin", [])
        _note(f"{waiting}: heparin for P-104 waits for its pharmacist")
    return rejected, revised, waiting


async def _case(graph: Any, case: str, patient: str, drug: str, decisions: list[tuple[str, str]]) -> None:
    config = {"configurable": {"thread_id": case}}
    with acting_as("ward-system", role="prescriber"):
        state = await graph.ainvoke(new_order(patient, drug), config)
    for decision, notes in decisions:
        _note(f"{case}: {state['dose_mg']} mg {drug} proposed; pharmacist-17 says {decision}: {notes}")
        with acting_as("pharmacist-17", role="pharmacist"):
            await graph.aupdate_state(config, {"decision": decision, "notes": notes})
            state = await graph.ainvoke(None, config)
    if state["order"]:
        _note(f"{case}: {state['order']}")


def _verify(target: Database, trust: Trust) -> Report:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        return verify_database(conn, trust, outside=outside_of(target.home, trust, Asked()))


def _seal(target: Database) -> None:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        done = open_sealer(conn, target.home).seal(conn)
    _say("Sealed: the log's signed tree head vouches for every entry, outside the database too")
    _note(f"{done.entries} new entries; the log has {done.head.size}, root {done.head.root.hex()}")


def _leave(target: Database, trust: Trust, case: str, report: Report, out: Path) -> None:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        trail = checked_trail(conn, trust, case)
    rows = trail_rows(trail)
    shown = sum(row.kind in _SHOWN for row in rows)
    _say(f"The trail of {case}: {len(rows)} entries, of which these {shown} tell the story")
    for row in rows:
        if row.kind in _SHOWN:
            line = f"  {row.seq:>3}  {row.occurred_at:%H:%M:%S}  {row.kind:<16}  {row.actor:<13}  {row.what}"
            click.echo(line.rstrip())
    _say("countersign verify")
    for line in describe(report).splitlines():
        _note(line)
    (out / "trail.jsonl").write_bytes(trail_jsonl(trail))
    (out / "trail.csv").write_bytes(trail_csv(trail, datetime.now().astimezone().tzinfo))
    (out / "verify.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")


def _export(target: Database, case: str, path: Path) -> bool:
    """Export the case, and check the file as its receiver will; return whether it passes."""
    done = export_trail(target, case, path, force=True)
    _say(f"countersign export {case}: {done.entries} entries, sealed, with their proofs, in one file")
    click.echo(f"  $ {check_command(done, _program())}")
    report = check_bundle(path, tuple(key.text for key in done.trust.logs), (), None)
    for line in describe(report).splitlines():
        _note(line)
    return report.verdict is Verdict.PASSED


def _cheat(target: Database, trust: Trust, case: str) -> bool:
    """Raise the dose of the approved case with psql before it resumes, and show who notices. Puts the row back."""
    _say(f"Now the cheat: between decision and resume, {_HONEST} mg of heparin become {_CHEATED} mg")
    asyncio.run(_decide(target, case))
    _note(f"{case}: pharmacist-17 says approved: {_HONEST} mg; then, with psql:")
    click.echo(f"  $ {_psql_line(target, _edit(case, _CHEATED))}")
    _psql(target, _edit(case, _CHEATED))
    try:
        refused = asyncio.run(_resume(target, case))
        report = _verify(target, trust)
        _note("countersign verify:")
        for line in describe(report).splitlines()[:2]:
            _note("  " + line)
    finally:
        _psql(target, _edit(case, _HONEST))
    again = _verify(target, trust)
    remark = " (the refusal stays in the trail)" if again.verdict is Verdict.PASSED else ""
    _note(f"the row is put back; countersign verify: {again.verdict.value}{remark}")
    return refused and report.verdict is Verdict.FAILED and again.verdict is Verdict.PASSED


def _vanish(target: Database, trust: Trust, case: str) -> bool:
    """Make the rejected case vanish as a whole, and show that the log knows better. Puts it back."""
    _say("And one that only the log finds: the rejected order never was")
    if not vanish(target, case):
        _note("left out: this database user may not switch off triggers, as the owner of a server may")
        return True
    try:
        _note(f"{case}: with psql as superuser, all its rows, entries and leaves:")
        click.echo(f"  $ {'; '.join(removal(case)[:2])}; ...")
        report = _verify(target, trust)
        _note("countersign verify:")
        for line in describe(report).splitlines()[:2]:
            _note("  " + line)
    finally:
        put_back(target)
    again = _verify(target, trust)
    _note(f"the case is put back; countersign verify: {again.verdict.value}")
    return report.verdict is Verdict.FAILED and again.verdict is Verdict.PASSED


@asynccontextmanager
async def _graph(target: Database) -> AsyncIterator[Any]:
    async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
        yield attach(order_workflow().compile(interrupt_before=["review"]), saver, name="medication-order", version="1")


async def _decide(target: Database, case: str) -> None:
    async with _graph(target) as graph:
        with acting_as("pharmacist-17", role="pharmacist"):
            await graph.aupdate_state(
                {"configurable": {"thread_id": case}}, {"decision": "approved", "notes": "as proposed"}
            )


async def _resume(target: Database, case: str) -> bool:
    async with _graph(target) as graph:
        try:
            with acting_as("pharmacist-17", role="pharmacist"):
                await graph.ainvoke(None, {"configurable": {"thread_id": case}})
        except VerificationError as error:
            _note(f"resume: refused. {error.message}")
            return True
        except AuditError as error:
            _note(f"resume: {error}")
    return False


def _edit(case: str, dose: int) -> str:
    return (
        f"UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{{channel_values,dose_mg}}', '{dose}') "
        f"WHERE thread_id = '{case}' AND checkpoint_id = "
        f"(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = '{case}')"
    )


def _psql_command(server: EmbeddedDatabase, sql: str) -> list[str]:
    return [str(server.psql), "-qX", server.admin_url, "-c", sql]


def _psql_line(target: Database, sql: str) -> str:
    # Not the address itself: it may hold a password.
    if not target.embedded:
        return f'psql -qX "$COUNTERSIGN_DATABASE_URL" -c "{sql}"'
    return shlex.join(_psql_command(target.embedded, sql)[:-1]) + f' "{sql}"'


def _psql(target: Database, sql: str) -> None:
    if target.embedded:
        subprocess.run(_psql_command(target.embedded, sql), check=True)  # noqa: S603 - the line that was just printed
        return
    with psycopg.connect(target.app_url) as conn:
        conn.execute(sql.encode())


def _try_it(target: Database, case: str) -> None:
    command = _program()
    _say("Try it: cheat, look, and put it back")
    if target.embedded:
        click.echo(f"  $ {command} database start")
    click.echo(f"  $ {_psql_line(target, _edit(case, _CHEATED))}")
    click.echo(f"  $ {command} verify")
    click.echo(f"  $ {_psql_line(target, _edit(case, _HONEST))}")
    click.echo(f"  $ {command} verify")
    if target.embedded:
        click.echo(f"  $ {command} database stop")


def _program() -> str:
    program = Path(sys.argv[0])
    return shlex.quote(str(program)) if program.name == "countersign" else "countersign"


def _say(text: str) -> None:
    click.echo("")
    click.secho(text, bold=True)


def _note(text: str) -> None:
    click.echo(f"  {text}")
