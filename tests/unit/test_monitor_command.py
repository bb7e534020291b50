"""What `countersign monitor` keeps and prints: the state between runs, evidence, verdicts and exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from countersign.audit.errors import ConfigurationError
from countersign.audit.monitor import Outcome
from countersign.audit.treehead import LogTrust
from countersign.service import monitor_command, monitor_state
from countersign.service.cli import main
from countersign.service.log_reader import HttpLog
from countersign.service.monitor_command import watch
from unit.heads import OTHER, log_key, witness_key
from unit.logs import Log, begun, honest
from unit.samples import STRANGER

URL = "https://log.invalid/log"
LOG = honest()
OLDER = Log(LOG.bodies[:300])
BESIDE = Log(LOG.bodies[:299]).add("case-x")
TRUST = LogTrust((log_key(),))
VKEY = log_key().text


def client(log: Log, credential: str = "csa_good") -> httpx.Client:
    """A server of this log, which knows one credential."""
    files = log.files()

    def answer(request: httpx.Request) -> httpx.Response:
        path = str(request.url).removeprefix(f"{URL}/")
        if "/entries/" in path and request.headers.get("authorization") != f"Bearer {credential}":
            return httpx.Response(401)
        found = files.get(path)
        return httpx.Response(404) if found is None else httpx.Response(200, stream=httpx.ByteStream(found))

    return httpx.Client(transport=httpx.MockTransport(answer))


def seen(log: Log, file: Path) -> Outcome:
    return watch(HttpLog(client(log), URL, "csa_good"), TRUST, file, entries=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state"


def beside(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


def test_the_state_goes_on_from_run_to_run(file: Path) -> None:
    for log in (begun(), OLDER, LOG, LOG):
        outcome = seen(log, file)
        assert outcome.report.verdict == "passed"
        assert monitor_state.read_state(file, TRUST) == outcome.state
    assert beside(file) == ["state"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("first", "second"), [(LOG, OLDER), (OLDER, BESIDE)], ids=["rolled back", "split view"])
def test_two_heads_that_exclude_each_other_are_kept_and_the_state_stays(file: Path, first: Log, second: Log) -> None:
    seen(first, file)
    before = file.read_bytes()
    for _ in range(2):
        outcome = seen(second, file)
        assert outcome.report.verdict == "failed"
        kept = [Path(str(item["detail"])) for item in outcome.report.trust if item["what"] == "evidence"]
        assert [path.read_bytes() for path in kept] == [log.note().encode() for log in (first, second)]
        assert beside(file) == sorted(["state", *(path.name for path in kept)])
    assert file.read_bytes() == before
    assert seen(first, file).report.verdict == "passed"


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["os.fsync", "pathlib.Path.replace"])
def test_a_run_that_is_killed_while_it_writes_leaves_the_state_before(
    file: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(OLDER, file)
    before = file.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(where, killed)
        with pytest.raises(KeyboardInterrupt):
            seen(LOG, file)
    assert file.read_bytes() == before
    assert seen(LOG, file).report.verdict == "passed"
    assert beside(file) == ["state"]


CUT: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("empty", lambda _: b""),
    ("half", lambda data: data[: len(data) // 2]),
    ("a line less", lambda data: b"".join(data.splitlines(keepends=True)[:-1])),
    ("the last newline", lambda data: data[:-1]),
    ("a line within", lambda data: b"".join((lines := data.splitlines(keepends=True))[:3] + lines[4:])),
    ("a byte changed", lambda data: data.replace(b'"case-1"', b'"case-9"')),
    ("more behind", lambda data: data + b"\n"),
    ("another file", lambda _: b"PK\x03\x04"),
]


@pytest.mark.parametrize("change", [case[1] for case in CUT], ids=[case[0] for case in CUT])
def test_a_state_that_was_cut_or_changed_is_not_forgotten_but_refused(
    file: Path, change: Callable[[bytes], bytes]
) -> None:
    seen(OLDER, file)
    damaged = change(file.read_bytes())
    file.write_bytes(damaged)
    with pytest.raises(ConfigurationError, match="is not what a monitor of"):
        seen(LOG, file)
    assert file.read_bytes() == damaged


def test_a_state_of_another_log_is_refused(file: Path) -> None:
    seen(OLDER, file)
    with pytest.raises(ConfigurationError, match="is not signed by"):
        watch(HttpLog(client(LOG), URL), LogTrust((log_key(STRANGER),)), file, entries=False)


def test_two_monitors_do_not_share_a_state(file: Path) -> None:
    with (
        monitor_state.one_at_a_time(file),
        pytest.raises(ConfigurationError, match="Another monitor"),
        monitor_state.one_at_a_time(file),
    ):
        pass
    with monitor_state.one_at_a_time(file):
        pass


# --- the command


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Callable[[Log], None]:
    """Let the command reach a server of this log."""

    def serve(log: Log) -> None:
        shown = client(log)
        monkeypatch.setattr(monitor_command, "http_client", lambda: shown)

    return serve


WITNESS = ["--witness", witness_key().text]
RUNS: list[tuple[str, list[str], str | None, int, str]] = [
    ("no credential", [], None, 0, "not checked: entries (the bodies of leaves, for want of an auditor's credential"),
    ("credential", [], "csa_good\n", 0, f"checked: entries (the bodies of {LOG.size} leaves, 0 of them"),
    ("a wrong credential", [], "csa_bad", 3, "missing: entries (https://log.invalid/log/tile/entries/000 is refused"),
    ("no credential in the file", [], "\n", 2, "holds no credential"),
    ("witnessed", WITNESS, None, 0, "checked: witnesses (witness.invalid at 2025-03-01 12:30:15Z; 1 are asked for)"),
    ("another witness", ["--witness", witness_key(OTHER).text], None, 3, "missing: witnesses (0 cosigned"),
    ("a quorum", [*WITNESS, "--witness", witness_key(OTHER).text, "--quorum", "1"], None, 0, "verdict: passed"),
    ("no such quorum", [*WITNESS, "--quorum", "2"], None, 2, "1 witnesses cannot make a quorum of 2"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "credential", "code", "says"), [case[1:] for case in RUNS], ids=[case[0] for case in RUNS]
)
def test_the_exit_code_and_the_sentence(
    online: Callable[[Log], None], tmp_path: Path, options: list[str], credential: str | None, code: int, says: str
) -> None:
    online(LOG)
    if credential is not None:
        (tmp_path / "credential").write_text(credential)
        options = [*options, "--credential", str(tmp_path / "credential")]
    done = invoke(*options)
    assert done.exit_code == code
    assert says in (done.stderr if code == 2 else done.stdout)


def invoke(*options: str, url: str = URL, vkey: str = VKEY) -> Result:
    return CliRunner().invoke(main, ["monitor", url, "--vkey", vkey, *options])


def test_the_report_for_programs(online: Callable[[Log], None], file: Path) -> None:
    for log, verdict, code in ((OLDER, "passed", 0), (BESIDE, "failed", 1), (LOG, "passed", 0)):
        online(log)
        done = invoke("--state", str(file), "--json")
        report = json.loads(done.stdout)
        assert set(report) == {"verdict", "findings", "counts", "tree_head", "trust"}
        assert (report["verdict"], done.exit_code) == (verdict, code)
        assert report["tree_head"] == {"size": log.size, "root": log.head.root.hex()}
    (before,) = [item["detail"] for item in report["trust"] if item["what"] == "earlier head"]
    assert before == "the tree of size 300, seen before, is the beginning of this one"


def test_without_a_server_it_could_not_run(online: Callable[[Log], None]) -> None:
    online(LOG)
    done = invoke(url="https://log.invalid/elsewhere")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "There is no tree head to judge" in done.stderr


def test_another_key_is_a_finding(online: Callable[[Log], None]) -> None:
    online(LOG)
    done = invoke(vkey=log_key(STRANGER).text)
    assert done.exit_code == 1
    assert "is not signed by" in done.stdout
