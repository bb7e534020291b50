"""A program that is not there skips a test, but not where all tests have to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from needs import needed


@pytest.mark.parametrize(
    ("setting", "ends"), [(None, pytest.skip.Exception), ("0", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_a_program_that_is_not_there(
    setting: str | None, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COUNTERSIGN_TEST_REQUIRE_ALL", raising=False)
    if setting is not None:
        monkeypatch.setenv("COUNTERSIGN_TEST_REQUIRE_ALL", setting)
    with pytest.raises(ends, match="no-such-program is not on this machine"):
        needed("no-such-program")
    assert Path(needed("sh")).is_absolute()
