"""A person is asked only where the agent is not sure, and the trail has both values."""

from __future__ import annotations

import uuid

import pytest
from examples.error_correction import go_on, read_text, reading_graph, supply

from acceptance.trails import actors, changes, pauses, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver


async def test_a_sure_reading_goes_through(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    case = str(uuid.uuid4())
    assert (await read_text(reading_graph(saver), case, "INR 2.4"))["result"] == "INR 2.40"
    assert story(database, case) == ["run.started", "run.completed"]
    assert database.verify().findings == []


@pytest.mark.parametrize(("text", "guess", "confidence"), [("INR 8.1?", 810, 40), ("illegible", None, 0)])
async def test_a_person_supplies_what_the_agent_could_not_read(
    database: Database, saver: AsyncAuditedPostgresSaver, text: str, guess: int | None, confidence: int
) -> None:
    graph, case = reading_graph(saver), str(uuid.uuid4())
    state = await read_text(graph, case, text)
    assert (state["inr_hundredths"], state["confidence"], state["result"]) == (guess, confidence, "")
    assert (await supply(graph, case, "technician-5", 310))["result"] == "INR 3.10"

    assert story(database, case) == [
        "run.started",
        "interrupt.raised",
        "state.updated",
        "run.resumed",
        "run.completed",
    ]
    assert pauses(database, case) == [("before", ["correct"])]
    assert changes(database, case) == [{"inr_hundredths": (guess, 310), "confidence": (confidence, 100)}]
    assert actors(database, case, "state.updated") == ["technician-5"]
    assert actors(database, case, "run.resumed") == ["technician-5"]
    assert database.verify().findings == []


async def test_going_on_without_a_value_does_not_use_the_guess(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    graph, case = reading_graph(saver), str(uuid.uuid4())
    await read_text(graph, case, "INR 8.1?")
    with pytest.raises(ValueError, match="a person must supply the value"):
        await go_on(graph, case, "technician-5")
    assert (await supply(graph, case, "technician-5", 310))["result"] == "INR 3.10"
    assert story(database, case)[-4:] == ["run.failed", "state.updated", "run.resumed", "run.completed"]
    assert database.verify().findings == []
