"""A log served over HTTP, by a process of its own or in a thread, and the commands of those who read it from there."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from countersign.audit.keyfolder import KeyFolder
from countersign.service.cli import main
from countersign.service.log_http import listening, log_server

COUNTERSIGN = Path(sys.executable).with_name("countersign")


@contextmanager
def process_serving(home: Path) -> Iterator[str]:
    """Yield the address of the log in `home`. No database is named: who serves a log needs none."""
    command: list[str | Path] = [COUNTERSIGN, "log", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, env={"COUNTERSIGN_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        try:
            assert line.startswith("Serving the log of "), process.stderr and process.stderr.read()
            yield line.rsplit(" ", 1)[1].strip()
        finally:
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate()
        assert (process.returncode, err) == (0, "")


@contextmanager
def serving(folder: KeyFolder) -> Iterator[str]:
    """Yield the address of the log in `folder`, served by a thread over a real socket."""
    server = log_server(folder)
    with listening("127.0.0.1:0") as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/log"
        finally:
            server.should_exit = True
            thread.join()


def countersign(home: Path, *words: str | Path) -> Result:
    environment = {"COUNTERSIGN_HOME": str(home), "COUNTERSIGN_ORIGIN": None}
    return CliRunner().invoke(main, [str(word) for word in words], env=environment)


def credential(home: Path) -> str:
    done = countersign(home, "log", "credential", "auditor")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.strip()
