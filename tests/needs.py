"""Programs that not every machine has: a test that needs one is skipped without it, but not where all has to run."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str) -> str:
    """Return where a program is; skip the test without it, or fail if COUNTERSIGN_TEST_REQUIRE_ALL is 1."""
    found = shutil.which(program)
    if found is None and os.environ.get("COUNTERSIGN_TEST_REQUIRE_ALL") == "1":
        pytest.fail(f"{program} is not on this machine, and COUNTERSIGN_TEST_REQUIRE_ALL is 1")
    if found is None:
        pytest.skip(f"{program} is not on this machine")
    return found
