"""`countersign serve --try-out` from nothing, and what it and docs/api.md say to paste into a shell."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from countersign.service.api.try_out import people_of, what_to_try
from countersign.service.config.load import load_config
from countersign.service.identity.records import GrantWanted
from serving import COUNTERSIGN, home_folder, sample

GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Yield what a server says that has begun with no database, no keys and no users."""
    folder = sample(tmp_path_factory.mktemp("config"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERSIGN_")}
    with home_folder() as home:
        home.chmod(0o711)
        words = [str(COUNTERSIGN), "serve", "--config", str(folder), "--try-out", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(
            words,
            env={**kept, "COUNTERSIGN_HOME": str(home / "home")},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []
        for line in process.stdout or ():
            if line.startswith("Ctrl-C"):  # the last of all, behind what is to be pasted
                break
            lines.append(line.rstrip("\n"))
        try:
            assert process.poll() is None, lines
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate()
        assert (process.returncode, rest.strip()) == (0, "")


def in_a_shell(lines: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_it_prints_starts_a_case_and_signs_it(said: list[str], tmp_path: Path) -> None:
    begin = next(number for number, line in enumerate(said) if line.startswith("URL="))
    shown = in_a_shell("\n".join(said[begin:]), tmp_path)
    assert "GIVE 5 mg warfarin to P-101" in shown
    assert "review.signed" in shown


def test_the_guide_does_what_it_says(said: list[str], tmp_path: Path) -> None:
    url = next(shlex.split(line.removeprefix("URL="))[0] for line in said if line.startswith("URL="))
    begin = next(number for number, line in enumerate(said) if line.startswith("URL="))
    signs = next(number for number, line in enumerate(said) if "INBOX" in line)
    in_a_shell("\n".join(said[begin:signs]), tmp_path)  # an older order waits, and it is not the one to be signed
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 5
    shown = in_a_shell("\n".join(blocks), tmp_path, URL=url)
    assert "awaiting_review" in shown
    assert "GIVE 5 mg warfarin to P-101" in shown
    assert "review.signed" in shown


def test_where_signers_may_edit_somebody_else_can_sign_what_became_of_it(tmp_path: Path) -> None:
    people = people_of(load_config(sample(tmp_path)))
    for name in ("pharmacist", "pharmacist-2"):
        assert GrantWanted("pharmacist", "medication-order") in people[name]


def test_of_a_graph_that_is_not_the_samples_it_says_what_to_fill_in(tmp_path: Path) -> None:
    config = load_config(sample(tmp_path))
    sample_of = "\n".join(what_to_try(config, "http://127.0.0.1:1"))
    assert "First put" not in sample_of
    assert 'takes "values"' not in sample_of
    asking = config.workflows["chemotherapy"]
    own = replace(config, workflows={"own": replace(asking, name="own")})
    said_of_own = "\n".join(what_to_try(own, "http://127.0.0.1:1"))
    assert "First put" in said_of_own
    assert 'takes "values"' in said_of_own
