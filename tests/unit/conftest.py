"""Property tests keep nothing between runs: no example database, no cache in the working folder."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

hypothesis.settings.register_profile("unit", deadline=None, database=None, max_examples=100)
hypothesis.settings.load_profile("unit")


@pytest.hookimpl(trylast=True)  # pytest itself has to have its folder for temporary files first
def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis writes its caches while tests are collected, before any fixture could say where."""
    set_hypothesis_home_dir(config._tmp_path_factory.mktemp("hypothesis"))  # type: ignore[attr-defined]
