"""Running a case in a fork that kills itself with SIGKILL at a chosen statement.

A line is `WAY WHEN NTH THREAD URL HOME`, where the way is `straight`, or `long` when another process goes on with the
trail before the first save of each sort.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from langgraph.types import Command

from countersign.audit import attach
from forks import kill_this_process
from graphs import NEW_ORDER, order_graph
from integration.faults import Act, going_on_elsewhere, watched_saver


async def case(url: str, home: Path, way: str, watch: Act, thread: str) -> None:
    config: Any = {"configurable": {"thread_id": thread}}
    elsewhere = going_on_elsewhere(url, home, thread) if way == "long" else nullcontext()
    async with watched_saver(url, home) as saver:
        graph: Any = attach(order_graph(ask=True).compile(interrupt_before=["order"]), saver)
        with elsewhere as saver.conn.meddle, saver.conn.watched(watch):
            await graph.ainvoke(NEW_ORDER, config)
            await graph.ainvoke(Command(resume="yes"), config)
            await graph.aupdate_state(config, {"decision": "approved"})
            await graph.ainvoke(None, config)


def work(line: str) -> None:
    way, when, nth, thread, url, home = line.split(maxsplit=5)
    asyncio.run(case(url, Path(home), way, Act(int(nth), when, lambda _: kill_this_process()), thread))
