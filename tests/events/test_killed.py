"""Rows of docs/events.md again, with the process killed behind each of their commits, and the thread finished after.

A kill is tried only where no other row has had it: many rows begin alike.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import Database
from countersign.audit import AuditedPostgresSaver
from events.driving import afinish, attached, finish
from events.reading import bodies, in_words, said, table
from events.scenarios import SCENARIOS, Scenario
from events.test_events import CASES

TESTS = Path(__file__).resolve().parents[1]
_TRIED = (
    "completion",
    "pause before a node",
    "pause that the caller chose",
    "question",
    "question in a loop",
    "pause before a node of a subgraph",
    "replay of an answered question",
)
KILLED = [case for case in CASES if case[0].name in _TRIED]
_LOST = ("interrupt.raised before", "interrupt.raised after", "run.paused", "run.completed")
_BEGIN = ("run.started", "run.resumed")
_END = ("run.completed", "run.failed", "run.paused", "interrupt.raised")


def _new_here(scenario: Scenario) -> int:
    """Return how many entries of a row's beginning stand just so in a row before it."""
    own = _entries(scenario)
    longest = 0
    for other in SCENARIOS[: SCENARIOS.index(scenario)]:
        theirs = _entries(other)
        same = next((at for at, pair in enumerate(zip(own, theirs, strict=False)) if pair[0] != pair[1]), None)
        longest = max(longest, min(len(own), len(theirs)) if same is None else same)
    return longest


def _entries(scenario: Scenario) -> list[str]:
    return [entry for _, entries in table()[scenario.name] for entry in entries]


@contextmanager
def _crasher(database: Database) -> Iterator[Any]:
    command = [sys.executable, "-m", "events.crash", database.app_url, str(database.home)]
    with subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def crash(kind: str, nth: int, thread: str, name: str) -> str:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{kind} {nth} {thread} {name}\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        yield crash


@pytest.mark.parametrize(("scenario", "kind"), KILLED, ids=[f"{s.name}-{kind}" for s, kind in KILLED])
async def test_a_thread_whose_process_was_killed_goes_on(database: Database, scenario: Scenario, kind: str) -> None:
    whole = _entries(scenario)
    known = _new_here(scenario)
    with _crasher(database) as crash:
        for nth in range(1, len(whole) + 2):
            trail = str(uuid.uuid4())
            end = crash(kind, nth, trail, scenario.name)
            if end == "survived":
                break
            assert end == "killed"
            before = bodies(database, trail)
            if len(before) <= known:
                continue
            if not scenario.at_once and kind == "async":
                assert in_words(before) == whole[: len(before)]
            await _finish(database, scenario, kind, trail)
            after = bodies(database, trail)
            assert after[: len(before)] == before
            _assert_recovered(before, after, whole, scenario)
            _assert_runs(after)
            _assert_asked_once(after)
        else:
            pytest.fail("the scenario made more commits than entries")
    report = database.verify()
    assert ([finding.message for finding in report.findings], report.verdict) == ([], "passed")


async def _finish(database: Database, scenario: Scenario, kind: str, trail: str) -> None:
    if kind == "sync":
        with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
            finish(attached(scenario, saver), trail)
    else:
        async with database.saver() as asynchronous:
            await afinish(attached(scenario, asynchronous), trail)


def _assert_recovered(
    before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], whole: Sequence[str], scenario: Scenario
) -> None:
    """Fail unless exactly an entry that LangGraph writes nothing for was appended late, and as what it was."""
    recovered = [at for at, body in enumerate(after) if body["detail"].get("recovered")]
    due = whole[len(before)] if len(before) < len(whole) else ""
    if due.startswith(_LOST):
        assert recovered == [len(before)]
        assert said(after[len(before)]) == f"{due} recovered"
        assert after[len(before)]["run"] == before[-1]["run"]
    elif not scenario.at_once:
        assert recovered == []


def _assert_runs(entries: Sequence[dict[str, Any]]) -> None:
    """Fail unless a run that no entry ended is named by the next, and the last came to its end."""
    ended: dict[str, bool] = {}
    last = ""
    for body in entries:
        run = body["run"]
        if body["kind"] in _BEGIN:
            lost = last if last and not ended[last] else None
            assert body["detail"].get("unfinished") == lost
            ended[run], last = False, run
        elif body["kind"] in _END and run in ended:
            ended[run] = True
    assert entries[-1]["kind"] == "run.completed"


def _assert_asked_once(entries: Sequence[dict[str, Any]]) -> None:
    asked = [body["detail"]["interrupt"] for body in entries if "interrupt" in body["detail"]]
    assert len(asked) == len(set(asked))
