"""What is said of a graph before it is attached: its state, its pauses, and what an engineer has to change."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph import types as langgraph_types
from langgraph.cache.memory import InMemoryCache
from langgraph.channels.untracked_value import UntrackedValue
from langgraph.checkpoint.memory import MemorySaver
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, interrupt
from langgraph.types import interrupt as ask_somebody
from typing_extensions import TypedDict

from countersign.audit.errors import ConfigurationError
from countersign.audit.inspection import Inspection, Node, inspect_graph
from graphs import order_graph


@dataclass
class Note:
    text: str


class Point(NamedTuple):
    x: int


class Plain(TypedDict):
    x: int


class Keeper:
    pass


def state(**hints: Any) -> Any:
    return TypedDict("State", hints)  # type: ignore[operator]


def one_node(node: Any, schema: Any = Plain, **options: Any) -> Any:
    builder: Any = StateGraph(schema)
    builder.add_node("node", node, **options)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder


def keep(value: Any) -> Any:
    return {"x": value["x"]}


def musts(found: Inspection) -> list[str]:
    return [f"{remark.where}: {remark.message} {remark.remedy}" for remark in found.remarks if remark.must]


def notes(found: Inspection) -> str:
    return "\n".join(f"{one.where}: {one.message} {one.remedy}" for one in found.remarks if not one.must)


def node_of(found: Inspection, name: str = "node", path: str = "") -> Node:
    (part,) = (part for part in found.parts if part.path == path)
    (node,) = (node for node in part.nodes if node.name == name)
    return node


def channels(found: Inspection) -> dict[str, tuple[str, str]]:
    return {channel.name: (channel.type, channel.shown) for channel in found.parts[0].channels}


def test_a_plain_graph_needs_nothing() -> None:
    found = inspect_graph(order_graph().compile(interrupt_before=["order"], interrupt_after=["analyze"], name="order"))
    assert (found.name, found.ready, found.remarks, found.register) == ("order", True, (), ())
    assert channels(found)["flags"] == ("list[str]", "as it is")
    assert [(node.name, node.pauses) for node in found.parts[0].nodes] == [
        ("analyze", ("after",)),
        ("order", ("before",)),
    ]


def test_how_each_channel_is_shown() -> None:
    schema = state(a=int, b=float, c=Note, d=Any, e=Annotated[list[str], lambda a, b: a + b], f="list[Note] | None")
    assert channels(inspect_graph(one_node(keep, schema))) == {
        "a": ("int", "as it is"),
        "b": ("float", "tagged"),
        "c": (f"{Note.__module__}.Note", "$type, $repr and digest"),
        "d": ("Any", "depends on the value"),
        "e": ("list[str]", "as it is"),
        "f": (f"list[{Note.__module__}.Note] | None", "$type, $repr and digest"),
    }


def test_what_the_state_declares_needs_no_registering() -> None:
    assert inspect_graph(one_node(keep, state(x=list[Note]))).ready


@pytest.mark.parametrize(("annotation", "kind"), [(Point, Point), (Sequence[Note], Note)])
def test_a_class_that_langgraph_does_not_find_is_to_be_registered(annotation: Any, kind: type) -> None:
    found = inspect_graph(one_node(keep, state(x=annotation)))
    (must,) = musts(found)
    assert f"saver.with_allowlist([('{kind.__module__}', '{kind.__name__}')])" in must
    assert found.register == ((kind.__module__, kind.__name__),)


@pytest.mark.parametrize("annotation", [Keeper, io.BytesIO, Callable[[], None], list[Keeper] | None])
def test_what_cannot_be_saved_is_to_be_changed(annotation: Any) -> None:
    (must,) = musts(inspect_graph(one_node(keep, state(x=annotation))))
    assert must.startswith("x: A ")
    assert "cannot be saved" in must


def test_a_class_inside_a_function_is_to_be_moved() -> None:
    @dataclass
    class Inner:
        text: str

    (must,) = musts(inspect_graph(one_node(keep, state(x=Inner))))
    assert "top level of its module" in must


def test_an_exception_in_the_state_comes_back_as_text() -> None:
    found = inspect_graph(one_node(keep, state(x=ValueError)))
    assert found.ready
    assert "x: A ValueError comes back as text." in notes(found)


def test_an_any_is_told_with_the_classes_that_may_hide_there() -> None:
    def hides(value: Any) -> Any:
        return {"x": Note("hidden")}

    found = inspect_graph(one_node(hides, state(x=Any)))
    assert found.ready
    assert "x: Declared as Any" in notes(found)
    assert f"node: The node's code names {Note.__module__}.Note" in notes(found)
    declared = inspect_graph(one_node(hides, state(x=Any, y=Note)))
    assert "names" not in notes(declared)


def test_an_untracked_value_is_not_judged() -> None:
    found = inspect_graph(one_node(keep, state(x=Annotated[Keeper, UntrackedValue])))
    assert (found.ready, channels(found)["x"][1]) == (True, "not saved")
    assert "in no checkpoint" in notes(found)


def helper(value: Any) -> Any:
    return ask_somebody(value)


def asks(value: Any) -> Any:
    return {"x": interrupt("?")}


def asks_by_another_name(value: Any) -> Any:
    return {"x": ask_somebody("?")}


def asks_through_the_module(value: Any) -> Any:
    return {"x": langgraph_types.interrupt("?")}


def asks_in_a_function(value: Any) -> Any:
    def inner() -> Any:
        return interrupt("?")

    return {"x": inner()}


def asks_through_a_helper(value: Any) -> Any:
    return {"x": helper("?")}


async def asks_and_awaits(value: Any) -> Any:
    return {"x": interrupt("?")}


class Asks:
    def __call__(self, value: Any) -> Any:
        return {"x": interrupt("?")}

    def method(self, value: Any) -> Any:
        return {"x": interrupt("?")}


ASKING = [
    asks,
    asks_by_another_name,
    asks_through_the_module,
    asks_in_a_function,
    asks_through_a_helper,
    asks_and_awaits,
    Asks(),
    Asks().method,
    RunnableLambda(asks),
    RunnableLambda(keep) | RunnableLambda(asks),
]


@pytest.mark.parametrize("node", ASKING, ids=lambda node: getattr(node, "__name__", type(node).__name__))
def test_a_node_that_may_ask(node: Any) -> None:
    assert node_of(inspect_graph(one_node(node))).may_ask


def test_a_node_that_does_not() -> None:
    assert not node_of(inspect_graph(one_node(keep))).may_ask


def test_where_a_node_may_go() -> None:
    def leave(value: Any) -> Command[Literal["a", "b"]]:
        return Command(goto="a")

    builder = one_node(leave)
    builder.add_node("a", keep)
    builder.add_node("b", keep)
    builder.add_conditional_edges("a", lambda _: [Send("b", {})], ["b"])
    found = inspect_graph(builder)
    assert [node_of(found, name).goes_to for name in ("node", "a", "b")] == [("a", "b"), ("b",), ()]


def test_coroutines_can_only_be_awaited() -> None:
    async def coroutine(value: Any) -> Any:
        return {"x": 1}

    found = inspect_graph(one_node(coroutine))
    assert node_of(found).awaited_only
    assert "node: Coroutine functions" in notes(found)
    assert not node_of(inspect_graph(one_node(RunnableLambda(keep, afunc=coroutine)))).awaited_only


async def calls_without_awaiting(value: Any) -> Any:
    return INNER.invoke(value)


async def awaits(value: Any) -> Any:
    return await INNER.ainvoke(value)


def calls(value: Any) -> Any:
    return INNER.invoke(value)


INNER = one_node(keep).compile()


@pytest.mark.parametrize(("node", "may"), [(calls_without_awaiting, True), (awaits, False), (calls, False)])
def test_a_coroutine_that_calls_a_graph_without_awaiting(node: Any, may: bool) -> None:  # noqa: FBT001
    found = inspect_graph(one_node(node))
    assert (found.ready, node_of(found).may_block) == (True, may)
    assert ("without awaiting" in notes(found)) is may


def test_a_node_that_runs_again() -> None:
    found = inspect_graph(one_node(keep, retry_policy=RetryPolicy(max_attempts=4)))
    assert (found.ready, node_of(found).attempts) == (True, 4)
    assert "up to 4 times" in notes(found)
    assert node_of(inspect_graph(one_node(keep, retry_policy=RetryPolicy(max_attempts=1)))).attempts is None


def test_a_cache_and_a_store_are_told() -> None:
    builder = one_node(keep, cache_policy=CachePolicy())
    found = inspect_graph(builder.compile(cache=InMemoryCache(), store=InMemoryStore()))
    assert found.ready
    assert "from a cache" in notes(found)
    assert "a store" in notes(found)


def test_a_saver_that_was_compiled_in_is_replaced() -> None:
    found = inspect_graph(order_graph().compile(checkpointer=MemorySaver()))
    assert found.ready
    assert "InMemorySaver: attach puts the audited saver in its place" in notes(found)


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_a_durability_that_is_bound_is_to_be_changed(durability: str) -> None:
    graph = order_graph().compile().with_config(configurable={"__pregel_durability": durability})
    (must,) = musts(inspect_graph(graph))
    assert durability in must


def test_the_one_durability_is_fine() -> None:
    graph = order_graph().compile().with_config(configurable={"__pregel_durability": "sync"})
    assert inspect_graph(graph).ready


def with_subgraph(**options: Any) -> Any:
    return one_node(one_node(asks).compile(interrupt_before=["node"], **options))


SUBGRAPHS: list[tuple[dict[str, Any], str, bool]] = [
    ({}, "inherited", True),
    ({"checkpointer": True}, "of its own in the same thread: audited", True),
    ({"checkpointer": False}, "none", False),
    ({"checkpointer": MemorySaver()}, "its own InMemorySaver: not audited", False),
]


@pytest.mark.parametrize(("options", "checkpoints", "ready"), SUBGRAPHS, ids=[case[1] for case in SUBGRAPHS])
def test_where_a_subgraphs_checkpoints_go(options: dict[str, Any], checkpoints: str, ready: bool) -> None:  # noqa: FBT001
    found = inspect_graph(with_subgraph(**options))
    assert [part.path for part in found.parts] == ["", "node"]
    assert found.parts[1].checkpoints.startswith(checkpoints)
    assert found.ready is ready
    assert all(must.startswith("node: The subgraph") for must in musts(found))
    assert node_of(found, path="node").may_ask
    assert node_of(found, path="node").pauses == ("before",)
    assert "node/node: A static pause inside a subgraph" in notes(found)


def test_a_subgraph_that_a_node_calls_is_found() -> None:
    inner = one_node(asks).compile(checkpointer=MemorySaver())

    def calls(value: Any) -> Any:
        return inner.invoke(value)

    assert not inspect_graph(one_node(calls)).ready


def test_a_subgraph_in_two_nodes_is_told_once() -> None:
    inner = one_node(keep).compile()
    builder = one_node(inner)
    builder.add_node("again", inner)
    builder.add_edge("node", "again")
    assert [part.path for part in inspect_graph(builder).parts] == ["", "node"]


def test_a_graph_without_a_builder() -> None:
    @entrypoint(checkpointer=MemorySaver())
    def flow(order: Note) -> str:
        return str(interrupt(order.text))

    found = inspect_graph(flow)
    # The annotation is text in this module, and LangGraph does not look up what it stands for either.
    assert channels(found)["__start__"] == ("Note", "depends on the value")
    assert node_of(found, "flow").may_ask


def test_the_document_has_it_all() -> None:
    document = inspect_graph(with_subgraph(checkpointer=MemorySaver())).as_json()
    assert document.keys() == {"ready", "name", "parts", "register", "remarks"}
    assert document["ready"] is False


@pytest.mark.parametrize(
    "nonsense", [None, 1, "graph", StateGraph, object(), {"nodes": {}}], ids=lambda value: type(value).__name__
)
def test_what_is_no_graph(nonsense: Any) -> None:
    with pytest.raises(ConfigurationError, match="no LangGraph graph"):
        inspect_graph(nonsense)


def test_a_builder_that_does_not_compile() -> None:
    builder: Any = StateGraph(Plain)
    builder.add_node("node", keep)
    with pytest.raises(ConfigurationError, match="does not compile: ValueError"):
        inspect_graph(builder)
