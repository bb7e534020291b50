"""Carrying out what is outstanding of one case: each mandate exactly once, whatever crashes when.

What a mandate allows is read from the trail, and so is how far it was carried out: a run or an edit under it is an
entry, in the transaction of what it did. Who comes after a crash goes on from there. One run per case is under way at a
time, by a session lock that a dead process does not hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
from langchain_core.runnables.config import RunnableConfig
from langgraph.types import Command, StateSnapshot

from countersign.audit.audited_graph import AuditedGraph
from countersign.audit.call import acting_as
from countersign.audit.canonical import Json
from countersign.audit.caseruns import CaseRuns
from countersign.audit.chain import Checked
from countersign.audit.entry import SYSTEM, EntryDraft, Workflow
from countersign.audit.errors import AppendError, AuditError, VerificationError
from countersign.audit.kinds import Kind
from countersign.audit.mandates import END_NODE, Act, Mandate, Todo, actor_of
from countersign.audit.pauses import place_of
from countersign.audit.plans import record_plan, trail_plan
from countersign.audit.recent import Recent
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.values import listed

from .gates import Governed
from .locks import BusyError, Locks
from .room import Room
from .trail import Trail, held_back
from .values import untagged


class LaterError(Exception):
    """It cannot be done just now: the database is away, somebody else is at it, or the case went on meanwhile."""


class LostRunError(Exception):
    """A run was lost again and again: with its worker, before anything said how it ended."""


class GateError(Exception):
    """What was to be done would have gone around a gate."""


@dataclass(slots=True)
class Engine:
    """What a worker needs to carry out mandates: savers, locks, and the graphs it knows, by name and version."""

    saver: AsyncAuditedPostgresSaver
    locks: Locks
    graphs: Mapping[Workflow, Governed]
    run_limit: float
    """Seconds that one run may take."""
    attempts: int
    """How often a mandate is tried before its case is left as failed."""
    trails: Recent[str, list[Checked]] = field(default_factory=lambda: Recent(128))
    room: Room = field(default_factory=Room)
    spoiled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a run was broken off, so that something of it may still be at work in a thread of this process."""

    async def deliver(self, case: str, *, attempt: int = 0) -> None:
        """Carry out what is outstanding of `case`. Whatever its nodes do is recorded, and is no error here.

        A case of another version than is known here is left alone. `attempt` counts from 0; from `attempts` on the case
        is left as failed, visible and to be retried by somebody. Raises LaterError where trying again may help.
        """
        try:
            async with self.locks.of(case):
                await _Delivery(self, case, attempt).carry_out()
        except (BusyError, psycopg.OperationalError) as error:
            raise LaterError(f"{type(error).__name__}: {error}") from error


class _Delivery:
    """The carrying out of one case's mandates by whoever holds its lock."""

    def __init__(self, engine: Engine, case: str, attempt: int) -> None:
        self.engine = engine
        self.case = case
        self.attempt = attempt

    async def carry_out(self) -> None:
        done: set[int] = set()
        while True:
            trail = await self.read()
            governed = self.engine.graphs.get(trail.workflow) if trail.workflow else None
            if governed is None:
                return
            runs = trail.replay(governed.policy)
            pending = [one for one in runs.pending if one.seq not in done]
            if not pending or runs.stopped:
                return
            if not await _Step(self, governed, trail, runs, pending[0]).take():
                if len(pending) == 1:
                    return  # what was given meanwhile has a job of its own
                done.add(pending[0].seq)

    async def read(self) -> Trail:
        """Return the trail as it is now, checked."""
        engine = self.engine
        try:
            entries = await engine.saver.adrive(
                trail_plan(engine.saver.core, self.case, engine.trails.get(self.case) or ())
            )
        except AppendError as error:
            raise LaterError(error.message) from error
        engine.trails[self.case] = entries
        return Trail(entries)


