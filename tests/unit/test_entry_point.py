"""Where the command begins: only a verdict ends it with a verdict's code."""

from __future__ import annotations

from typing import Any

import pytest

from countersign.service import cli, entry


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 2), (BrokenPipeError(32, "Broken pipe"), 2)],
)
def test_what_breaks_off_a_verification_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def breaks_off(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(cli, "database", breaks_off)
    monkeypatch.setattr("sys.argv", ["countersign", "verify"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == code


@pytest.mark.parametrize(
    ("words", "code"), [(["verify", "--nonsense"], 2), (["nonsense"], 2), (["--help"], 0), (["verify", "--help"], 0)]
)
def test_words_that_are_off_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: int
) -> None:
    monkeypatch.setattr("sys.argv", ["countersign", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert (ended.value.code or 0) == code
    assert "Usage: countersign" in "".join(capsys.readouterr())
