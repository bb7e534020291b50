"""Countersign's core: signed, hash-chained entries in the transaction of every LangGraph checkpoint.

from countersign.audit import AsyncAuditedPostgresSaver, acting_as, attach

async with AsyncAuditedPostgresSaver.from_conn_string(url) as saver:
    graph = attach(builder.compile(interrupt_before=["order"]), saver, name="medication-order", version="1")
    with acting_as("pharmacist-17", role="pharmacist"):
        await graph.aupdate_state(config, {"decision": "approved"})
        await graph.ainvoke(None, config)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    AppendError,
    AuditError,
    ConfigurationError,
    MalformedError,
    NotFoundError,
    VerificationError,
)

if TYPE_CHECKING:
    from .attachment import attach
    from .call import acting_as
    from .entry import Actor, Workflow
    from .saver import AsyncAuditedPostgresSaver
    from .sync_saver import AuditedPostgresSaver

__all__ = [
    "Actor",
    "AppendError",
    "AsyncAuditedPostgresSaver",
    "AuditError",
    "AuditedPostgresSaver",
    "ConfigurationError",
    "MalformedError",
    "NotFoundError",
    "VerificationError",
    "Workflow",
    "acting_as",
    "attach",
]

_LAZY = {
    "attach": "attachment",
    "acting_as": "call",
    "Actor": "entry",
    "Workflow": "entry",
    "AsyncAuditedPostgresSaver": "saver",
    "AuditedPostgresSaver": "sync_saver",
}


def __getattr__(name: str) -> Any:
    """Import LangGraph's side only when it is asked for: verifying evidence must not need it."""
    if name in _LAZY:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
