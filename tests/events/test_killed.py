"""Every row of docs/events.md again, with the process killed behind each of its commits, and the thread finished after.

A kill is tried only where no other row has had it: rows of one graph may begin alike. The suite tries each on one of
the two savers, in turn, and behind a row's last entry on both; `make drill` tries all of them on both.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import psycopg
import pytest

from conftest import Database
from countersign.audit import AuditedPostgresSaver
from countersign.audit.verify import Report
from countersign.audit.verify_database import verify_database
from drills import EVERY
from events.crash import Crash, Order, crashing
from events.driving import adrive, afinish, attached, drive, finish
from events.reading import as_submitted, bodies, in_words, overtaken, said, table
from events.scenarios import SCENARIOS, Scenario
from events.test_events import CASES, SAVERS

_LOST = ("interrupt.raised before", "interrupt.raised after", "run.paused", "run.completed")
_BEGIN = ("run.started", "run.resumed")
_FIRST = 3
"""Behind how many entries of who comes back a second kill is tried."""
_TRIES = 10
_TWICE = (
    "completion",
    "pause before a node",
    "question left open",
    "question in a subgraph on its parent's saver",
    "pause after a node of a subgraph",
)
TWICE = [case for case in CASES if case[0].name in _TWICE]


Verify = Callable[[str], Report]
Left = tuple[int, tuple[str, ...]]
"""How many entries a kill left, and which were missing."""


@dataclass(frozen=True)
class Kill:
    """A thread as a kill left it: its entries, the step of the row that was under way, and what that still had to say.

    `missing` is in the table's words and order; empty when the step was over, as far as the state tells.
    """

    thread: str
    before: Sequence[dict[str, Any]]
    step: int
    missing: Sequence[str]

    @property
    def left(self) -> Left:
        return len(self.before), tuple(self.missing)

    @property
    def loses_an_end(self) -> bool:
        """Whether only the end of a run is missing, and LangGraph itself writes nothing of it."""
        return len(self.missing) == 1 and self.missing[0].startswith(_LOST)

    @property
    def lost(self) -> str | None:
        """Return the run that was lost in mid-step, be it behind a question. An edit is no run."""
        run: str = self.before[-1]["run"]
        opened = any(body["kind"] in _BEGIN for body in self.before if body["run"] == run)
        return run if opened and self.missing and not self.loses_an_end else None


@pytest.fixture(scope="module")
def crash(shared_database: Database) -> Iterator[Crash]:
    with crashing(shared_database.app_url, shared_database.home) as crash:
        yield crash


@pytest.fixture(scope="module")
def verify(shared_database: Database) -> Iterator[Verify]:
    """Yield a function that verifies one trail, on one connection: a new one would cost more than the rest of it."""
    with psycopg.connect(shared_database.app_url, autocommit=True) as conn:
        trust = shared_database.trust
        outside = shared_database.outside
        yield lambda trail: verify_database(conn, trust, outside=outside, trail=trail)


@pytest.mark.parametrize(("scenario", "kind"), CASES, ids=[f"{s.name}-{kind}" for s, kind in CASES])
async def test_a_thread_whose_process_was_killed_goes_on(
    shared_database: Database, crash: Crash, verify: Verify, scenario: Scenario, kind: str
) -> None:
    place = _Place(shared_database, crash, verify, scenario, kind)
    kills = [*_kills(place)]
    assert kills[-1].missing == []
    wrong: list[str] = []
    async with _worker(place) as worker:
        ends = [await worker.end(steps) for steps in range(len(scenario.steps) + 1)]
        for kill in kills:
            values = await worker.finish(kill.thread)
            # What was begun took effect or not, and everything else is as if nobody had been killed.
            could = [ends[kill.step], ends[kill.step + 1]]
            wrong += [*_complaints(place, kill), *[f"{kill.thread}: {values}, not {could}"] * (values not in could)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("scenario", "kind"), TWICE, ids=[f"{s.name}-{kind}" for s, kind in TWICE])
async def test_whoever_comes_back_may_be_killed_as_well(
    shared_database: Database, crash: Crash, verify: Verify, scenario: Scenario, kind: str
) -> None:
    """Behind a kill that loses an end, or a run behind its question, the next process is killed at its beginning."""
    place = _Place(shared_database, crash, verify, scenario, kind)
    wrong: list[str] = []
    async with _worker(place) as worker:
        for entries in _losing(scenario):
            rests: dict[Left, list[dict[str, Any]]] = {}
            for more in range(1, _FIRST + 1):
                kill = await _kill_alike(place, worker, entries, rests)
                if more > len(rest := rests[kill.left]):
                    break
                again = _kill_again(place, kill, more, rest)
                await worker.finish(again.thread)
                wrong += _complaints(place, again)
    assert not wrong, "\n".join(wrong)


async def test_an_answer_that_was_delivered_is_acted_on_by_whoever_resumes(
    shared_database: Database, crash: Crash, verify: Verify
) -> None:
    scenario = next(scenario for scenario in SCENARIOS if scenario.name == "answer that is false")
    place = _Place(shared_database, crash, verify, scenario, "async")
    kill = _kill(place, [entry for _, entry in _story(scenario)].index("writes.saved answer") + 1)
    async with shared_database.saver() as saver:
        graph = attached(scenario, saver)
        state = await graph.ainvoke(None, {"configurable": {"thread_id": kill.thread}})
    assert state["steps"] == ["analyzed", "ask: False", "ordered"]
    assert _complaints(place, kill) == []


@dataclass(frozen=True)
class _Place:
    database: Database
    crash: Crash
    verify: Verify
    scenario: Scenario
    kind: str

    def order(self, thread: str, entries: int, *, finishes: bool = False) -> Order:
        database = self.database
        return Order(database.app_url, str(database.home), self.kind, self.scenario.name, thread, entries, finishes)


def _kills(place: _Place) -> Iterator[Kill]:
    """Carry a row out with a kill behind each commit that is this saver's."""
    known = 0
    for entries in _moments(place.scenario, None if EVERY else place.kind):
        if entries > known:  # else it was committed together with one before it
            yield (kill := _kill(place, entries))
            known = len(kill.before)


