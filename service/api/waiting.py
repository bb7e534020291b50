"""Waiting, for a while, until nothing more happens to a case by itself (RFC 7240: `Prefer: wait=N`)."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from litestar.params import HeaderParameter

from ..cases.rows import CaseRow
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


async def at_rest(service: Service, caller: Caller, case: str, seconds: int) -> CaseRow:
    """Return the case as soon as it rests: waits for people, has failed or has ended; after `seconds` as it is."""
    until = asyncio.get_running_loop().time() + seconds
    # Listened for before the first look, so that nothing falls in between.
    with service.hub.ear(CASE) as ear:
        while True:
            row = (await service.desk.get_case(caller, case)).row
            left = until - asyncio.get_running_loop().time()
            if row.status != _AT_WORK or left <= 0 or service.hub.closing.is_set():
                return row
            while left > 0:
                everything, cases = await ear.wait(min(left, _LOOK))
                left = until - asyncio.get_running_loop().time()
                if everything or case in cases or not cases:
                    break
