"""Delivery of each kind of mandate, in this process: what is done, under whose authority, and that it is done once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Database
from countersign.audit.caseruns import CaseRuns
from integration.delivering import WORKFLOW, Case, engine, policy, worker_home
from integration.engine_graphs import asking, calls, plain


@pytest.fixture
def own(shared_database: Database, tmp_path: Path) -> Path:
    return worker_home(shared_database, tmp_path)


@pytest.fixture(autouse=True)
def _forget() -> None:
    calls.clear()


async def deliver(database: Database, own: Path, case: Case, builder: Any, *gates: tuple[str, str], **how: Any) -> None:
    async with engine(database, own, {WORKFLOW: (builder.compile(), policy(*gates))}) as working:
        await working.deliver(case.id, **how)


BEFORE = (("before", "order"),)
AFTER = (("after", "analyze"),)
ASK = (("interrupt", "ask"),)
STARTED = ["case.opened", "run.started", "interrupt.raised"]


async def _started(case: Case, again: Callable[[], Any]) -> None:
    case.open({"dose": 10})
    await again()


async def test_a_case_is_started_and_stands_at_its_gate(shared_database: Database, own: Path) -> None:
    case = Case(shared_database)
    seq = case.open({"dose": 10})

    await deliver(shared_database, own, case, plain(), *BEFORE)

    assert case.kinds() == STARTED
    assert case.last("run.started").body.actor.as_json() == {"id": f"entry:{seq}", "via": "mandate"}
    assert case.last("interrupt.raised").body.detail == {"when": "before", "next": ["order"]}
    assert calls == ["analyze"]


async def test_delivering_again_does_nothing(shared_database: Database, own: Path) -> None:
    case = Case(shared_database)
    case.open({"dose": 10})
    await deliver(shared_database, own, case, plain(), *BEFORE)
    entries = len(case.entries())

    await deliver(shared_database, own, case, plain(), *BEFORE)

    assert len(case.entries()) == entries
    assert calls == ["analyze"]


Do = Callable[[Case], int]
TABLE: list[tuple[str, Any, tuple[tuple[str, str], ...], list[Do], list[str], str]] = [
    ("approved", plain, BEFORE, [lambda case: case.decide({"update": {"decision": "yes"}})],
     ["state.updated", "run.resumed", "run.completed"], "ordered 15 yes"),
    ("approved, nothing written", plain, BEFORE, [lambda case: case.decide({"update": None})],
     ["run.resumed", "run.completed"], "ordered 15 None"),
    ("approved after a node", plain, AFTER, [lambda case: case.decide({"update": {"decision": "yes"}})],
     ["state.updated", "run.resumed", "run.completed"], "ordered 15 yes"),
    ("sent back for revision", plain, AFTER, [lambda case: case.decide({"update": {"decision": "revise"}})],
     ["state.updated", "run.resumed", "interrupt.raised"], "analyzed"),
    ("the first of two gates", plain, BEFORE, [lambda case: case.decide({"update": {"note": "seen"}}, resume=False)],
     ["state.updated", "interrupt.raised"], "analyzed"),
    ("the first of two gates writes nothing", plain, BEFORE,
     [lambda case: case.decide({"update": None}, resume=False)], [], "analyzed"),
    ("both gates", plain, BEFORE,
     [lambda case: case.decide({"update": {"note": "seen"}}, resume=False), lambda case: case.decide({"update": None})],
     ["run.resumed", "run.completed"], "ordered 15 None"),
    ("corrected at a gate", plain, BEFORE, [lambda case: case.correct({"dose": 7})],
     ["state.updated", "interrupt.raised"], "analyzed"),
    ("corrected, then approved", plain, BEFORE,
     [lambda case: case.correct({"dose": 7}), lambda case: case.decide({"update": {"decision": "yes"}})],
     ["state.updated", "run.resumed", "run.completed"], "ordered 7 yes"),
    ("answered", asking, ASK, [lambda case: case.decide({"resume": "yes"})],
     ["run.resumed", "run.completed"], "ordered 15 yes"),
    ("corrected at a question", asking, ASK, [lambda case: case.correct({"dose": 7})],
     ["state.updated", "run.resumed", "interrupt.raised"], "analyzed"),
    ("corrected, then answered", asking, ASK,
     [lambda case: case.correct({"dose": 7}), lambda case: case.decide({"resume": "no"})],
     ["run.resumed", "run.completed"], "ordered 7 no"),
    ("redirected", plain, BEFORE, [lambda case: case.redirect("analyze")],
     ["state.updated", "run.resumed", "interrupt.raised"], "analyzed"),
    ("failed", plain, BEFORE, [lambda case: case.decide({"update": {"decision": "fail"}})],
     ["state.updated", "run.resumed", "run.failed"], "analyzed"),
    ("failed, retried", plain, BEFORE,
     [lambda case: case.decide({"update": {"decision": "fail"}}), lambda case: case.retry()],
     ["run.resumed", "run.failed"], "analyzed"),
    ("failed, corrected", plain, BEFORE,
     [lambda case: case.decide({"update": {"decision": "fail"}}), lambda case: case.correct({"decision": "yes"})],
     ["state.updated"], "analyzed"),
    ("failed, corrected, retried: the gate is due again", plain, BEFORE,
     [lambda case: case.decide({"update": {"decision": "fail"}}), lambda case: case.correct({"decision": "yes"}),
      lambda case: case.retry()],
     ["interrupt.raised"], "analyzed"),
    ("the second of two gates next to each other is not passed with the first", plain, (*AFTER, *BEFORE),
     [lambda case: case.decide({"update": {"decision": "yes"}}, "after-analyze")],
     ["state.updated", "interrupt.raised"], "analyzed"),
    ("two gates next to each other, both decided", plain, (*AFTER, *BEFORE),
     [lambda case: case.decide({"update": {"decision": "yes"}}, "after-analyze", resume=False),
      lambda case: case.decide({"update": None}, "before-order")],
     ["run.resumed", "run.completed"], "ordered 15 yes"),
    ("redirected to where a gate stands", plain, BEFORE, [lambda case: case.redirect("order")],
     ["state.updated", "run.failed"], "analyzed"),
    ("stopped", plain, BEFORE, [lambda case: case.stop()], [], "analyzed"),
    ("decided and stopped before it was delivered", plain, BEFORE,
     [lambda case: max(case.decide({"update": None}), case.stop())], [], "analyzed"),
    ("values that are none of a state", plain, BEFORE, [lambda case: case.correct("seven")],
     ["run.failed"], "analyzed"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "builder", "gates", "steps", "kinds", "path"), TABLE, ids=[row[0] for row in TABLE])
async def test_each_mandate(
    shared_database: Database, own: Path, name: str, builder: Any, gates: Any, steps: list[Do], kinds: list[str],
    path: str,
) -> None:  # fmt: skip
    """The entries behind the last mandate, its authority, the state in the end; and delivered again, nothing more."""
    case = Case(shared_database, gate="-".join(gates[0]))
    async with engine(shared_database, own, {WORKFLOW: (builder().compile(), policy(*gates))}) as working:
        case.open({"dose": 10})
        await working.deliver(case.id)
        for step in steps:
            seq = step(case)
            await working.deliver(case.id)
        entries = case.entries()
        await working.deliver(case.id)

    assert case.kinds(seq) == kinds
    assert case.state()["path"] == path
    acting = {entry.body.actor.id for entry in entries[seq:] if entry.body.kind in ("run.resumed", "state.updated")}
    assert acting <= {f"entry:{seq}"}
    assert len(case.entries()) == len(entries)
    runs = CaseRuns(policy(*gates), WORKFLOW)
    assert [sentence for entry in entries for sentence in runs.feed(entry)] == []
    assert runs.stopped or runs.pending == []
    assert [finding for finding in shared_database.verify(case.id).findings if finding.check != "authority"] == []
