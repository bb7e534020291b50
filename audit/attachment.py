"""Attaching the audit to a graph: nobody's graph code changes.

`attach` returns the same graph on the audited saver, whose runs and edits are recorded before they are carried out: who
called, from which checkpoint, answering what. A lifecycle handler inside the run stops a resume that was not recorded.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, TypeVar, cast, get_args

from langgraph._internal._serde import build_serde_allowlist  # LangGraph computes it only in its own strict mode
from langgraph.pregel import Pregel

from .audited_graph import AuditedGraph, Rules
from .entry import Workflow
from .errors import ConfigurationError
from .lifecycle import AnySaver
from .pauses import nests, pauses_within
from .saver import AsyncAuditedPostgresSaver
from .sync_saver import AuditedPostgresSaver

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])
NewInput = Literal["record", "refuse"]
_log = logging.getLogger(__name__)


def attach(
    graph: G,
    saver: AnySaver,
    *,
    name: str | None = None,
    version: str = "unversioned",
    new_input: NewInput = "record",
    require_actor: bool = False,
    auth_user: bool = False,
) -> G:
    """Return `graph` with every run, resume and edit recorded by `saver`. The graph itself is left as it was.

    `name` and `version` say in each entry which workflow it was (default: the graph's own name). Types that the graph's
    state declares are rebuilt on reading; everything else stays data. A checkpointer that the graph was compiled with
    is replaced, and the log says so.

    `new_input="refuse"` refuses a new input to a thread that waits for somebody, which LangGraph would let replace the
    open question; with "record" it happens and is on record. `require_actor` refuses whatever is done to a thread that
    exists already without saying who does it (`acting_as`), before anything runs. `auth_user` takes the actor from
    `config["configurable"]["langgraph_auth_user"]` where no `acting_as` says otherwise: only for a host, such as
    LangGraph's server, that sets this key itself, since whoever fills the config could set it.

    Raises ConfigurationError when `graph` is not a compiled LangGraph graph, or is attached already.
    """
    _check(graph, saver, new_input, name, version)
    own = cast("AnySaver", saver.with_allowlist(_state_types(graph)))
    _say_replaced(graph, saver)
    rules = Rules(
        saver=own,
        workflow=Workflow(name or graph.get_name(), version),
        channels=frozenset(name for part in _parts(graph) for name in getattr(part, "channels", ())),
        pauses_within=pauses_within(graph),
        nests=nests(graph),
        refuses_input=new_input == "refuse",
        requires_actor=require_actor,
        auth_user=auth_user,
    )
    audited = type(type(graph).__name__, (AuditedGraph, type(graph)), {"_rules": rules, "__doc__": graph.__doc__})
    attributes = {key: value for key, value in graph.__dict__.items() if key != "__orig_class__"}
    return cast("G", audited(**(attributes | {"checkpointer": own})))


def _check(graph: Any, saver: Any, new_input: str, name: Any, version: Any) -> None:
    if not isinstance(graph, Pregel):
        raise ConfigurationError(
            f"attach takes a compiled graph, not a {type(graph).__name__}.",
            remedy="Call .compile() on the builder first.",
        )
    if isinstance(graph, AuditedGraph):
        raise ConfigurationError("This graph is attached already.", remedy="Attach the graph that .compile() returned.")
    if not isinstance(saver, AsyncAuditedPostgresSaver | AuditedPostgresSaver):
        raise ConfigurationError(
            f"attach takes an audited saver, not a {type(saver).__name__}.",
            remedy="Use AuditedPostgresSaver in place of PostgresSaver, AsyncAuditedPostgresSaver of its twin.",
        )
    _check_subgraphs(graph)
    _check_names(name, version)
    if new_input not in get_args(NewInput):
        raise ConfigurationError(
            f"attach(new_input={new_input!r}) is neither 'record' nor 'refuse'.", remedy="Say one of the two."
        )


def _check_names(name: Any, version: Any) -> None:
    for said, text in (("name", name), ("version", version)):
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise ConfigurationError(
                f"attach({said}={text!r}) is no text.", remedy="Pass what shall stand in every entry, such as '1.4'."
            )


def _check_subgraphs(graph: Pregel[Any, Any, Any, Any]) -> None:
    # LangGraph does not name those among a graph's subgraphs.
    for name, node in (item for part in _parts(graph) for item in getattr(part, "nodes", {}).items()):
        if isinstance(node.bound, Pregel) and node.bound.checkpointer is False:
            raise ConfigurationError(
                f"The subgraph {name!r} was compiled with checkpointer=False: LangGraph fails when it runs under sync "
                "durability, which an audited run demands.",
                remedy="Compile it without; it then uses its caller's saver, and is recorded.",
            )


def _say_replaced(graph: Pregel[Any, Any, Any, Any], own: AnySaver) -> None:
    compiled = graph.checkpointer
    if isinstance(compiled, bool) or compiled is None:
        _log.info("Graph %r had no checkpointer; it now saves through %s.", graph.get_name(), type(own).__name__)
    elif not isinstance(compiled, type(own)):
        _log.warning(
            "Graph %r was compiled with %s; attached, it saves through %s, and threads saved there are not seen here.",
            graph.get_name(),
            type(compiled).__name__,
            type(own).__name__,
        )


def _parts(graph: Pregel[Any, Any, Any, Any]) -> list[Any]:
    return [graph, *(subgraph for _, subgraph in graph.get_subgraphs(recurse=True))]


def _state_types(graph: Pregel[Any, Any, Any, Any]) -> set[tuple[str, ...]]:
    """Return the types that the state of the graph and its subgraphs declares: what may be rebuilt on reading."""
    allowed: set[tuple[str, ...]] = set()
    for part in _parts(graph):
        schemas = list(getattr(getattr(part, "builder", None), "schemas", ()))
        allowed |= build_serde_allowlist(schemas=schemas, channels=getattr(part, "channels", None))
    return allowed
