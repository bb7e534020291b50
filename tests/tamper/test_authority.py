"""`countersign verify` on governed cases in a database, whose every entry is signed with the database's own keys."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from conftest import Database
from countersign.audit.export import open_exporter, record_export
from countersign.audit.gather import gathered
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_bundle import verify_bundle
from countersign.reports.bundle import bundle_file
from integration.exporting import export_unchecked
from integration.sealing import own_log
from tamper.governed import put
from unit import broken_decisions, broken_order, broken_runs, broken_signatures
from unit.governing import World
from unit.honest_cases import HONEST
from unit.honest_paths import approved, two_stages
from unit.samples import TRAIL, WHEN


def said(report: Report) -> list[str]:
    return [f"{finding.check}: {finding.message}" for finding in report.findings]


def checked(report: Report) -> str | None:
    found = [line["detail"] for line in report.trust if line["what"] == "authority"]
    return str(found[0]) if found else None


def test_an_honest_case_passes(database: Database) -> None:
    put(database, two_stages)
    for how in ({}, {"jobs": 2}, {"trail": TRAIL}):
        report = database.verify(**how)
        assert (said(report), report.verdict) == ([], Verdict.PASSED)
        assert checked(report) == "1 governed case replayed against its policy"


def test_one_signature_short_fails_whoever_signed_the_trail(database: Database) -> None:
    put(database, broken_signatures.one_short)
    reports = [database.verify(), database.verify(jobs=2), database.verify(trail=TRAIL)]
    for report in reports:
        assert report.verdict is Verdict.FAILED
        assert {finding.check for finding in report.findings} == {"authority"}
        assert any("crossed without sufficient sign-off" in sentence for sentence in said(report))
    assert said(reports[0]) == said(reports[1]) == said(reports[2])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (broken_runs.plain_resume, "under no entry of this case that allows it"),
        (broken_decisions.update_differs, "writes other values than entry"),
        (broken_signatures.old_standing, "names an old standing of 'u-chi'"),
    ],
)
def test_a_broken_rule_is_found_in_a_database(database: Database, make: object, sentence: str) -> None:
    assert callable(make)
    put(database, make)
    assert any(sentence in found for found in said(database.verify()))


@pytest.mark.parametrize("end", broken_order.ENDS)
def test_a_signature_dated_back_behind_the_end_of_a_right_is_found_in_the_log(
    database: Database, tmp_path: Path, end: str
) -> None:
    """Every date goes on from the last, so no clock tells. The leaves do, in the database and in a bundle."""
    log = own_log(database, tmp_path / "home")
    put(log.database, lambda: broken_order.dated_back(broken_order.ENDS[end]))
    out = export_unchecked(log, TRAIL, tmp_path / "bundle.zip")
    for report in (log.database.verify(), log.database.verify(TRAIL), verify_bundle(out, log.trust)):
        assert {finding.check for finding in report.findings} == {"authority"}, said(report)
        assert any("names an old standing of 'u-chi'" in found and "is leaf" in found for found in said(report))


def test_a_chain_of_a_person_that_was_cut_is_found(database: Database) -> None:
    def cut() -> World:
        world = approved()
        world.about("user.deactivated", "u-sup", before=None)
        return world

    put(database, cut)
    (found,) = said(database.verify())
    assert "does not name the entry before it about 'u-sup'" in found


def test_a_run_around_the_gates_is_found(database: Database) -> None:
    def plain() -> World:
        world = World()
        world.add("run.started", workflow=world.workflow, run="run-1", detail={"continues": False})
        return world

    put(database, plain)
    (found,) = said(database.verify())
    assert "the trail does not begin with case.opened" in found


def test_a_damaged_entry_is_told_once_and_nothing_is_judged_behind_it(database: Database) -> None:
    put(database, approved)
    assert database.as_admin("UPDATE audit.entries SET body = body || ' ' WHERE trail = %s AND seq = 10", (TRAIL,))
    (found,) = said(database.verify())
    assert found.startswith(("signature: Entry 10", "body: Entry 10"))


@pytest.mark.parametrize("name", ["two stages", "started by a key", "moved"])
def test_the_bundle_of_a_case_has_what_it_rests_on(database: Database, tmp_path: Path, name: str) -> None:
    log = own_log(database, tmp_path / "home")
    world = put(log.database, HONEST[name])
    out = tmp_path / "bundle.zip"
    with psycopg.connect(log.database.app_url, autocommit=True) as conn:
        exported = record_export(conn, open_exporter(conn, log.home), TRAIL)
        with (
            bundle_file(out) as file,
            gathered(conn, log.memory, log.trust, exported, readme="-", created_at=WHEN) as contents,
        ):
            file.write(contents, log.trust)
            shown = len(contents.system)
    report = verify_bundle(out, log.trust)
    assert (said(report), report.verdict) == ([], Verdict.PASSED)
    assert checked(report) == "1 governed case replayed against its policy"
    assert 0 < shown < len(world.system)
