"""The end of a run that a crash kept from being recorded: found from the trail and the state, and appended late.

Only what LangGraph itself writes nothing of can be lost so (promise 1): static pauses, a run that ended at questions
asked before, a completion. A run that was lost in mid-step gets no end, since another process might still be at it; the
next run of the thread names it as `unfinished`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langgraph.constants import TAG_HIDDEN
from langgraph.types import StateSnapshot

from .call import Call
from .chain import START, Checked, check_entry
from .core import Core
from .effects import Mode, Plan, Unit
from .entry import SYSTEM, CheckpointRef, EntryDraft
from .kinds import Kind
from .pauses import Graph, place_of, questions_within, static_pauses, waits
from .plans import record_plan
from .read import entries_statement, entry_of
from .save import INTERRUPT
from .steps import Steps
from .values import listed

_OPENINGS = (Kind.RUN_STARTED, Kind.RUN_RESUMED)
_ENDS = (Kind.RUN_COMPLETED, Kind.RUN_FAILED, Kind.RUN_REFUSED, Kind.RUN_PAUSED)
_ONWARD = ("update", "goto")
_SENDS = "__pregel_tasks"
_OPEN = (INTERRUPT, "__error__")


def recovery_plan(core: Core, graph: Graph, call: Call, snapshot: StateSnapshot) -> Plan[None]:
    """Append what the run before lost to a crash, marked `recovered`, before the thread goes on.

    `snapshot` is the thread's latest state, with its subgraphs'. Notes in `call.lost` a run that was lost after it
    asked, and before the rest of its step was done: its question looks like its end.
    """
    run = core.open_run(call.trail)
    if run is None and (not questions_within(snapshot) or waits(snapshot)):
        return
    entries = yield Unit(_trail_steps(core, call.trail), Mode.SNAPSHOT)
    if run is None:
        call.lost = _asking_run(entries)
        return
    drafts = [replace(draft, run=run) for draft in _lost(graph, call, snapshot, _Run.of(entries, run))]
    if drafts and core.open_run(call.trail) == run:
        yield from record_plan(drafts)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a trail tells of one run: its opening, what came behind it, and what any run before it wrote."""

    entries: Sequence[Checked]
    all: Sequence[Checked]

    @classmethod
    def of(cls, entries: Sequence[Checked], run: str) -> _Run:
        """Return the run `run`, the last one if its id was used twice; without entries where it has no opening."""
        openings = [at for at, found in enumerate(entries) if found.body.run == run and found.body.kind in _OPENINGS]
        return cls(entries[openings[-1] :] if openings else (), entries)

    @property
    def opening(self) -> Checked:
        return self.entries[0]

    def source(self, place: CheckpointRef) -> str | None:
        """Return how this run saved a checkpoint, `input`, `loop` or `fork`; None when it did not."""
        for found in self.entries:
            if found.body.kind == Kind.CHECKPOINT_SAVED and _at(found) == (place.ns, place.id):
                return str(found.body.detail["source"])
        return None

    def set_out_from(self, place: CheckpointRef) -> bool:
        """Tell whether the run went on from a checkpoint, and what its caller's `Command` says is there, if it does."""
        opening = self.opening.body
        if opening.kind != Kind.RUN_RESUMED or opening.checkpoint is None or opening.checkpoint.id != place.id:
            return False
        commands = {*_ONWARD} & {*_texts(opening.detail.get("command"))}
        return not commands or any(not found.body.detail["path"] for found in self._writes(place, self.entries))

    def led(self, graph: Graph, place: CheckpointRef) -> set[str] | None:
        """Return the nodes that a caller's `Command` added to a step, which no state shows; None where unknown."""
        found: set[str] = set()
        for write in self._writes(place, self.all):
            if not write.body.detail["path"]:
                channels = _channels(write)
                if _SENDS in channels:
                    return None
                found.update(*(graph.trigger_to_nodes.get(channel, ()) for channel in channels))
        return found

    def done(self, place: CheckpointRef) -> set[str]:
        """Return the nodes that came to their end at a checkpoint, in whatever run, and did not fail."""
        return {_node(found) for found in self._writes(place, self.all) if not {*_OPEN} & {*_channels(found)}}

    def asked(self, place: CheckpointRef) -> set[str]:
        """Return the tasks that asked at a checkpoint in this run."""
        writes = self._writes(place, self.entries)
        return {str(found.body.detail["task"]) for found in writes if INTERRUPT in _channels(found)}

    def _writes(self, place: CheckpointRef, entries: Sequence[Checked]) -> Iterator[Checked]:
        return (
            found for found in entries if found.body.kind == Kind.WRITES_SAVED and _at(found) == (place.ns, place.id)
        )

    def pauses(self, graph: Graph, place: CheckpointRef, when: str) -> str | set[str]:
        """Return the nodes `before` or `after` which the run paused: those its caller chose, else the graph's own."""
        name = f"interrupt_{when}"
        payload = self.opening.payload if isinstance(self.opening.payload, dict) else {}
        chosen = None if place.ns else self.opening.body.detail.get(name, payload.get(name))
        found: Any = chosen or (graph.interrupt_before_nodes if when == "before" else graph.interrupt_after_nodes)
        return found if isinstance(found, str) else {*found}

    def paused(self, graph: Graph, snapshot: StateSnapshot) -> str | None:
        """Return how a graph paused statically at a checkpoint that this run saved, as LangGraph decides it.

        A fork that a replay begins with is not paused at, however its graph was compiled.
        """
        place = place_of(snapshot)
        source = self.source(place) if place else None
        if place is None or source not in ("input", "loop"):
            return None
        if source == "loop" and place.parent:
            # What was written to the checkpoint before led to this one.
            wrote = self.done(CheckpointRef(place.parent, place.ns))
            if _meets(graph, self.pauses(graph, place, "after"), wrote):
                return "after"
        due = {task.name for task in snapshot.tasks}
        return "before" if _meets(graph, self.pauses(graph, place, "before"), due) else None


