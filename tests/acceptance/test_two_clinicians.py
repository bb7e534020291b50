"""Two pauses, two people: each is in the trail with what they changed."""

from __future__ import annotations

import uuid

import pytest
from examples.two_clinicians import check, plan_graph, sign_off, start

from acceptance.trails import changes, entries, pauses, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver

STAGE = ["interrupt.raised", "state.updated", "run.resumed"]


async def test_the_clinician_and_then_the_senior_clinician(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    graph, case = plan_graph(saver), str(uuid.uuid4())
    assert (await start(graph, case, "P-7", 80))["dose_mg"] == 40
    assert (await check(graph, case, "clinician-2", 30))["plan"] == ""
    state = await sign_off(graph, case, "senior-1")

    assert state["plan"] == "30 mg for P-7: checked by clinician-2, released by senior-1"
    assert story(database, case) == ["run.started", *STAGE, *STAGE, "run.completed"]
    assert pauses(database, case) == [("before", ["safety_check"]), ("before", ["release"])]
    assert changes(database, case) == [
        {"dose_mg": (40, 30), "checked_by": ("", "clinician-2")},
        {"released_by": ("", "senior-1")},
    ]
    assert [(e.body.actor.id, e.body.actor.role) for e in entries(database, case, "run.resumed")] == [
        ("clinician-2", "clinician"),
        ("senior-1", "senior-clinician"),
    ]
    assert database.verify().findings == []


async def test_one_person_cannot_do_both(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    graph, case = plan_graph(saver), str(uuid.uuid4())
    await start(graph, case, "P-7", 80)
    await check(graph, case, "clinician-2", 30)
    with pytest.raises(ValueError, match="a second person"):
        await sign_off(graph, case, "clinician-2")
    assert story(database, case) == ["run.started", *STAGE, *STAGE, "run.failed"]
    assert database.verify().findings == []
