"""What `attach` can be told: who must answer, from where the actor comes, and what a new input may do."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from langgraph.checkpoint.memory import MemorySaver

from conftest import Database
from countersign.audit import AppendError, AsyncAuditedPostgresSaver, ConfigurationError, acting_as, attach
from events.reading import bodies
from graphs import NEW_ORDER, order_graph, thread


def _paused(saver: AsyncAuditedPostgresSaver, **rules: Any) -> Any:
    return attach(order_graph().compile(interrupt_before=["order"]), saver, name="order", **rules)


async def test_a_new_input_to_a_waiting_thread_is_refused(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    graph = _paused(saver, new_input="refuse")
    await graph.ainvoke(NEW_ORDER, config)
    before = database.kinds(trail)
    with pytest.raises(AppendError, match="waits at order"):
        await graph.ainvoke({"dose": 3}, config)
    assert database.kinds(trail) == before
    await graph.ainvoke(None, config)
    await graph.ainvoke({"dose": 3}, config)
    assert database.kinds(trail).count("run.started") == 2


async def test_nobody_resumes_or_edits(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    graph = _paused(saver, require_actor=True)
    await graph.ainvoke(NEW_ORDER, config)
    before = database.kinds(trail)
    with pytest.raises(AppendError, match="Nobody answers"):
        await graph.ainvoke(None, config)
    with pytest.raises(AppendError, match="Nobody answers"):
        await graph.aupdate_state(config, {"dose": 6})
    assert database.kinds(trail) == before
    with acting_as("pharmacist-17"):
        await graph.ainvoke(None, config)
    assert database.kinds(trail)[-1] == "run.completed"


@pytest.mark.parametrize("believed", [True, False])
async def test_the_hosts_user(database: Database, saver: AsyncAuditedPostgresSaver, believed: bool) -> None:  # noqa: FBT001
    trail, config = thread()
    graph = _paused(saver, auth_user=believed)
    config["configurable"]["langgraph_auth_user"] = {"identity": "user-9"}
    await graph.ainvoke(NEW_ORDER, config)
    with acting_as("pharmacist-17"):
        await graph.ainvoke(None, config)
    actors = [body["actor"] for body in bodies(database, trail) if body["kind"] in ("run.started", "run.resumed")]
    host = {"id": "user-9", "via": "langgraph-auth"}
    nobody = {"id": "unattributed", "via": "unattributed"}
    assert actors == [host if believed else nobody, {"id": "pharmacist-17", "via": "application"}]


async def test_another_checkpointer_is_replaced_and_that_is_said(
    saver: AsyncAuditedPostgresSaver, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="countersign.audit"):
        attach(order_graph().compile(checkpointer=MemorySaver()), saver, name="order")
        attach(order_graph().compile(), saver, name="order")
    assert "compiled with InMemorySaver" in caplog.records[0].getMessage()
    assert "had no checkpointer" in caplog.records[1].getMessage()


async def test_a_rule_that_does_not_exist_is_refused(saver: AsyncAuditedPostgresSaver) -> None:
    with pytest.raises(ConfigurationError, match="neither"):
        attach(order_graph().compile(), saver, new_input="perhaps")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"actor_id": ""}, "actor_id"),
        ({"actor_id": " "}, "actor_id"),
        ({"actor_id": "a\nb"}, "actor_id"),
        ({"actor_id": "x" * 256}, "actor_id"),
        ({"actor_id": "system"}, "actor_id"),
        ({"actor_id": "unattributed"}, "actor_id"),
        ({"actor_id": None}, "actor_id"),
        ({"actor_id": 5}, "actor_id"),
        ({"actor_id": "p-17", "via": "system"}, "via"),
        ({"actor_id": "p-17", "via": ""}, "via"),
        ({"actor_id": "p-17", "role": ""}, "role"),
        ({"actor_id": "p-17", "role": 4}, "role"),
    ],
)
def test_nobody_acts_as_nobody_or_as_the_system(said: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigurationError, match=f"acting_as\\({place}=") as refused, acting_as(**said):
        pass
    assert refused.value.remedy


@pytest.mark.parametrize("said", [{"name": ""}, {"name": 5}, {"version": 1}, {"version": " "}])
async def test_what_stands_in_every_entry_is_a_text(saver: AsyncAuditedPostgresSaver, said: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"attach\\({next(iter(said))}="):
        attach(order_graph().compile(), saver, **said)


async def test_a_subgraph_without_checkpoints_is_refused(saver: AsyncAuditedPostgresSaver) -> None:
    """LangGraph fails on it under sync durability, with or without an audit."""
    outer = order_graph()
    outer.add_node("inner", order_graph().compile(checkpointer=False))
    outer.add_edge("order", "inner")
    with pytest.raises(ConfigurationError, match="checkpointer=False"):
        attach(outer.compile(), saver)
