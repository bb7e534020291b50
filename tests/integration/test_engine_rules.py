"""What nobody gets around: configs of callers, gates of graphs, one run of a case at a time, keys of effects."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt

from conftest import Database
from countersign.audit.errors import ConfigurationError, MalformedError
from countersign.service.engine import effects
from countersign.service.engine.caller_config import MOST_STEPS, clean_config
from countersign.service.engine.deliver import LaterError
from countersign.service.engine.fetch import Backoff
from countersign.service.engine.room import Room
from countersign.service.engine.values import untagged
from countersign.service.engine.worker_home import prepare_worker_home
from integration.delivering import WORKFLOW, Case, engine, policy, worker_home
from integration.engine_graphs import calls, plain

GATES = (("before", "order"),)
TRICKS: list[tuple[str, dict[str, Any]]] = [
    ("another saver", {"configurable": {"__pregel_checkpointer": None}}),
    ("a resume", {"configurable": {"__pregel_resuming": True}}),
    ("durability", {"configurable": {"__pregel_durability": "exit"}, "durability": "exit"}),
    ("an identity", {"configurable": {"langgraph_auth_user": {"identity": "u-1"}}}),
    ("another case", {"configurable": {"thread_id": "elsewhere"}}),
    ("another checkpoint", {"configurable": {"checkpoint_id": "1", "checkpoint_ns": "x", "checkpoint_map": {"": "1"}}}),
    ("a key of its own", {"configurable": {"countersign_effect_key": "same"}}),
    ("the same run going on", {"metadata": {"run_id": "r"}, "configurable": {"run_id": "r"}, "run_id": "r"}),
    ("callbacks", {"callbacks": ["x"]}),
    ("what a checkpoint says of itself", {"metadata": {"source": "update", "step": 3, "writes": {}, "parents": {}}}),
    ("steps without end", {"recursion_limit": 10**9}),
    ("no pauses", {"interrupt_before": [], "interrupt_after": []}),
    ("other pauses", {"interrupt_before": ["analyze"]}),
]


@pytest.fixture
def own(shared_database: Database, tmp_path: Path) -> Path:
    return worker_home(shared_database, tmp_path)


@pytest.mark.parametrize(("name", "config"), TRICKS, ids=[row[0] for row in TRICKS])
async def test_no_config_leads_past_a_gate(
    shared_database: Database, own: Path, name: str, config: dict[str, Any]
) -> None:
    """As it stands in the entry, had nobody cleaned it there."""
    case = Case(shared_database, gate="before-order")
    calls.clear()
    async with engine(shared_database, own, {WORKFLOW: (plain().compile(), policy(*GATES))}) as working:
        case.open({"dose": 10}, config)
        await working.deliver(case.id)

    assert case.kinds() == ["case.opened", "run.started", "interrupt.raised"]
    assert case.last("run.started").body.actor.id == "entry:1"
    assert "order" not in calls
    said = case.last("run.started").body.detail.get("interrupt_before", ["order"])
    assert isinstance(said, list)
    assert "order" in said


def test_a_clean_config_stays_as_it_is() -> None:
    config = {
        "tags": ["a"], "metadata": {"ward": 3}, "configurable": {"model": "x", "nested": {"thread_id": 1}},
        "recursion_limit": 40, "max_concurrency": 2, "interrupt_before": "*", "interrupt_after": ["a"],
    }  # fmt: skip

    assert clean_config(config) == config
    for _, trick in TRICKS:
        assert clean_config(clean_config(trick)) == clean_config(trick)
    assert clean_config({"recursion_limit": 10**9, "nonsense": 1}) == {"recursion_limit": MOST_STEPS}


@pytest.mark.parametrize(
    "config",
    [{"tags": "x"}, {"tags": [1]}, {"metadata": []}, {"configurable": "x"}, {"recursion_limit": 0},
     {"recursion_limit": True}, {"max_concurrency": "2"}, {"interrupt_before": "order"}, {"tags": ["x"] * 101}],
)  # fmt: skip
def test_what_is_no_config_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(MalformedError, match=f"config.{next(iter(config))} is no"):
        clean_config(config)


async def test_a_gate_stands_at_a_node(shared_database: Database, own: Path) -> None:
    with pytest.raises(ConfigurationError, match="'before-x' stands before 'x', which is no node"):
        async with engine(shared_database, own, {WORKFLOW: (plain().compile(), policy(("before", "x")))}):
            pass


async def test_compiled_pauses_stay_and_the_graph_is_left_as_it_was(shared_database: Database, own: Path) -> None:
    graph = plain().compile(interrupt_before=["order"], interrupt_after="*")
    async with engine(shared_database, own, {WORKFLOW: (graph, policy(("before", "analyze")))}) as working:
        found = working.graphs[WORKFLOW].pauses({"interrupt_before": ["order"]})

    assert found == {"interrupt_before": ["analyze", "order"], "interrupt_after": "*"}
    assert (graph.interrupt_before_nodes, graph.interrupt_after_nodes) == (["order"], "*")


async def test_a_case_of_another_version_is_left_alone(shared_database: Database, own: Path) -> None:
    case = Case(shared_database)
    case.open({"dose": 10})
    other = type(WORKFLOW)(WORKFLOW.name, "2")
    async with engine(shared_database, own, {other: (plain().compile(), policy(*GATES))}) as working:
        await working.deliver(case.id)

    assert case.kinds() == ["case.opened"]


async def test_one_run_of_a_case_at_a_time(shared_database: Database, own: Path) -> None:
    """Eight deliveries in two workers at once: one run, and whoever comes second is told to try later."""
    case = Case(shared_database)
    case.open({"dose": 10})
    graphs: Any = {WORKFLOW: (plain().compile(), policy(*GATES))}
    async with engine(shared_database, own, graphs) as one, engine(shared_database, own, graphs) as two:
        ends = await asyncio.gather(
            *(working.deliver(case.id) for working in (one, two) for _ in range(4)), return_exceptions=True
        )

    assert {type(end) for end in ends} <= {LaterError, type(None)}
    assert None in ends
    assert case.kinds() == ["case.opened", "run.started", "interrupt.raised"]


class Seen(TypedDict, total=False):
    item: str
    seen: str


keys: dict[str, list[str]] = {}


def _note(name: str, config: RunnableConfig) -> None:
    keys.setdefault(name, []).append(config["configurable"]["countersign_effect_key"])


def noting(name: str) -> Any:
    """Return a node that notes its key."""

    def node(state: Seen, config: RunnableConfig) -> Seen:
        _note(name, config)
        return {}

    return node


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have tasks find their keys, for one test."""
    monkeypatch.setattr(effects._algo, "patch_config", effects._patch_config)
    effects.install("test.invalid/suite")
    keys.clear()


