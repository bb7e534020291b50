"""The medication order: three decisions, revisions that use the notes, and no decision that counts twice."""

from __future__ import annotations

import uuid

import pytest
from examples.medication_order import decide, go_on, order_graph, propose

from acceptance.trails import actors, changes, pauses, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver

ROUND = ["interrupt.raised", "state.updated", "run.resumed"]


@pytest.mark.parametrize(
    ("decision", "order"),
    [
        ("approved", "GIVE 5 mg warfarin to P-1"),
        ("rejected", "DO NOT GIVE warfarin to P-1: because"),
    ],
)
async def test_a_decision_ends_the_case(
    database: Database, saver: AsyncAuditedPostgresSaver, decision: str, order: str
) -> None:
    graph, case = order_graph(saver), str(uuid.uuid4())
    state = await propose(graph, case, "P-1", "warfarin")
    assert state["flags"]
    assert state["order"] == ""

    state = await decide(graph, case, "pharmacist-17", decision, "because")

    assert state["order"] == order
    assert story(database, case) == ["run.started", *ROUND, "run.completed"]
    assert pauses(database, case) == [("before", ["review"])]
    assert changes(database, case) == [{"decision": ("", decision), "notes": ("", "because")}]
    assert actors(database, case, "run.started") == ["ward-3"]
    assert actors(database, case, "state.updated") == ["pharmacist-17"]
    assert actors(database, case, "run.resumed") == ["pharmacist-17"]
    assert database.verify().findings == []


async def test_each_revision_uses_the_notes_of_its_round(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    graph, case = order_graph(saver), str(uuid.uuid4())
    doses = [(await propose(graph, case, "P-3", "vancomycin"))["dose_mg"]]
    for notes in ("renal function: reduce by 50%", "still high: reduce by 25%"):
        state = await decide(graph, case, "pharmacist-17", "needs_revision", notes)
        assert state["history"][-1].endswith(f"told: {notes}")
        doses.append(state["dose_mg"])
    state = await decide(graph, case, "pharmacist-18", "approved")

    assert doses == [2000, 1000, 750]
    assert state["order"] == "GIVE 750 mg vancomycin to P-3"
    assert story(database, case) == ["run.started", *ROUND, *ROUND, *ROUND, "run.completed"]
    # Each round starts from an empty decision, and says who ended it.
    assert [edit["decision"] for edit in changes(database, case)] == [
        ("", "needs_revision"),
        ("", "needs_revision"),
        ("", "approved"),
    ]
    assert actors(database, case, "run.resumed") == ["pharmacist-17", "pharmacist-17", "pharmacist-18"]
    assert database.verify().findings == []


async def test_the_last_rounds_decision_never_passes_the_next(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    graph, case = order_graph(saver), str(uuid.uuid4())
    await propose(graph, case, "P-4", "heparin")
    state = await decide(graph, case, "pharmacist-17", "needs_revision", "reduce by 50%")
    assert (state["dose_mg"], state["decision"], state["notes"]) == (30, "", "")

    with pytest.raises(ValueError, match="an order goes on with one of"):
        await go_on(graph, case, "pharmacist-17")
    assert (await graph.aget_state({"configurable": {"thread_id": case}})).next == ("review",)
    state = await decide(graph, case, "pharmacist-17", "approved")

    assert state["order"] == "GIVE 30 mg heparin to P-4"
    assert story(database, case) == [
        "run.started",
        *ROUND,
        "interrupt.raised",
        "run.resumed",
        "run.failed",
        "state.updated",
        "run.resumed",
        "run.completed",
    ]
    assert database.verify().findings == []
