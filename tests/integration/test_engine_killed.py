"""Workers that are killed behind each commit of a delivery: who comes after has the same end, and each effect once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit.caseruns import CaseRuns
from integration.delivering import WORKFLOW, Case, policy, worker_home
from integration.engine_crash import Deliver, Delivery, dying
from integration.engine_graphs import effects

pytestmark = pytest.mark.long

Do = Callable[[Case], int]
APPROVE: Do = lambda case: case.decide({"update": {"decision": "yes"}})  # noqa: E731 - a table's word
CORRECT: Do = lambda case: case.correct({"dose": 7})  # noqa: E731
ANSWER: Do = lambda case: case.decide({"resume": "yes"})  # noqa: E731
CASES: list[tuple[str, str, tuple[str, str], list[Do], str, dict[str, int]]] = [
    ("started", "plain", ("before", "order"), [], "analyzed", {}),
    ("started, asking", "asking", ("interrupt", "ask"), [], "analyzed", {}),
    ("approved", "plain", ("before", "order"), [APPROVE], "ordered 15 yes", {"order": 1}),
    ("approved after a node", "plain", ("after", "analyze"), [APPROVE], "ordered 15 yes", {"order": 1}),
    ("answered", "asking", ("interrupt", "ask"), [ANSWER], "ordered 15 yes", {"answered": 1, "order": 1}),
    ("corrected at a gate", "plain", ("before", "order"), [CORRECT], "analyzed", {}),
    ("corrected at a question", "asking", ("interrupt", "ask"), [CORRECT], "analyzed", {}),
    ("redirected", "plain", ("before", "order"), [lambda case: case.redirect("analyze")], "analyzed", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def own(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worker_home(shared_database, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def give() -> Iterator[Deliver]:
    with dying() as give:
        yield give


@pytest.mark.parametrize(("name", "builder", "gate", "steps", "path", "expected"), CASES, ids=[row[0] for row in CASES])
def test_killed_behind_each_commit(
    shared_database: Database, own: Path, give: Deliver, tmp_path: Path, name: str, builder: str,
    gate: tuple[str, str], steps: list[Do], path: str, expected: dict[str, int],
) -> None:  # fmt: skip
    ended = ""
    behind = 1
    while ended != "survived":
        receiver = tmp_path / str(behind)
        case = Case(shared_database, gate="-".join(gate))
        whole = Delivery(shared_database.worker_url, str(own), case.id, builder, [[*gate]], str(receiver), sys.maxsize)
        case.open({"dose": 10})
        for step in steps:
            assert give(whole) == "survived"
            step(case)
        ended = give(replace(whole, entries=len(case.entries()) + behind))
        assert ended in ("killed", "survived")
        assert give(replace(whole, attempt=1)) == "survived"
        entries = case.entries()
        assert case.state()["path"] == path
        asked = {what.name: effects(receiver, what.name) for what in (receiver.iterdir() if receiver.exists() else ())}
        assert {what: len(keys) for what, keys in asked.items()} == expected
        runs = CaseRuns(policy(gate), WORKFLOW)
        assert [sentence for entry in entries for sentence in runs.feed(entry)] == []
        assert runs.pending == []
        behind += 1
    assert give(whole) == "survived"
    assert len(case.entries()) == len(entries)  # what was carried out is not again
    findings = [finding for finding in shared_database.verify().findings if finding.check != "authority"]
    assert findings == []
    assert behind > 3  # it was killed at least twice


def test_a_case_that_kills_its_worker_is_given_up(
    shared_database: Database, own: Path, give: Deliver, tmp_path: Path
) -> None:
    """Its run is lost each time; at the last attempt an entry says so, and the case can be retried by somebody."""
    case = Case(shared_database)
    case.open({"dose": 10})
    order = Delivery(
        shared_database.worker_url, str(own), case.id, "plain", [["before", "order"]], str(tmp_path), sys.maxsize
    )
    for attempt in range(3):
        assert give(replace(order, entries=len(case.entries()) + 1, attempt=attempt)) == "killed"
    assert give(replace(order, attempt=3)) == "survived"

    failed = case.last("run.failed")
    assert failed.body.detail == {"error": "countersign.service.engine.deliver.LostRunError"}
    assert failed.body.run == case.last("run.resumed").body.run

    case.retry()
    assert give(order) == "survived"
    assert case.kinds()[-1] == "interrupt.raised"