@pytest.fixture
def keyed(installed: None) -> Any:
    """Return a graph with nodes of every sort: sync, async, a runnable, fanned out, and in subgraphs however called."""

    async def async_node(state: Seen, config: RunnableConfig) -> Seen:
        _note("async", config)
        return {}

    inner: Any = StateGraph(Seen)
    inner.add_node("first", noting("inner first"))
    inner.add_node("second", noting("inner second"))
    inner.add_edge(START, "first")
    inner.add_edge("first", "second")
    subgraph = inner.compile()

    async def calling(state: Seen, config: RunnableConfig) -> Seen:
        _note("calling", config)
        await subgraph.ainvoke({})
        return {}

    def asking(state: Seen, config: RunnableConfig) -> Seen:
        _note("ask", config)
        return {"seen": interrupt("go on?")}

    builder: Any = StateGraph(Seen)
    builder.add_node("sync", noting("sync"))
    builder.add_node("async", async_node)
    builder.add_node("runnable", RunnableLambda(noting("runnable")))
    builder.add_node("subgraph", subgraph)
    builder.add_node("calling", calling)
    builder.add_node("each", noting("each"))
    builder.add_node("ask", asking)
    order = ["sync", "async", "runnable", "subgraph", "calling"]
    for before, after in zip([START, *order], order, strict=False):
        builder.add_edge(before, after)
    builder.add_conditional_edges("calling", lambda _: [Send("each", {}), Send("each", {})], ["each"])
    builder.add_edge("each", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=InMemorySaver())


