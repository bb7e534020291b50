"""What a caller may say about a run: everything that is content, nothing that steers LangGraph past a gate.

Kept apart from the graphs, so that the server can clean a config without importing LangGraph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.errors import MalformedError

MOST_STEPS = 1_000
"""Steps that one run may take, whatever its caller says."""
MOST_TAGS = 100

PAUSES = ("interrupt_before", "interrupt_after")
# LangGraph keeps its own in the configurable, and would take some of them from anybody.
_PRIVATE = ("_", "langgraph", "checkpoint", "countersign")
_OF_CHECKPOINTS = ("run_id", "source", "step", "parents", "writes")
"""What LangGraph says of a checkpoint: a run whose metadata names its run again would be taken for its going on."""
_RESERVED = frozenset({"thread_id", "durability", "callbacks", "assistant_id", "graph_id", *_OF_CHECKPOINTS})
_READ = ("tags", "metadata", "configurable", "recursion_limit", "max_concurrency", *PAUSES)


def clean_config(config: Mapping[str, Any]) -> dict[str, Json]:
    """Return what of a caller's config is passed on to a run; cleaning it again changes nothing.

    Kept are `tags`, `metadata`, `configurable`, `recursion_limit` (at most 1,000), `max_concurrency`, and pauses to be
    added: `interrupt_before`, `interrupt_after`. Dropped, without a word, is whatever would steer the run itself:
    callbacks, thread, checkpoint, durability, and every key that LangGraph or Countersign keeps for itself.

    Raises MalformedError, which names the member, for one of another form.
    """
    found: dict[str, Json] = {}
    for name in _READ:
        if (value := config.get(name)) is not None:
            found[name] = _READERS[name](name, value)
    return found


def _texts(name: str, value: Any) -> Json:
    if not isinstance(value, list) or len(value) > MOST_TAGS or not all(isinstance(item, str) for item in value):
        raise MalformedError(f"config.{name} is no list of at most {MOST_TAGS} texts.")
    return list(value)


def _nodes(name: str, value: Any) -> Json:
    return "*" if value == "*" else _texts(name, value)


def _number(name: str, value: Any) -> Json:
    if type(value) is not int or value < 1:
        raise MalformedError(f"config.{name} is no whole number from 1.")
    return min(value, MOST_STEPS)


def _members(name: str, value: Any) -> Json:
    if not isinstance(value, Mapping):
        raise MalformedError(f"config.{name} is no object.")
    return {key: item for key, item in value.items() if isinstance(key, str) and _is_content(key)}


def _is_content(key: str) -> bool:
    return key not in _RESERVED and not key.startswith(_PRIVATE)


_READERS = {
    "tags": _texts,
    "metadata": _members,
    "configurable": _members,
    "recursion_limit": _number,
    "max_concurrency": _number,
    "interrupt_before": _nodes,
    "interrupt_after": _nodes,
}
