"""How much of a long row of tries the suite makes: every third of the moments at which something may be killed.

`make drill`, which sets COUNTERSIGN_DRILL, makes them all.
"""

from __future__ import annotations

import os

EVERY = "COUNTERSIGN_DRILL" in os.environ
STRIDE = 1 if EVERY else 3
