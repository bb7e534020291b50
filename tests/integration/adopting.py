"""What the tests of adoption share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from click.testing import CliRunner, Result
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from conftest import Database
from countersign.audit.adopt import Adoption, adopt, open_adopter
from countersign.audit.canonical import parse
from countersign.audit.errors import AuditError
from countersign.service.cli import main
from graphs import NEW_ORDER, order_graph

PATIENCE = 30


def static() -> Any:
    return order_graph().compile(interrupt_before=["order"])


def dynamic() -> Any:
    return order_graph(ask=True).compile()


async def write_before(database: Database, graph: Any, config: Any, given: Any = NEW_ORDER) -> Any:
    """Run a graph with LangGraph's own saver, as somebody did who knew nothing of Countersign."""
    async with AsyncPostgresSaver.from_conn_string(database.app_url) as plain:
        return await graph.copy(update={"checkpointer": plain}).ainvoke(given, config)


def adopt_here(database: Database, name: str, *, dry_run: bool = False) -> Adoption:
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        return adopt(conn, open_adopter(conn, database.home, dry_run=dry_run), name, dry_run=dry_run)


def command(*words: str, url: str, home: Path) -> Result:
    env = {"COUNTERSIGN_DATABASE_URL": url, "COUNTERSIGN_HOME": str(home), "COUNTERSIGN_ORIGIN": None}
    return CliRunner().invoke(main, words, env=env)


def body_of(database: Database, trail: str, seq: int) -> Any:
    return parse(database.query("SELECT body FROM audit.entries WHERE trail = %s AND seq = %s", (trail, seq))[0][0])


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.01)


def waiting(database: Database) -> int:
    """Return how many sessions wait for a lock of this database."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return int(database.query(sql)[0][0])


@contextmanager
def entries_locked(database: Database) -> Iterator[None]:
    """Let nobody insert an entry meanwhile."""
    with psycopg.connect(database.admin_url) as conn:
        conn.execute("LOCK TABLE audit.entries IN SHARE MODE")
        yield


async def uses(graph: Any, config: Any) -> list[BaseException | None]:
    """Return how each use of a graph ended."""

    async def history() -> None:
        async for _ in graph.aget_state_history(config):
            pass

    ended: list[BaseException | None] = []
    for use in (
        lambda: graph.ainvoke(None, config),
        lambda: graph.ainvoke(NEW_ORDER, config),
        lambda: graph.aupdate_state(config, {"decision": "approved"}),
        lambda: graph.aget_state(config),
        history,
    ):
        try:
            await use()
        except AuditError as error:
            ended.append(error)
        else:
            ended.append(None)
    return ended
