"""A report that waits for its reader, before a node and after one."""

from __future__ import annotations

import uuid
from typing import Literal

import pytest
from examples.research_report import draft, finish, give_feedback, look, report_graph

from acceptance.trails import actors, changes, pauses, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver


@pytest.mark.parametrize("pause", ["before", "after"])
async def test_feedback_given_in_the_pause_is_in_the_report(
    database: Database, saver: AsyncAuditedPostgresSaver, pause: Literal["before", "after"]
) -> None:
    graph, case = report_graph(saver, pause), str(uuid.uuid4())
    coming, state = await draft(graph, case, "warfarin")
    assert coming == ("finalize",)
    assert state["draft"].startswith("warfarin: ")
    assert (state["report"], state["steps"]) == ("", ["researched"])

    await give_feedback(graph, case, "reader-9", "Not in pregnancy.")
    coming, state = await look(graph, case)
    assert (coming, state["feedback"], state["report"]) == (("finalize",), "Not in pregnancy.", "")
    state = await finish(graph, case, "reader-9")

    assert state["report"].endswith("Added on review: Not in pregnancy.")
    assert state["steps"] == ["researched", "finalized"]
    assert story(database, case) == [
        "run.started",
        "interrupt.raised",
        "state.updated",
        "run.resumed",
        "run.completed",
    ]
    assert pauses(database, case) == [(pause, ["finalize"])]
    assert changes(database, case) == [{"feedback": ("", "Not in pregnancy.")}]
    assert actors(database, case, "state.updated") == ["reader-9"]
    assert actors(database, case, "run.resumed") == ["reader-9"]
    assert database.verify().findings == []


@pytest.mark.parametrize("pause", ["before", "after"])
async def test_without_feedback_the_draft_is_the_report(
    database: Database, saver: AsyncAuditedPostgresSaver, pause: Literal["before", "after"]
) -> None:
    graph, case = report_graph(saver, pause), str(uuid.uuid4())
    _, state = await draft(graph, case, "metformin")
    assert (await finish(graph, case, "reader-9"))["report"] == state["draft"]
    assert story(database, case) == ["run.started", "interrupt.raised", "run.resumed", "run.completed"]
    assert database.verify().findings == []
