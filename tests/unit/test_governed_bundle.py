"""Bundles of governed cases: judged from what they show, whoever packed them and whatever keys they had."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.body import parse_body
from countersign.audit.bundle import Place
from countersign.audit.entry import Entry, EntryDraft, Workflow
from countersign.audit.standing import Relied
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_bundle import verify_bundle
from countersign.reports.readme import readme_text
from unit import broken_signatures
from unit.bundles import TRUST, Log, run_unpacked, unpacked, written
from unit.governing import NAME, World
from unit.honest_cases import HONEST
from unit.honest_paths import approved
from unit.samples import DEPLOYMENT, ORIGIN, TRAIL


def logged(world: World) -> Log:
    """Return the log of a deployment with this case, to the export of the case."""
    log = Log()
    log.begin()
    log.entries += world.order
    log.export()
    return log


def relied(log: Log) -> list[Place]:
    """Return what of `@system` the case rests on."""
    found = Relied()
    for entry in log.trail(TRAIL):
        found.feed(parse_body(entry.body))
    return [place for place in log.places("@system") if found.needs(parse_body(place.entry.body))]


def verified(log: Log, **changes: Any) -> Report:
    return verify_bundle(written(log.contents(**{"system": relied(log)} | changes)), TRUST)


def said(report: Report) -> list[str]:
    return [f"{finding.check}: {finding.message}" for finding in report.findings]


@pytest.mark.parametrize("name", [*HONEST][::4])
def test_an_honest_case_passes_with_what_it_rests_on(name: str) -> None:
    log = logged(HONEST[name]())
    report = verified(log)
    assert (said(report), report.verdict) == ([], Verdict.PASSED)
    assert {
        "what": "authority",
        "status": "checked",
        "detail": "1 governed case replayed against its policy",
    } in report.trust
    assert len(relied(log)) < len(log.trail("@system"))


def test_one_signature_short_fails_under_every_real_key() -> None:
    report = verified(logged(broken_signatures.one_short()))
    assert report.verdict is Verdict.FAILED
    assert {finding.check for finding in report.findings} == {"authority"}
    assert any("crossed without sufficient sign-off" in sentence for sentence in said(report))


def about(who: str, kind: str) -> Any:
    return lambda entry: entry.kind == kind and who.encode() in entry.body


@pytest.mark.parametrize(
    ("left_out", "sentence"),
    [
        (about("u-pha", "grant.given"), "rests on a standing of 'u-pha' that is not shown"),
        (about("u-pha", "credential.enrolled"), "does not name the entry before it about 'u-pha'"),
        (about("u-pre", "user.created"), "does not name the entry before it about 'u-pre'"),
        (lambda entry: entry.kind == "workflow.registered", "rests on a policy that is not shown"),
    ],
)
def test_what_a_case_rests_on_and_is_not_shown_is_a_failure(left_out: Any, sentence: str) -> None:
    log = logged(approved())
    report = verified(log, system=[place for place in relied(log) if not left_out(place.entry)])
    assert report.verdict is Verdict.FAILED
    assert any(sentence in found for found in said(report)), said(report)


def erasing(world: World, seq: int, trail: str) -> Report:
    """Return the report on a case of which one payload was erased, as an entry of @system says."""
    log = Log()
    log.begin()
    log.entries += world.order
    erasure = log.add(EntryDraft("@system", "payload.erased", detail={"trail": trail, "seqs": [seq]}), DEPLOYMENT)
    log.export()
    own = {seq: erasure.seq} if trail == TRAIL else {}
    places = log.places("@system", {seq: erasure.seq} if trail == "@system" else {})
    return verified(log, system=places, entries=log.places(TRAIL, own))


def seq_of(entries: list[Entry], kind: str) -> int:
    return next(entry.seq for entry in entries if entry.kind == kind)


@pytest.mark.parametrize("kind", ["case.opened", "run.started", "review.viewed", "review.signed", "review.decided"])
def test_what_was_erased_leaves_the_verdict_open(kind: str) -> None:
    world = approved()
    report = erasing(world, seq_of(world.entries, kind), TRAIL)
    assert (said(report), report.verdict) == ([], Verdict.INDETERMINATE)
    assert any(line["status"] == "missing" and line["what"] == "authority" for line in report.trust)


def test_a_policy_that_was_erased_leaves_the_verdict_open() -> None:
    world = approved()
    report = erasing(world, seq_of(world.system, "workflow.registered"), "@system")
    assert (said(report), report.verdict) == ([], Verdict.INDETERMINATE)


def test_a_name_that_was_erased_leaves_nothing_open() -> None:
    world = approved()
    report = erasing(world, seq_of(world.system, "user.created"), "@system")
    assert (said(report), report.verdict) == ([], Verdict.PASSED)


def test_a_run_of_a_registered_workflow_that_is_no_case_is_found() -> None:
    world = World()
    world.add("run.started", workflow=world.workflow, run="run-1", detail={"continues": False})
    world.add("run.completed", workflow=world.workflow, run="run-1")
    report = verified(logged(world))
    (found,) = said(report)
    assert "does not begin with case.opened: the graph was run around the policy and its gates" in found


def test_a_run_of_a_workflow_that_nobody_registered_is_none_of_this() -> None:
    world = World()
    world.add("run.started", workflow=Workflow(NAME, "1"), run="run-1", detail={"continues": False})
    report = verified(logged(world))
    assert (said(report), report.verdict) == ([], Verdict.PASSED)
    assert "authority" not in {line["what"] for line in report.trust}


def run_lines(folder: Path, files: Mapping[str, bytes], text: str) -> subprocess.CompletedProcess[str]:
    """Run the lines of README.txt about who signed, as they are printed, where the bundle is unpacked."""
    part = text[text.index("READ AND CHECK WHO SIGNED") : text.index("WHAT IT DOES NOT SHOW")]
    lines = "".join(re.findall("(?:^    .*\n)+", part, re.MULTILINE))
    return run_unpacked(folder, files, "set -e\n" + textwrap.dedent(lines))


def signed_twice() -> tuple[dict[str, bytes], str]:
    log = logged(HONEST["two stages"]())
    text = readme_text(ORIGIN, TRAIL)
    return unpacked(written(log.contents(system=relied(log), readme=text))), text


def test_the_lines_about_signatures_run_as_printed(tmp_path: Path) -> None:
    files, text = signed_twice()
    done = run_lines(tmp_path, files, text)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [json.loads(line)["actor"]["id"] for line in said[:3]] == ["u-pha", "u-pha2", "u-chi"]
    assert json.loads(said[3])["detail"]["signed"] == [11, 13, 15]
    assert json.loads(said[4])["reason"] == {"text": "weighed", "values": {}}
    assert len(set(said[5].split())) == 1
    assert (said[6], said[8]) == ("entry 11: OK", "view 10: OK")
    assert json.loads(said[7])["state"] == {"dose": 5}


@pytest.mark.parametrize(
    ("change", "left"),
    [((b"weighed", b"weighty"), ["view 10: OK"]), ((b'"dose":5', b'"dose":6'), ["entry 11: OK"])],
)
def test_the_lines_about_signatures_find_what_was_changed(
    change: tuple[bytes, bytes], left: list[str], tmp_path: Path
) -> None:
    files, text = signed_twice()
    changed = files | {"payloads.jsonl": files["payloads.jsonl"].replace(*change)}
    assert changed != files
    done = run_lines(tmp_path, changed, text)
    assert [line for line in done.stdout.splitlines() if line.endswith(": OK")] == left
