"""The main job: pause, decision, resume, a trail that verifies, and a resume that refuses edited state."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, VerificationError, acting_as, attach
from graphs import NEW_ORDER, PAUSED_AND_EDITED, order_graph, thread


async def test_a_case_from_pause_to_order_is_a_trail_that_verifies(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order", version="1")
    with acting_as("pharmacist-17", role="pharmacist"):
        await graph.ainvoke(NEW_ORDER, config)
        assert (await graph.aget_state(config)).next == ("order",)
        await graph.aupdate_state(config, {"decision": "approved"})
        result = await graph.ainvoke(None, config)

    assert result["steps"] == ["analyzed", "ordered 5 mg: approved"]
    assert database.kinds(trail) == PAUSED_AND_EDITED
    report = database.verify()
    assert report.findings == []
    assert report.counts.trails == 2


async def test_a_dose_changed_in_the_database_is_never_acted_upon(
    database: Database, saver: AsyncAuditedPostgresSaver
) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order")
    await graph.ainvoke(NEW_ORDER, config)
    await graph.aupdate_state(config, {"decision": "approved"})
    latest = "thread_id = %s AND checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %s)"
    assert (
        database.as_admin(
            "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50') WHERE " + latest,
            (trail, trail),
        )
        == 1
    )

    before = database.kinds(trail)
    with pytest.raises(VerificationError, match=r"Row checkpoints .*it is not what entry 9 bound"):
        await graph.ainvoke(None, config)

    assert database.kinds(trail) == [*before, "run.refused"]
    assert [finding.check for finding in database.verify().findings] == ["row"]