def _moments(scenario: Scenario, saver: str | None) -> list[int]:
    """Return behind how many entries a row is killed on a saver: those that no earlier row has had.

    With a saver they are every other one of them, and the last. Without, they are all.
    """
    new = range(max(1, _had(scenario)), len(_story(scenario)) + 1)
    if saver is None or scenario.only:
        return [*new]
    return [entries for entries in new if entries % len(SAVERS) == SAVERS.index(saver) or entries == new[-1]]


def test_no_moment_of_a_kill_is_left_to_the_drill_but_on_one_of_the_savers() -> None:
    tried: dict[str, set[str]] = {saver: set() for saver in SAVERS}
    for scenario in SCENARIOS:
        story = [entry.split()[0] for _, entry in _story(scenario)]
        savers = [saver for saver in SAVERS if scenario.only in (None, saver)]
        moments = {saver: _moments(scenario, saver) for saver in savers}
        every = [*range(max(1, _had(scenario)), len(story) + 1)]
        assert _moments(scenario, None) == every == sorted({*chain.from_iterable(moments.values())}), scenario.name
        assert all(len(story) in found for found in moments.values()), scenario.name
        for saver, found in moments.items():
            tried[saver] |= {story[entries - 1] for entries in found}
    kinds = {entry.split()[0] for steps in table().values() for _, entries in steps for entry in entries}
    assert tried == dict.fromkeys(SAVERS, kinds)


def _kill(place: _Place, entries: int) -> Kill:
    """Carry a row out until a thread of its own has so many entries, or a few more where they commit together.

    Where a checkpoint commits before the writes that led to it, which happens on the sync saver, they never come after
    a kill between the two, and how the run paused cannot be told from them: that is not the row, which is tried again.
    """
    for _ in range(_TRIES):
        thread = str(uuid.uuid4())
        assert place.crash(place.order(thread, entries)) == "killed"
        before = bodies(place.database, thread)
        assert len(before) >= entries
        if place.kind == "async" or not overtaken(before):
            return Kill(thread, before, *_progress(place, before))
    raise AssertionError("checkpoints commit before the writes that led to them, again and again")


async def _kill_alike(place: _Place, worker: _Worker, entries: int, rests: dict[Left, list[dict[str, Any]]]) -> Kill:
    """Return a kill behind so many entries of which `rests` holds what is recorded of who comes back and is not killed.

    A commit that was under way at the kill may be there or not. So it is one that left what another one did.
    """
    for _ in range(_TRIES):
        kill = _kill(place, entries)
        if kill.left in rests:
            return kill
        await worker.finish(kill.thread)
        rests[kill.left] = bodies(place.database, kill.thread)[len(kill.before) :]
    raise AssertionError("no two kills behind the same entry leave the same, again and again")


def _kill_again(place: _Place, kill: Kill, more: int, rest: Sequence[dict[str, Any]]) -> Kill:
    """Kill who comes back behind as many entries `more`; `rest` is what is recorded of one who is not killed."""
    known = len(kill.before)
    assert place.crash(place.order(kill.thread, known + more, finishes=True)) == "killed"
    before = bodies(place.database, kill.thread)
    done = len(before) - known
    assert before[:known] == kill.before
    assert in_words(before[known:]) == in_words(rest[:done])
    missing = [body for body in rest[done:] if body["run"] == rest[done - 1]["run"]]
    return Kill(kill.thread, before, kill.step, in_words(missing))


def _losing(scenario: Scenario) -> list[int]:
    """Return behind how many entries of a row a kill loses an end, or a run that has just asked from a subgraph."""
    story = [entry for _, entry in _story(scenario)]
    ends = [at for at, entry in enumerate(story) if entry.startswith(_LOST)]
    return ends + [at + 1 for at, entry in enumerate(story) if entry == "interrupt.raised dynamic ask in inner"]


