"""The graphs of the event table: each as small as what it shows allows."""

from __future__ import annotations

import asyncio
import operator
import threading
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableLambda
from langgraph.channels import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt


class Order(TypedDict):
    """A medication order on its way."""

    dose: int
    decision: str
    steps: Annotated[list[str], operator.add]


class Notes(TypedDict):
    """A state whose list is stored as differences."""

    notes: Annotated[list[str], DeltaChannel(lambda state, writes: [*state, *(n for w in writes for n in w)])]
    decision: str


NEW = {"dose": 5, "decision": "", "steps": []}


def _step(name: str) -> Any:
    return lambda _: {"steps": [name]}


def _asking(name: str) -> Any:
    return lambda _: {"steps": [f"{name}: {interrupt(f'{name}?')}"]}


def _chain(*nodes: tuple[str, Any]) -> StateGraph[Any]:
    builder = StateGraph(Order)
    for before, (name, node) in zip((START, *(name for name, _ in nodes)), nodes, strict=False):
        builder.add_node(name, node)
        builder.add_edge(before, name)
    builder.add_edge(nodes[-1][0], END)
    return builder


def straight(**compiled: Any) -> Any:
    """analyze -> order."""
    return _chain(("analyze", _step("analyzed")), ("order", _step("ordered"))).compile(**compiled)


def paused_before() -> Any:
    """analyze -> order, with a pause before order."""
    return straight(interrupt_before=["order"])


def paused_after() -> Any:
    """analyze -> order, with a pause after analyze."""
    return straight(interrupt_after=["analyze"])


def paused_everywhere() -> Any:
    """analyze -> order, with a pause before each."""
    return straight(interrupt_before="*")


def paused_at_the_end() -> Any:
    """analyze -> order, with a pause after order, when nothing is due."""
    return straight(interrupt_after=["order"])


def routed() -> Any:
    """analyze, then order or discard, as the decision says; pauses after analyze."""
    builder = StateGraph(Order)
    for name in ("analyze", "order", "discard"):
        builder.add_node(name, _step(name))
    builder.add_edge(START, "analyze")
    builder.add_conditional_edges("analyze", lambda state: "order" if state["decision"] == "yes" else "discard")
    return builder.compile(interrupt_after=["analyze"])


def asking() -> Any:
    """analyze -> ask (a question) -> order."""
    return _chain(("analyze", _step("analyzed")), ("ask", _asking("ask")), ("order", _step("ordered"))).compile()


def asking_twice() -> Any:
    """Ask two questions in one node."""
    return _chain(("ask", lambda _: {"steps": [f"{interrupt('dose?')} {interrupt('route?')}"]})).compile()


def asking_in_a_loop() -> Any:
    """Ask again until the answer is yes."""
    builder = StateGraph(Order)
    builder.add_node("ask", lambda _: {"decision": interrupt("approve?")})
    builder.add_edge(START, "ask")
    builder.add_conditional_edges("ask", lambda state: END if state["decision"] == "yes" else "ask")
    return builder.compile()


def side_by_side(left: Any = None, right: Any = None) -> Any:
    """left and right at once; both ask unless said otherwise."""
    builder = StateGraph(Order)
    for name, node in (("left", left or _asking("left")), ("right", right or _asking("right"))):
        builder.add_node(name, node)
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    return builder.compile()


def one_asks() -> Any:
    """left is done, right asks."""
    return side_by_side(left=_step("left"))


def within(inner: Any) -> Any:
    """outer: a subgraph, then order."""
    return _chain(("inner", inner), ("order", _step("ordered"))).compile()


def inherited() -> Any:
    """A subgraph that asks, on its parent's saver."""
    return within(_chain(("ask", _asking("ask"))).compile())


def own() -> Any:
    """A subgraph that asks, with checkpoints of its own that outlive the call."""
    return within(_chain(("ask", _asking("ask"))).compile(checkpointer=True))


def paused_within() -> Any:
    """A subgraph that pauses before its second node."""
    return within(straight(interrupt_before=["order"]))


