"""The structure of a graph as a canonical document, and what of it the gates of a policy are held against."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.inspection import Channel, Node, inspect_graph, parts_of

SPEC = "countersign/graph/1"
_ROOT = ""
_AT_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Shape:
    """What people who write gates have to know of a graph; names are those of the outermost graph.

    `asking` are nodes whose code, or a subgraph in it, may call interrupt(); `pausing` are (when, node) that the graph
    was compiled to pause at; `fields` are the members of its state; `remarks` is what should be changed before it runs.
    """

    nodes: tuple[str, ...]
    asking: tuple[str, ...]
    pausing: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Json]:
        """Return it as a document that `shape_of_json` reads."""
        return {
            "nodes": [*self.nodes],
            "asking": [*self.asking],
            "pausing": [[*one] for one in self.pausing],
            "fields": [*self.fields],
            "remarks": [*self.remarks],
        }


def shape_of_json(document: Mapping[str, Any]) -> Shape:
    """Return what `Shape.as_json` wrote."""
    return Shape(
        tuple(document["nodes"]),
        tuple(document["asking"]),
        tuple((when, node) for when, node in document["pausing"]),
        tuple(document["fields"]),
        tuple(document["remarks"]),
    )


def structure(graph: Any) -> tuple[dict[str, Json], Shape]:
    """Return the document of a compiled graph and its shape. Nothing runs.

    The same graph gives the same document on every machine: everything is sorted, and no address of an object and no
    path stands in it. Raises ConfigurationError when `graph` is none.
    """
    found = inspect_graph(graph)
    raw = dict(parts_of(graph))
    parts: list[Json] = [_part(part.path, raw[part.path], part.channels, part.nodes) for part in found.parts]
    root = found.parts[0]
    inside = {part.path.split("/")[0] for part in found.parts[1:] if any(node.may_ask for node in part.nodes)}
    shape = Shape(
        nodes=tuple(node.name for node in root.nodes),
        asking=tuple(node.name for node in root.nodes if node.may_ask or node.name in inside),
        pausing=tuple((when, node.name) for node in root.nodes for when in node.pauses),
        fields=tuple(channel.name for channel in root.channels),
        remarks=tuple(f"{one.where}: {one.message}" for one in found.remarks if one.must),
    )
    return {"spec": SPEC, "parts": parts}, shape


def _part(path: str, part: Any, channels: tuple[Channel, ...], nodes: tuple[Node, ...]) -> dict[str, Json]:
    builder = getattr(part, "builder", None)
    inner = {name for name, _ in part.get_subgraphs()}
    return {
        "path": path,
        "nodes": [_node(part, node, inner, whole=builder is None) for node in sorted(nodes, key=lambda one: one.name)],
        "edges": _edges(builder),
        "branches": _branches(builder),
        "channels": [_channel(part, channel) for channel in sorted(channels, key=lambda one: one.name)],
    }


def _node(part: Any, node: Node, inner: set[str], *, whole: bool) -> dict[str, Json]:
    """Return a node. Without a builder there are no edges to tell: then what starts it and what it writes says it."""
    document: dict[str, Json] = {
        "name": node.name,
        "pauses": [*node.pauses],
        "attempts": node.attempts or 1,
        "goes_to": [*node.goes_to],
        "subgraph": node.name in inner,
    }
    if whole:
        document["triggers"] = [*sorted(map(str, part.nodes[node.name].triggers))]
    return document


def _edges(builder: Any) -> list[Json]:
    """Return [from, to] of every edge; one that waits for several nodes has them sorted in place of the first."""
    plain = sorted([one, other] for one, other in getattr(builder, "edges", ()))
    waiting = sorted([sorted(several), other] for several, other in getattr(builder, "waiting_edges", ()))
    return [*plain, *waiting]


def _branches(builder: Any) -> list[Json]:
    """Return the conditional edges; `to` is null where nothing says where they may lead."""
    found: list[dict[str, Any]] = [
        {"from": node, "name": name, "to": sorted({str(end) for end in spec.ends.values()}) if spec.ends else None}
        for node, branches in getattr(builder, "branches", {}).items()
        for name, spec in branches.items()
    ]
    return [*sorted(found, key=lambda one: (one["from"], one["name"]))]


def _channel(part: Any, channel: Channel) -> dict[str, Json]:
    live = part.channels[channel.name]
    reducer = getattr(live, "operator", None)
    return {
        "name": channel.name,
        "type": _AT_ADDRESS.sub("", channel.type),
        "kind": type(live).__name__,
        "reducer": None if reducer is None else _name_of(reducer),
    }


def _name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or type(function).__module__}.{name}"
