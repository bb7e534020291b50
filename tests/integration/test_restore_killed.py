"""A restore beside sealers and writers, and one that is killed at any moment."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import psycopg
import pytest

from conftest import Database
from countersign.audit import ConfigurationError
from countersign.audit.entry import EntryDraft
from countersign.audit.restore import examine
from countersign.audit.seal import open_sealer
from drills import STRIDE
from forks import forking
from integration.restoring import Backup, check_goes_on, restore_log, work
from integration.sealing import Log, open_appender, own_log, restored

TESTS = Path(__file__).parents[1]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


def seal_until(url: str, home: Path, size: int, at_work: Semaphore) -> None:
    """Seal as fast as possible until the log has more leaves than `size`; being refused is no end."""
    with psycopg.connect(url, autocommit=True) as conn:
        sealer = open_sealer(conn, home)
        while True:
            try:
                if sealer.seal(conn).head.size > size:
                    return
            except ConfigurationError as error:
                if "restored backup" not in error.message:
                    raise
                at_work.release()


def append_until_sealed(url: str, home: Path, size: int, at_work: Semaphore) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        appender = open_appender(conn, home)
        while True:
            with conn.transaction():
                entries = appender.append(conn, *(EntryDraft(trail, "review.opened") for trail in ("case", "new")))
            appender.committed(entries)
            at_work.release()
            row = conn.execute("SELECT max(tree_size) FROM audit.heads").fetchone()
            if row and row[0] > size:
                return


def test_sealers_race_a_restore_while_others_append(log: Log) -> None:
    log.append("case", 300)
    log.seal()
    log.append("kept", 10)
    with restored(log) as backup:
        log.append("case", 300)
        log.seal()
        spawn = multiprocessing.get_context("spawn")
        url, size = backup.database.app_url, log.known().head.size
        jobs = [(job, spawn.Semaphore(0)) for job in (seal_until, seal_until, append_until_sealed)]
        workers = [spawn.Process(target=job, args=(url, log.home, size, at_work), daemon=True) for job, at_work in jobs]
        for worker in workers:
            worker.start()
        for worker, (_, at_work) in zip(workers, jobs, strict=True):
            while not at_work.acquire(timeout=1):
                assert worker.is_alive()
        restore_log(backup)
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        backup.seal()
        backup.check()
        check_goes_on(backup)


COUNTS = """
SELECT (SELECT count(*) FROM audit.entries), (SELECT count(*) FROM audit.payloads), (SELECT count(*) FROM audit.leaves),
    (SELECT count(*) FROM audit.heads)
"""


def restorations(log: Log) -> int:
    return len(log.database.query("SELECT FROM audit.entries WHERE kind = 'log.restored'"))


def lose(log: Log) -> None:
    """Bring a backup back over a log that went on: 20 entries can be leaves again, 103 are lost."""
    log.append("case", 70)
    log.seal()
    log.append("kept", 20)
    backup = Backup(log)
    log.append("case", 100)
    log.append("kept", 3)
    log.seal()
    backup.bring_back()


@pytest.mark.long
def test_a_restore_may_be_killed_at_any_moment(log: Log) -> None:
    """What was done the next sealer goes on with, what was not the next restore does. Each loss is behind the last."""
    killed = done = 0
    lose(log)
    with forking(work) as give:
        for nth in range(1, 1000, STRIDE):
            before = log.database.query(COUNTS)
            end = give(f"restore {nth} {log.database.app_url} {log.home}")
            assert end in ("killed", "survived"), end
            killed += end == "killed"
            if restorations(log) == done:
                assert end == "killed"
                assert log.database.query(COUNTS) == before
                continue
            done += 1
            with log.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="not behind"):
                examine(conn, sealer)
            log.append("case")
            log.seal()
            log.check()
            if end == "survived":
                break
            lose(log)
    assert killed > 40 // STRIDE
    assert done > 8 // STRIDE
    log.check_consistency()
