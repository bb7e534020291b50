"""Our witness as a process: killed before it could answer, started again, ended; and what its command refuses."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from countersign.audit.witness import OtherHistoryError, ShownHead, WitnessClient
from countersign.audit.witness_request import CosignRequest
from countersign.service.cli import main
from countersign.service.witness_state import create_witness
from integration.witnessed import TESTS, running, wait_for
from unit.heads import log_key
from unit.samples import ORIGIN
from unit.witnessing import known_of, request_of


def post(url: str | None, request: CosignRequest) -> tuple[int, bytes]:
    response = httpx.post(f"{url}/add-checkpoint", content=request.encode(), trust_env=False)
    return response.status_code, response.content


def test_killed_before_it_answers_it_has_not_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    key = create_witness(path, "w.invalid")
    with subprocess.Popen(
        [sys.executable, "-m", "integration.witness_crash", path, log_key().text],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        first = wait_for(process, "w")
        with pytest.raises(httpx.RemoteProtocolError):
            post(first.witness.url, request_of(0, 5))
        assert process.wait() == -signal.SIGKILL

    with running(path, log_key(), name="w") as second:
        url = second.witness.url
        assert (second.witness.key, second.said[1]) == (key, f"{ORIGIN}: last cosigned a head of 5 leaves")
        assert post(url, CosignRequest(0, (), known_of(5, fork_at=1).note)) == (409, b"5\n")
        assert post(url, CosignRequest(5, (), known_of(5, fork_at=1).note)) == (409, b"5\n")
        assert post(url, request_of(5, 9, fork_at=1))[0] == 422
        with httpx.Client(trust_env=False) as http:
            client = WitnessClient(second.witness, http)
            assert client.ask(ShownHead(known_of(5)), 60).head.size == 5
            assert client.ask(ShownHead(known_of(9)), 60).head.size == 9
            with pytest.raises(OtherHistoryError):
                client.ask(ShownHead(known_of(9, fork_at=3)), 60)
        second.process.send_signal(signal.SIGTERM)
        out, err = second.process.communicate()
        assert (second.process.returncode, out) == (0, "")
        assert err.count("countersign: Refused a head of ") == 4
    conflicts = sorted(item.name.split("-")[0] for item in path.glob("logs/*/conflicts/*"))
    assert conflicts == ["5", "9", "9"]


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["witness", *words])
    return result.exit_code, result.output


def test_the_command_makes_a_witness_and_says_its_key(tmp_path: Path) -> None:
    state = str(tmp_path / "w")
    code, said = run("--state", state, "--init", "--name", "w.invalid/one")
    assert code == 0
    assert said.startswith((tmp_path / "w" / "witness.vkey").read_text())
    assert (tmp_path / "w" / "witness.pem").stat().st_mode & 0o777 == 0o600
    assert run("--state", state, "--init", "--name", "w.invalid/one")[0] == 2


LOG = ["--log", log_key().text]
REFUSED: dict[str, tuple[list[str], str]] = {
    "nothing to do": ([], "Nothing to do"),
    "a new one without name": (["--init"], "needs a name"),
    "no logs": (["--listen", "127.0.0.1:0"], "has nothing to cosign"),
    "no key of a log": (["--listen", "127.0.0.1:0", "--log", "x"], "is no verifier key"),
    "another name": (["--listen", "127.0.0.1:0", *LOG, "--name", "other.invalid"], "has the name w.invalid"),
    "no port": (["--listen", "127.0.0.1", *LOG], "Not an address"),
    "no host": (["--listen", ":80", *LOG], "Not an address"),
    "a port too high": (["--listen", "127.0.0.1:65536", *LOG], "Not an address"),
    "a host of somebody else": (["--listen", "192.0.2.1:0", *LOG], "Nothing can listen"),
}


@pytest.mark.parametrize(("words", "what"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_run_is_refused_with_a_remedy(tmp_path: Path, words: list[str], what: str) -> None:
    create_witness(tmp_path / "w", "w.invalid")
    state = tmp_path / ("new" if "--init" in words else "w")
    code, said = run("--state", str(state), *words)
    assert code == 2
    assert what in said
    assert len(said.splitlines()) == 2


def test_a_port_that_is_taken_and_a_folder_that_is_none(tmp_path: Path) -> None:
    assert run("--state", str(tmp_path / "none"), "--listen", "127.0.0.1:0", *LOG)[0] == 2
    create_witness(tmp_path / "w", "w.invalid")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, said = run("--state", str(tmp_path / "w"), "--listen", f"127.0.0.1:{taken.getsockname()[1]}", *LOG)
    assert code == 2
    assert "Nothing can listen" in said