class _Step:
    """One step under one mandate."""

    def __init__(self, delivery: _Delivery, governed: Governed, trail: Trail, runs: CaseRuns, mandate: Mandate) -> None:
        self.delivery = delivery
        self.saver = delivery.engine.saver
        self.governed = governed
        self.graph: AuditedGraph = governed.graph
        self.trail = trail
        self.runs = runs
        self.mandate = mandate
        options = governed.options(delivery.case, trail.config)
        self.config: RunnableConfig = options.pop("config")
        self.pauses = options

    async def take(self) -> bool:
        """Take the step, and return whether another one may follow. What fails for good is recorded."""
        try:
            actor = actor_of(self.mandate.seq)
            # A run that was lost may have taken its process with it, and whoever was at work there: now it is alone.
            beside = self.delivery.engine.room.alone if self._was_lost() else self.delivery.engine.room.together
            async with beside():
                with acting_as(actor.id, via=actor.via):
                    return await self._take()
        except VerificationError:
            return False  # refused, and on record
        except (LaterError, psycopg.OperationalError) as error:
            raise LaterError(str(error)) from error
        except Exception as error:  # noqa: BLE001 - whatever a node does harms its own case only
            await self._failed(error)
            return False

    def _check_attempts(self) -> None:
        begun = self.trail.runs_under(self.mandate.seq)
        if begun >= self.delivery.engine.attempts:
            raise LostRunError(f"It was begun {begun} times, and lost with its worker each time.")

    async def _take(self) -> bool:
        if self._was_lost():
            self._check_attempts()
            # What it reached is recorded before anything goes on: LangGraph would go past a pause that nobody told of.
            await self.graph.arecover(_bare(self.config))
            self.trail = await self.delivery.read()
            self.runs = self.trail.replay(self.governed.policy)
            self.mandate = self.runs.mandates[self.mandate.seq]
            if self.mandate.over:
                return False
        todo = self.runs.todo(self.mandate.seq)
        if todo.act in (Act.UPDATE, Act.END):
            await self._edit(todo)
            return True
        if todo.act is Act.PAUSE:
            await self._stand(str(todo.values), await self._snapshot())
        elif todo.act is not Act.NOTHING:
            await self._run(todo)
        return False

    def _was_lost(self) -> bool:
        """Tell whether a run under this mandate began, of which no entry says how it ended."""
        return self.mandate.doing.ran and self.runs.run is not None and self.runs.run.ended is None

    async def _edit(self, todo: Todo) -> None:
        values, as_node = (untagged(todo.values), None) if todo.act is Act.UPDATE else (None, END_NODE)
        await self.graph.aupdate_state(_bare(self.config), values, as_node=as_node)

    async def _run(self, todo: Todo) -> None:
        if todo.act is Act.GOTO:
            self._check_goto(str(todo.values))
        elif todo.act in (Act.RESUME, Act.ANSWER):
            snapshot = await self._snapshot()
            due = [task.name for task in snapshot.tasks if task.result is None]
            stops = self.governed.stops_before(due, self.trail.config)
            if when := held_back(self.runs, due, stops, self.trail.released(self.runs)):
                await self._stand(when, snapshot)
                return
        await self._limited(self.graph.ainvoke(_given(todo), self.config, **self.pauses))

    def _check_goto(self, node: str) -> None:
        if self.governed.stops_before([node], self.trail.config):
            raise GateError(f"The case has to stand still before {node!r}: LangGraph would go past that.")

    async def _snapshot(self) -> StateSnapshot:
        return await self.graph.aget_state(_bare(self.config))

    async def _stand(self, when: str, snapshot: StateSnapshot) -> None:
        """Record the pause as it is now, unless that was done for this mandate."""
        place = place_of(snapshot)
        if self.trail.stands(self.mandate.seq, place):
            return
        short, long = listed("next", sorted(snapshot.next))
        detail = {"when": when, **short}
        await self._append(Kind.INTERRUPT_RAISED, detail, actor=SYSTEM, checkpoint=place, payload=long or None)

    async def _failed(self, error: Exception) -> None:
        """Record what went wrong, unless an entry says so already. Raises LaterError where trying again may help."""
        runs = (await self.delivery.read()).replay(self.governed.policy)
        mandate = runs.mandates[self.mandate.seq]
        if mandate not in runs.pending:
            return
        if _may_pass(error) and self.delivery.attempt < self.delivery.engine.attempts:
            raise LaterError(str(error)) from error
        kind = type(error)
        lost = runs.run if runs.run is not None and runs.run.ended is None and runs.run.mandate is mandate else None
        await self._append(
            Kind.RUN_FAILED,
            {"error": f"{kind.__module__}.{kind.__qualname__}"},
            actor=actor_of(mandate.seq),
            run=lost.id if lost else None,
            payload={"message": str(error).encode("utf-8", "backslashreplace").decode()},
        )

    async def _append(self, kind: str, detail: Mapping[str, Json], **fields: Any) -> None:
        draft = EntryDraft(self.delivery.case, kind, workflow=self.governed.workflow, detail=detail, **fields)
        await self.saver.adrive(record_plan([draft]))

    async def _limited(self, work: Coroutine[Any, Any, Any]) -> None:
        """Await a run, and cancel it when its time is over."""
        task = asyncio.ensure_future(work)
        limit = self.delivery.engine.run_limit
        try:
            done, _ = await asyncio.wait({task}, timeout=limit)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if not done:
            self.delivery.engine.spoiled.set()
            task.cancel(f"The run took longer than {limit:g} seconds.")
            await asyncio.wait({task})
        if task.cancelled():
            raise TimeoutError(f"The run took longer than {limit:g} seconds.")
        task.result()


def _may_pass(error: Exception) -> bool:
    """Tell whether the same may go well another time: nothing of a run or edit was recorded, or could be."""
    return isinstance(error, AppendError | psycopg.Error) or (
        isinstance(error, AuditError) and isinstance(error.__cause__, psycopg.OperationalError)
    )


def _given(todo: Todo) -> Any:
    """Return what the graph is called with."""
    values = todo.values
    if todo.act is Act.START:
        return untagged(values)
    if todo.act is Act.ANSWER and isinstance(values, dict):
        return Command(resume={question: untagged(value) for question, value in values.items()})
    return Command(goto=str(values)) if todo.act is Act.GOTO else None


def _bare(config: RunnableConfig) -> RunnableConfig:
    """Return the address of a case, without what its caller said of runs."""
    return {"configurable": {"thread_id": cast("Any", config)["configurable"]["thread_id"]}}
