"""A process that carries out a scenario in a fork for every line it reads; the fork kills itself behind a commit.

`python -m events.crash URL HOME`, from the folder `tests`; a line is `SAVER NTH THREAD NAME`. The answer is how the
fork ended: `killed`, `survived` when it made fewer commits, or `failed`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from countersign.audit import AsyncAuditedPostgresSaver, AuditedPostgresSaver
from events.driving import adrive, drive
from events.scenarios import SCENARIOS, Scenario
from forks import kill_this_process, serve

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def die_behind(nth: int, saver: Any) -> None:
    """Make this process end behind the `nth` commit of `saver`, before it can know of it."""
    left = nth

    def committed(_: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            kill_this_process()
        told(_)

    told = saver.core.committed
    saver.core.committed = committed


def carry_out(kind: str, scenario: Scenario, nth: int, thread: str, url: str, home: Path) -> None:
    if kind == "sync":
        with AuditedPostgresSaver.from_conn_string(url, home=home) as saver:
            die_behind(nth, saver)
            drive(scenario, saver, thread, "invoke")
        return

    async def run() -> None:
        async with AsyncAuditedPostgresSaver.from_conn_string(url, home=home) as saver:
            die_behind(nth, saver)
            await adrive(scenario, saver, thread, "invoke")

    asyncio.run(run())


def work(line: str) -> None:
    kind, nth, thread, name = line.split(" ", 3)
    carry_out(kind, BY_NAME[name], int(nth), thread, sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    serve(work)
