"""Static pauses, of which LangGraph writes nothing: where a graph and its subgraphs stand, read from a snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.pregel import Pregel
from langgraph.types import PregelTask, StateSnapshot

from .call import Call
from .entry import SYSTEM, CheckpointRef, EntryDraft
from .kinds import Kind
from .values import listed

Graph = Pregel[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """One graph that stands still `before` or `after` nodes: at which checkpoint, and which nodes are due."""

    checkpoint: CheckpointRef
    when: str
    nodes: Sequence[str]

    def draft(self, call: Call, **detail: Any) -> EntryDraft:
        """Return the entry for it."""
        short, long = listed("next", sorted(self.nodes))
        return call.draft(
            Kind.INTERRUPT_RAISED,
            actor=SYSTEM,
            checkpoint=self.checkpoint,
            detail={"when": self.when, **short, **detail},
            payload=long or None,
        )


def static_pauses(
    graph: Graph, snapshot: StateSnapshot, how: Callable[[Graph, StateSnapshot], str | None] | None = None
) -> Iterator[Pause]:
    """Yield the static pauses that a snapshot shows, read with its subgraphs', innermost only.

    `how` tells of a graph and its snapshot how it paused, if it did; without, everything that is due stands at a pause,
    and how follows from the pauses that each graph was compiled with.
    """
    inner = False
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot) and task.state.next:
            inner = True
            yield from static_pauses(_subgraph(graph, task), task.state, how)
        elif task.interrupts:
            inner = True
    if inner or any(task.error for task in snapshot.tasks):
        return
    said = (how or _how)(graph, snapshot)
    if said and (checkpoint := place_of(snapshot)):
        yield Pause(checkpoint, said, snapshot.next)


def pauses_within(graph: Graph) -> bool:
    """Tell whether any subgraph was compiled with static pauses."""
    return any(inner.interrupt_before_nodes or inner.interrupt_after_nodes for _, inner in _subgraphs(graph))


def waits(snapshot: StateSnapshot) -> bool:
    """Tell whether every task of a snapshot that is not done waits for an answer, and at least one does."""
    open_tasks = [task for task in snapshot.tasks if task.result is None]
    return any(task.interrupts for task in open_tasks) and all(task.interrupts for task in open_tasks)


def nests(graph: Graph) -> bool:
    """Tell whether a graph has subgraphs."""
    return any(True for _ in _subgraphs(graph))


def questions_within(snapshot: StateSnapshot) -> bool:
    """Tell whether a snapshot or one of its subgraphs', read with it, holds a question."""
    return any(
        task.interrupts or (isinstance(task.state, StateSnapshot) and questions_within(task.state))
        for task in snapshot.tasks
    )


def place_of(snapshot: StateSnapshot) -> CheckpointRef | None:
    """Return how an entry names the checkpoint of a snapshot."""
    place = snapshot.config["configurable"]
    parent = (snapshot.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    found = place.get("checkpoint_id")
    return CheckpointRef(found, place.get("checkpoint_ns", ""), parent) if found else None


def _subgraphs(graph: Graph) -> Iterator[tuple[str, Graph]]:
    for name, inner in graph.get_subgraphs(recurse=True):
        if isinstance(inner, Pregel):
            yield name, inner


def _subgraph(graph: Graph, task: PregelTask) -> Graph:
    return next((inner for _, inner in graph.get_subgraphs(namespace=task.name) if isinstance(inner, Pregel)), graph)


def _how(graph: Graph, snapshot: StateSnapshot) -> str | None:
    if not snapshot.next:
        return None
    before = graph.interrupt_before_nodes
    if before == "*" or set(before) & set(snapshot.next):
        return "before"
    return "after" if graph.interrupt_after_nodes else None
