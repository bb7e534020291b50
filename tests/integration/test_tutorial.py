"""The tutorial, as somebody follows it: each file is written, each command run, and what is shown is printed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from countersign.service.cli import main
from needs import needed
from serving import COUNTERSIGN, home_folder

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(?:<!-- ([a-z ]+)(?:: (\S+))? -->\n\n)?```(\w+)\n(.*?)```\n", re.DOTALL)
USUAL = "127.0.0.1:8321"
END = "@@ done"


@dataclass
class Shell:
    """A shell that stays, as the reader's does."""

    process: subprocess.Popen[str]

    def run(self, commands: str) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{commands}\necho '{END}'\n")
        self.process.stdin.flush()
        said = list[str]()
        for line in self.process.stdout or ():
            if line == f"{END}\n":
                return said
            said.append(line.rstrip("\n"))
        raise AssertionError("the shell ended: " + "\n".join(said))


@pytest.fixture
def place() -> Iterator[Path]:
    with home_folder() as folder:
        folder.chmod(0o711)
        yield folder


def shell(place: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [needed("bash")], cwd=place, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def drain(stream: Any) -> None:
    """Read what nobody looks at, until its end: that of every process that could still print there."""
    with stream:
        for _ in stream:
            pass


def started(command: str, folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen[str], list[str]]:
    """Start the server on a free port, and return it with what it says until it is ready."""
    process = subprocess.Popen(
        [*shlex.split(command), "--listen", "127.0.0.1:0"], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env={**environment, "COUNTERSIGN_HOME": str(folder / "home")},
    )  # fmt: skip
    said = list[str]()
    for line in process.stdout or ():
        said.append(line.rstrip("\n"))
        if line == "Ctrl-C ends it.\n":
            return process, said
    process.wait()
    raise AssertionError("\n".join(said))


def plain(line: str) -> str:
    """Return text without what differs from one run to the next."""
    line = re.sub(r"127\.0\.0\.1:\d+", USUAL, line)
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", line)
    line = re.sub(r"\b[0-9a-f]{10,64}\b", "HEX", line)
    line = re.sub(r"\d+ signed tree heads", "some signed tree heads", line)
    return re.sub(r"/\S+/letters\b", "/letters", line)


def agree(said: list[str], shown: str) -> None:
    """Each line that is not empty is as shown; `...` alone stands for any number of lines, behind one for the rest."""
    lines = [plain(line) for line in said if line]
    parts = [part.split("\n") for part in plain(shown).strip("\n").split("\n...")]
    at = 0
    for number, part in enumerate(parts):
        wanted = [line for line in part if line]
        places = range(at, len(lines) - len(wanted) + 1) if number else [0]
        at = next((place for place in places if all(map(fits, lines[place:], wanted))), -1) + len(wanted)
        assert at >= len(wanted), f"{wanted} is not in what was printed:\n" + "\n".join(said)
    assert parts[-1] == [""] or at == len(lines), "there is more:\n" + "\n".join(said)


def fits(line: str, wanted: str) -> bool:
    return line.startswith(wanted.removesuffix("...")) if wanted.endswith("...") else line == wanted


def test_every_command_of_the_tutorial_does_what_is_shown(place: Path) -> None:
    needed("curl")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COUNTERSIGN_")}
    environment["PATH"] = f"{COUNTERSIGN.parent}:{environment['PATH']}"
    server: subprocess.Popen[str] | None = None
    reader = threading.Thread()
    url, said = USUAL, list[str]()
    folder = place / "letters"
    with shell(place, environment) as process:
        try:
            for what, name, language, text in BLOCK.findall(TUTORIAL.read_text()):
                if what == "file":
                    (folder / name).write_text(text)
                elif what == "second shell":
                    server, said = started(text, folder, environment)
                    reader = threading.Thread(target=drain, args=(server.stdout,))
                    reader.start()
                    url = next(line for line in said if line.startswith("Serving ")).rpartition("//")[2]
                elif language == "sh":
                    said = Shell(process).run(text.replace(USUAL, url))
                else:
                    assert language == "text"
                    agree(said, text)
            assert server is not None
            server.send_signal(signal.SIGINT)
            assert server.wait() == 0
        finally:
            if server is not None:
                server.terminate()
                server.wait()
                reader.join()
            if process.stdin is not None:
                process.stdin.close()
    assert not (folder / "home" / "postgres" / "postmaster.pid").exists()


def test_every_command_it_speaks_of_exists() -> None:
    spoken = re.findall(r"`countersign ([a-z][^`]*)`", TUTORIAL.read_text())
    assert len(spoken) > 5
    for words in map(shlex.split, spoken):
        command: click.Command = main
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, spoken
            command = found
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options
