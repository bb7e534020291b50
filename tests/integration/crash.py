"""A process that runs a case in a fork for every line it reads, and kills the fork with SIGKILL at a chosen statement.

`python -m integration.crash URL HOME`, from the folder `tests`; a line is `WAY WHEN NTH THREAD`, where the way is
`straight`, or `long` when another process goes on with the trail before the first save of each sort. The answer is how
the fork ended.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from langgraph.types import Command

from countersign.audit import attach
from forks import kill_this_process, serve
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
    way, when, nth, thread = line.split()
    url, home = sys.argv[1], Path(sys.argv[2])
    asyncio.run(case(url, home, way, Act(int(nth), when, lambda _: kill_this_process()), thread))


if __name__ == "__main__":
    serve(work)
