"""`countersign export`: what is written proves itself, and what cannot be proven is not written."""

from __future__ import annotations

import shlex
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import Database
from countersign.audit.attestations import add_token_steps
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import VerificationError
from countersign.audit.export import open_exporter, record_export
from countersign.audit.gather import gathered
from countersign.audit.note import Note
from countersign.audit.steps import run
from countersign.audit.treehead import LogTrust, TreeHead
from countersign.audit.verify import Verdict
from countersign.audit.verify_bundle import verify_bundle
from countersign.reports.bundle import bundle_file
from forks import forking
from graphs import NEW_ORDER, order_graph, thread
from integration.export_crash import work
from integration.exporting import CASE, Bundle, add, add_case, cosign_head, export
from integration.sealing import Log, own_log
from unit.heads import witness_key

TESTS = Path(__file__).parents[1]
COUNTERSIGN = Path(sys.executable).with_name("countersign")


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "bundle.zip"


def witnessed(log: Log) -> LogTrust:
    return LogTrust(log.trust.logs, (witness_key(),), 1)


# --- what is written


@pytest.mark.parametrize("count", [1, 100])
def test_a_bundle_proves_itself_to_this_reader_and_another(log: Log, out: Path, count: int) -> None:
    add_case(log, 4, "another")
    add_case(log, count)
    done = export(log, out)
    report = verify_bundle(out, log.trust)
    assert report.verdict is done.report.verdict is Verdict.PASSED
    assert report.counts.sealed == report.counts.entries == count + 1 + 3
    bundle = Bundle(out)
    bundle.check()
    stored = log.database.query("SELECT body FROM audit.entries WHERE trail = 'case' ORDER BY seq")
    assert bundle.trail.bodies == [bytes(body) for (body,) in stored]
    assert len(bundle.trail.bodies) == done.entries == count + 1
    assert bundle.trail.payloads.keys() == {seq for seq in range(1, count + 1) if not seq % 2}
    assert bundle.system.bodies == []
    assert bundle.head.encode() == log.known().note.encode()
    assert "another" not in str(bundle.trail.entries)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.stat().st_mode & 0o777 == 0o600
    log.check()


async def test_the_case_of_a_graph_is_exported_with_what_it_bound(log: Log, out: Path) -> None:
    trail, config = thread()
    async with log.database.saver() as saver:
        graph = order_graph().compile(checkpointer=saver, interrupt_before=["order"])
        await graph.ainvoke(NEW_ORDER, config, durability="sync")
    with psycopg.connect(log.database.app_url, autocommit=True) as conn:
        exporter = open_exporter(conn, log.home)
        entry = record_export(conn, exporter, trail)
        with (
            bundle_file(out) as file,
            gathered(conn, log.memory, log.trust, entry, readme="-", created_at=datetime.now(UTC)) as contents,
        ):
            assert file.write(contents, log.trust).verdict is Verdict.PASSED
    Bundle(out).check()
    assert log.database.verify().findings == []


def test_an_export_of_what_was_exported_shows_both(log: Log, out: Path) -> None:
    add_case(log)
    export(log, out)
    export(log, out.with_name("again.zip"))
    assert Bundle(out.with_name("again.zip")).trail.kinds[-2:] == ["report.exported"] * 2
    assert Bundle(out).trail.kinds.count("report.exported") == 1
    assert verify_bundle(out, log.trust).verdict is Verdict.PASSED
    assert log.database.verify(CASE).findings == []


def test_a_large_payload_goes_in_whole(log: Log, out: Path) -> None:
    text = "x" * 3_000_000
    add(log, EntryDraft(CASE, "review.opened", payload={"scan": text}))
    export(log, out)
    assert Bundle(out).trail.payloads[1]["data"] == {"scan": text}


def test_what_is_appended_meanwhile_is_not_in_it(log: Log, out: Path) -> None:
    add_case(log)

    def go_on(_conn: psycopg.Connection[Any], _note: Note) -> None:
        add_case(log, 5)
        add(log, EntryDraft("@system", "log.restored", detail=RESTORED, payload={"reason": "r", "lost": []}))
        log.seal()

    export(log, out, ask=go_on)
    bundle = Bundle(out)
    bundle.check()
    assert bundle.trail.kinds == ["review.opened"] * 3 + ["report.exported"]
    assert log.database.kinds(CASE)[4:] == ["review.opened"] * 5
    assert bundle.size == log.known().head.size == 3 + 4 + 6


