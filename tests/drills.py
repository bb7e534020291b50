"""How much of a long row of tries the suite makes: a third of them.

Of the moments at which something may be killed that is every third, and of what is drawn at random a third as many.
`make drill`, which sets COUNTERSIGN_DRILL, makes them all.
"""

from __future__ import annotations

import os

EVERY = "COUNTERSIGN_DRILL" in os.environ
STRIDE = 1 if EVERY else 3


def share(tries: int) -> int:
    """Return how many of so many random tries are made."""
    return max(1, tries // STRIDE)