def _trail_steps(core: Core, trail: str) -> Steps[list[Checked]]:
    """Return the checked entries of `trail`."""
    link = START
    checked: list[Checked] = []
    for row in (yield entries_statement(trail)):
        found = check_entry(entry_of(row), after=link, origin=core.appender.origin, ring=core.appender.ring)
        link = found.link
        checked.append(found)
    return checked


def _lost(graph: Graph, call: Call, snapshot: StateSnapshot, run: _Run) -> Iterator[EntryDraft]:
    """Yield the entries that a run lost: what it provably reached, and nobody said."""
    place = place_of(snapshot)
    if not run.entries or place is None:
        return
    pauses = [pause.draft(call, recovered=True) for pause in static_pauses(graph, snapshot, run.paused)]
    if pauses:
        yield from pauses
    elif not snapshot.tasks:  # `next` is empty as soon as its tasks wrote, with the step's checkpoint still to come
        if (run.source(place) or run.set_out_from(place)) and run.led(graph, place) == set():
            yield call.draft(Kind.RUN_COMPLETED, actor=SYSTEM, checkpoint=place, detail={"recovered": True})
    elif waits(snapshot):
        # LangGraph writes an open question again before it ends there: where one was not, its node was at work.
        waiting, led = [task for task in snapshot.tasks if task.result is None], run.led(graph, place)
        if led is not None and led <= run.done(place) and {task.id for task in waiting} <= run.asked(place):
            short, long = listed("interrupts", sorted({item.id for task in waiting for item in task.interrupts}))
            detail = {**short, "recovered": True}
            yield call.draft(Kind.RUN_PAUSED, actor=SYSTEM, checkpoint=place, detail=detail, payload=long or None)


def _asking_run(entries: Sequence[Checked]) -> str | None:
    """Return the last run if nothing but questions tells how it ended."""
    run = next((found.body.run for found in reversed(entries) if found.body.kind in _OPENINGS), None)
    for found in _Run.of(entries, run).entries if run else ():
        body = found.body
        static = body.kind == Kind.INTERRUPT_RAISED and body.detail["when"] != "dynamic"
        if body.run == run and (static or body.kind in _ENDS):
            return None
    return run


def _node(found: Checked) -> str:
    detail = found.body.detail
    return str(detail.get("node") or str(detail["path"]).rpartition(", ")[2])


def _channels(found: Checked) -> tuple[str, ...]:
    payload = found.payload if isinstance(found.payload, dict) else {}
    return _texts(found.body.detail.get("channels", payload.get("channels")))


def _at(found: Checked) -> tuple[str, str] | None:
    place = found.body.checkpoint
    return (place.ns, place.id) if place else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else ()


def _meets(graph: Graph, pauses: str | set[str], nodes: set[str]) -> bool:
    """Tell whether any of the nodes is paused at. `*` leaves out what LangGraph hides, such as `__start__`."""
    if pauses != "*":
        return bool({*pauses} & nodes)
    return any(TAG_HIDDEN not in (graph.nodes[name].tags or ()) for name in nodes if name in graph.nodes)
