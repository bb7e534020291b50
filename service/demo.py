"""`countersign demo`: orders and a chemotherapy under sign-off, a verification, and cheats that are caught."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg

from countersign.audit.errors import ConfigurationError
from countersign.audit.keys import Trust
from countersign.audit.migrate import migrate
from countersign.audit.seal import open_sealer
from countersign.audit.states import CheckedStates
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_database import checked_trail, verify_database
from countersign.reports.files import trail_csv, trail_jsonl
from countersign.reports.trail import trail_rows

from .bundle_command import check_bundle
from .database import Database, database
from .demo_cases import Told, tell
from .demo_dose import CHEATED, HONEST, psql, psql_line, raised_dose, restored_dose
from .demo_dose import put_back as put_dose_back
from .demo_server import Office, check_installed, office
from .demo_unsigned import put_back as put_decision_back
from .demo_unsigned import unsigned
from .demo_vanish import put_back, removal, vanish
from .demo_words import note, say, typed
from .describe import describe
from .export_command import check_command, export_trail
from .verify_command import Asked, outside_of

_LOCK = 0x64656D6F
_SHOWN = (
    "case.opened", "interrupt.raised", "review.signed", "review.decided", "state.updated", "run.completed",
)  # fmt: skip


def demo(out: Path) -> None:
    """Run the demonstration in this process's database and leave the evidence in `out`. Can be repeated.

    Raises ConfigurationError when `out` cannot be written, when the service is not installed or does not start, or when
    the database did not verify to begin with.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The folder {out} cannot be made: {error.strerror}.", remedy="Choose another: countersign demo --out DIR"
        ) from error
    check_installed()
    with database() as target:
        say("Preparing PostgreSQL" + (" (embedded, started for this demonstration)" if target.embedded else ""))
        done = migrate(target.owner_url, target.home, os.environ.get("COUNTERSIGN_ORIGIN"))
        note(f"schema, roles and keys are ready; keys and trust.json in {done.keys}")
        trust = Trust.load(done.keys / "trust.json")
        with _alone(target):
            caught = _story(target, trust, out)
    if not caught:
        sys.exit(1)


def _story(target: Database, trust: Trust, out: Path) -> bool:
    """Tell the story; return whether it ended as it should."""
    if put_all_back(target):
        note("an earlier demonstration was killed in the middle of its cheat; its rows are put back")
    before = _verify(target, trust)
    if before.verdict is not Verdict.PASSED:
        say("This database does not verify to begin with, so the demonstration stops")
        _show(before)
        return False
    with office() as served:
        note(f"the service runs at {served.url}, its workers beside it")
        told = tell(served)
        _seal(target)
        report = _verify(target, trust)
        _leave(target, trust, told, report, out)
        proven = _export(target, told.revised, out / "bundle.zip")
        caught = _dose(served, target, trust, told)
    # Nobody else seals from here on: what is put back must not have become a leaf meanwhile.
    _seal(target)
    caught &= _unsigned(target, trust, told)
    caught &= _vanish(target, trust, told)
    say("What you have now")
    note(f"{out}/trail.jsonl  every entry of {told.name(told.revised)} as a signed DSSE envelope")
    note(f"{out}/trail.csv    the same for a spreadsheet")
    note(f"{out}/bundle.zip   the same, one entry longer by its export, and its proofs, for whoever has the log's key")
    note(f"{out}/verify.json  the report on the honest database")
    if not target.embedded:
        note("the users that signed stay in this database, and their passwords are known: countersign user deactivate")
    _try_it(target, told.waiting)
    return proven and caught and report.verdict is Verdict.PASSED


def put_all_back(target: Database) -> bool:
    """Undo what a demonstration did that was killed. Tells whether there was anything to undo."""
    return put_dose_back(target) | put_decision_back(target) | put_back(target)


@contextmanager
def _alone(target: Database) -> Iterator[None]:
    """Hold off other demonstrations on this database: they would verify while this one cheats."""
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        taken = conn.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if not (taken and taken[0]):
            note("waiting for another demonstration on this database")
            conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        yield


def _verify(target: Database, trust: Trust) -> Report:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        return verify_database(conn, trust, outside=outside_of(target.home, trust, Asked()), states=CheckedStates())


def _seal(target: Database) -> None:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        done = open_sealer(conn, target.home).seal(conn)
    say("Sealed: the log's signed tree head vouches for every entry, outside the database too")
    note(f"the log has {done.head.size} leaves, root {done.head.root.hex()}")


