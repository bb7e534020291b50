"""Two processes at one thread: both are in the trail as what they were, and what they did to each other is reported.

They are held where a user's own code runs, so each moment is one that was chosen.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Line
from multiprocessing.process import BaseProcess
from typing import Any

import psycopg
import pytest
from langgraph.graph import END, START, StateGraph

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, AuditedPostgresSaver, acting_as, attach, verify_parts
from countersign.audit.verify import Verdict
from countersign.audit.verify_database import verify_database
from events.reading import bodies
from forks import another
from graphs import NEW_ORDER, Order, thread
from integration.adopting import command, wait_until
from integration.faults import assert_honest
from integration.resumer import Job, graph, main


class Process:
    """Another process, which does one job after the other on any database it is told of."""

    def __init__(self, process: BaseProcess, line: Line) -> None:
        self._process, self._line = process, line

    def begin(self, job: Job) -> None:
        self._line.send(job)

    def held(self, job: Job) -> None:
        """Begin a job, and wait until it is held."""
        self.begin(job)
        assert self.told() == "held"

    def does(self, job: Job) -> str:
        """Carry out a job, and return how it ended."""
        self.begin(job)
        return self.told()

    def go(self) -> str:
        """Let it go on from where it is held, and return how it ended."""
        self._line.send("go")
        return self.told()

    def told(self) -> str:
        """Wait for the next that it says: `held`, `done`, or why it was refused."""
        return str(self._line.recv())

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def started() -> Iterator[Process]:
    with another(main) as (process, line):
        yield Process(process, line)


@pytest.fixture(scope="module")
def one() -> Iterator[Process]:
    with started() as process:
        yield process


@pytest.fixture(scope="module")
def other() -> Iterator[Process]:
    with started() as process:
        yield process


@dataclass(frozen=True)
class Case:
    """One thread, and what is done to it."""

    database: Database
    saver: str
    thread: str
    asking: bool

    def job(self, what: str, actor: str, hold: str | None = None) -> Job:
        home = str(self.database.home)
        return Job(self.database.app_url, home, self.saver, self.thread, actor, what, hold, self.asking)

    def bodies(self) -> list[dict[str, Any]]:
        return bodies(self.database, self.thread)

    def runs(self) -> list[tuple[Any, ...]]:
        """Return (seq, run, actor, the run it names as unfinished) of each opening, but that which began the thread."""
        return [
            (body["seq"], body["run"], body["actor"]["id"], body["detail"].get("unfinished"))
            for body in self.bodies()
            if body["kind"] in ("run.started", "run.resumed")
        ][1:]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def paused(database: Database, kind: str, one: Process) -> Case:
    """Return a case that stands still before `order` and `tell`."""
    case = Case(database, kind, thread()[0], asking=False)
    assert one.does(case.job("start", "ward-1")) == "done"
    return case


@pytest.fixture
def asking(database: Database, kind: str, one: Process) -> Case:
    """Return a case that has asked the first of two questions."""
    case = Case(database, kind, thread()[0], asking=True)
    assert one.does(case.job("start", "ward-1")) == "done"
    return case


def assert_both_are_there(case: Case) -> None:
    """Fail unless the trail has two runs as what they were, the second of which knew of the first."""
    (_, first, *told_first), (_, second, *told_second) = case.runs()
    assert first != second
    assert told_first == ["pharmacist-1", None]
    assert told_second == ["pharmacist-2", first]


def assert_overlap(case: Case, *, behind: int) -> None:
    """Fail unless verify reports that the first run, or the only one, went on behind that entry, and nothing else."""
    run = case.runs()[0][1]
    at = next(
        body["seq"]
        for body in case.bodies()[behind:]
        if body["run"] == run and body["kind"] in ("checkpoint.saved", "writes.saved")
    )
    report = case.database.verify()
    assert [(found.check, found.trail, found.seq) for found in report.findings] == [("overlap", case.thread, at)]
    assert f"entry {behind}" in report.findings[0].message
    assert report.verdict is Verdict.FAILED


@pytest.mark.parametrize("first_is_faster", [True, False])
def test_two_resume_at_once(paused: Case, one: Process, other: Process, first_is_faster: bool) -> None:  # noqa: FBT001
    one.held(paused.job("resume", "pharmacist-1", "order"))
    other.held(paused.job("resume", "pharmacist-2", "order"))
    for process in (one, other) if first_is_faster else (other, one):
        assert process.go() == "done"
    assert_both_are_there(paused)
    assert_overlap(paused, behind=paused.runs()[1][0])


def test_one_resumes_when_a_node_of_the_other_has_written(paused: Case, one: Process, other: Process) -> None:
    one.held(paused.job("resume", "pharmacist-1", "tell"))
    wait_until(lambda: paused.database.kinds(paused.thread)[-2:] == ["run.resumed", "writes.saved"])
    assert other.does(paused.job("resume", "pharmacist-2")) == "done"
    assert one.go() == "done"
    assert_both_are_there(paused)
    assert_overlap(paused, behind=paused.runs()[1][0])


def test_an_answer_is_refused_once_another_was_delivered(asking: Case, one: Process, other: Process) -> None:
    other.held(asking.job("answer", "pharmacist-2", "record"))
    one.held(asking.job("answer", "pharmacist-1", "ask"))
    assert "went on while this call was made" in other.go()
    assert one.go() == "done"
    assert [actor for _, _, actor, _ in asking.runs()] == ["pharmacist-1"]
    assert_honest(asking.database)


def test_the_second_is_refused_when_the_first_moved_on_since_it_read(
    asking: Case, one: Process, other: Process
) -> None:
    assert one.does(asking.job("answer", "pharmacist-1")) == "done"
    other.held(asking.job("answer", "pharmacist-2", "record"))
    assert one.does(asking.job("answer", "pharmacist-1")) == "done"
    assert "went on while this call was made" in other.go()
    assert [actor for _, _, actor, _ in asking.runs()] == ["pharmacist-1"] * 2
    assert asking.bodies()[-1]["kind"] == "run.completed"
    assert_honest(asking.database)


def test_an_answer_is_refused_when_its_question_was_answered_meanwhile(
    asking: Case, one: Process, other: Process
) -> None:
    """The second question stands at the checkpoint of the first: an answer to one is none to the other."""
    other.held(asking.job("answer", "pharmacist-2", "record"))
    assert one.does(asking.job("answer", "pharmacist-1")) == "done"
    assert "went on while this call was made" in other.go()
    assert [actor for _, _, actor, _ in asking.runs()] == ["pharmacist-1"]
    assert asking.bodies()[-1]["kind"] == "interrupt.raised"
    assert_honest(asking.database)


def test_one_after_the_other(asking: Case, one: Process, other: Process) -> None:
    for number, process in enumerate((one, other, one), 1):
        assert process.does(asking.job("answer" if number < 3 else "resume", f"pharmacist-{number}")) == "done"
    assert [run[2:] for run in asking.runs()] == [(f"pharmacist-{number}", None) for number in (1, 2, 3)]
    assert_honest(asking.database)


def test_one_comes_for_another_that_was_killed(paused: Case, other: Process) -> None:
    with started() as lost:
        lost.held(paused.job("resume", "pharmacist-1", "order"))
        lost.kill()
    assert other.does(paused.job("resume", "pharmacist-2")) == "done"
    assert_both_are_there(paused)
    assert_honest(paused.database)


def test_an_edit_beside_a_run(paused: Case, one: Process, other: Process) -> None:
    one.held(paused.job("resume", "pharmacist-1", "order"))
    assert other.does(paused.job("edit", "pharmacist-2")) == "done"
    assert one.go() == "done"
    assert_overlap(paused, behind=next(body["seq"] for body in paused.bodies() if body["kind"] == "state.updated"))


@pytest.mark.parametrize("then", ["resume", "edit"])
def test_a_pause_that_is_said_late(database: Database, one: Process, other: Process, then: str) -> None:
    """On the async saver a pause is committed together with the checkpoint it stands at."""
    case = Case(database, "sync", thread()[0], asking=False)
    one.held(case.job("start", "ward-1", "pause"))
    assert other.does(case.job(then, "pharmacist-2")) == "done"
    assert one.go() == "done"
    pauses = [body["detail"] for body in case.bodies() if body["kind"] == "interrupt.raised"]
    assert [detail.get("recovered", False) for detail in pauses] == [True, False]
    assert_honest(database)


def test_every_way_to_verify_says_so(
    paused: Case, one: Process, other: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_parts, "PART", 1)
    bystander = Case(paused.database, paused.saver, thread()[0], asking=False)
    assert one.does(bystander.job("start", "ward-1")) == "done"
    one.held(paused.job("resume", "pharmacist-1", "order"))
    other.held(paused.job("resume", "pharmacist-2", "order"))
    assert {one.go(), other.go()} == {"done"}

    database = paused.database
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        alone, together, single, beside = (
            verify_database(conn, database.trust, outside=database.outside, **how).as_json()
            for how in ({}, {"jobs": 2}, {"trail": paused.thread}, {"trail": bystander.thread})
        )
    assert alone == together
    assert single["findings"] == alone["findings"]
    assert (beside["verdict"], beside["findings"]) == ("passed", [])
    result = command("verify", "--json", url=database.app_url, home=database.home)
    assert (result.exit_code, json.loads(result.stdout)) == (1, alone)
    printed = command("verify", url=database.app_url, home=database.home)
    assert (printed.exit_code, printed.stdout.count("[overlap]")) == (1, 1)


def test_an_overlap_refuses_nothing(paused: Case, one: Process, other: Process) -> None:
    one.held(paused.job("resume", "pharmacist-1", "order"))
    other.held(paused.job("resume", "pharmacist-2", "order"))
    assert {one.go(), other.go()} == {"done"}
    before = paused.database.verify()
    for what in ("edit", "resume", "start"):
        assert one.does(paused.job(what, "pharmacist-3")) == "done"
    config: Any = {"configurable": {"thread_id": paused.thread}}
    with AuditedPostgresSaver.from_conn_string(paused.database.app_url, home=paused.database.home) as fresh:
        shown = attach(graph(asking=False), fresh).get_state(config)
    assert shown.next == ("order", "tell")
    assert "run.refused" not in paused.database.kinds(paused.thread)
    assert paused.database.verify().findings == before.findings


async def test_two_runs_of_one_process(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    begun = asyncio.Semaphore(0)
    both = asyncio.Event()

    async def order(state: Order) -> dict[str, Any]:
        begun.release()
        await both.wait()
        return {"steps": ["ordered"]}

    builder = StateGraph(Order)
    builder.add_node("order", order)
    builder.add_edge(START, "order")
    builder.add_edge("order", END)
    graph: Any = attach(builder.compile(interrupt_before=["order"]), saver)
    trail, config = thread()
    await graph.ainvoke(NEW_ORDER, config)

    async def resume(actor: str) -> None:
        with acting_as(actor):
            await graph.ainvoke(None, config)

    first = asyncio.create_task(resume("pharmacist-1"))
    await begun.acquire()
    second = asyncio.create_task(resume("pharmacist-2"))
    await begun.acquire()
    both.set()
    await asyncio.gather(first, second)
    case = Case(database, "async", trail, asking=False)
    assert_both_are_there(case)
    assert_overlap(case, behind=case.runs()[1][0])
