"""How far the clocks of two servers may differ, and what is dated before what stands before it. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from .canonical import format_time

SKEW = timedelta(minutes=1)
"""Within it, moments do not tell what came first, and locks did.

An act commits before the end of a right that it rests on; where the clock of whoever ended it is slow, it seems later.
"""


def backwards(latest: datetime | None, at: datetime, where: str) -> list[str]:
    """Return a sentence, going on from "Entry 7 of trail x", if `at` is more than SKEW before the `latest` so far."""
    if latest is None or latest <= at + SKEW:
        return []
    return [f"is dated {format_time(at)}, and an entry of {where} that stands before it {format_time(latest)}"]
