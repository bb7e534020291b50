"""Inside a run: what LangGraph tells of its life, and what must not be shown or begun before it is recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.runnables.config import RunnableConfig
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from langgraph.types import StateSnapshot

from .call import CONFIG_KEY, Call
from .effects import Plan, Settle
from .entry import CheckpointRef
from .errors import AppendError
from .pauses import Graph, Pause, static_pauses
from .plans import check_unbroken, record_plan
from .save import INTERRUPT
from .saver import AsyncAuditedPostgresSaver
from .sync_saver import AuditedPostgresSaver
from .values import interrupts_in

_STATIC = {"interrupt_before": "before", "interrupt_after": "after"}
_ID = re.compile("[0-9a-f]{32}")
AnySaver = AsyncAuditedPostgresSaver | AuditedPostgresSaver


class Handler(GraphCallbackHandler):
    """Stops a resume that was not recorded, and records the pauses of which LangGraph writes nothing."""

    raise_error = True
    run_inline = True

    def __init__(self, graph: Graph, pauses_within: bool, saver: AnySaver, call: Call) -> None:  # noqa: FBT001
        self.graph = graph
        self.pauses_within = pauses_within
        self.saver = saver
        self.call = call

    def on_resume(self, event: GraphResumeEvent) -> None:
        """Stop the run unless its resume was recorded."""
        self._check(event)

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Record static pauses; the questions of a dynamic one were recorded with LangGraph's writes."""
        if not self._is_ours(event):
            return
        self._note(event)
        if self._is_static(event):
            snapshot = self.graph.get_state(_paused(self.call), subgraphs=self.pauses_within)
            self.saver.drive(self._pause_plan(event, snapshot))

    def on_chain_start(self, *_: Any, run_id: Any = None, metadata: dict[str, Any] | None = None, **__: Any) -> None:
        """Hold a node until what was written before it, its answer above all, is recorded."""
        if metadata and "langgraph_node" in metadata:
            self._name(metadata)
            self.saver.drive(self._node_plan(run_id))

    def on_chain_end(self, *_: Any, run_id: Any = None, **__: Any) -> None:
        """Note that a node is no longer at work."""
        self.call.active.discard(run_id)

    def on_chain_error(self, *_: Any, run_id: Any = None, **__: Any) -> None:
        """Note that a node is no longer at work."""
        self.call.active.discard(run_id)

    def _node_plan(self, run_id: Any) -> Plan[None]:
        check_unbroken(self.call)
        yield from settle_plan(self.call, set())
        if not self.call.recorded:
            raise AppendError(f"A run of thread {self.call.trail!r} was not recorded.", trail=self.call.trail)
        self.call.active.add(run_id)

    def _check(self, event: GraphResumeEvent) -> None:
        if not self.call.opened:
            raise AppendError(
                f"A resume of thread {self.call.trail!r} at {event.checkpoint_id} was not recorded.",
                remedy="Resume through the graph that attach returned.",
                trail=self.call.trail,
            )

    def _name(self, metadata: Mapping[str, Any]) -> None:
        """Note a node's name under its task's id, with which LangGraph ends the namespace of what the node calls."""
        _, _, task = str(metadata.get("langgraph_checkpoint_ns", "")).rpartition(":")
        self.call.nodes[task] = str(metadata["langgraph_node"])

    def _is_ours(self, event: GraphInterruptEvent) -> bool:
        """Tell whether it is this run that pauses, and no graph with a saver of its own that one of its nodes calls."""
        return str(event.run_id) == self.call.run

    def _note(self, event: GraphInterruptEvent) -> None:
        self.call.paused = True
        self.call.waiting = {item.id for item in event.interrupts}

    def _is_static(self, event: GraphInterruptEvent) -> bool:
        """Tell whether static pauses may have ended the run. A subgraph's may stand beside another's question."""
        return self.pauses_within or event.status in _STATIC

    def _pause_plan(self, event: GraphInterruptEvent, snapshot: StateSnapshot) -> Plan[None]:
        drafts = [pause.draft(self.call) for pause in self._pauses(event, snapshot)]
        yield from record_plan(drafts, self.call, behind=True)
        self.call.ended = self.call.ended or bool(drafts)

    def _pauses(self, event: GraphInterruptEvent, snapshot: StateSnapshot) -> Iterator[Pause]:
        if (when := _STATIC.get(event.status)) is None:
            yield from static_pauses(self.graph, snapshot)
            return
        parent = self.call.last.parent if self.call.last else None
        yield Pause(CheckpointRef(event.checkpoint_id, "", parent), when, snapshot.next)


class AsyncHandler(Handler):
    """As Handler, for runs that are awaited."""

    async def on_resume(self, event: GraphResumeEvent) -> None:  # type: ignore[override]
        """As Handler's."""
        self._check(event)

    async def on_chain_start(  # type: ignore[override]
        self, *_: Any, run_id: Any = None, metadata: dict[str, Any] | None = None, **__: Any
    ) -> None:
        """As Handler's."""
        if metadata and "langgraph_node" in metadata:
            self._name(metadata)
            await self.saver.adrive(self._node_plan(run_id))

    async def on_chain_end(self, *_: Any, run_id: Any = None, **__: Any) -> None:  # type: ignore[override]
        """As Handler's."""
        self.call.active.discard(run_id)

    async def on_chain_error(self, *_: Any, run_id: Any = None, **__: Any) -> None:  # type: ignore[override]
        """As Handler's."""
        self.call.active.discard(run_id)

    async def on_interrupt(self, event: GraphInterruptEvent) -> None:  # type: ignore[override]
        """As Handler's."""
        if not self._is_ours(event):
            return
        self._note(event)
        if self._is_static(event):
            snapshot = await self.graph.aget_state(_paused(self.call), subgraphs=self.pauses_within)
            await self.saver.adrive(self._pause_plan(event, snapshot))


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
