"""A process that runs a case in a fork for every line it reads, and kills the fork with SIGKILL at a chosen statement.

`python -m integration.crash URL HOME`, from the folder `tests`; a line is `WAY WHEN NTH THREAD`, where the way is
`straight`, or `long` when another process goes on with the trail before the first save of each sort. The answer is how
the fork ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from langgraph.types import Command

from countersign.audit import attach
from graphs import NEW_ORDER, order_graph
from integration.faults import Act, going_on_elsewhere, watched_saver

ENDS = {0: "survived", -signal.SIGKILL: "killed"}


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


def kill_this_process(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def forked(url: str, home: Path, line: str) -> str:
    way, when, nth, thread = line.split()
    child = os.fork()
    if not child:
        try:
            asyncio.run(case(url, home, way, Act(int(nth), when, kill_this_process), thread))
        except BaseException:  # noqa: BLE001 - the fork must not go on as the process it came from
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return ENDS.get(os.waitstatus_to_exitcode(status), "failed")


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write(forked(sys.argv[1], Path(sys.argv[2]), line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