def _leave(target: Database, trust: Trust, told: Told, report: Report, out: Path) -> None:
    with psycopg.connect(target.app_url, autocommit=True) as conn:
        trail = checked_trail(conn, trust, told.revised)
    rows = trail_rows(trail)
    shown = sum(row.kind in _SHOWN for row in rows)
    say(f"The trail of {told.name(told.revised)}: {len(rows)} entries, of which these {shown} tell the story")
    for row in rows:
        if row.kind in _SHOWN:
            by = row.role or ("worker" if row.via == "mandate" else "service")
            note(f"{row.seq:>3}  {row.occurred_at:%H:%M:%S}  {row.kind:<16}  {by:<10}  {row.what}".rstrip())
    say("countersign verify")
    _show(report)
    (out / "trail.jsonl").write_bytes(trail_jsonl(trail))
    (out / "trail.csv").write_bytes(trail_csv(trail, datetime.now().astimezone().tzinfo))
    (out / "verify.json").write_text(json.dumps(report.as_json(), indent=2) + "\n")


def _export(target: Database, case: str, path: Path) -> bool:
    """Export the case, and check the file as its receiver will; return whether it passes."""
    done = export_trail(target, case, path, force=True)
    say(f"countersign export {case}: {done.entries} entries, sealed, with their proofs, in one file")
    typed(check_command(done, _program()))
    report = check_bundle(path, tuple(key.text for key in done.trust.logs), (), None)
    _show(report)
    return report.verdict is Verdict.PASSED


def _dose(served: Office, target: Database, trust: Trust, told: Told) -> bool:
    """Raise the dose of the case that waits with psql, and show who notices. Puts the row back."""
    say(f"Now the cheat: while the review waits, {HONEST} mg of heparin become {CHEATED} mg")
    note(f"{told.name(told.waiting)}: the pharmacist has seen {HONEST} mg; then, with psql:")
    typed(psql_line(target, raised_dose(told.waiting)))
    seen = served.shown("pharmacist", told.review)
    psql(target, raised_dose(told.waiting))
    try:
        refused = told.refused(served, seen)
        report = _verify(target, trust)
        _first_damage(report)
    finally:
        psql(target, restored_dose(told.waiting))
    again = _verify(target, trust)
    remark = " (the refusal stays in the trail)" if again.verdict is Verdict.PASSED else ""
    note(f"the row is put back; countersign verify: {again.verdict.value}{remark}")
    return refused and report.verdict is Verdict.FAILED and again.verdict is Verdict.PASSED


def _unsigned(target: Database, trust: Trust, told: Told) -> bool:
    """Write a decision nobody signed, with the real keys, and show that rules are replayed. Takes it out again."""
    say("One with every real key: the decision is written, and nobody signed it")
    if not unsigned(target, told.waiting, told.review):
        note("left out: this database user may not switch off triggers, as the owner of a server may")
        return True
    try:
        note(
            f"{told.name(told.waiting)}: a review.decided, approved, that the deployment key signs and the chain holds"
        )
        report = _verify(target, trust)
        _first_damage(report)
    finally:
        put_decision_back(target)
    again = _verify(target, trust)
    note(f"the entry is taken out again; countersign verify: {again.verdict.value}")
    caught = [finding.check for finding in report.findings][:1] == ["authority"]
    return caught and again.verdict is Verdict.PASSED


def _vanish(target: Database, trust: Trust, told: Told) -> bool:
    """Make the rejected case vanish as a whole, and show that the log knows better. Puts it back."""
    say("And one that only the log finds: the rejected order never was")
    if not vanish(target, told.rejected):
        note("left out: this database user may not switch off triggers, as the owner of a server may")
        return True
    try:
        note(f"{told.name(told.rejected)}: with psql as superuser, all its rows, entries and leaves:")
        typed(f"{'; '.join(removal(told.rejected)[:2])}; ...")
        report = _verify(target, trust)
        _first_damage(report)
    finally:
        put_back(target)
    again = _verify(target, trust)
    note(f"the case is put back; countersign verify: {again.verdict.value}")
    return report.verdict is Verdict.FAILED and again.verdict is Verdict.PASSED


def _show(report: Report) -> None:
    for line in describe(report).splitlines():
        note(line)


def _first_damage(report: Report) -> None:
    note("countersign verify:")
    for line in describe(report).splitlines()[:2]:
        note("  " + line)


def _try_it(target: Database, case: str) -> None:
    command = _program()
    say("Try it: cheat, look, and put it back")
    if target.embedded:
        typed(f"{command} database start")
    typed(psql_line(target, raised_dose(case)))
    typed(f"{command} verify")
    typed(psql_line(target, restored_dose(case)))
    typed(f"{command} verify")
    if target.embedded:
        typed(f"{command} database stop")
    note("make serve starts the service, for you to sign something yourself")


def _program() -> str:
    program = Path(sys.argv[0])
    return shlex.quote(str(program)) if program.name == "countersign" else "countersign"
