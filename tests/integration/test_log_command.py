"""The commands `countersign log restore` and `countersign log adopt-head`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import Result

from conftest import Database
from countersign.service.log_command import MOST_TRAILS
from integration.adopting import command
from integration.restoring import Backup
from integration.sealing import Log, own_log


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


def say(log: Log, *words: str) -> Result:
    return command("log", *words, url=log.database.app_url, home=log.home)


def lose(log: Log, trails: int = 2) -> None:
    log.append("case", 2)
    log.seal()
    log.append("kept", 3)
    backup = Backup(log)
    for number in range(trails):
        log.append(f"trail-{number:03}", number + 1)
    log.seal()
    backup.bring_back()


def test_a_dry_run_lists_what_would_be_lost(log: Log) -> None:
    lose(log)
    size, root = 5, log.seen[5].hex()
    result = say(log, "restore", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"Last head in the database: {size} leaves, root {root}",
        f"Last head in the memory: 11 leaves, root {log.seen[11].hex()}",
        "Of the 6 leaves between them 3 would be lost, and 3 would be leaves again, their entries being here.",
        "  trail-000: entry 1 (review.opened)",
        "  trail-001: 2 entries, 1 (review.opened) to 2 (review.opened)",
    ]
    assert log.lost() == {}


def test_a_restore_says_what_was_done_and_what_to_do_next(log: Log) -> None:
    lose(log)
    result = say(log, "restore", "--reason", "  the disk of ward 3 is gone ")
    assert (result.exit_code, result.stderr) == (0, "")
    head = log.known().head
    assert result.stdout.splitlines()[-5:-1] == [
        "  trail-001: 2 entries, 1 (review.opened) to 2 (review.opened)",
        f"Recorded in entry 1 of @system. The log has 12 leaves, root {head.root.hex()}.",
        f"From now on {log.memory.path} is the only copy of what was lost; keep a copy of it elsewhere.",
        "Next: `countersign verify`, then `countersign seal` as before.",
    ]
    assert "auditors" in result.stdout
    ((data,),) = log.database.query("SELECT data FROM audit.payloads WHERE trail = '@system'")
    assert b'"reason":"the disk of ward 3 is gone"' in data
    log.check()


def test_of_many_trails_only_some_are_told(log: Log) -> None:
    lose(log, MOST_TRAILS + 3)
    lines = say(log, "restore", "--dry-run").stdout.splitlines()
    assert len(lines) == 3 + MOST_TRAILS + 1
    assert lines[-1] == "  and 3 more trails"


def test_without_a_loss_there_is_nothing_to_restore(log: Log) -> None:
    log.append("case")
    log.seal()
    for words in (["--dry-run"], ["--reason", "to be sure"]):
        result = say(log, "restore", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "not behind the log's memory" in result.stderr
        assert "Run: countersign seal" in result.stderr
    log.check()


REASONS = {
    "none": ([], "needs a reason"),
    "an empty one": (["--reason", "  "], "needs a reason"),
    "a line break": (["--reason", "one\ntwo"], "control character"),
    "half a character": (["--reason", "\ud800"], "control character"),
    "a long one": (["--reason", "x" * 4001], "4001 characters"),
}


@pytest.mark.parametrize(("words", "message"), REASONS.values(), ids=REASONS)
def test_a_restore_needs_a_reason(log: Log, words: list[str], message: str) -> None:
    lose(log)
    result = say(log, "restore", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert log.lost() == {}


def test_the_longest_reason_will_do(log: Log) -> None:
    lose(log)
    assert say(log, "restore", "--reason", "x" * 4000).exit_code == 0


def test_a_head_is_adopted_against_those_that_were_kept(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    shutil.copy(log.memory.path / "checkpoint", log.home / "kept")
    log.append("case", 2)
    log.seal()
    head = log.known().head
    shutil.rmtree(log.memory.path)
    result = say(log, "adopt-head", "--reason", "new machine", "--head", str(log.home / "kept"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"The log's memory {log.memory.path} begins with 7 leaves, root {head.root.hex()}.",
        "Recorded in entry 1 of @system.",
        "It extends every head that was given (1), up to 5 leaves.",
        "Next: `countersign verify`, then `countersign seal` as before. Tell auditors and witnesses.",
    ]
    log.seal()
    log.check()


def test_a_head_that_nothing_speaks_for_is_called_that(log: Log) -> None:
    shutil.rmtree(log.memory.path)
    result = say(log, "adopt-head", "--reason", "new machine")
    assert result.exit_code == 0
    assert "held against no other copy" in result.stdout


ADOPTIONS = {
    "no reason": ([], "Missing option '--reason'"),
    "an empty one": (["--reason", " "], "needs a reason"),
    "a memory there": (["--reason", "x"], "a memory of the log already"),
    "no such head": (["--reason", "x", "--head", "none"], "The tree head none cannot be read"),
    "no head": (["--reason", "x", "--head", __file__], "is no tree head of this log"),
    "no such copy": (["--reason", "x", "--from", "none"], "does not exist"),
}


@pytest.mark.parametrize(("words", "message"), ADOPTIONS.values(), ids=ADOPTIONS)
def test_no_head_is_adopted(log: Log, words: list[str], message: str) -> None:
    result = say(log, "adopt-head", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert log.database.query("SELECT FROM audit.entries WHERE trail = '@system'") == []


def test_a_copy_makes_up_for_what_was_lost(log: Log) -> None:
    lose(log)
    assert say(log, "restore", "--reason", "disk").exit_code == 0
    shutil.move(log.memory.path, log.home / "copy")
    refused = say(log, "adopt-head", "--reason", "new machine")
    assert refused.exit_code == 2
    assert "--from FOLDER" in refused.stderr
    assert say(log, "adopt-head", "--reason", "new machine", "--from", str(log.home / "copy")).exit_code == 0
    log.seal()
    log.check()