def paused_within_after() -> Any:
    """A subgraph that pauses after its first node."""
    return within(straight(interrupt_after=["analyze"], checkpointer=True))


def fan_out() -> Any:
    """plan sends two checks, each of which asks; then order."""
    builder = StateGraph(Order)
    builder.add_node("plan", _step("planned"))
    builder.add_node("check", lambda item: {"steps": [f"{item['drug']}: {interrupt(item['drug'])}"]})
    builder.add_node("order", _step("ordered"))
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda _: [Send("check", {"drug": name}) for name in ("a", "b")], ["check"])
    builder.add_edge("check", "order")
    return builder.compile()


def functional() -> Any:
    """An entrypoint with a task, that asks."""

    @task
    def analyze(dose: int) -> int:
        return dose * 2

    @entrypoint()
    def order(dose: int) -> str:
        return f"{analyze(dose).result()} mg: {interrupt('approve?')}"

    return order


def functional_async() -> Any:
    """As `functional`, for async runs."""

    @task
    async def analyze(dose: int) -> int:
        return dose * 2

    @entrypoint()
    async def order(dose: int) -> str:
        return f"{await analyze(dose)} mg: {interrupt('approve?')}"

    return order


def _failing(times: int) -> Any:
    seen: list[int] = []

    def order(_: Any) -> dict[str, Any]:
        seen.append(1)
        if len(seen) <= times:
            raise RuntimeError("the printer is off")
        return {"steps": ["ordered"]}

    return order


def retried() -> Any:
    """order fails once and is tried again by LangGraph."""
    builder = StateGraph(Order)
    builder.add_node(
        "order", _failing(1), retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.0, retry_on=RuntimeError)
    )
    builder.add_edge(START, "order")
    return builder.compile()


def failing(times: int = 1) -> Any:
    """analyze -> order, which fails the first `times`."""
    return _chain(("analyze", _step("analyzed")), ("order", _failing(times))).compile()


def handled() -> Any:
    """order fails, and its error handler takes over."""
    builder = StateGraph(Order)
    builder.add_node("order", _failing(99), error_handler=lambda _: {"steps": ["told the ward"]})
    builder.add_edge(START, "order")
    return builder.compile()


def commanded() -> Any:
    """ask answers with a Command that goes to order or discard."""

    def ask(_: Order) -> Command[Any]:
        answer = interrupt("approve?")
        return Command(goto="order" if answer == "yes" else "discard", update={"decision": answer})

    builder: Any = StateGraph(Order)
    builder.add_node("ask", ask, destinations=("order", "discard"))
    builder.add_node("order", _step("ordered"))
    builder.add_node("discard", _step("discarded"))
    builder.add_edge(START, "ask")
    return builder.compile()


def differences() -> Any:
    """note -> ask, over a DeltaChannel."""
    builder = StateGraph(Notes)
    builder.add_node("note", lambda _: {"notes": ["noted"]})
    builder.add_node("ask", lambda _: {"decision": interrupt("approve?")})
    builder.add_edge(START, "note")
    builder.add_edge("note", "ask")
    return builder.compile()


class Hanging:
    """A node that hangs: for ever where it can be cancelled, else for longer than its run is patient."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    async def hang(self, _: Any) -> dict[str, Any]:
        self.begun.set()
        await asyncio.Event().wait()
        return {}

    def wait(self, _: Any) -> dict[str, Any]:
        threading.Event().wait(2 * PATIENCE)  # LangGraph waits for the threads of a run that it gave up
        return {}


PATIENCE = 1.0
"""Seconds that a step may take where the row is about a timeout."""
hangings: list[Hanging] = []
"""Those of this process, the newest last."""


def hanging(**attributes: Any) -> Any:
    """analyze -> order, which hangs."""
    hangings.append(Hanging())
    node = RunnableLambda(hangings[-1].wait, hangings[-1].hang)
    graph = _chain(("analyze", _step("analyzed")), ("order", node)).compile()
    for name, value in attributes.items():
        setattr(graph, name, value)
    return graph
