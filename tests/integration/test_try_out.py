"""`make serve`: what it prints, and docs/api.md, can be pasted into a shell; Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from needs import needed
from serving import COUNTERSIGN, home_folder

CLONE = Path(__file__).parents[2]
GUIDE = CLONE / "docs" / "api.md"


@dataclass
class Served:
    process: subprocess.Popen[str]
    home: Path
    to_paste: str
    untracked: list[str]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Run what `make serve` runs, with a home of its own, on a free port, and Ctrl-C it in the end."""
    # Where a make runs this test, it would speak up about being one of several.
    outside = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "COUNTERSIGN_", "MFLAGS"))
    }
    said = subprocess.run(
        [needed("make"), "--no-print-directory", "-n", "serve"], cwd=CLONE, env=outside, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    program, *words = shlex.split(said.stdout.splitlines()[-1])
    assert program.endswith("bin/countersign")
    with home_folder() as folder:
        folder.chmod(0o711)
        home, before = folder / "home", _untracked()
        process = subprocess.Popen(
            [COUNTERSIGN, *words, "--listen", "127.0.0.1:0"], cwd=CLONE,
            env={**outside, "COUNTERSIGN_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        try:
            yield Served(process, home, _to_paste(process), before)
        finally:
            if process.poll() is None:
                process.terminate()
                process.communicate()


def _to_paste(process: subprocess.Popen[str]) -> str:
    said = list[str]()
    for line in process.stdout or ():
        said.append(line)
        if line == "Ctrl-C ends it.\n":
            begin = said.index("Paste this into another shell:\n")
            return "".join(said[begin + 1 : -1])
    raise AssertionError("".join(said))


def _untracked() -> list[str]:
    words = [needed("git"), "ls-files", "--others", "--exclude-standard"]
    return subprocess.run(words, cwd=CLONE, capture_output=True, text=True, check=True).stdout.splitlines()


def _values(text: str) -> list[Any]:
    """Return the JSON values that stand one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def test_the_printed_lines_start_a_case_and_sign_it(served: Served, tmp_path: Path) -> None:
    needed("curl")
    # Twice: what an earlier paste left, and a case that nobody signed, are in nobody's way.
    for lines in (served.to_paste.split("# Somebody else")[0], served.to_paste, served.to_paste):
        done = subprocess.run([needed("bash")], input=lines, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stderr == ""
    shown, signed, state, trail = _values(done.stdout)
    assert shown["view"]["state"]["dose_mg"] == 5
    assert (signed["outcome"], signed["now"]["status"]) == ("approved", "completed")
    assert state["state"]["order"] == "GIVE 5 mg warfarin to P-101"
    assert [entry["kind"] for entry in trail["items"]].count("review.signed") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_guide_to_the_api_does_what_it_says(served: Served, tmp_path: Path) -> None:
    needed("curl")
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    url = served.to_paste.partition("URL=")[2].partition("\n")[0]
    lines = "\n".join((f"URL={url}", *blocks))
    done = subprocess.run(
        [needed("bash"), "-euo", "pipefail", "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert len(blocks) == 5
    assert [
        word for word in ("awaiting_review", "GIVE 5 mg warfarin to P-101", "review.signed") if word not in done.stdout
    ] == []


def test_nothing_is_written_into_the_clone_that_git_does_not_ignore(served: Served) -> None:
    assert _untracked() == served.untracked


def test_ctrl_c_ends_it_with_its_workers_and_its_database(served: Served) -> None:
    database = served.home / "postgres" / "postmaster.pid"
    assert database.exists()
    os.killpg(served.process.pid, signal.SIGINT)
    # The end of what it prints is that of every process that could still print there: workers inherit it.
    rest, _ = served.process.communicate()
    assert served.process.returncode == 0
    assert [line for line in rest.splitlines() if not line.startswith("Sealed ")] == []
    assert not database.exists()
