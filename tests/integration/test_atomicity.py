"""Killed, or cut off, between any two statements: a row and its entry live and die together, and the case goes on."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from langgraph.types import Command
from psycopg import AsyncConnection

from conftest import Database
from countersign.audit import AppendError, attach
from drills import STRIDE
from forks import forking
from graphs import NEW_ORDER, Order, order_graph, thread
from integration.crash import work
from integration.faults import Act, assert_honest, going_on_elsewhere, watched_saver


async def finish(database: Database, trail: str) -> None:
    """Do what an application does next with a case: go on where it is, or begin again, and come to its end."""
    config: Any = {"configurable": {"thread_id": trail}}
    async with database.saver() as saver:
        graph: Any = attach(order_graph(ask=True).compile(), saver)
        state = await graph.aget_state(config)
        result = await graph.ainvoke(None if state.next else NEW_ORDER, config)
        if "__interrupt__" in result:
            result = await graph.ainvoke(Command(resume="yes"), config)
    assert result["steps"][-1].startswith("ordered 5 mg")
    assert database.kinds(trail)[-1] == "run.completed"


Crash = Callable[[str, str, int, str], str]


@pytest.fixture
def crash(database: Database) -> Iterator[Crash]:
    """Yield a function that runs a case in a process that kills itself, and returns how it ended."""
    there = f"{database.app_url} {database.home}"
    with forking(work, f"straight before {sys.maxsize} first {there}") as give:
        yield lambda way, when, nth, trail: give(f"{way} {when} {nth} {trail} {there}")


@pytest.mark.long
@pytest.mark.parametrize(
    ("way", "when", "at_least"), [("straight", "before", 12), ("straight", "after", 12), ("long", "before", 18)]
)
async def test_killed_between_any_two_statements_of_a_case(
    database: Database, crash: Crash, way: str, when: str, at_least: int
) -> None:
    """`long` is the way a save takes when another process went on with the trail: step by step in a transaction."""
    ends: list[str] = []
    while ends[-1:] != ["survived"]:
        trail = str(uuid.uuid4())
        ends.append(crash(way, when, len(ends) * STRIDE + 1, trail))
        assert ends[-1] in ("killed", "survived")
        assert_honest(database, trail)
        await finish(database, trail)
    assert_honest(database)

    assert len(ends) > at_least // STRIDE


def cut_off_graph(saver: Any, ran: list[str]) -> Any:
    builder = order_graph()

    def note(state: Order) -> None:
        ran.append("noted")

    builder.add_node("note", note)
    builder.add_edge("order", "note")
    return attach(builder.compile(), saver)


async def cut(database: Database, way: str, nth: int, trail: str) -> bool:
    """Run a case whose connection is cut before its `nth` statement. Returns whether there were so many."""
    config: Any = {"configurable": {"thread_id": trail}}
    ran: list[str] = []
    ran_before: list[str] = []

    def terminate(conn: AsyncConnection[Any]) -> None:
        """Cut the connection as an administrator, a failover or a network does."""
        ran_before.extend(ran)
        with psycopg.connect(database.admin_url, autocommit=True) as admin:
            gone = admin.execute("SELECT pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,)).fetchone()
            assert gone == (True,)

    deed = Act(nth, "before", terminate)
    async with watched_saver(database.app_url, database.home) as saver:
        graph = cut_off_graph(saver, ran)
        with going_on_elsewhere(database.app_url, database.home, trail) as append, saver.conn.watched(deed):
            saver.conn.meddle = append if way == "long" else None
            try:
                await graph.ainvoke(NEW_ORDER, config)
            except AppendError as error:
                assert "connection" in error.message  # noqa: PT017
                assert error.remedy  # noqa: PT017
                assert deed.done
                assert ran == ran_before, "a node ran after its run had lost the database"
                return True
    assert not deed.done, "the run went on without a database"
    assert ran == ["noted"]
    return False


@pytest.mark.long
@pytest.mark.parametrize(("way", "at_least"), [("straight", 5), ("long", 5)])
async def test_cut_off_before_any_statement_of_a_run(database: Database, way: str, at_least: int) -> None:
    cuts = 0
    while await cut(database, way, cuts * STRIDE + 1, trail := thread()[0]):
        cuts += 1
        assert_honest(database, trail)
        await finish(database, trail)
    assert_honest(database)

    assert cuts >= at_least // STRIDE
