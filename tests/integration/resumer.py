"""A process that does one thing to a thread for each Job that it is sent, and can be held at a place in between.

At the job's `hold` it says `held` and waits to be told to go on; when the job is over it says `done`, or why it was
refused. Every hold but that at a pause is
where a user's own code runs: in a node, or in the `repr` of an answer that is recorded.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Line
from pathlib import Path
from typing import Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from countersign.audit import AsyncAuditedPostgresSaver, AuditedPostgresSaver, acting_as, attach
from countersign.audit.errors import AuditError
from countersign.audit.lifecycle import Handler
from graphs import NEW_ORDER, Order


@dataclass(frozen=True)
class Job:
    """What to do to `thread`, by whom, on the `sync` or the `async` saver.

    `what` is `start`, `resume`, `answer` or `edit`. `hold` is a node; or `record`, where an answer is about to be
    recorded, the thread having been read; or `pause`, where a static pause is about to be.
    """

    url: str
    home: str
    saver: str
    thread: str
    actor: str
    what: str
    hold: str | None = None
    asking: bool = False


@dataclass
class Answer:
    """An answer that can be held while it is recorded."""

    text: str

    def __repr__(self) -> str:
        _hold("record")
        return self.text


_held: set[str] = set()
_job: Job | None = None
_line: Line | None = None


def _hold(place: str) -> None:
    """Say `held` and wait, where the job is to be held here; once a job."""
    if _line and _job and _job.hold == place and place not in _held:
        _held.add(place)
        _line.send("held")
        _line.recv()


def _node(name: str) -> Any:
    def node(state: Order) -> dict[str, Any]:
        _hold(name)
        if name == "ask":
            return {"decision": str(interrupt("first?")), "flags": [str(interrupt("second?"))]}
        return {"steps": [name]}

    return node


def graph(*, asking: bool) -> Any:
    """Return analyze -> order and tell side by side, with a pause before them or a node that asks twice."""
    builder = StateGraph(Order)
    for name in ("analyze", *(["ask"] if asking else []), "order", "tell"):
        builder.add_node(name, _node(name))
    builder.add_edge(START, "analyze")
    if asking:
        builder.add_edge("analyze", "ask")
    for name in ("order", "tell"):
        builder.add_edge("ask" if asking else "analyze", name)
        builder.add_edge(name, END)
    return builder.compile(interrupt_before=[] if asking else ["order", "tell"])


def _given(job: Job) -> Any:
    return {"start": NEW_ORDER, "resume": None, "answer": Command(resume=Answer(job.actor))}[job.what]


def _do(job: Job, saver: AuditedPostgresSaver, config: Any) -> None:
    attached: Any = attach(graph(asking=job.asking), saver, name="order")
    if job.what == "edit":
        attached.update_state(config, {"dose": 7}, as_node="analyze")
    else:
        attached.invoke(_given(job), config)


async def _ado(job: Job, config: Any) -> None:
    async with AsyncAuditedPostgresSaver.from_conn_string(job.url, home=Path(job.home)) as saver:
        attached: Any = attach(graph(asking=job.asking), saver, name="order")
        if job.what == "edit":
            await attached.aupdate_state(config, {"dose": 7}, as_node="analyze")
        else:
            await attached.ainvoke(_given(job), config)


def work(job: Job) -> str:
    """Do the job, and return `done` or why it was refused."""
    config: Any = {"configurable": {"thread_id": job.thread}}
    try:
        with acting_as(job.actor):
            if job.saver == "async":
                asyncio.run(_ado(job, config))
            else:
                with AuditedPostgresSaver.from_conn_string(job.url, home=Path(job.home)) as saver:
                    _do(job, saver, config)
    except AuditError as error:
        return error.message
    return "done"


def hold_pauses() -> None:
    """Hold where a static pause is about to be recorded; on the sync saver its checkpoint is there by then."""
    record = Handler._pause_plan

    def held(*args: Any) -> Any:
        _hold("pause")
        return record(*args)

    Handler._pause_plan = held  # type: ignore[assignment, method-assign]


def main(line: Line) -> None:
    """Do what is sent, until the line is closed."""
    global _job, _line  # noqa: PLW0603 - nodes have no other way to them
    hold_pauses()
    _line = line
    with suppress(EOFError):
        while True:
            _job = line.recv()
            _held.clear()
            line.send(work(_job))
