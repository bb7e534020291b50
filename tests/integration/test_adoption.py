"""Threads that LangGraph wrote before Countersign was there: refused, adopted as they are, audited from then on."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from conftest import DEPLOYMENT, Database
from countersign.audit import AuditedPostgresSaver, VerificationError, acting_as, attach
from countersign.audit.canonical import parse
from graphs import NEW_ORDER, Order, order_graph, thread
from integration.adopting import (
    adopt_here,
    body_of,
    dynamic,
    static,
    uses,
    write_before,
)
from integration.faults import assert_honest, rows_of


@pytest.mark.parametrize("graph", [static, dynamic])
async def test_a_thread_that_no_entry_binds_is_refused_and_the_remedy_named(database: Database, graph: Any) -> None:
    name, config = thread()
    await write_before(database, graph(), config)
    before = rows_of(database, name)
    async with database.saver() as saver:
        ended = await uses(attach(graph(), saver), config)
    assert [type(error) for error in ended] == [VerificationError] * len(ended)
    assert all(f"countersign adopt {name}" in str(error) for error in ended)
    assert set(database.kinds(name)) == {"run.refused"}
    assert rows_of(database, name) == before


@pytest.mark.parametrize("left", ["checkpoint_writes", "checkpoint_blobs"])
async def test_rows_without_a_checkpoint_are_refused_as_well(database: Database, left: str) -> None:
    """Begun anew, the thread would have entries that bind rows, and could never be adopted."""
    name, config = thread()
    await write_before(database, static(), config)
    for table in {"checkpoints", "checkpoint_writes", "checkpoint_blobs"} - {left}:
        database.as_admin(f"DELETE FROM {table}")
    async with database.saver() as saver:
        ended = await uses(attach(static(), saver), config)
        assert all(f"countersign adopt {name}" in str(error) for error in ended)
        assert adopt_here(database, name).counts[left] > 0
        await attach(static(), saver).ainvoke(NEW_ORDER, config)
    assert_honest(database)


async def test_a_checkpoint_that_is_not_there_does_not_open_the_way(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    config["configurable"]["checkpoint_id"] = "1f11638e-5a2c-6b1e-8000-3c1d5e7f9a0b"
    async with database.saver() as saver:
        with pytest.raises(VerificationError, match="countersign adopt"):
            await attach(static(), saver).ainvoke(NEW_ORDER, config)
    assert database.kinds(name) == ["run.refused"]


async def test_a_static_pause_is_adopted_and_resumed(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    async with database.saver() as saver:
        graph: Any = attach(static(), saver, name="order", version="1")
        with pytest.raises(VerificationError):
            await graph.ainvoke(None, config)
        done = adopt_here(database, name)
        assert_honest(database, name)
        # The process that was refused goes on without being started again.
        with acting_as("pharmacist-17"):
            await graph.aupdate_state(config, {"decision": "approved"})
            result = await graph.ainvoke(None, config)
        steps = [snapshot.metadata["step"] async for snapshot in graph.aget_state_history(config)]
    assert result["steps"] == ["analyzed", "ordered 5 mg: approved"]
    assert steps == [3, 2, 1, 0, -1]
    assert done.seq == 2
    assert database.kinds(name)[:4] == ["run.refused", "trail.adopted", "writes.saved", "state.updated"]
    assert "recovered" not in str([body_of(database, name, seq + 1) for seq in range(len(database.kinds(name)))])
    assert_honest(database)


def test_a_question_is_adopted_and_answered_without_await(database: Database) -> None:
    name, config = thread()
    asyncio.run(write_before(database, dynamic(), config))
    adopt_here(database, name)
    with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
        graph: Any = attach(dynamic(), saver)
        assert graph.get_state(config).interrupts[0].value == {"question": "approve?", "dose": 5}
        assert graph.invoke(Command(resume="yes"), config)["steps"][-1] == "ordered 5 mg: yes"
    assert_honest(database)


async def test_a_finished_thread_is_adopted_and_begun_again(database: Database) -> None:
    name, config = thread()
    await write_before(database, order_graph().compile(), config)
    adopt_here(database, name)
    async with database.saver() as saver:
        graph: Any = attach(order_graph().compile(), saver)
        assert (await graph.aget_state(config)).next == ()
        await graph.ainvoke(NEW_ORDER, config)
    assert_honest(database)


async def test_the_entry_says_what_was_found_and_by_whom(database: Database) -> None:
    name, config = thread()
    await write_before(database, dynamic(), config)
    done = adopt_here(database, name)
    body = body_of(database, name, 1)
    counts = {
        table: database.query(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    }
    newest = database.query("SELECT max(checkpoint_id) FROM checkpoints")[0][0]
    assert body["kind"] == "trail.adopted"
    assert body["actor"] == {"id": f"uid:{os.getuid()}", "via": "os-user"}
    assert body["detail"] == {**counts, "newest": newest}
    assert (done.counts, done.newest) == (counts, newest)
    ((keyid,),) = database.query("SELECT keyid FROM audit.entries WHERE trail = %s", (name,))
    assert keyid == database.folder.key(DEPLOYMENT).keyid
    ((data,),) = database.query("SELECT data FROM audit.payloads WHERE trail = %s", (name,))
    payload: Any = parse(data)
    assert payload.keys() == {"rows"}
    assert len(payload["rows"]) == sum(counts.values())
    assert "warfarin" not in str(body)


async def test_an_id_that_is_no_uuid_stays_out_of_the_body(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    database.as_admin("UPDATE checkpoints SET checkpoint_id = 'zz Mr Smith' WHERE metadata ->> 'step' = '-1'")
    adopt_here(database, name)
    assert body_of(database, name, 1)["detail"]["newest"] is None
    assert_honest(database)


async def test_rows_in_langgraphs_older_shapes(database: Database) -> None:
    """No task_path, no type, a blob that is empty: as the tables' own defaults left them."""
    name, config = thread()
    await write_before(database, dynamic(), config)
    database.as_admin("UPDATE checkpoint_writes SET task_path = ''")
    empty = (
        "INSERT INTO checkpoint_blobs SELECT thread_id, checkpoint_ns, key, value, 'empty', NULL "
        "FROM checkpoints, jsonb_each_text(checkpoint -> 'channel_versions') WHERE key LIKE 'branch:%' "
        "ON CONFLICT DO NOTHING"
    )
    assert database.as_admin(empty) > 0
    assert database.query("SELECT count(*) FROM checkpoints WHERE type IS NOT NULL")[0][0] == 0
    database.as_admin("UPDATE checkpoints SET type = 'json' WHERE metadata ->> 'step' = '0'")
    adopt_here(database, name)
    async with database.saver() as saver:
        graph: Any = attach(dynamic(), saver)
        assert len([snapshot async for snapshot in graph.aget_state_history(config)]) == 3
        assert (await graph.ainvoke(Command(resume="yes"), config))["decision"] == "yes"
    assert_honest(database)


