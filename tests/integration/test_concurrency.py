"""Many writers at once: no gap, no duplicate, no deadlock, and every trail verifies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach
from countersign.audit.entry import EntryDraft
from graphs import NEW_ORDER, order_graph, thread
from integration.faults import assert_honest, open_appender, rows_of

WRITERS, ENTRIES = 16, 20
Pool = AsyncConnectionPool[AsyncConnection[Any]]
SaverOf = Callable[[Database], AbstractAsyncContextManager[AsyncAuditedPostgresSaver]]


async def write(database: Database, appends: Iterable[tuple[str, ...]]) -> None:
    """Append on a connection and with an appender of one's own: one transaction for each item of `appends`."""
    appender = open_appender(database)
    async with await AsyncConnection.connect(database.app_url, autocommit=True) as conn:
        for trails in appends:
            async with conn.transaction():
                await appender.aappend(conn, *(EntryDraft(trail, "review.opened") for trail in trails))


def lengths(database: Database) -> list[tuple[Any, ...]]:
    """Return (first, last, how many) of each case's trail."""
    return database.query(
        "SELECT min(seq), max(seq), count(*) FROM audit.entries WHERE trail <> '@keys' GROUP BY trail"
    )


async def test_sixteen_writers_on_sixteen_trails(database: Database) -> None:
    await asyncio.gather(*(write(database, [(f"case-{n}",)] * ENTRIES) for n in range(WRITERS)))

    assert lengths(database) == [(1, ENTRIES, ENTRIES)] * WRITERS
    assert_honest(database)


async def test_sixteen_writers_on_one_trail(database: Database) -> None:
    await asyncio.gather(*(write(database, [("case",)] * ENTRIES) for _ in range(WRITERS)))

    assert lengths(database) == [(1, WRITERS * ENTRIES, WRITERS * ENTRIES)]
    assert_honest(database)


async def test_transactions_over_two_trails_in_opposite_orders_do_not_deadlock(database: Database) -> None:
    orders = [("a", "b"), ("b", "a")]
    await asyncio.gather(*(write(database, [orders[n % 2]] * ENTRIES) for n in range(WRITERS)))

    assert lengths(database) == [(1, WRITERS * ENTRIES, WRITERS * ENTRIES)] * 2
    assert_honest(database)


async def test_trails_whose_locks_are_taken_one_by_one_lose_a_transaction_but_no_entry(database: Database) -> None:
    """Who appends to b and then to a in two calls can deadlock; the server ends one, and its retry finds its place."""
    appender = open_appender(database)
    turn = asyncio.Barrier(2)

    async def append(first: str, second: str) -> int:
        async with await AsyncConnection.connect(database.app_url, autocommit=True) as conn:
            try:
                async with conn.transaction():
                    await appender.aappend(conn, EntryDraft(first, "review.opened"))
                    await turn.wait()
                    await appender.aappend(conn, EntryDraft(second, "review.opened"))
            except Exception as error:  # noqa: BLE001 - looked at below
                assert getattr(error, "sqlstate", None) == "40P01"  # noqa: PT017
                async with conn.transaction():
                    await appender.aappend(
                        conn, EntryDraft(first, "review.opened"), EntryDraft(second, "review.opened")
                    )
                return 1
            return 0

    assert sorted(await asyncio.gather(append("a", "b"), append("b", "a"))) == [0, 1]
    assert lengths(database) == [(1, 2, 2)] * 2
    assert_honest(database)


@asynccontextmanager
async def on_a_pool(database: Database, **kwargs: Any) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    async with Pool(database.app_url, kwargs=kwargs, min_size=4, max_size=4, open=False) as pool:
        yield AsyncAuditedPostgresSaver(pool, home=database.home)


def a_pool_as_langgraph_documents_it(database: Database) -> AbstractAsyncContextManager[AsyncAuditedPostgresSaver]:
    return on_a_pool(database, autocommit=True, prepare_threshold=0, row_factory=dict_row)


def a_default_pool(database: Database) -> AbstractAsyncContextManager[AsyncAuditedPostgresSaver]:
    return on_a_pool(database)


def one_connection(database: Database) -> AbstractAsyncContextManager[AsyncAuditedPostgresSaver]:
    return database.saver()


SAVERS = [a_pool_as_langgraph_documents_it, a_default_pool, one_connection]


async def begin(graph: Any, config: Any) -> None:
    await graph.ainvoke(NEW_ORDER, config)
    assert (await graph.aget_state(config)).next == ("order",)


