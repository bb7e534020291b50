"""The commands `countersign seal` and `countersign keys export`."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Database
from integration.sealing import Log, own_log

TESTS = Path(__file__).parents[1]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path)


COUNTERSIGN = Path(sys.executable).with_name("countersign")


def command(log: Log, *words: str) -> subprocess.Popen[str]:
    environment = {"COUNTERSIGN_DATABASE_URL": log.database.app_url, "COUNTERSIGN_HOME": str(log.home)}
    return subprocess.Popen(
        [COUNTERSIGN, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_seal_seals_once_and_says_so(log: Log) -> None:
    log.append("case", 2)
    for line in ("Sealed 5 entries; the log has 5, root ", "Sealed 0 entries; the log has 5, root "):
        with command(log, "seal") as process:
            out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert out == f"{line}{log.known().head.root.hex()}\n"
    log.check()


def test_seal_tells_of_trails_left_out(log: Log) -> None:
    log.append("case", 2)
    log.database.as_admin("UPDATE audit.entries SET body = 'x' WHERE trail = 'case' AND seq = 2")
    with command(log, "seal") as process:
        _, err = process.communicate()
    assert process.returncode == 1
    assert "Entry 2 of trail 'case'" in err
    assert "countersign verify --trail case" in err


def test_seal_without_memory_could_not_run(log: Log) -> None:
    shutil.rmtree(log.memory.path)
    with command(log, "seal") as process:
        _, err = process.communicate()
    assert process.returncode == 2
    assert "countersign log adopt-head" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_seal_watch_goes_on_and_ends_cleanly(log: Log, number: int) -> None:
    with command(log, "seal", "--watch") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("Sealed 3 entries")
        for _ in range(3):
            log.append("case", 2)
            assert process.stdout.readline().startswith("Sealed 2 entries")
            log.look()
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")
    log.check()


def test_a_watch_whose_connection_breaks_goes_on(log: Log) -> None:
    with command(log, "seal", "--watch") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().startswith("Sealed 3 entries")
        log.database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (log.database.name,),
        )
        assert "Trying again" in process.stderr.readline()
        log.append("case")
        assert process.stdout.readline().startswith("Sealed 1 entries")
        process.terminate()
        assert process.wait() == 0


def test_keys_export_prints_the_key_that_opens_the_heads(log: Log) -> None:
    with command(log, "keys", "export", "--vkey") as process:
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, f"{log.trust.logs[0].text}\n")