async def test_every_task_has_a_key_of_its_own(keyed: Any) -> None:
    config: Any = {"configurable": {"thread_id": "case-1"}}
    chunks = [chunk async for chunk in keyed.astream({}, config, stream_mode="updates", subgraphs=True)]
    assert chunks
    all_keys = [key for found in keys.values() for key in found]
    assert {name: len(found) for name, found in keys.items()} == {
        "sync": 1, "async": 1, "runnable": 1, "inner first": 2, "inner second": 2, "calling": 1, "each": 2, "ask": 1,
    }  # fmt: skip
    assert len(set(all_keys)) == len(all_keys)
    assert all(len(key) == 64 for key in all_keys)

    await keyed.ainvoke(None, config)
    assert len({*keys["ask"]}) == 1  # the same task, run again
    await keyed.ainvoke({}, {"configurable": {"thread_id": "case-2"}})
    assert keys["sync"][0] != keys["sync"][1]
    await keyed.ainvoke({}, config)
    assert len({*keys["sync"]}) == 3  # another round of the same case

    state = await keyed.aget_state(config, subgraphs=True)
    assert state.next == ("ask",)
    assert [name for name, _ in keyed.get_subgraphs()] == ["subgraph", "calling"]


async def test_so_has_every_task_of_the_functional_api(installed: None) -> None:
    @task
    async def step(number: int) -> int:
        _note("step", get_config())
        return number

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(number: int, config: RunnableConfig) -> int:
        _note("flow", config)
        return await step(number) + await step(number)

    await flow.ainvoke(2, {"configurable": {"thread_id": "case-1"}})

    assert len({*keys["step"], *keys["flow"]}) == 3


def test_a_worker_without_keys_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects._algo, "patch_config", effects._patch_config)
    monkeypatch.setattr(effects, "_keyed", effects._patch_config)

    with pytest.raises(ConfigurationError, match="no effect key"):
        effects.install("test.invalid/suite")


@pytest.mark.parametrize(
    ("tagged", "value"),
    [
        ({"$float": "0.1"}, 0.1), ({"$int": "1152921504606846976"}, 2**60), ({"$bytes": "AP8="}, b"\x00\xff"),
        ({"$time": "2026-03-02T12:00:00.000000Z"}, datetime(2026, 3, 2, 12, tzinfo=UTC)),
        ({"$map": [[1, {"$float": "2.0"}], [None, "x"]]}, {1: 2.0, None: "x"}),
        ({"$$float": [1, None, True, "x"], "a": {"b": []}}, {"$float": [1, None, True, "x"], "a": {"b": []}}),
    ],
)  # fmt: skip
def test_tagged_values_come_back(tagged: Any, value: Any) -> None:
    assert untagged(tagged) == value
    assert type(untagged(tagged)) is type(value)


@pytest.mark.parametrize(
    "tagged",
    [{"$type": "x", "$repr": "y", "$sha256": "z"}, {"$float": "x"}, {"$bytes": "?"}, {"$time": "noon"}, {"$map": [1]},
     {"$int": None}, {"$unknown": 1}],
)  # fmt: skip
def test_what_only_a_digest_is_of_does_not(tagged: Any) -> None:
    with pytest.raises(MalformedError):
        untagged(tagged)


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(timedelta(seconds=1), timedelta(minutes=5))

    assert [backoff.wait(number).total_seconds() for number in (0, 1, 2, 8, 9, 10_000)] == [1, 2, 4, 256, 300, 300]


async def test_who_is_alone_has_nobody_beside_it() -> None:
    room, inside, most = Room(), [0], {"together": 0, "alone": 0}

    async def visit(how: str) -> None:
        async with room.alone() if how == "alone" else room.together():
            inside[0] += 1
            await asyncio.sleep(0)
            most[how] = max(most[how], inside[0])
            await asyncio.sleep(0)
            inside[0] -= 1

    await asyncio.gather(*(visit("alone" if number % 5 == 2 else "together") for number in range(40)))

    assert most["alone"] == 1
    assert most["together"] > 1
    assert inside == [0]


def test_a_workers_home_holds_two_files(shared_database: Database, tmp_path: Path) -> None:
    home = prepare_worker_home(shared_database.folder, tmp_path / "home")
    prepare_worker_home(shared_database.folder, tmp_path / "home")

    found = {path.name: path.stat().st_mode & 0o777 for path in home.rglob("*")}
    assert found == {shared_database.folder.path.name: 0o700, "graph.pem": 0o600, "trust.json": 0o600}
    (home / shared_database.folder.path.name / "deployment.pem").touch()
    with pytest.raises(ConfigurationError, match=r"holds what no worker may have: deployment\.pem"):
        prepare_worker_home(shared_database.folder, home)
