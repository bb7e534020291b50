"""`countersign demo`: four medication orders, their trails, a verification, and a cheat that is caught."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import sys
import uuid
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
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_database import checked_trail, verify_database
from countersign.reports.files import trail_csv, trail_jsonl
from countersign.reports.trail import trail_rows

from .database import Database, database
from .describe import describe
from .order_workflow import new_order, order_workflow

_HONEST, _CHEATED = 60, 600
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
        revised, waiting = asyncio.run(_orders(target))
        report = _verify(target, trust)
        if report.verdict is not Verdict.PASSED:
            _note("something else than this demonstration changed this database; it goes on all the same")
        _leave(target, trust, revised, report, out)
        caught = _cheat(target, trust, waiting)
        _say("What you have now")
        _note(f"{out}/trail.jsonl  every entry of case {revised} as a signed DSSE envelope")
        _note(f"{out}/trail.csv    the same for a spreadsheet")
        _note(f"{out}/verify.json  the report on the honest database")
        _try_it(target, waiting)
    if report.verdict is not Verdict.PASSED or not caught:
        sys.exit(1)


async def _orders(target: Database) -> tuple[str, str]:
    """Run the four cases; return the ids of the one that was revised twice and of the one that still waits."""
    batch = uuid.uuid4().hex[:6]
    async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
        graph = attach(
            order_workflow().compile(interrupt_before=["review"]), saver, name="medication-order", version="1"
        )
        _say("Four medication orders; each pauses for a pharmacist after the analysis")
        await _case(graph, f"order-{batch}-1", "P-101", "warfarin", [("approved", "INR stable, standard monitoring")])
        await _case(graph, f"order-{batch}-2", "P-102", "methotrexate", [("rejected", "pregnancy not excluded")])
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
    return revised, waiting


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
        return verify_database(conn, trust)


def _leave(target: Database, trust: Trust, case: str, report: Report, out: Path) -> None:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        trail = checked_trail(conn, trust, case)
    rows = trail_rows(trail)
    shown = sum(row.kind in _SHOWN for row in rows)
    _say(f"The trail of {case}: {len(rows)} entries, of which these {shown} tell the story")
    for row in rows:
        if row.kind in _SHOWN:
            click.echo(f"  {row.seq:>3}  {row.occurred_at:%H:%M:%S}  {row.kind:<16}  {row.actor:<13}  {row.what}")
    _say("countersign verify")
    for line in describe(report).splitlines():
        _note(line)
    (out / "trail.jsonl").write_bytes(trail_jsonl(trail))
    (out / "trail.csv").write_bytes(trail_csv(trail, datetime.now().astimezone().tzinfo))
    (out / "verify.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")


def _cheat(target: Database, trust: Trust, case: str) -> bool:
    """Raise the dose of the waiting case with psql, and show who notices. Puts the row back, whatever happens."""
    _say(f"Now the cheat: with psql, {_HONEST} mg of heparin become {_CHEATED} mg in the case that waits")
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
    _note(f"the row is put back; countersign verify: {again.verdict.value} (the refusal stays in the trail)")
    return refused and report.verdict is Verdict.FAILED and again.verdict is Verdict.PASSED


async def _resume(target: Database, case: str) -> bool:
    config = {"configurable": {"thread_id": case}}
    async with AsyncAuditedPostgresSaver.from_conn_string(target.app_url, home=target.home) as saver:
        graph: Any = attach(order_workflow().compile(interrupt_before=["review"]), saver, name="medication-order")
        try:
            with acting_as("pharmacist-17", role="pharmacist"):
                await graph.aupdate_state(config, {"decision": "approved", "notes": ""})
                await graph.ainvoke(None, config)
        except VerificationError as error:
            _note(f"the pharmacist signs and resumes: refused. {error.message}")
            return True
        except AuditError as error:
            _note(f"the pharmacist signs and resumes: {error}")
    return False


def _edit(case: str, dose: int) -> str:
    return (
        f"UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{{channel_values,dose_mg}}', '{dose}') "
        f"WHERE thread_id = '{case}' AND checkpoint_id = "
        f"(SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = '{case}')"
    )


def _psql_command(target: Database, sql: str) -> list[str]:
    if target.embedded:
        return [str(target.embedded.psql), "-qX", target.embedded.admin_url, "-c", sql]
    return ["psql", "-qX", target.app_url, "-c", sql]


def _psql_line(target: Database, sql: str) -> str:
    return shlex.join(_psql_command(target, sql)[:-1]) + f' "{sql}"'


def _psql(target: Database, sql: str) -> None:
    if target.embedded:
        subprocess.run(_psql_command(target, sql), check=True)  # noqa: S603 - the line that was just printed
        return
    with psycopg.connect(target.app_url) as conn:
        conn.execute(sql.encode())


def _try_it(target: Database, case: str) -> None:
    program = Path(sys.argv[0])
    command = shlex.quote(str(program)) if program.name == "countersign" else "countersign"
    _say("Try it: cheat, look, and put it back")
    if target.embedded:
        click.echo(f"  $ {command} database start")
    click.echo(f"  $ {_psql_line(target, _edit(case, _CHEATED))}")
    click.echo(f"  $ {command} verify")
    click.echo(f"  $ {_psql_line(target, _edit(case, _HONEST))}")
    click.echo(f"  $ {command} verify")
    if target.embedded:
        click.echo(f"  $ {command} database stop")


def _say(text: str) -> None:
    click.echo("")
    click.secho(text, bold=True)


def _note(text: str) -> None:
    click.echo(f"  {text}")
