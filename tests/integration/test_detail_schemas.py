"""Every entry of real runs has the `detail` that its schema describes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Annotated, Any, TypedDict

import psycopg
import pytest
from jsonschema import Draft202012Validator
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, AuditError, VerificationError, acting_as, attach
from countersign.audit.adopt import adopt, open_adopter
from countersign.audit.canonical import parse
from countersign.audit.kinds import Kind
from graphs import NEW_ORDER, order_graph, thread

SCHEMA = json.loads(resources.files("countersign.audit").joinpath("schemas/detail.json").read_text())


@pytest.fixture(autouse=True)
def _all_entries_validate(database: Database) -> Iterator[None]:
    """After each test here, look at every entry it left in its database."""
    yield
    validator = Draft202012Validator(SCHEMA)
    bodies = [parse(bytes(body)) for (body,) in database.query("SELECT body FROM audit.entries ORDER BY trail, seq")]
    wrong = [(body, error.message) for body in bodies for error in validator.iter_errors(body)]
    assert wrong == []
    assert len(bodies) > 2, "a test that leaves nothing but keys shows nothing"


async def test_the_keys_a_pause_an_edit_and_a_resume(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order", version="1")
    with acting_as("pharmacist-17", role="pharmacist"):
        await graph.ainvoke(NEW_ORDER, config)
        await graph.aupdate_state(config, {"decision": "approved"})
        await graph.ainvoke(None, config)

    assert set(database.kinds("@keys")) == {Kind.KEY_INTRODUCED}
    assert set(database.kinds(trail)) == {
        Kind.RUN_STARTED,
        Kind.CHECKPOINT_SAVED,
        Kind.WRITES_SAVED,
        Kind.INTERRUPT_RAISED,
        Kind.STATE_UPDATED,
        Kind.RUN_RESUMED,
        Kind.RUN_COMPLETED,
    }


async def test_a_question_and_its_answer(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph(ask=True).compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, config)
    await graph.ainvoke(Command(resume="yes", update={"flags": ["INR", "seen"]}), config)

    details = {
        kind: detail for kind, detail in _details(database, trail) if kind in {"interrupt.raised", "run.resumed"}
    }
    assert details["interrupt.raised"]["when"] == "dynamic"
    assert details["run.resumed"] == {
        "command": ["resume", "update"],
        "interrupts": [details["interrupt.raised"]["interrupt"]],
        "answers": [details["interrupt.raised"]["interrupt"]],
    }


async def test_pauses_that_the_caller_chose(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(), saver, name="order")
    await graph.ainvoke(NEW_ORDER, config, interrupt_after=["analyze"])
    await graph.ainvoke(None, config, interrupt_before="*")
    await graph.ainvoke(NEW_ORDER, config, interrupt_before=["order", "analyze"])

    assert [detail for kind, detail in _details(database, trail) if kind in {"run.started", "run.resumed"}] == [
        {"continues": False, "interrupt_after": ["analyze"]},
        {"interrupts": [], "interrupt_before": "*"},
        {"continues": True, "interrupts": [], "interrupt_before": ["analyze", "order"]},
    ]


async def test_a_node_that_fails(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    def fail(state: Any) -> Any:
        raise LookupError("Mr X has no file")

    trail, config = thread()
    builder = order_graph()
    builder.nodes.pop("order")
    builder.add_node("order", fail)
    graph: Any = attach(builder.compile(), saver, name="order")
    with pytest.raises(LookupError):
        await graph.ainvoke(NEW_ORDER, config)

    assert _details(database, trail)[-1] == (Kind.RUN_FAILED, {"error": "builtins.LookupError"})


async def test_a_resume_that_is_refused(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order")
    await graph.ainvoke(NEW_ORDER, config)
    database.as_admin(
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50') WHERE thread_id = %s",
        (trail,),
    )
    with pytest.raises(VerificationError):
        await graph.ainvoke(None, config)

    kind, detail = _details(database, trail)[-1]
    assert kind == Kind.RUN_REFUSED
    assert (detail["check"], detail["trail"], detail["table"]) == ("row", trail, "checkpoints")


async def test_a_refusal_goes_to_system_when_the_trail_cannot_be_extended(database: Database) -> None:
    trail, config = thread()
    async with database.saver() as saver:
        graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order")
        await graph.ainvoke(NEW_ORDER, config)
    last = len(database.kinds(trail))
    database.as_admin(
        "UPDATE audit.entries SET signature = decode(repeat('00', 64), 'hex') WHERE trail = %s AND seq = %s",
        (trail, last),
    )
    async with database.saver() as saver:
        graph = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order")
        with pytest.raises(AuditError):
            await graph.ainvoke(None, config)

    assert len(database.kinds(trail)) == last
    assert _details(database, "@system") == [
        (Kind.RUN_REFUSED, {"check": "signature", "trail": trail, "table": "entries", "seq": last})
    ]


async def test_a_thread_that_was_there_before(database: Database) -> None:
    trail, config = thread()
    async with AsyncPostgresSaver.from_conn_string(database.app_url) as plain:
        await order_graph().compile(checkpointer=plain).ainvoke(NEW_ORDER, config)
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        adopt(conn, open_adopter(conn, database.home), trail)

    assert database.kinds(trail) == [Kind.TRAIL_ADOPTED]


async def test_more_channels_than_a_list_holds(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    names = [f"channel_{number:03}" for number in range(120)]
    state: Any = TypedDict("State", dict.fromkeys(names, int))  # type: ignore[misc]
    builder: Any = StateGraph(state)
    builder.add_node("fill", lambda _: dict.fromkeys(names, 1))
    builder.add_edge(START, "fill")
    builder.add_edge("fill", END)
    trail, config = thread()
    graph: Any = attach(builder.compile(interrupt_before=["fill"]), saver, name="wide")
    await graph.ainvoke(dict.fromkeys(names, 0), config)
    await graph.aupdate_state(config, dict.fromkeys(names, 2))

    counts = [detail["channels_count"] for kind, detail in _details(database, trail) if "channels_count" in detail]
    assert counts[-1] == 120


async def test_one_node_that_is_due_many_times(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    class State(TypedDict):
        doses: Annotated[list[int], lambda old, new: old + new]

    builder: Any = StateGraph(State)
    builder.add_node("weigh", lambda dose: {"doses": [dose]})
    builder.add_conditional_edges(START, lambda _: [Send("weigh", dose) for dose in range(3)], ["weigh"])
    builder.add_edge("weigh", END)
    trail, config = thread()
    graph: Any = attach(builder.compile(interrupt_before=["weigh"]), saver, name="many")
    await graph.ainvoke({"doses": []}, config)
    await graph.ainvoke(None, config)

    paused = [detail for kind, detail in _details(database, trail) if kind == Kind.INTERRUPT_RAISED]
    assert paused == [{"when": "before", "next": ["weigh", "weigh", "weigh"]}]


async def test_a_pause_inside_a_subgraph(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    inner = order_graph().compile(interrupt_before=["order"])
    builder: Any = StateGraph(inner.builder.state_schema)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")
    builder.add_edge("inner", END)
    trail, config = thread()
    graph: Any = attach(builder.compile(), saver, name="nested")
    await graph.ainvoke(NEW_ORDER, config)
    await graph.ainvoke(None, config)

    assert Kind.INTERRUPT_RAISED in database.kinds(trail)


def _details(database: Database, trail: str) -> list[tuple[str, dict[str, Any]]]:
    bodies: list[Any] = [
        parse(bytes(body))
        for (body,) in database.query("SELECT body FROM audit.entries WHERE trail = %s ORDER BY seq", (trail,))
    ]
    return [(body["kind"], body["detail"]) for body in bodies]
