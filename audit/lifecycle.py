"""Inside a run: what LangGraph tells of its life, and what must not be shown or begun before it is recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables.config import RunnableConfig
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from langgraph.pregel import Pregel

from .call import CONFIG_KEY, Call
from .entry import SYSTEM, CheckpointRef
from .errors import AppendError
from .kinds import Kind
from .plans import Plan, Settle, check_unbroken, record_plan
from .save import INTERRUPT, interrupts_in, listed
from .saver import AsyncAuditedPostgresSaver
from .sync_saver import AuditedPostgresSaver

_ID = re.compile("[0-9a-f]{32}")
AnySaver = AsyncAuditedPostgresSaver | AuditedPostgresSaver


class Handler(GraphCallbackHandler):
    """Stops a resume that was not recorded, and records the pauses of which LangGraph writes nothing."""

    raise_error = True
    run_inline = True

    def __init__(self, graph: Pregel[Any, Any, Any, Any], saver: AnySaver, call: Call) -> None:
        self.graph = graph
        self.saver = saver
        self.call = call

    def on_resume(self, event: GraphResumeEvent) -> None:
        """Stop the run unless its resume was recorded."""
        self._check(event)

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Record a static pause; the questions of a dynamic one were recorded with LangGraph's writes."""
        if self._is_static(event):
            snapshot = self.graph.get_state(_paused(self.call))
            self.saver.drive(self._pause_plan(event, snapshot.next))
        self.call.paused = True

    def on_chain_start(self, *_: Any, run_id: Any = None, metadata: dict[str, Any] | None = None, **__: Any) -> None:
        """Hold a node until what was written before it, its answer above all, is recorded."""
        if "langgraph_node" in (metadata or {}):
            self.saver.drive(self._node_plan(run_id))

    def on_chain_end(self, *_: Any, run_id: Any = None, **__: Any) -> None:
        """Note that a node is no longer at work."""
        self.call.active.discard(run_id)

    def on_chain_error(self, *_: Any, run_id: Any = None, **__: Any) -> None:
        """Note that a node is no longer at work."""
        self.call.active.discard(run_id)

    def _node_plan(self, run_id: Any) -> Plan[None]:
        if not self.call.recorded:
            raise AppendError(f"A run of thread {self.call.trail!r} was not recorded.", trail=self.call.trail)
        check_unbroken(self.call)
        yield from settle_plan(self.call, set())
        self.call.active.add(run_id)

    def _check(self, event: GraphResumeEvent) -> None:
        if not self.call.recorded:
            raise AppendError(
                f"A resume of thread {self.call.trail!r} at {event.checkpoint_id} was not recorded.",
                remedy="Resume through the graph that attach returned.",
                trail=self.call.trail,
            )

    def _is_static(self, event: GraphInterruptEvent) -> bool:
        return not event.interrupts and not event.checkpoint_ns

    def _pause_plan(self, event: GraphInterruptEvent, nodes: Sequence[str]) -> Plan[Any]:
        when = event.status.removeprefix("interrupt_")
        short, long = listed("next", sorted(nodes))
        draft = self.call.draft(
            Kind.INTERRUPT_RAISED,
            actor=SYSTEM,
            checkpoint=CheckpointRef(event.checkpoint_id, "", self.call.last.parent if self.call.last else None),
            detail={"when": when, **short},
            payload=long or None,
        )
        return record_plan(self.saver.core, [draft])


class AsyncHandler(Handler):
    """As Handler, for runs that are awaited."""

    async def on_resume(self, event: GraphResumeEvent) -> None:  # type: ignore[override]
        """As Handler's."""
        self._check(event)

    async def on_chain_start(  # type: ignore[override]
        self, *_: Any, run_id: Any = None, metadata: dict[str, Any] | None = None, **__: Any
    ) -> None:
        """As Handler's."""
        if "langgraph_node" in (metadata or {}):
            await self.saver.adrive(self._node_plan(run_id))

    async def on_chain_end(self, *_: Any, run_id: Any = None, **__: Any) -> None:  # type: ignore[override]
        """As Handler's."""
        self.call.active.discard(run_id)

    async def on_chain_error(self, *_: Any, run_id: Any = None, **__: Any) -> None:  # type: ignore[override]
        """As Handler's."""
        self.call.active.discard(run_id)

    async def on_interrupt(self, event: GraphInterruptEvent) -> None:  # type: ignore[override]
        """As Handler's."""
        if self._is_static(event):
            snapshot = await self.graph.aget_state(_paused(self.call))
            await self.saver.adrive(self._pause_plan(event, snapshot.next))
        self.call.paused = True


def settle_plan(call: Call, shown: set[str]) -> Plan[None]:
    """Wait until the questions that a chunk shows are recorded, before the chunk is handed out."""
    yield Settle(
        call.trail, call.token, done=lambda: shown <= call.raised, busy=lambda: bool(call.active), submitted=True
    )


def questions(chunk: Any) -> set[str]:
    """Return the ids of the questions that a streamed chunk shows, in any of LangGraph's stream formats.

    A graph's own state may have a key `interrupts`; only what has the form of LangGraph's ids is taken for one.
    """
    if isinstance(chunk, tuple) and chunk:
        return questions(chunk[-1])
    if not isinstance(chunk, Mapping):
        return set()
    shown = {item.id for name in (INTERRUPT, "interrupts") for item in interrupts_in(chunk.get(name))}
    items = chunk.get("interrupts")
    for item in items if isinstance(items, (list, tuple)) else ():
        found = item.get("id") if isinstance(item, Mapping) else None
        if isinstance(found, str) and _ID.fullmatch(found):
            shown.add(found)
    inner = [chunk[name] for name in ("data", "payload") if "type" in chunk and name in chunk]
    return shown.union(*map(questions, inner))


def _paused(call: Call) -> RunnableConfig:
    """Return the address of the state at a pause: the checkpoint this run saved last, which need not be read again."""
    call.handover = [(None, call.latest)] if call.latest else []
    return {"configurable": {"thread_id": call.trail, CONFIG_KEY: call.token}}
