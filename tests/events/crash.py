"""Carrying out or finishing a scenario in a fork that kills itself.

It ends as `killed`, as `survived` when it made fewer entries, or as `failed`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from countersign.audit import AsyncAuditedPostgresSaver, AuditedPostgresSaver
from events.driving import adrive, afinish, drive, finish
from events.scenarios import SCENARIOS, Scenario
from forks import forking, kill_this_process

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@dataclass(frozen=True)
class Order:
    """What a fork is to do, and when to die: behind the commit with which the thread has so many `entries`."""

    url: str
    home: str
    kind: str
    scenario: str
    thread: str
    entries: int
    finishes: bool = False
    """Whether it comes back to a thread to finish it, rather than carry the scenario out."""


Crash = Callable[[Order], str]


@contextmanager
def crashing(url: str, home: Path) -> Iterator[Crash]:
    """Yield a function that carries out an order in a process of its own, and returns how that ended."""
    usual = SCENARIOS[0].name
    first = [Order(url, str(home), kind, usual, f"first-{uuid.uuid4()}", sys.maxsize) for kind in ("sync", "async")]
    with forking(work, *map(_line, first)) as give:
        yield lambda order: give(_line(order))


def _line(order: Order) -> str:
    return json.dumps(asdict(order))


def die_behind(entries: int, saver: Any) -> None:
    """Make this process end behind the commit that brings a thread to `entries`, before it can know of it."""

    def committed(saved: Any) -> None:
        if any(entry.seq >= entries for one in saved for entry in one.entries):
            kill_this_process()
        told(saved)

    told = saver.core.committed
    saver.core.committed = committed


def carry_out(order: Order, scenario: Scenario) -> None:
    """Do what is ordered on the sync saver."""
    with AuditedPostgresSaver.from_conn_string(order.url, home=Path(order.home)) as saver:
        die_behind(order.entries, saver)
        if order.finishes:
            finish(scenario, saver, order.thread)
        else:
            drive(scenario, saver, order.thread, "invoke")


async def acarry_out(order: Order, scenario: Scenario) -> None:
    """As `carry_out`, on the async saver."""
    async with AsyncAuditedPostgresSaver.from_conn_string(order.url, home=Path(order.home)) as saver:
        die_behind(order.entries, saver)
        if order.finishes:
            await afinish(scenario, saver, order.thread)
        else:
            await adrive(scenario, saver, order.thread, "invoke")


def work(line: str) -> None:
    order = Order(**json.loads(line))
    if order.kind == "sync":
        carry_out(order, BY_NAME[order.scenario])
    else:
        asyncio.run(acarry_out(order, BY_NAME[order.scenario]))
