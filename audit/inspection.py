"""What `attach` would record of a graph, and what an engineer should change first. Looks, runs nothing, and needs no
database: pure functions over the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from langgraph.channels.untracked_value import UntrackedValue
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from .attachment import _state_types
from .audited_graph import _DURABILITY, AuditedGraph
from .canonical import Json
from .errors import ConfigurationError
from .nodecode import functions_of, is_awaited_only, mentions
from .statetypes import Judgement, Key, Shown, hints_of, importable, judge, key_of
from .sync_saver import AuditedPostgresSaver

ROOT = ""
_SHOWN = {
    Shown.JSON: "as it is",
    Shown.TAGGED: "tagged",
    Shown.REPR: "$type, $repr and digest",
    Shown.OPEN: "depends on the value",
    Shown.NEVER: "cannot be saved",
}
_PRIVATE = ("__pregel_", "branch:")
_LIBRARIES = ("langgraph.", "langchain")
_UNNAMED = "LangGraph"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the state: its declared type, and how its values stand in the payloads of entries."""

    name: str
    type: str
    shown: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node. `goes_to` are the destinations that were declared, `attempts` how often it may run (None: once).

    What it may do is read from names in its code: it may `interrupt`, or, a coroutine, call a graph without awaiting.
    """

    name: str
    pauses: tuple[str, ...]
    may_ask: bool
    may_block: bool
    awaited_only: bool
    attempts: int | None
    goes_to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The graph (`path` "") or a subgraph (`path` is the node it is in), and where its checkpoints go."""

    path: str
    checkpoints: str
    channels: tuple[Channel, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to change (`must`) or to know, where it is, and what to do."""

    must: bool
    where: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Inspection:
    """All that was found of one graph. `register` are the classes that the saver has to be told."""

    name: str
    parts: tuple[Part, ...]
    remarks: tuple[Remark, ...]
    register: tuple[Key, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing has to be changed."""
        return not any(remark.must for remark in self.remarks)

    def as_json(self) -> dict[str, Json]:
        """Return the document of `--json`."""
        return {
            "ready": self.ready,
            "name": self.name,
            "parts": [_part_json(part) for part in self.parts],
            "register": [[*key] for key in self.register],
            "remarks": [
                {"must": one.must, "where": one.where, "message": one.message, "remedy": one.remedy}
                for one in self.remarks
            ],
        }


@dataclass(frozen=True, slots=True)
class _State:
    """A channel with its annotation and what was judged of it."""

    name: str
    annotation: Any
    judged: Judgement
    tracked: bool


def inspect_graph(graph: Any) -> Inspection:
    """Return what would be recorded of `graph`, a compiled graph or a builder, and what to change.

    Raises ConfigurationError when it is neither, or does not compile.
    """
    remarks: list[Remark] = []
    if isinstance(graph, StateGraph):
        message = "It is a builder: pauses and a saver that are given to .compile() are not seen here."
        remarks.append(_know(ROOT, message, "Compile it before attach; check what .compile() returns to see them."))
        graph = _compiled(graph)
    if not isinstance(graph, Pregel):
        raise ConfigurationError(
            f"A {type(graph).__module__}.{type(graph).__qualname__} is no LangGraph graph.",
            remedy="Name a compiled graph, a StateGraph, or a function without arguments that returns one.",
        )
    allowed = _allowed(graph)
    parts: list[Part] = []
    states: dict[str, list[_State]] = {}
    for path, part in parts_of(graph):
        states[path] = _states(part, allowed)
        parts.append(_part(path, part, states[path]))
        remarks += _about_part(path, part, parts[-1])
    remarks = [*_about_graph(graph, parts), *remarks, *_about_state(states, allowed, graph)]
    register = {key_of(kind) for found in states.values() for state in found for kind in state.judged.register}
    return Inspection(graph.get_name(), tuple(parts), tuple(remarks), tuple(sorted(register)))


def _allowed(graph: Pregel[Any, Any, Any, Any]) -> set[Key]:
    """Return the classes that are rebuilt: those the state declares, and those an attached graph's saver was told."""
    serde = getattr(graph.checkpointer, "serde", None) if isinstance(graph, AuditedGraph) else None
    inner = serde.serde if isinstance(serde, EncryptedSerializer) else serde
    return _state_types(graph) | set(getattr(inner, "_allowed_msgpack_modules", None) or ())


def _compiled(builder: StateGraph[Any, Any, Any, Any]) -> Pregel[Any, Any, Any, Any]:
    try:
        return builder.compile()
    except Exception as error:
        raise ConfigurationError(
            f"The graph does not compile: {type(error).__name__}: {error}", remedy="Mend that first."
        ) from error


def parts_of(graph: Pregel[Any, Any, Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the graph and each of its subgraphs once, by the first node it is found in."""
    seen: set[int] = set()
    queue: list[tuple[str, Any]] = [(ROOT, graph)]
    while queue:
        path, part = queue.pop(0)
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield path, part
        queue += [(_place(path, name), inner) for name, inner in part.get_subgraphs()]
        # LangGraph does not name those that keep no checkpoints.
        queue += [
            (_place(path, name), node.bound) for name, node in part.nodes.items() if isinstance(node.bound, Pregel)
        ]


def _states(part: Any, allowed: set[Key]) -> list[_State]:
    builder = getattr(part, "builder", None)
    hints: dict[str, Any] = {}
    for schema in getattr(builder, "schemas", ()):
        hints = hints_of(schema) | hints
    found = []
    for name, channel in part.channels.items():
        if name.startswith(_PRIVATE) or name not in getattr(builder, "channels", part.channels):
            continue
        annotation = hints.get(name, getattr(channel, "ValueType", Any))
        tracked = not isinstance(channel, UntrackedValue)
        judged = judge(annotation, allowed) if tracked else Judgement(Shown.JSON)
        found.append(_State(name, annotation, judged, tracked))
    return found


def _part(path: str, part: Any, states: list[_State]) -> Part:
    channels = (
        Channel(state.name, _type_text(state.annotation), _SHOWN[state.judged.shown] if state.tracked else "not saved")
        for state in states
    )
    nodes = (_node(name, node, part) for name, node in part.nodes.items() if name != "__start__")
    return Part(path, _checkpoints(path, part.checkpointer), tuple(channels), tuple(nodes))


def _checkpoints(path: str, saver: Any) -> str:
    if path == ROOT:
        return "audited, once attached"
    if saver is None:
        return "inherited: audited with the run that calls it"
    if isinstance(saver, BaseCheckpointSaver):
        return f"its own {type(saver).__name__}: not audited"
    return "of its own in the same thread: audited" if saver else "none"


def _node(name: str, node: Any, part: Any) -> Node:
    pauses = [
        when
        for when, nodes in (("before", part.interrupt_before_nodes), ("after", part.interrupt_after_nodes))
        if nodes == "*" or name in nodes
    ]
    said = mentions(functions_of(node.bound))
    policies = node.retry_policy or part.retry_policy or ()
    attempts = max((policy.max_attempts for policy in policies), default=1)
    return Node(
        name,
        tuple(pauses),
        said.asks,
        said.blocks,
        is_awaited_only(node.bound),
        attempts if attempts > 1 else None,
        _destinations(name, getattr(part, "builder", None)),
    )


def _destinations(name: str, builder: Any) -> tuple[str, ...]:
    """Return where `Command`, `Send` and conditional edges may lead from a node, as far as that was declared."""
    spec = getattr(builder, "nodes", {}).get(name)
    found = set(getattr(spec, "ends", None) or ())
    for branch in getattr(builder, "branches", {}).get(name, {}).values():
        found |= set((branch.ends or {}).values())
    return tuple(sorted(map(str, found)))


def _must(where: str, message: str, remedy: str = "") -> Remark:
    return Remark(True, where, message, remedy)  # noqa: FBT003 - the name of this function says it


def _know(where: str, message: str, remedy: str = "") -> Remark:
    return Remark(False, where, message, remedy)  # noqa: FBT003 - the name of this function says it


def _about_graph(graph: Any, parts: list[Part]) -> Iterator[Remark]:
    if isinstance(graph, AuditedGraph):
        yield _know(ROOT, "It is attached already: this is what is recorded of it.")
    elif isinstance(graph.checkpointer, BaseCheckpointSaver):
        saver = type(graph.checkpointer).__name__
        yield _know(ROOT, f"It was compiled with a {saver}: attach puts the audited saver in its place.")
    if graph.get_name() == _UNNAMED and not isinstance(graph, AuditedGraph):
        message = f"It has no name of its own, so each entry would say {_UNNAMED!r}."
        yield _know(ROOT, message, 'Pass one: attach(graph, saver, name="...", version="...").')
    bound = (graph.config or {}).get("configurable") or {}
    if bound.get(_DURABILITY, "sync") != "sync":
        message = f"Its config binds durability {bound[_DURABILITY]!r}, which every audited run refuses."
        yield _must(ROOT, message, 'Leave it out, or say "sync".')
    if graph.store is not None:
        yield _know(ROOT, "It has a store: what nodes write there is in no checkpoint, and so in no entry.")
    if awaited := [_place(part.path, node.name) for part in parts for node in part.nodes if node.awaited_only]:
        attached = isinstance(graph, AuditedGraph) and isinstance(graph.checkpointer, AuditedPostgresSaver)
        yield (_must if attached else _know)(
            ", ".join(awaited),
            "Coroutine functions: the graph can only be awaited.",
            "Attach it to an AsyncAuditedPostgresSaver, and call ainvoke, astream, aupdate_state.",
        )


def _about_part(path: str, part: Any, found: Part) -> Iterator[Remark]:
    if path != ROOT and isinstance(part.checkpointer, BaseCheckpointSaver):
        yield _must(
            path,
            f"The subgraph was compiled with a {type(part.checkpointer).__name__} of its own: its checkpoints, and "
            "what is decided in it, would not be recorded.",
            "Compile it without a saver (it then uses the caller's), or with checkpointer=True.",
        )
    if path != ROOT and part.checkpointer is False:
        message = "The subgraph was compiled with checkpointer=False, with which LangGraph fails under sync durability."
        yield _must(path, message, "Compile it without checkpointer=False.")
    for node in found.nodes:
        yield from _about_node(path, node, cached=bool(part.nodes[node.name].cache_policy))


def _about_node(path: str, node: Node, *, cached: bool) -> Iterator[Remark]:
    place = _place(path, node.name)
    if node.attempts:
        message = f"LangGraph runs it up to {node.attempts} times when it fails; a failed attempt has no entry."
        yield _know(place, message, "Its effects must bear repeating.")
    if node.may_block:
        message = "A coroutine that may call a graph without awaiting it: an async saver refuses that on its own loop."
        yield _know(place, message, "Await it: ainvoke, astream.")
    if cached:
        yield _know(place, "Its result may come from a cache: entries say what was written, not that the node ran.")
    if path != ROOT and node.pauses:
        yield _know(place, "A static pause inside a subgraph is recorded as the pause of the outer node.")


def _about_state(states: Mapping[str, list[_State]], allowed: set[Key], graph: Any) -> Iterator[Remark]:
    told: set[tuple[str, str]] = set()
    for path, found in states.items():
        for state in found:
            if (state.name, repr(state.annotation)) not in told:
                told.add((state.name, repr(state.annotation)))
                yield from _about_channel(_place(path, state.name), state)
    vague = sorted({state.name for found in states.values() for state in found if state.judged.shown is Shown.OPEN})
    if vague:
        yield _know(
            ", ".join(vague),
            "Declared as Any or the like: how values are shown depends on them. A class that the state does not "
            "declare stays data on reading, and what LangGraph cannot serialize stops the run.",
            "Annotate what goes in.",
        )
        yield from _about_undeclared(allowed, graph)


def _about_channel(place: str, state: _State) -> Iterator[Remark]:
    for kind in state.judged.unsaved:
        yield _must(
            place,
            f"A {_type_text(kind)} cannot be saved: LangGraph's serializer has no form for it but pickle, so the run "
            "would stop at its checkpoint.",
            "Keep it out of the state (a handle belongs to the node or the run's context), or store plain data or a "
            "dataclass in its place.",
        )
    for kind in state.judged.register:
        yield _must(
            place,
            f"A {_type_text(kind)} stays data on reading: LangGraph does not find the class in the annotation, so "
            "after a pause a node would get plain data.",
            f"Register it: {_registering(kind)}.",
        )
    for kind, what in state.judged.lost:
        message = f"A {_type_text(kind)} comes back as {what}."
        if importable(kind):
            yield _know(place, message)
        else:
            yield _must(place, message, "Move the class to the top level of its module.")
    if not state.tracked:
        yield _know(place, "An untracked value: it is in no checkpoint, and so in no entry.")


def _about_undeclared(allowed: set[Key], graph: Any) -> Iterator[Remark]:
    """Yield the classes that nodes name and the state does not declare: one of them may be under an Any."""
    for path, part in parts_of(graph):
        for name, node in part.nodes.items():
            functions = functions_of(node.bound) if name != "__start__" else []
            for kind in sorted(mentions(functions).classes, key=key_of):
                if kind in judge(kind, allowed).register and not kind.__module__.startswith(_LIBRARIES):
                    yield _know(
                        _place(path, name),
                        f"The node's code names {_type_text(kind)}, which the state does not declare: should it get "
                        "into the state, it stays data on reading.",
                        f"If it does: {_registering(kind)}.",
                    )


def _registering(kind: type) -> str:
    return f"attach(graph, saver.with_allowlist([{key_of(kind)!r}]))"


def _place(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _type_text(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _type_text(get_args(annotation)[0])
    if isinstance(annotation, type) and get_origin(annotation) is None:
        name = annotation.__qualname__
        return name if annotation.__module__ in ("builtins", "typing") else f"{annotation.__module__}.{name}"
    return str(annotation).replace("typing.", "")


def _part_json(part: Part) -> dict[str, Json]:
    return {
        "path": part.path,
        "checkpoints": part.checkpoints,
        "channels": [{"name": one.name, "type": one.type, "shown": one.shown} for one in part.channels],
        "nodes": [
            {
                "name": one.name,
                "pauses": [*one.pauses],
                "may_ask": one.may_ask,
                "may_block": one.may_block,
                "awaited_only": one.awaited_only,
                "attempts": one.attempts,
                "goes_to": [*one.goes_to],
            }
            for one in part.nodes
        ],
    }
