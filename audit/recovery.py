"""The end of a run that a crash kept from being recorded: found from the trail and the state, and appended late.

Only what LangGraph itself writes nothing of can be lost so (promise 1): static pauses, a run that ended at questions
asked before, a completion. A run that was lost in mid-step gets no end, since another process might still be at it; the
next run of the thread names it as `unfinished`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langgraph.types import StateSnapshot

from .call import Call
from .chain import START, Checked, check_entry
from .core import Core
from .entry import SYSTEM, EntryDraft
from .kinds import Kind
from .pauses import Graph, place_of, static_pauses, waits
from .plans import Mode, Plan, Unit, record_plan
from .read import entries_statement, entry_of
from .save import INTERRUPT, listed
from .steps import Steps

_OPENINGS = (Kind.RUN_STARTED, Kind.RUN_RESUMED)


def recovery_plan(core: Core, graph: Graph, call: Call, snapshot: StateSnapshot) -> Plan[None]:
    """Append what the run before lost to a crash, marked `recovered`, before the thread goes on."""
    run = core.open_run(call.trail)
    if run is None:
        return
    entries = yield Unit(_trail_steps(core, call.trail), Mode.SNAPSHOT)
    drafts = [replace(draft, run=run) for draft in _lost(graph, call, snapshot, _since_opening(entries, run))]
    if drafts and core.open_run(call.trail) == run:
        yield from record_plan(drafts)


def _trail_steps(core: Core, trail: str) -> Steps[list[Checked]]:
    """Return the checked entries of `trail`."""
    link = START
    checked: list[Checked] = []
    for row in (yield entries_statement(trail)):
        found = check_entry(entry_of(row), after=link, origin=core.appender.origin, ring=core.appender.ring)
        link = found.link
        checked.append(found)
    return checked


def _since_opening(entries: Sequence[Checked], run: str) -> list[Checked]:
    """Return the opening of `run`, the last one if its id was used twice, and what came behind it."""
    openings = [at for at, found in enumerate(entries) if found.body.run == run and found.body.kind in _OPENINGS]
    return [*entries[openings[-1] :]] if openings else []


def _lost(graph: Graph, call: Call, snapshot: StateSnapshot, entries: Sequence[Checked]) -> list[EntryDraft]:
    """Return the entries that were lost behind `entries`, the whole of one run so far."""
    place = place_of(snapshot)
    if not entries or place is None:
        return []
    saved = {
        (found.body.checkpoint.ns, found.body.checkpoint.id)
        for found in entries
        if found.body.kind == Kind.CHECKPOINT_SAVED and found.body.checkpoint
    }
    start = entries[0].body.checkpoint
    if (place.ns, place.id) not in saved and (start is None or start.id != place.id):
        return []  # the run set out from another checkpoint, and saved none yet
    if not snapshot.tasks:  # `next` is empty as soon as its tasks wrote, with the step's checkpoint still to come
        return [call.draft(Kind.RUN_COMPLETED, actor=SYSTEM, checkpoint=place, detail={"recovered": True})]
    # LangGraph writes an open question again before it ends there; an answer that was not acted on yet is no end.
    if waits(snapshot) and any(_asks(found) for found in entries):
        short, long = listed("interrupts", sorted({item.id for item in snapshot.interrupts}))
        detail = {**short, "recovered": True}
        return [call.draft(Kind.RUN_PAUSED, actor=SYSTEM, checkpoint=place, detail=detail, payload=long or None)]
    when = _chosen_when(entries[0], snapshot)
    # At a checkpoint that this run did not save it did not stop either: it set out from there.
    return [
        pause.draft(call, recovered=True)
        for pause in static_pauses(graph, snapshot, when)
        if (pause.checkpoint.ns, pause.checkpoint.id) in saved
    ]


def _asks(found: Checked) -> bool:
    channels = found.body.detail.get("channels")
    return isinstance(channels, list) and INTERRUPT in channels


def _chosen_when(opening: Checked, snapshot: StateSnapshot) -> str | None:
    """Return how the run paused where its caller had chosen its pauses, else None."""
    for name in ("interrupt_before", "interrupt_after"):
        chosen = opening.body.detail.get(name)
        if chosen == "*" or (isinstance(chosen, list) and (name == "interrupt_after" or {*chosen} & {*snapshot.next})):
            return name.removeprefix("interrupt_")
    return None