def test_an_application_that_appends_all_the_time_is_not_in_the_way(log: Log, out: Path) -> None:
    add_case(log)
    begun, stop = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            add_case(log, 2)
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        begun.wait()
        for number in range(4):
            path = out.with_name(f"{number}.zip")
            done = export(log, path)
            bundle = Bundle(path)
            bundle.check()
            assert bundle.trail.kinds.count("report.exported") == number + 1
            assert len(bundle.trail.bodies) == done.entries
    finally:
        stop.set()
        thread.join()
    log.seal()
    log.check()


RESTORED: dict[str, Any] = {
    "database": {"size": 3, "root": "0" * 64},
    "memory": {"size": 4, "root": "1" * 64},
    "from": 3,
    "to": 4,
    "lost": 0,
}


def test_entries_on_the_log_itself_are_shown(log: Log, out: Path) -> None:
    add_case(log)
    add(
        log,
        EntryDraft("@system", "log.restored", detail=RESTORED, payload={"reason": "disk", "lost": []}),
        EntryDraft("@system", "user.added"),
        EntryDraft("@system", "payload.erased", detail={"seqs": [1], "trail": "another"}),
    )
    export(log, out)
    bundle = Bundle(out)
    bundle.check()
    assert bundle.system.kinds == ["log.restored"]
    assert bundle.system.payloads[1]["data"]["reason"] == "disk"


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("recorded_in", [CASE, "@system"])
def test_an_erased_payload_is_marked_and_never_shown(log: Log, out: Path, recorded_in: str, kept: bool) -> None:  # noqa: FBT001
    """Whether its row is gone or, after a crash between the two, still there."""
    add_case(log, 4)
    detail: dict[str, Any] = {"seqs": [2]} | ({"trail": CASE} if recorded_in != CASE else {})
    add(log, EntryDraft(recorded_in, "payload.erased", detail=detail))
    if not kept:
        log.database.as_admin("DELETE FROM audit.payloads WHERE trail = 'case' AND seq = 2")
    with log.connected() as conn:
        exporter = open_exporter(conn, log.home)
        entry = record_export(conn, exporter, CASE)
        with (
            bundle_file(out) as file,
            gathered(conn, log.memory, log.trust, entry, readme="-", created_at=datetime.now(UTC)) as contents,
        ):
            report = file.write(contents, log.trust)
    assert (report.verdict, report.counts.erased) == (Verdict.PASSED, 1)
    bundle = Bundle(out)
    bundle.check()
    assert bundle.trail.payloads[2] == {"seq": 2, "erased": 5 if recorded_in == CASE else 1}
    assert "J\u00f6rg, 3" in str(bundle.trail.payloads[4])
    assert not any("J\u00f6rg, 1".encode() in data for data in bundle.files.values())


# --- witnesses and time


def test_the_head_that_a_witness_cosigned_is_shown_though_there_is_a_newer_one(log: Log, out: Path) -> None:
    add_case(log)
    shown: list[str] = []

    def witness(conn: psycopg.Connection[Any], note: Note) -> None:
        shown.append(note.text)
        cosign_head(conn, note)
        run(conn, add_token_steps(TreeHead.parse(note.text).size, b"a token"))
        add_case(log, 300)
        log.seal()

    done = export(log, out, ask=witness)
    bundle = Bundle(out)
    bundle.check()
    assert bundle.head.startswith(shown[0])
    assert bundle.size < log.known().head.size
    assert bundle.head.count("\u2014 ") == 2
    assert done.stamped
    assert bundle.files["tree-head.tsr"] == b"a token"
    assert verify_bundle(out, witnessed(log)).verdict is Verdict.PASSED


