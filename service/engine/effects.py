"""A stable key for the effects of every node: `config["configurable"]["countersign_effect_key"]`.

A node that is run again for the same task, after a crash or a failure, finds the same key; another task, another round
of the same node and another case find another. So a receiver that honours keys has each effect once.

LangGraph makes the config of a task in one function, for nodes, for tasks of the functional API, and in every subgraph
however it is called. That function is told to put the key in as well. It is LangGraph's own affair, so `check` tries it
out: a worker on which it does not hold runs nothing.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from typing import Any, TypedDict

from langchain_core.runnables.config import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_TASK_ID, CONFIG_KEY_THREAD_ID
from langgraph.graph import END, START, StateGraph

from countersign.audit.canonical import canonical
from countersign.audit.errors import ConfigurationError

EFFECT_KEY = "countersign_effect_key"
_SPEC = "countersign/effect/1"

_algo: Any = importlib.import_module("langgraph.pregel._algo")
_patch_config = _algo.patch_config
_origin: list[str] = []


class _Empty(TypedDict, total=False):
    nothing: str


def effect_key(origin: str, case: str, ns: str) -> str:
    """Return the key of one task: 64 hex digits. `ns` is its checkpoint namespace, which ends with the task's id."""
    return hashlib.sha256(canonical([_SPEC, origin, case, ns])).hexdigest()


def install(origin: str) -> None:
    """Have every task of this process find its key. To be called once, before any graph is run.

    Raises ConfigurationError when the installed LangGraph does not make configs as the one this was written for.
    """
    _origin[:] = [origin]
    _algo.patch_config = _keyed
    check()


def check() -> None:
    """Raise ConfigurationError unless a task of this process finds its key."""
    found: list[Any] = []

    def look(state: _Empty, config: RunnableConfig) -> None:  # noqa: ARG001 - LangGraph goes by the names
        found.append(config["configurable"].get(EFFECT_KEY))

    builder = StateGraph(_Empty)
    builder.add_node("look", look)
    builder.add_edge(START, "look")
    builder.add_edge("look", END)
    builder.compile().invoke({}, {"configurable": {"thread_id": "check"}})
    if [len(key) for key in found if isinstance(key, str)] != [64]:
        raise ConfigurationError(
            "Nodes would find no effect key: this release of LangGraph makes their config in another way.",
            remedy="Install the releases that Countersign was locked with (requirements/dev.lock).",
        )


def _keyed(config: RunnableConfig | None, **changes: Any) -> RunnableConfig:
    patch: Mapping[str, Any] = changes.get("configurable") or {}
    if CONFIG_KEY_TASK_ID in patch and CONFIG_KEY_CHECKPOINT_NS in patch:
        case = str((config or {}).get(CONF, {}).get(CONFIG_KEY_THREAD_ID))
        key = effect_key(_origin[0], case, patch[CONFIG_KEY_CHECKPOINT_NS])
        changes["configurable"] = {**patch, EFFECT_KEY: key}
    made: RunnableConfig = _patch_config(config, **changes)
    return made