def fan_out() -> Any:
    builder = StateGraph(Order)
    builder.add_node("plan", lambda _: {"steps": ["planned"]})
    builder.add_node("give", lambda state: {"steps": [f"gave {state['dose']}"]})
    builder.add_conditional_edges("plan", lambda _: [Send("give", {"dose": dose}) for dose in (1, 2, 3)], ["give"])
    builder.add_edge(START, "plan")
    builder.add_edge("give", END)
    return builder.compile(interrupt_before=["give"])


SENT_BEFORE_VERSION_4 = (
    "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint #- '{channel_versions,__pregel_tasks}', '{v}', '3') "
    "WHERE checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints); "
    "DELETE FROM checkpoint_blobs WHERE channel = '__pregel_tasks'"
)


async def test_sends_that_older_checkpoints_keep_with_their_parent(database: Database) -> None:
    name, config = thread()
    await write_before(database, fan_out(), config)
    database.as_admin(SENT_BEFORE_VERSION_4)
    adopt_here(database, name)
    async with database.saver() as saver:
        result = await attach(fan_out(), saver).ainvoke(None, config)
    assert sorted(result["steps"]) == ["gave 1", "gave 2", "gave 3", "planned"]
    assert_honest(database)


@pytest.mark.parametrize("attack", ["UPDATE checkpoint_writes SET blob = '\\x90'", "DELETE FROM checkpoint_writes"])
async def test_such_sends_are_checked_before_they_are_loaded(database: Database, attack: str) -> None:
    name, config = thread()
    await write_before(database, fan_out(), config)
    database.as_admin(SENT_BEFORE_VERSION_4)
    adopt_here(database, name)
    assert database.as_admin(f"{attack} WHERE channel = '__pregel_tasks'") == 3
    async with database.saver() as saver:
        ended = await uses(attach(fan_out(), saver), config)
    assert [type(error) for error in ended] == [VerificationError] * len(ended)
