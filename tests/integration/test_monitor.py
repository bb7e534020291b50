"""A sealed log over HTTP: a process serves it, `countersign monitor` and somebody else's reader watch it grow."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from conftest import Database
from countersign.audit.keyfolder import LOG, KeyFolder
from countersign.audit.note import Algorithm, Note, VerifierKey, parse_note, sign
from countersign.audit.treehead import TreeHead
from countersign.service.log_http import ended_by_signals, listening, log_server
from integration.sealing import Log, own_log
from integration.serving import countersign, credential, process_serving, serving
from modules import needed_module
from unit.logs import Log as Forged

SIZES = [255, 256, 257, 600]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


def grow(log: Log, size: int) -> None:
    """Let the log have this many leaves, the last of them of a trail of its own."""
    log.seal()
    if missing := size - len(log.bodies()):
        log.append(f"case-{size}", missing)
        log.seal()


def monitor(log: Log, url: str, *options: str | Path) -> dict[str, Any]:
    done = countersign(log.home, "monitor", url, "--vkey", log.trust.logs[0].text, "--json", *options)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    assert {"passed": 0, "failed": 1, "indeterminate": 3}[report["verdict"]] == done.exit_code
    return report


def test_a_process_serves_until_it_is_told_to_end(log: Log) -> None:
    grow(log, 3)
    with process_serving(log.home) as url:
        assert monitor(log, url)["verdict"] == "passed"


def test_a_server_that_is_told_to_end_before_it_runs_ends(log: Log) -> None:
    server = log_server(log.folder)
    with listening("127.0.0.1:0") as bound, ended_by_signals(server):
        signal.raise_signal(signal.SIGTERM)
        server.run(sockets=[bound])
    assert server.should_exit


def test_a_monitor_watches_a_log_grow(log: Log, tmp_path: Path) -> None:
    (tmp_path / "credential").write_text(credential(log.home))
    auditor = ("--credential", tmp_path / "credential")
    with serving(log.folder) as url:
        for size in (3, *SIZES):
            grow(log, size)
            report = monitor(log, url, *auditor, "--state", tmp_path / "state")
            assert (report["verdict"], report["tree_head"]["size"]) == ("passed", size)
        full = monitor(log, url, *auditor)
        assert report["counts"] == full["counts"]
        assert full["counts"]["entries"] == SIZES[-1]
        assert monitor(log, url)["verdict"] == "passed"


FORGERIES = ["a tile", "an entry tile", "a tile gone", "another head", "rolled back"]


@pytest.mark.parametrize("which", FORGERIES)
def test_what_an_operator_forges_is_found(log: Log, tmp_path: Path, which: str) -> None:
    """With the real key of the log, and all the files of it."""
    (tmp_path / "credential").write_text(credential(log.home))
    options = ("--credential", tmp_path / "credential", "--state", tmp_path / "state")
    grow(log, 257)
    older = shutil.copytree(log.memory.path, tmp_path / "older")
    grow(log, 300)
    with serving(log.folder) as url:
        assert monitor(log, url, *options)["verdict"] == "passed"
        expected = forge(log.memory.path, log.folder, older, which)
        # Tiles that were read are not read again: a monitor without state is the one to find what was done to them.
        report = monitor(log, url, *(options if expected == "head" else options[:2]))
    assert (report["verdict"], {item["check"] for item in report["findings"]}) == (
        ("indeterminate", set()) if expected is None else ("failed", {expected})
    )
    evidence = [item["detail"] for item in report["trust"] if item["what"] == "evidence"]
    assert len(evidence) == (2 if expected == "head" else 0)


def forge(published: Path, keys: KeyFolder, older: Path, which: str) -> str | None:
    """Do it, and return by which check it is found, if it is a finding."""
    tile, entries = published / "tile/0/000", published / "tile/entries/000"
    match which:
        case "a tile":
            tile.write_bytes(tile.read_bytes()[::-1])
            return "tile"
        case "an entry tile":
            entries.write_bytes(entries.read_bytes().replace(b"review.opened", b"review.opener", 1))
            return "tile"
        case "a tile gone":
            entries.unlink()
            return None
        case "rolled back":
            shutil.rmtree(published)
            shutil.copytree(older, published)
        case _:
            head = TreeHead.parse(parse_note((published / "checkpoint").read_bytes()).text)
            forged = Forged()
            for number in range(head.size):
                forged.bodies.append(b"%d" % number)
            text = TreeHead(head.origin, head.size, forged.head.root).text
            signer = keys.key(LOG)
            note = Note(text, (sign(text, VerifierKey(head.origin, Algorithm.LOG, signer.public), signer),))
            for path, data in {**forged.files(), "checkpoint": note.encode()}.items():
                (published / path).parent.mkdir(parents=True, exist_ok=True)
                (published / path).write_bytes(data)
    return "head"


def test_nothing_outside_of_the_log_is_served(log: Log, tmp_path: Path) -> None:
    token = credential(log.home)
    grow(log, 300)
    with serving(log.folder) as url:
        parts = urlsplit(url)
        for path in ("/log/../log.pem", "/log/tile/../../log.pem", "/log/tile/entries/../../../auditors", "/log.pem",
                     "/log/tile/0/../../checkpoint", "/log/tile/0/%2e%2e/%2e%2e/checkpoint", "//log/lock", "/log/lock",
                     "/log/tile\\..\\..\\log.pem", "/log/tile/0/000\0", "/schema", "/docs"):  # fmt: skip
            conn = http.client.HTTPConnection(str(parts.hostname), parts.port)
            conn._validate_path = lambda _: None  # type: ignore[attr-defined]  # as an attacker's client does
            conn.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            answer = conn.getresponse()
            body = answer.read()
            conn.close()
            assert answer.status in (400, 404), path
            assert b"PRIVATE" not in body


def test_a_credential_that_was_taken_back_counts_no_longer(log: Log, tmp_path: Path) -> None:
    (tmp_path / "credential").write_text(credential(log.home))
    grow(log, 3)
    with serving(log.folder) as url:
        assert monitor(log, url, "--credential", tmp_path / "credential")["verdict"] == "passed"
        (log.folder.path / "auditors").write_text("")
        assert monitor(log, url, "--credential", tmp_path / "credential")["verdict"] == "indeterminate"


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("--listen", "8460"), "Not an address to listen at"),
    (("--listen", "127.0.0.1:99999"), "Not an address to listen at"),
    (("--listen", "192.0.2.1:0"), "a port that is free: --listen HOST:PORT"),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
def test_where_nothing_can_be_served_it_says_so(log: Log, options: tuple[str, ...], says: str) -> None:
    done = countersign(log.home, "log", "serve", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr


def test_without_a_log_nothing_is_served_and_no_credential_made(tmp_path: Path) -> None:
    for words in (("log", "serve"), ("log", "credential", "auditor")):
        done = countersign(tmp_path, *words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"There is no log in {tmp_path}" in done.stderr


# --- somebody else's reader


def test_another_reader_audits_the_log_over_http_as_it_grows(log: Log) -> None:
    tlog = needed_module("aics_tlog", "aics-tlog needs Python 3.12")
    token, key = credential(log.home), tlog.parse_vkey(log.trust.logs[0].text)
    heads: list[Any] = []
    with serving(log.folder) as url:
        for size in (3, *SIZES):
            grow(log, size)
            tiles = tlog.HttpTileReader(f"{url}/", proxies={})
            tiles._opener.addheaders = [("Authorization", f"Bearer {token}")]
            head = tlog.verify_checkpoint(
                tlog.parse_note(tiles.read_checkpoint()), key, expected_origin=log.folder.trust().origin
            )
            assert head.ok, head.error
            assert head.size == size
            heads.append(head)
            audited = tlog.audit_tiles(tiles, head.size, head.root)
            assert audited.bundles == -(-size // 256)
            check_proofs(tlog, tiles, heads, log.bodies())


def check_proofs(tlog: Any, tiles: Any, heads: list[Any], bodies: list[bytes]) -> None:
    """Proofs that the other reader builds from what is served: to every earlier head, and of leaves at the borders."""
    head = heads[-1]
    verified = tlog.VerifiedTileReader(tiles, head.size, head.root)
    for earlier in heads:
        proof = tlog.consistency_proof_from_tiles(verified, earlier.size, head.size)
        assert tlog.verify_consistency(earlier.size, head.size, earlier.root, head.root, proof)
        # A reader that still holds the earlier head gets its tiles, though they are wider or full by now.
        tlog.audit_tiles(tiles, earlier.size, earlier.root)
    for index in {0, head.size - 1, *(at for border in (256, 512) for at in (border - 1, border) if at < head.size)}:
        proof = tlog.inclusion_proof_from_tiles(verified, index, head.size)
        assert tlog.verify_leaf_inclusion(bodies[index], index, head.size, proof, head.root)
