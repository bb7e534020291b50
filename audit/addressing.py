"""Which thread and which checkpoint a call of an attached graph is about, and under which run id. No I/O."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from langchain_core.runnables.config import RunnableConfig

from .call import CONFIG_KEY, Call
from .entry import check_trail
from .errors import AppendError, ConfigurationError, MalformedError

_MAP = "checkpoint_map"
_PRIVATE = ("__pregel_", "__countersign")


def public(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configurable of `config` without the keys that LangGraph and this package keep for themselves."""
    return {key: value for key, value in (config.get("configurable") or {}).items() if not key.startswith(_PRIVATE)}


def trail_of(configurable: Mapping[str, Any]) -> str:
    """Return the thread that a call addresses. Raises ConfigurationError without one, AppendError for a bad name."""
    thread = configurable.get("thread_id")
    if thread is None:
        raise ConfigurationError(
            "An audited run needs a thread.", remedy='Pass config={"configurable": {"thread_id": ...}}.'
        )
    try:
        return check_trail(str(thread))
    except MalformedError as error:
        raise AppendError(error.message, remedy="Choose another thread id; a UUID always works.") from error


def resolve(call: Call, public: dict[str, Any]) -> None:
    """Settle which checkpoint a call starts from, in the one place where LangGraph and the saver both look."""
    ns = public.get("checkpoint_ns") or ""
    of_namespaces = public.get(_MAP) or {}
    if not call.editing:
        # As LangGraph: a run is of the root graph, and an id beside a namespace was one of the namespace's.
        if public.pop("checkpoint_ns", None):
            public.pop("checkpoint_id", None)
        ns = ""
    if ns in of_namespaces:
        public["checkpoint_id"] = of_namespaces[ns]
    call.addressed = bool(public.get("checkpoint_id"))
    call.within = {inner: found for inner, found in of_namespaces.items() if inner} if not call.editing else {}


def address(call: Call) -> RunnableConfig:
    """Return the address of the root graph's checkpoint that the call starts from."""
    where = {"thread_id": call.trail, "checkpoint_ns": "", CONFIG_KEY: call.token}
    checkpoint_id = None if call.configurable.get("checkpoint_ns") else call.configurable.get("checkpoint_id")
    return {"configurable": where | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def run_id(given: Any) -> uuid.UUID:
    """Return the caller's run id, or a new one. It stands in every body, so it must be a UUID and nothing else."""
    if given is None:
        return uuid.uuid4()
    try:
        return given if isinstance(given, uuid.UUID) else uuid.UUID(str(given))
    except ValueError as error:
        raise ConfigurationError("A run_id that is not a UUID.", remedy="Pass a UUID, or leave it out.") from error


def bare(call: Call) -> RunnableConfig:
    """Return the address of a call's thread, as anybody would give it who only looks."""
    return {"configurable": {"thread_id": call.trail}}