def test_a_cosigned_head_from_before_the_export_is_not_enough(log: Log, out: Path) -> None:
    add_case(log)
    log.seal()
    with log.connected() as conn:
        cosign_head(conn, log.known().note)
    export(log, out)
    assert Bundle(out).head.count("\u2014 ") == 1
    assert verify_bundle(out, log.trust).verdict is Verdict.PASSED
    assert verify_bundle(out, witnessed(log)).verdict is Verdict.INDETERMINATE


def test_a_witness_that_takes_its_time_is_waited_for(log: Log, out: Path) -> None:
    add_case(log)
    asked = threading.Event()

    def cosign_later() -> None:
        asked.wait()
        with log.connected() as conn:
            cosign_head(conn, log.known().note)

    witness = threading.Thread(target=cosign_later)
    witness.start()
    try:
        export(log, out, wait=600, ask=lambda _conn, _note: asked.set())
    finally:
        asked.set()
        witness.join()
    assert verify_bundle(out, witnessed(log)).verdict is Verdict.PASSED


def test_a_witness_that_never_answers_is_not_waited_for_long(log: Log, out: Path) -> None:
    add_case(log)
    export(log, out, wait=0.01)
    assert Bundle(out).head.count("\u2014 ") == 1


def test_a_cosignature_that_is_none_is_a_sentence(log: Log, out: Path) -> None:
    add_case(log)

    def disturb(conn: psycopg.Connection[Any], note: Note) -> None:
        size = TreeHead.parse(note.text).size
        conn.execute("INSERT INTO audit.cosignatures VALUES (%s, 'w', 'abcd', 'no line')", (size,))

    with pytest.raises(VerificationError, match="cosignature"):
        export(log, out, ask=disturb)
    assert list(out.parent.iterdir()) == []


# --- killed


@pytest.mark.parametrize(("what", "stride", "least"), [("files", 1, 2), ("statements", 13, 8)])
def test_a_killed_export_leaves_no_half_file(log: Log, out: Path, what: str, stride: int, least: int) -> None:
    killed = 0
    add_case(log, 20)
    with forking(work) as give:
        for nth in range(1, 3000, stride):
            path = out.with_name(f"{nth}.zip")
            end = give(f"{nth} {what} {log.database.app_url} {log.home} {path}")
            assert end in ("killed", "survived"), end
            if path.exists():
                assert verify_bundle(path, log.trust).verdict is Verdict.PASSED
            if end == "survived":
                break
            killed += 1
        assert path.exists()
    assert killed >= least
    assert {file.suffix for file in out.parent.iterdir()} <= {".zip", ".new"}
    log.seal()
    log.check()
    assert log.database.verify(CASE).findings == []


# --- the command


def command(log: Log, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"COUNTERSIGN_DATABASE_URL": log.database.app_url, "COUNTERSIGN_HOME": str(log.home)}
    return subprocess.run([COUNTERSIGN, *words], env=environment, capture_output=True, text=True, check=False)


def test_the_command_prints_what_its_receiver_runs(log: Log, out: Path) -> None:
    add_case(log)
    done = command(log, "export", CASE, "--format", "bundle", "--out", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"Exported 4 entries of case to {out}: {out.stat().st_size} bytes"
    head = log.known().head
    assert lines[1] == f"tree head: {head.size} leaves, root {head.root.hex()}"
    assert lines[2] == "cosignatures: 0; time token: none"
    program, *words = shlex.split(lines[-1])
    assert program == "countersign"
    assert words[-1] == log.trust.logs[0].text
    checked = subprocess.run([COUNTERSIGN, *words], env={}, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_damaged_trail_is_exit_code_1_with_the_finding(log: Log, out: Path) -> None:
    add_case(log)
    log.database.as_admin("UPDATE audit.payloads SET data = '{}' WHERE trail = 'case'")
    done = command(log, "export", CASE, "--format", "bundle", "--out", str(out))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Entry 2 of trail 'case' has a payload whose salt or data was changed. [payload]" in done.stderr
    assert list(out.parent.iterdir()) == []


def test_what_cannot_be_exported_is_exit_code_2(log: Log, out: Path) -> None:
    done = command(log, "export", "unknown", "--format", "bundle", "--out", str(out))
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert list(out.parent.iterdir()) == []
