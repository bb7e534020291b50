"""Carrying out what is outstanding of one case: each mandate exactly once, whatever crashes when.

What a mandate allows is read from the trail, and so is how far it was carried out: a run or an edit under it is an
entry, in the transaction of what it did. Who comes after a crash goes on from there. One run per case is under way at a
time, by a session lock that a dead process does not hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import psycopg
from langchain_core.runnables.config import RunnableConfig
from langgraph.types import Command, StateSnapshot

from countersign.audit.audited_graph import AuditedGraph
from countersign.audit.call import acting_as
from countersign.audit.canonical import Json
from countersign.audit.chain import Checked
from countersign.audit.entry import SYSTEM, EntryDraft, Workflow
from countersign.audit.errors import AppendError, AuditError, VerificationError
from countersign.audit.kinds import Kind
from countersign.audit.pauses import place_of, waits
from countersign.audit.plans import record_plan, trail_plan
from countersign.audit.recent import Recent
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.values import listed

from .gates import Governed
from .locks import BusyError, Locks
from .trail import VIA, Answer, Edit, GoOn, Goto, Recover, Stand, Start, Step, Trail, actor_of, payload
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
            trail = await self._read()
            governed = self.engine.graphs.get(trail.workflow) if trail.is_governed and trail.workflow else None
            due = next((found for found in trail.outstanding() if found[0].body.seq not in done), None)
            if governed is None or due is None:
                return
            mandate, step = due
            act = _Act(self, governed, trail, mandate)
            if not await act.take(step):
                done.add(mandate.body.seq)

    async def _read(self) -> Trail:
        try:
            entries = await self.engine.saver.adrive(
                trail_plan(self.engine.saver.core, self.case, self.engine.trails.get(self.case) or ())
            )
        except AppendError as error:
            raise LaterError(error.message) from error
        self.engine.trails[self.case] = entries
        return Trail(entries)


class _Act:
    """One step under one mandate."""

    def __init__(self, delivery: _Delivery, governed: Governed, trail: Trail, mandate: Checked) -> None:
        self.delivery = delivery
        self.saver = delivery.engine.saver
        self.governed = governed
        self.graph: AuditedGraph = governed.graph
        self.trail = trail
        self.seq = mandate.body.seq
        options = governed.options(delivery.case, trail.config)
        self.config: RunnableConfig = options.pop("config")
        self.pauses = options

    async def take(self, step: Step) -> bool:
        """Take the step, and return whether another one may follow. What fails for good is recorded."""
        try:
            self._check_attempts()
            with acting_as(actor_of(self.seq).id, via=VIA):
                return await self._take(step)
        except VerificationError:
            return False  # refused, and on record
        except (LaterError, psycopg.OperationalError) as error:
            raise LaterError(str(error)) from error
        except Exception as error:  # noqa: BLE001 - whatever a node does harms its own case only
            await self._failed(error)
            return False

    def _check_attempts(self) -> None:
        if self.delivery.attempt >= self.delivery.engine.attempts:
            raise LostRunError(f"It was tried {self.delivery.attempt} times.")

    async def _take(self, step: Step) -> bool:
        if isinstance(step, Edit):
            await self._edit(step)
            return True
        if isinstance(step, Stand):
            return await self._stand(step.when)
        if isinstance(step, Recover):
            return await self._recover()
        await self._run(step)
        return False

    async def _edit(self, edit: Edit) -> None:
        values = untagged(edit.values)
        await self.graph.aupdate_state(_bare(self.config), values, as_node=edit.as_node)

    async def _stand(self, when: str) -> bool:
        """Record the pause as it is now. Where nothing is due any more before which to stand, go on."""
        snapshot = await self._snapshot()
        if when == "before" and not self.governed.stops_before(_due(snapshot), self.trail.config):
            await self._run(GoOn())
            return False
        await self._record_pause(when, snapshot)
        return False

    async def _recover(self) -> bool:
        await self.graph.arecover(_bare(self.config))
        snapshot = await self._snapshot(subgraphs=True)
        trail = await self.delivery._read()  # noqa: SLF001 - one class in two
        mandate = trail.at(self.seq)
        left = trail.next_step(mandate) if mandate else None
        if not isinstance(left, Recover) or (waits(snapshot) and not isinstance(left.act, Answer)):
            return False
        self.trail = trail
        await self._run(left.act)
        return False

    async def _run(self, step: Start | GoOn | Answer | Goto) -> None:
        if isinstance(step, Goto):
            self._check_goto(step)
        elif isinstance(step, GoOn | Answer):
            snapshot = await self._snapshot()
            if self._held_back(snapshot):
                await self._record_pause("before", snapshot)
                return
        await self._limited(self.graph.ainvoke(self._given(step), self.config, **self.pauses))

    def _given(self, step: Start | GoOn | Answer | Goto) -> Any:
        if isinstance(step, Start):
            return untagged(payload(self.trail.opened)["input"])
        if isinstance(step, Answer):
            return Command(resume={step.interrupt: untagged(step.value)})
        return Command(goto=step.node) if isinstance(step, Goto) else None

    def _check_goto(self, step: Goto) -> None:
        if self.governed.stops_before([step.node], self.trail.config):
            raise GateError(f"A gate stands before {step.node!r}: LangGraph would go past it.")

    def _held_back(self, snapshot: StateSnapshot) -> bool:
        """Tell whether a gate is due that nobody released: LangGraph goes past every pause when it is resumed."""
        place = place_of(snapshot)
        due = self.governed.stops_before(_due(snapshot), self.trail.config)
        return bool(due - self.trail.released(place.id if place else ""))

    async def _snapshot(self, *, subgraphs: bool = False) -> StateSnapshot:
        return await self.graph.aget_state(_bare(self.config), subgraphs=subgraphs)

    async def _record_pause(self, when: str, snapshot: StateSnapshot) -> None:
        short, long = listed("next", sorted(snapshot.next))
        await self._append(
            Kind.INTERRUPT_RAISED,
            {"when": when, **short},
            actor=SYSTEM,
            checkpoint=place_of(snapshot),
            payload=long or None,
        )

    async def _failed(self, error: Exception) -> None:
        """Record what went wrong, unless an entry says so already. Raises LaterError where trying again may help."""
        trail = await self.delivery._read()  # noqa: SLF001 - one class in two
        mandate = trail.at(self.seq)
        step = trail.next_step(mandate) if mandate else None
        if step is None:
            return
        if _may_pass(error) and self.delivery.attempt < self.delivery.engine.attempts:
            raise LaterError(str(error)) from error
        kind = type(error)
        await self._append(
            Kind.RUN_FAILED,
            {"error": f"{kind.__module__}.{kind.__qualname__}"},
            actor=actor_of(self.seq),
            run=step.run if isinstance(step, Recover) else None,
            payload={"message": str(error).encode("utf-8", "backslashreplace").decode()},
        )

    async def _append(self, kind: str, detail: Mapping[str, Json], **fields: Any) -> None:
        workflow = Workflow(self.governed.name, self.governed.version)
        draft = EntryDraft(self.delivery.case, kind, workflow=workflow, detail=detail, **fields)
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


def _due(snapshot: StateSnapshot) -> Sequence[str]:
    return [task.name for task in snapshot.tasks if task.result is None]


def _bare(config: RunnableConfig) -> RunnableConfig:
    """Return the address of a case, without what its caller said of runs."""
    return {"configurable": {"thread_id": cast("Any", config)["configurable"]["thread_id"]}}
