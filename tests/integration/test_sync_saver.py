"""The sync saver leaves the same trails and refuses the same things as the async one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from langgraph.types import Command
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from conftest import Database
from countersign.audit import (
    AppendError,
    AuditedPostgresSaver,
    ConfigurationError,
    VerificationError,
    acting_as,
    attach,
)
from countersign.audit.core import MovedError
from graphs import NEW_ORDER, PAUSED_AND_EDITED, order_graph, thread
from integration.faults import make_entries_fail

LATEST = "thread_id = %s AND checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = %s)"


@pytest.fixture(params=["a connection", "a pool"])
def saver(request: pytest.FixtureRequest, database: Database) -> Iterator[AuditedPostgresSaver]:
    if request.param == "a connection":
        with AuditedPostgresSaver.from_conn_string(database.app_url, home=database.home) as saver:
            yield saver
        return
    options: dict[str, Any] = {"autocommit": True, "row_factory": dict_row}
    with ConnectionPool(database.app_url, min_size=1, max_size=4, kwargs=options, open=True) as pool:
        yield AuditedPostgresSaver(pool, home=database.home)


def test_pause_edit_and_resume_leave_a_trail_that_verifies(database: Database, saver: AuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver, name="order", version="1")
    with acting_as("pharmacist-17", role="pharmacist"):
        graph.invoke(NEW_ORDER, config)
        graph.update_state(config, {"decision": "approved"})
        result = graph.invoke(None, config)
    assert result["steps"] == ["analyzed", "ordered 5 mg: approved"]
    assert sorted(database.kinds(trail)) == sorted(PAUSED_AND_EDITED)
    assert database.verify().findings == []


def test_a_question_is_asked_once_and_answered(database: Database, saver: AuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph(ask=True).compile(), saver)
    shown = list(graph.stream(NEW_ORDER, config))
    assert "__interrupt__" in shown[-1]
    assert graph.invoke(Command(resume="yes"), config)["decision"] == "yes"
    assert database.kinds(trail).count("interrupt.raised") == 1
    assert database.kinds(trail)[-1] == "run.completed"
    assert next(graph.get_state_history(config)).values["decision"] == "yes"
    assert database.verify().findings == []


def test_a_dose_changed_in_the_database_is_never_acted_upon(database: Database, saver: AuditedPostgresSaver) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver)
    graph.invoke(NEW_ORDER, config)
    database.as_admin(
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50') WHERE " + LATEST,
        (trail, trail),
    )
    before = database.kinds(trail)
    for attempt in (
        lambda: graph.invoke(None, config),
        lambda: graph.update_state(config, {"decision": "approved"}),
        lambda: graph.get_state(config),
        lambda: list(graph.get_state_history(config)),
    ):
        with pytest.raises(VerificationError, match="was changed in the database"):
            attempt()
    assert set(database.kinds(trail)[len(before) :]) == {"run.refused"}


@pytest.mark.parametrize("kind", ["run.started", "checkpoint.saved", "writes.saved", "interrupt.raised"])
def test_without_its_entry_nothing_goes_on(database: Database, saver: AuditedPostgresSaver, kind: str) -> None:
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver)
    make_entries_fail(database, kind)
    with pytest.raises(AppendError):
        graph.invoke(NEW_ORDER, config)
    assert kind not in database.kinds(trail)
    assert database.verify().findings == []


@pytest.mark.parametrize("what", ["delete_thread", "prune", "copy_thread", "delete_for_runs"])
def test_nothing_is_deleted_or_copied(saver: AuditedPostgresSaver, what: str) -> None:
    arguments = {"prune": (["t"],), "copy_thread": ("a", "b"), "delete_for_runs": (["r"],)}.get(what, ("t",))
    with pytest.raises(AppendError, match=f"{what} is refused"):
        getattr(saver, what)(*arguments)


async def test_awaiting_it_is_refused_in_words(saver: AuditedPostgresSaver) -> None:
    graph: Any = attach(order_graph().compile(), saver)
    with pytest.raises(ConfigurationError, match="AsyncAuditedPostgresSaver"):
        await graph.ainvoke(NEW_ORDER, thread()[1])


def finish(conn: psycopg.Connection[Any], steps: Any, rows: list[Any]) -> None:
    """Run `steps` to their end, the next rows being given."""
    while True:
        statement = steps.send(rows)
        rows = conn.execute(statement.sql, statement.params, binary=True).fetchall()


def test_a_history_read_beside_a_save_raises_no_false_alarm(database: Database, saver: AuditedPostgresSaver) -> None:
    """The reader's snapshot is older than what this process saved meanwhile: it reads again, and accuses nobody."""
    trail, config = thread()
    graph: Any = attach(order_graph().compile(interrupt_before=["order"]), saver)
    graph.invoke(NEW_ORDER, config)
    with psycopg.connect(database.app_url) as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        steps = saver.core.places_steps(trail)
        conn.execute("SELECT 1 FROM checkpoints")
        first = next(steps)
        seen = conn.execute(first.sql, first.params, binary=True).fetchall()
        graph.update_state(config, {"decision": "approved"})
        with pytest.raises(MovedError):
            finish(conn, steps, seen)
    assert len(list(graph.get_state_history(config))) == 4
    assert "run.refused" not in database.kinds(trail)