def _had(scenario: Scenario) -> int:
    """Return how many entries a row of the same graph before this one begins with too, step by step."""
    own = _story(scenario)
    others = [_story(other) for other in SCENARIOS[: SCENARIOS.index(scenario)] if other.build is scenario.build]
    return max((_alike(own, other) for other in others), default=0)


def _story(scenario: Scenario) -> list[tuple[str, str]]:
    return [(label, entry) for label, entries in table()[scenario.name] for entry in entries]


def _alike(own: Sequence[object], other: Sequence[object]) -> int:
    pairs = zip(own, other, strict=False)
    return next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(own), len(other)))


def _progress(place: _Place, before: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """Return the step that the entries end in, and what is missing of it; fail unless they are the row up to there."""
    start = 0
    for step, (_, entries) in enumerate(table()[place.scenario.name]):
        part = before[start : start + len(entries)]
        words = in_words(as_submitted(part) if place.kind == "sync" else part, at_once=place.scenario.at_once)
        missing = [*(Counter(entries) - Counter(words)).elements()]
        assert len(words) + len(missing) == len(entries), words
        if not missing or not (place.scenario.at_once or place.kind == "sync"):
            assert words == entries[: len(words)]
        elif not place.scenario.at_once:
            due = iter(entries)  # what was submitted first may not be there yet
            assert all(word in due for word in words), words
        start += len(entries)
        if start >= len(before):
            return step, [] if missing == place.scenario.aside else missing
    raise AssertionError(f"more entries than the row has: {in_words(before)}")


class _Worker(Protocol):
    """Another process, as the thread sees it: a saver that has never heard of it."""

    async def end(self, steps: int) -> Any:
        """Return the values with which a thread ends of which the first `steps` steps were carried out."""

    async def finish(self, thread: str) -> Any:
        """Finish a thread, and return its values."""


@dataclass(frozen=True)
class _Sync:
    scenario: Scenario
    saver: Any

    async def end(self, steps: int) -> Any:
        thread = str(uuid.uuid4())
        drive(replace(self.scenario, steps=self.scenario.steps[:steps]), self.saver, thread, "invoke")
        return finish(self.scenario, self.saver, thread)

    async def finish(self, thread: str) -> Any:
        return finish(self.scenario, self.saver, thread)


@dataclass(frozen=True)
class _Async:
    scenario: Scenario
    saver: Any

    async def end(self, steps: int) -> Any:
        thread = str(uuid.uuid4())
        await adrive(replace(self.scenario, steps=self.scenario.steps[:steps]), self.saver, thread, "invoke")
        return await afinish(self.scenario, self.saver, thread)

    async def finish(self, thread: str) -> Any:
        return await afinish(self.scenario, self.saver, thread)


@asynccontextmanager
async def _worker(place: _Place) -> AsyncIterator[_Worker]:
    if place.kind == "sync":
        with AuditedPostgresSaver.from_conn_string(place.database.app_url, home=place.database.home) as saver:
            yield _Sync(place.scenario, saver)
    else:
        async with place.database.saver() as asynchronous:
            yield _Async(place.scenario, asynchronous)


def _complaints(place: _Place, kill: Kill) -> list[str]:
    """Return what is wrong with a thread that was finished after a kill, each with its story."""
    after = bodies(place.database, kill.thread)
    report = place.verify(kill.thread)
    found = [*_faults(kill, after), *(finding.message for finding in report.findings)]
    found += [] if report.verdict == "passed" else [f"verify: {report.verdict}"]
    came = len(kill.before)
    return [f"{in_words(after[:came])} KILLED {in_words(after[came:])}: {text}" for text in found]


def _faults(kill: Kill, after: Sequence[dict[str, Any]]) -> Iterator[str]:
    came = len(kill.before)
    if after[:came] != kill.before:
        yield "what was there did not stay"
    # An end that LangGraph writes nothing of is appended late, first of all, and as what it was; and nothing else is.
    late = [at for at, body in enumerate(after) if at >= came and body["detail"].get("recovered")]
    if in_words([after[at] for at in late]) != [f"{due} recovered" for due in kill.missing if kill.loses_an_end]:
        yield "recovered what was not lost, or not what was"
    elif late and (late != [came] or after[came]["run"] != kill.before[-1]["run"]):
        yield "recovered in another place, or for another run"
    named = [body["detail"].get("unfinished") for body in after[came:] if body["kind"] in _BEGIN]
    if named != [kill.lost, *[None] * (len(named) - 1)]:
        yield f"unfinished are {named}, not {kill.lost}"
    asked = Counter(body["detail"]["interrupt"] for body in after if "interrupt" in body["detail"])
    if twice := [question for question, times in asked.items() if times > 1]:
        yield f"asked twice: {twice}"
    if said(after[-1]) not in ("run.completed", "interrupt.raised after"):  # after the last node nothing is due
        yield "came to no end"
