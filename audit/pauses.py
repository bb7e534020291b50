"""Static pauses, of which LangGraph writes nothing: where a graph and its subgraphs stand, read from a snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.pregel import Pregel
from langgraph.types import PregelTask, StateSnapshot

from .call import Call
from .entry import SYSTEM, CheckpointRef, EntryDraft
from .kinds import Kind
from .save import listed

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


def static_pauses(graph: Graph, snapshot: StateSnapshot, when: str | None = None) -> Iterator[Pause]:
    """Yield the static pauses that a snapshot shows, read with its subgraphs', innermost only.

    `when` is how the run of the root graph ended, where LangGraph said so; otherwise, and within subgraphs, it follows
    from the pauses each was compiled with.
    """
    inner = False
    for task in snapshot.tasks:
        if isinstance(task.state, StateSnapshot) and task.state.next:
            inner = True
            yield from static_pauses(_subgraph(graph, task), task.state)
        elif task.interrupts:
            inner = True
    if not snapshot.next or inner or any(task.error for task in snapshot.tasks):
        return
    said = when or _when(graph, snapshot.next)
    if said and (checkpoint := place_of(snapshot)):
        yield Pause(checkpoint, said, snapshot.next)


def pauses_within(graph: Graph) -> bool:
    """Tell whether any subgraph was compiled with static pauses."""
    return any(inner.interrupt_before_nodes or inner.interrupt_after_nodes for _, inner in _subgraphs(graph))


def waits(snapshot: StateSnapshot) -> bool:
    """Tell whether every task of a snapshot that is not done waits for an answer, and at least one does."""
    open_tasks = [task for task in snapshot.tasks if task.result is None]
    return any(task.interrupts for task in open_tasks) and all(task.interrupts for task in open_tasks)


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


def _when(graph: Graph, nodes: Sequence[str]) -> str | None:
    before = graph.interrupt_before_nodes
    if before == "*" or set(before) & set(nodes):
        return "before"
    return "after" if graph.interrupt_after_nodes else None
