"""A graph as it is run: with the pauses that its policy's gates need, whatever it was compiled with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.runnables.config import RunnableConfig
from langgraph.constants import TAG_HIDDEN
from langgraph.pregel import Pregel

from countersign.audit.attachment import attach
from countersign.audit.audited_graph import AuditedGraph
from countersign.audit.canonical import Json
from countersign.audit.entry import Workflow
from countersign.audit.errors import ConfigurationError
from countersign.audit.gates import Policy
from countersign.audit.saver import AsyncAuditedPostgresSaver

from .caller_config import PAUSES, clean_config

Graph = Pregel[Any, Any, Any, Any]
Nodes = str | Sequence[str]
"""Names of nodes, or * for all that LangGraph does not hide."""


@dataclass(frozen=True, slots=True)
class Governed:
    """One version of a workflow, ready to be run."""

    version: str
    policy: Policy
    graph: AuditedGraph

    @property
    def workflow(self) -> Workflow:
        """What entries call it."""
        return Workflow(self.policy.workflow, self.version)

    def pauses(self, config: Mapping[str, Json]) -> dict[str, Nodes]:
        """Return at which nodes a run stands still: the graph's pauses, and those that the caller's config adds."""
        own = (self.graph.interrupt_before_nodes, self.graph.interrupt_after_nodes)
        return {name: union(nodes, config.get(name) or ()) for name, nodes in zip(PAUSES, own, strict=True)}

    def stops_before(self, nodes: Iterable[str], config: Mapping[str, Json]) -> set[str]:
        """Return which of `nodes` a run must not begin unless it was released."""
        before = self.pauses(config)["interrupt_before"]
        if before == "*":
            return {name for name in nodes if TAG_HIDDEN not in (self.graph.nodes[name].tags or ())}
        return {*nodes} & {*before}

    def options(self, case: str, config: Mapping[str, Json]) -> dict[str, Any]:
        """Return how to call the graph for `case`, under what its caller said: the run's config, and its pauses."""
        said = clean_config(config)
        added = {name: self.pauses(said)[name] for name in PAUSES if said.get(name)}
        run_config = {key: value for key, value in said.items() if key not in PAUSES}
        configurable: dict[str, Any] = {**cast("dict[str, Any]", said.get("configurable") or {}), "thread_id": case}
        return {"config": cast("RunnableConfig", {**run_config, "configurable": configurable}), **added}


def governed(graph: Graph, saver: AsyncAuditedPostgresSaver, policy: Policy, version: str) -> Governed:
    """Return `graph` attached to `saver`, standing still at every gate of `policy`. The graph itself is left as it was.

    Pauses that it was compiled with stay. Raises ConfigurationError when a gate names what is no node of it, or when
    the graph cannot be attached.
    """
    for gate in policy.gates:
        if gate.node not in getattr(graph, "nodes", ()):
            raise ConfigurationError(
                f"The gate {gate.name!r} stands {gate.when} {gate.node!r}, which is no node of the graph of "
                f"{policy.workflow!r}.",
                remedy=f"Its nodes are {', '.join(sorted(name for name in graph.nodes if name != '__start__'))}.",
            )
    paused = graph.copy(
        {
            f"interrupt_{when}_nodes": union(
                getattr(graph, f"interrupt_{when}_nodes"), [gate.node for gate in policy.gates if gate.when == when]
            )
            for when in ("before", "after")
        }
    )
    attached = attach(paused, saver, name=policy.workflow, version=version, new_input="refuse", require_actor=True)
    return Governed(version, policy, cast("AuditedGraph", attached))


def union(*several: Any) -> Nodes:
    """Return all nodes that any of these names; * if any says that."""
    if any(nodes == "*" for nodes in several):
        return "*"
    return sorted({str(name) for nodes in several for name in nodes})
