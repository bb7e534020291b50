"""Delivering to a case in a fork that kills itself behind a chosen commit."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from countersign.audit.entry import Workflow
from countersign.service.engine import effects
from countersign.service.engine.deliver import Engine
from countersign.service.engine.gates import governed
from countersign.service.engine.locks import Locks
from events.crash import die_behind
from forks import forking
from integration.delivering import policy, worker_saver
from integration.engine_graphs import RECEIVER, asking, plain

BUILDERS = {"plain": plain, "asking": asking}


@dataclass(frozen=True)
class Delivery:
    """What a fork is to deliver, and when to die: behind the commit with which the case has so many `entries`."""

    url: str
    home: str
    case: str
    builder: str
    gates: list[list[str]]
    receiver: str
    entries: int
    attempt: int = 0


Deliver = Callable[[Delivery], str]


@contextmanager
def dying() -> Iterator[Deliver]:
    """Yield a function that delivers in a fork, and returns how that ended: `killed`, `survived` or `failed`."""
    with forking(work) as give:
        yield lambda order: give(json.dumps(asdict(order)))


async def deliver(order: Delivery) -> None:
    os.environ[RECEIVER] = order.receiver
    rules = policy(*((when, node) for when, node in order.gates))
    async with worker_saver(order.url, Path(order.home)) as saver, Locks.connected(order.url) as locks:
        effects.install(saver.core.appender.origin)
        die_behind(order.entries, saver)
        one = governed(BUILDERS[order.builder]().compile(), saver, rules, "1")
        engine = Engine(saver, locks, {Workflow("orders", "1"): one}, 30.0, 3)
        await engine.deliver(order.case, attempt=order.attempt)


def work(line: str) -> None:
    asyncio.run(deliver(Delivery(**json.loads(line))))
