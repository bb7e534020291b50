"""The table of docs/events.md: every row, on both savers, by invoke, stream and batch, entry by entry."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from conftest import Database
from countersign.audit import AuditedPostgresSaver
from countersign.audit.canonical import parse, tagged
from events.driving import PERSON, adrive, attached, drive
from events.reading import as_submitted, bodies, in_words, shown, table
from events.scenarios import SCENARIOS, Scenario

WAYS = ("invoke", "stream", "batch")
SAVERS = ("sync", "async")
CASES = [(scenario, kind) for scenario in SCENARIOS for kind in SAVERS if scenario.only in (None, kind)]
_OF_A_PERSON = {"run.started", "run.resumed", "run.forked", "state.updated"}


def test_the_page_has_a_row_for_every_scenario_and_no_other() -> None:
    assert [*table()] == [scenario.name for scenario in SCENARIOS]


@pytest.mark.parametrize(("scenario", "kind"), CASES, ids=[f"{s.name}-{kind}" for s, kind in CASES])
async def test_a_row_is_what_is_recorded(database: Database, scenario: Scenario, kind: str) -> None:
    expected = shown(table()[scenario.name])
    for way in WAYS:
        trail = str(uuid.uuid4())
        assert await _recorded(database, scenario, kind, trail, way) == expected, way
        entries = bodies(database, trail)
        _assert_attributed(entries)
        _assert_asked_once(entries)
    report = database.verify()
    assert ([finding.message for finding in report.findings], report.verdict) == ([], "passed")


async def _recorded(database: Database, scenario: Scenario, kind: str, trail: str, way: str) -> str:
    """Carry out a scenario and return its cell of the table."""
    ends: list[int] = []

    def done() -> None:
        ends.append(len(database.kinds(trail)))

    if kind == "sync":
        with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
            drive(scenario, saver, trail, way, done)
            _assert_values(database, attached(scenario, saver), trail)
    else:
        async with database.saver() as asynchronous:
            await adrive(scenario, asynchronous, trail, way, done)
    entries = bodies(database, trail)
    parts = [entries[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if kind == "sync":
        parts = [as_submitted(part) for part in parts]
    assert ends[-1] == len(entries)
    steps = [
        (step.label, in_words(part, at_once=scenario.at_once)) for step, part in zip(scenario.steps, parts, strict=True)
    ]
    return shown(steps)


def _assert_attributed(entries: list[dict[str, Any]]) -> None:
    """Fail unless a person answers for what a person did, and for nothing else."""
    for body in entries:
        edit = body["kind"] == "writes.saved" and body["detail"]["path"].startswith("~__interrupt__")
        assert (body["actor"]["id"] == PERSON) == (edit or body["kind"] in _OF_A_PERSON), body


def _assert_asked_once(entries: list[dict[str, Any]]) -> None:
    asked = [body["detail"]["interrupt"] for body in entries if "interrupt" in body["detail"]]
    assert len(asked) == len(set(asked))


def _assert_values(database: Database, graph: Any, trail: str) -> None:
    """Fail unless each edit's old and new values are those that the state shows before and after it."""
    with psycopg.connect(database.app_url) as conn:
        found = conn.execute(
            "SELECT e.body, p.data FROM audit.entries e JOIN audit.payloads p USING (trail, seq)"
            " WHERE trail = %s AND kind = 'state.updated' ORDER BY seq",
            (trail,),
        ).fetchall()
    for body, data in found:
        place: Any = parse(bytes(body))["checkpoint"]  # type: ignore[index, call-overload]
        changes: Any = parse(bytes(data))["changes"]  # type: ignore[index, call-overload]
        new = _values(graph, trail, place["ns"], place["id"])
        old = _values(graph, trail, place["ns"], place["parent"]) if place["parent"] else {}
        for change in changes:
            name = change["channel"]
            assert change["new"] == _tagged(new[name])
            # A channel that holds nothing yet is shown as its type's empty value.
            assert change["old"] == _tagged(old[name]) if "old" in change else not old.get(name)


def _values(graph: Any, trail: str, ns: str, checkpoint: str) -> Any:
    return graph.get_state(
        {"configurable": {"thread_id": trail, "checkpoint_ns": ns, "checkpoint_id": checkpoint}}
    ).values


def _tagged(value: Any) -> Any:
    return tagged(value, lambda _: ("none", b""))
