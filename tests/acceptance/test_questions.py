"""Each question is in the trail once, and each answer with the person who gave it."""

from __future__ import annotations

import uuid

from examples.questions import (
    ALLERGY,
    CONFIRM,
    KIDNEYS,
    answer,
    answer_the_only_one,
    check_graph,
    open_questions,
    start,
)

from acceptance.trails import entries, payload, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver


def _asked(database: Database, case: str) -> dict[str, str]:
    """Return the questions of a trail by their text; each must be there once."""
    raised = entries(database, case, "interrupt.raised")
    found = {payload(entry)["value"]["question"]: str(entry.body.detail["interrupt"]) for entry in raised}
    assert len(found) == len(raised)
    return found


async def test_two_open_questions_are_answered_by_id_one_after_the_other(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    graph, case = check_graph(saver), str(uuid.uuid4())
    asked = await start(graph, case, "ibuprofen")
    assert asked.keys() == {ALLERGY, KIDNEYS}
    await answer(graph, case, "lab-2", {asked[KIDNEYS]: 85})
    assert await open_questions(graph, case) == {ALLERGY: asked[ALLERGY]}
    await answer(graph, case, "nurse-5", {asked[ALLERGY]: "none"})
    last = await open_questions(graph, case)
    assert last.keys() == {CONFIRM}
    state = await answer_the_only_one(graph, case, "physician-6", "yes")

    assert state == {"drug": "ibuprofen", "allergy": "none", "clearance": 85, "outcome": "give ibuprofen"}
    assert _asked(database, case) == asked | last
    resumed = entries(database, case, "run.resumed")
    assert [(entry.body.actor.id, payload(entry)["resume"]) for entry in resumed] == [
        ("lab-2", {asked[KIDNEYS]: 85}),
        ("nurse-5", {asked[ALLERGY]: "none"}),
        ("physician-6", "yes"),
    ]
    assert resumed[0].body.detail["interrupts"] == sorted(asked.values())
    assert resumed[1].body.detail["interrupts"] == [asked[ALLERGY]]
    assert resumed[2].body.detail["interrupts"] == [last[CONFIRM]]
    assert story(database, case) == [
        "run.started",
        "interrupt.raised",
        "interrupt.raised",
        "run.resumed",
        "run.resumed",
        "interrupt.raised",
        "run.resumed",
        "run.completed",
    ]
    assert database.verify().findings == []


async def test_both_are_answered_at_once(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    graph, case = check_graph(saver), str(uuid.uuid4())
    asked = await start(graph, case, "ibuprofen")
    await answer(graph, case, "nurse-5", {asked[KIDNEYS]: 20, asked[ALLERGY]: "aspirin"})
    state = await answer_the_only_one(graph, case, "physician-6", "no")

    assert state["outcome"] == "withhold ibuprofen"
    assert len(_asked(database, case)) == 3
    assert [entry.body.actor.id for entry in entries(database, case, "run.resumed")] == ["nurse-5", "physician-6"]
    assert story(database, case)[-1] == "run.completed"
    assert database.verify().findings == []
