"""Where the command begins: only a verdict ends it with a verdict's code."""

from __future__ import annotations

import subprocess
import sys
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
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "")  # else `python -m pytest` is part of the name
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert (ended.value.code or 0) == code
    assert "Usage: countersign" in "".join(capsys.readouterr())


def test_a_command_that_needs_no_graph_and_no_migration_waits_for_neither() -> None:
    """Importing them takes more than a second, which each `verify` and `seal` would take longer."""
    program = "import sys, countersign.service.cli; print(*(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "psycopg" in imported
    assert imported & {"langgraph", "langchain_core", "alembic", "sqlalchemy"} == set()
