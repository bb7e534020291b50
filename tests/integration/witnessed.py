"""Real witnesses beside a log: ours as the command runs it, and servers whose answers a test scripts."""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from countersign.audit.keys import FileKey
from countersign.audit.note import Algorithm, VerifierKey, cosign
from countersign.audit.witness_policy import Witness
from countersign.audit.witness_request import CosignRequest, parse_request
from countersign.service.database import Database
from countersign.service.seal_command import seal_entries
from countersign.service.witness_state import create_witness
from integration.sealing import Log

COUNTERSIGN = Path(sys.executable).with_name("countersign")
TESTS = Path(__file__).parents[1]


class Running(NamedTuple):
    """A witness that answers, in a process of its own."""

    witness: Witness
    process: subprocess.Popen[str]
    said: list[str]


@contextmanager
def running(path: Path, *logs: VerifierKey, port: int = 0, name: str = "one") -> Iterator[Running]:
    """Run the witness in `path`, which is made if there is none, until the block ends."""
    if not path.exists():
        create_witness(path, f"{name}.invalid")
    words = [str(COUNTERSIGN), "witness", "--state", str(path), "--listen", f"127.0.0.1:{port}"]
    words += [word for key in logs for word in ("--log", key.text)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield wait_for(process, name)
        finally:
            process.terminate()
            process.wait()


def wait_for(process: subprocess.Popen[str], name: str) -> Running:
    """Return when it listens, which it says."""
    assert process.stdout
    said: list[str] = []
    for line in process.stdout:
        said.append(line.rstrip("\n"))
        if line.startswith("Listening on "):
            url = said[-1].removeprefix("Listening on ")
            return Running(Witness(name, VerifierKey.parse(said[0]), url), process, said)
    raise AssertionError(f"it ended: {said} {process.stderr and process.stderr.read()}")


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    media_type: str = "text/plain"


class Scripted:
    """A witness whose answers the test gives, and which may be held back."""

    def __init__(self, path: Path, name: str) -> None:
        self.signer = FileKey.create(path / f"{name}.pem")
        self.key = VerifierKey(f"{name}.invalid", Algorithm.COSIGNATURE, self.signer.public)
        self.name = name
        self.asked: queue.SimpleQueue[CosignRequest] = queue.SimpleQueue()
        self.answer: Callable[[CosignRequest], Answer] = self.cosigned
        self.witness = Witness(name, self.key, None)

    def cosigned(self, request: CosignRequest) -> Answer:
        line = cosign(request.note.text, self.key, self.signer, 1_772_452_860).line
        return Answer(200, line.encode())


@contextmanager
def scripted(path: Path, name: str) -> Iterator[Scripted]:
    """Serve a scripted witness from threads of this process."""
    script = Scripted(path, name)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = parse_request(self.rfile.read(int(self.headers["Content-Length"])))
            script.asked.put(request)
            answer = script.answer(request)
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.media_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        script.witness = Witness(name, script.key, f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def write_policy(log: Log, quorum: int, *witnesses: Witness) -> Path:
    """Write the policy beside the keys of the log."""
    lines = [f"log {log.trust.logs[0].text}", *(f"witness {w.name} {w.key.text} {w.url}" for w in witnesses)]
    lines += [f"group all-of-them {quorum} {' '.join(w.name for w in witnesses)}", "quorum all-of-them"]
    path = log.folder.path / "witness-policy"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def environment(log: Log) -> dict[str, str]:
    return {
        "COUNTERSIGN_DATABASE_URL": log.database.app_url,
        "COUNTERSIGN_HOME": str(log.home),
        "PATH": os.environ["PATH"],
    }


class Done(NamedTuple):
    """How `countersign seal` ended, and what it said."""

    good: bool
    out: str
    err: str


def seal(log: Log, policy: Path | None = None) -> Done:
    """Do what `countersign seal` does, in this process."""
    url, out, err = log.database.app_url, io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        good = seal_entries(Database(url, url, log.home), watch=False, policy=policy)
    return Done(good, out.getvalue(), err.getvalue())


class Watching:
    """`countersign seal --watch` under way."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def until(self, beginning: str) -> list[str]:
        """Read what it says up to a line that begins so."""
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            said.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return said
        raise AssertionError(f"it ended: {said} {self.process.stderr and self.process.stderr.read()}")

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate()
        return self.process.returncode, err


@contextmanager
def watching(log: Log, *scripts: Scripted) -> Iterator[Watching]:
    write_policy(log, len(scripts), *(script.witness for script in scripts))
    with subprocess.Popen(
        [COUNTERSIGN, "seal", "--watch"],
        env=environment(log),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield Watching(process)
        process.kill()
