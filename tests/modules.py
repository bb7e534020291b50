"""Modules that not every machine has: a test that needs one is skipped without it, but not where all has to run."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def needed_module(name: str, why: str) -> Any:
    """Return a module. Skip the test, or the whole file, without it; fail if COUNTERSIGN_TEST_REQUIRE_ALL is 1."""
    try:
        return importlib.import_module(name)
    except ImportError:
        if os.environ.get("COUNTERSIGN_TEST_REQUIRE_ALL") == "1":
            pytest.fail(f"{name} is not installed, and COUNTERSIGN_TEST_REQUIRE_ALL is 1: {why}")
        pytest.skip(f"{name} is not installed: {why}", allow_module_level=True)
