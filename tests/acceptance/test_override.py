"""A person sends the graph down another branch than the agent chose."""

from __future__ import annotations

import uuid

from examples.override import agree, assess_patient, redirect, triage_graph

from acceptance.trails import actors, changes, pauses, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver


async def test_the_agents_branch_runs_when_the_physician_agrees(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    graph, case = triage_graph(saver), str(uuid.uuid4())
    assert await assess_patient(graph, case, "P-8", 130) == ("admit",)
    assert (await agree(graph, case, "physician-6"))["outcome"] == "P-8 stays"
    assert story(database, case) == ["run.started", "interrupt.raised", "run.resumed", "run.completed"]
    assert database.verify().findings == []


async def test_the_physician_redirects_to_the_other_branch(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    graph, case = triage_graph(saver), str(uuid.uuid4())
    assert await assess_patient(graph, case, "P-8", 90) == ("discharge",)
    state = await redirect(graph, case, "physician-6", "admit")

    assert state["outcome"] == "P-8 stays"
    assert pauses(database, case) == [("before", ["discharge"])]
    assert changes(database, case) == [{"branch": ("discharge", "admit")}]
    assert actors(database, case, "state.updated") == ["physician-6"]
    assert actors(database, case, "run.resumed") == ["physician-6"]
    assert story(database, case) == [
        "run.started",
        "interrupt.raised",
        "state.updated",
        "run.resumed",
        "run.completed",
    ]
    assert database.verify().findings == []