async def decide(graph: Any, config: Any, who: str) -> None:
    with acting_as(who):
        await graph.aupdate_state(config, {"decision": who})
        result = await graph.ainvoke(None, config)
    assert result["steps"] == ["analyzed", f"ordered 5 mg: {who}"]


def actors(database: Database, trail: str) -> set[str]:
    sql = "SELECT DISTINCT convert_from(body, 'UTF8')::json #>> '{actor,id}' FROM audit.entries WHERE trail = %s"
    return {row[0] for row in database.query(sql, (trail,))}


@pytest.mark.parametrize("saver_of", SAVERS)
async def test_eight_graphs_on_one_saver(database: Database, saver_of: SaverOf) -> None:
    async with saver_of(database) as saver:
        graphs = [attach(order_graph().compile(interrupt_before=["order"]), saver, name=f"g{n}") for n in range(8)]
        threads = [thread() for _ in graphs]

        async def case(number: int) -> None:
            await begin(graphs[number], threads[number][1])
            await decide(graphs[number], threads[number][1], f"person-{number}")

        await asyncio.gather(*(case(number) for number in range(8)))

    kinds = [sorted(database.kinds(trail)) for trail, _ in threads]
    assert kinds == [kinds[0]] * 8
    assert len(kinds[0]) == 13
    for number, (trail, _) in enumerate(threads):
        assert actors(database, trail) == {"system", "unattributed", f"person-{number}"}
    assert_honest(database)


@pytest.mark.parametrize("saver_of", SAVERS)
async def test_a_case_goes_on_in_another_process_saver(database: Database, saver_of: SaverOf) -> None:
    trail, config = thread()
    async with saver_of(database) as saver:
        await begin(attach(order_graph().compile(interrupt_before=["order"]), saver), config)
    async with saver_of(database) as saver:
        await decide(attach(order_graph().compile(interrupt_before=["order"]), saver), config, "person-1")

    assert database.kinds(trail)[-1] == "run.completed"
    assert_honest(database)


@pytest.mark.parametrize("saver_of", SAVERS)
async def test_two_savers_take_turns_on_one_case(database: Database, saver_of: SaverOf) -> None:
    trail, config = thread()
    async with saver_of(database) as one, saver_of(database) as other:
        first, second = (attach(order_graph().compile(interrupt_before=["order"]), saver) for saver in (one, other))
        await begin(first, config)
        await second.aupdate_state(config, {"dose": 6})
        await first.aupdate_state(config, {"dose": 7})
        await second.aupdate_state(config, {"dose": 5})
        await decide(first, config, "person-1")

    assert database.kinds(trail).count("state.updated") == 4
    assert_honest(database)


@pytest.mark.parametrize("saver_of", SAVERS)
async def test_a_reader_is_never_told_of_damage_while_honest_writers_go_on(
    database: Database, saver_of: SaverOf
) -> None:
    trail, config = thread()
    async with saver_of(database) as writer, saver_of(database) as reader:
        writing = attach(order_graph().compile(interrupt_before=["order"]), writer)
        reading = attach(order_graph().compile(interrupt_before=["order"]), reader)
        await begin(writing, config)

        async def write_doses() -> None:
            for dose in range(10, 20):
                await writing.aupdate_state(config, {"dose": dose})

        writes = asyncio.create_task(write_doses())
        seen = []
        while not writes.done():
            seen.append((await reading.aget_state(config)).values["dose"])
        await writes

    assert "run.refused" not in database.kinds(trail)
    assert seen
    assert seen == sorted(seen)
    assert_honest(database)


async def test_tasks_of_one_step_are_all_bound(database: Database, saver: AsyncAuditedPostgresSaver) -> None:
    """Parallel nodes save their writes side by side; each is bound, and the next checkpoint comes after all of them."""
    builder = order_graph()
    for number in range(8):
        name = f"check-{number}"
        builder.add_node(name, lambda _, name=name: {"steps": [name]})
        builder.add_edge("analyze", name)
        builder.add_edge(name, "order")
    trail, config = thread()
    graph: Any = attach(builder.compile(), saver)
    result = await graph.ainvoke(NEW_ORDER, config)

    assert {f"check-{number}" for number in range(8)} <= set(result["steps"])
    kinds = database.kinds(trail)
    assert kinds.count("writes.saved") >= 10
    assert rows_of(database, trail) > 0
    assert_honest(database)
