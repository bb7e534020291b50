"""Waiting, for a while, until nothing more happens to a case by itself (RFC 7240: `Prefer: wait=N`)."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from litestar.params import HeaderParameter

from ..identity.caller import Caller
from .hub import CASE
from .parts import Service

LONGEST = 60
_AT_WORK = "running"
_LOOK = 1.0  # seconds between two looks where nothing is heard
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?:$|[,;])", re.IGNORECASE)

Prefer = Annotated[
    str | None,
    HeaderParameter(
        name="Prefer",
        max_length=200,
        description=f"`wait=N`: answer when the case rests, within N seconds, {LONGEST} at most.",
    ),
]


def seconds_of(prefer: str | None) -> int:
    """Return how long somebody is ready to wait: 0 where they did not say so."""
    found = _WAIT.search(prefer or "")
    return min(int(found[1]), LONGEST) if found else 0


async def at_rest(service: Service, caller: Caller, case: str, seconds: int) -> None:
    """Return as soon as a case rests: waits for people, has failed or has ended; after `seconds` at any rate.

    Raises AbsentError for whoever may not read it, or may not any more.
    """
    if not seconds:
        return
    until = asyncio.get_running_loop().time() + seconds
    # Listened for before the first look, so that nothing falls in between.
    with service.hub.ear(CASE) as ear:
        status = await service.desk.status(caller, case)
        while status == _AT_WORK and not service.hub.closing.is_set():
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                return
            everything, cases = await ear.wait(min(left, _LOOK))
            if everything or case in cases or not cases:
                status = await service.desk.status(caller, case)
