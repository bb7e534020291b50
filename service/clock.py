"""What time it is: a parameter, so that a test can say it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present moment, in UTC."""


def now() -> datetime:
    """Return the machine's time."""
    return datetime.now(UTC)
