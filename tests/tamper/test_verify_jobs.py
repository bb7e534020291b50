"""Verification by several processes says what verification by one says, or that it could not be done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, verify_parts, verify_workers
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import ConfigurationError
from countersign.audit.verify import MAX_FINDINGS, Report, Verdict
from countersign.audit.verify_database import verify_database
from tamper.cases import DYNAMIC, STATIC, WAITING
from tamper.tools import attacker_key, rechain, record

CHECKPOINT = "thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata"
MANY = MAX_FINDINGS // 2 + 100


def _sql(*statements: str) -> Callable[[Database], None]:
    def attack(database: Database) -> None:
        for statement in statements:
            assert database.as_admin(statement) > 0

    return attack


def _several(*attacks: Callable[[Database], None]) -> Callable[[Database], None]:
    def attack(database: Database) -> None:
        for each in attacks:
            each(database)

    return attack


def _rechained(database: Database) -> None:
    rechain(database, DYNAMIC, attacker_key(), first=3)


ORPHANS = _sql(
    "INSERT INTO audit.payloads SELECT trail, 99, salt, data FROM audit.payloads WHERE seq = 2",
    "INSERT INTO audit.payloads SELECT name, 77, salt, data FROM audit.payloads, "
    f"unnest(ARRAY['', '@keys', 'A', 'case', '{STATIC}~', 'zz', NULL]) name WHERE trail = '{STATIC}' AND seq = 2",
    f"INSERT INTO audit.payloads SELECT trail, NULL, salt, data FROM audit.payloads WHERE trail = '{STATIC}'",
)
STRANGERS = _sql(
    f"INSERT INTO checkpoints ({CHECKPOINT}) SELECT name, checkpoint_ns, checkpoint_id, NULL, NULL, checkpoint, "
    "metadata FROM checkpoints, unnest(ARRAY['', '@keys', 'a', 'CASE-STATIC', 'zz', NULL]) name",
    f"UPDATE checkpoint_writes SET thread_id = 'nobody' WHERE thread_id = '{WAITING}'",
    f"INSERT INTO checkpoint_blobs SELECT * FROM checkpoint_blobs WHERE thread_id = '{DYNAMIC}'",
)
REMOVED = _sql(
    f"DELETE FROM audit.entries WHERE trail = '{STATIC}' AND seq IN (2, 5)",
    f"DELETE FROM audit.entries WHERE trail = '{WAITING}'",
    f"DELETE FROM checkpoints WHERE thread_id = '{DYNAMIC}'",
)
CHANGED = _sql(
    f"UPDATE audit.entries SET signature = keyid || keyid WHERE trail = '{STATIC}' AND seq = 4",
    f"UPDATE audit.entries SET trail = NULL WHERE trail = '{DYNAMIC}' AND seq IN (3, 4)",
    "UPDATE audit.entries SET kind = 'run.failed' WHERE seq = 7",
    "UPDATE audit.payloads SET data = data || 'x' WHERE seq = 5",
    "UPDATE checkpoint_blobs SET blob = '\\x00'",
)
TWICE = _sql(
    "INSERT INTO audit.entries SELECT * FROM audit.entries WHERE seq IN (3, 6) AND trail <> '@keys'",
    "INSERT INTO audit.payloads SELECT * FROM audit.payloads WHERE seq = 3",
    "INSERT INTO checkpoint_writes SELECT * FROM checkpoint_writes",
    "INSERT INTO checkpoint_writes SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, 'x', "
    "task_path FROM checkpoint_writes WHERE channel = 'flags'",
)
# More than a report keeps: some before the trails, some behind them, some in LangGraph's tables.
TOO_MANY = _sql(
    f"INSERT INTO audit.payloads SELECT n || '-case', n, salt, data FROM audit.payloads, generate_series(1, {MANY}) n "
    f"WHERE trail = '{STATIC}' AND seq = 2",
    f"INSERT INTO checkpoint_blobs SELECT 'z' || n, '', channel, version, type, blob FROM (SELECT * FROM "
    f"checkpoint_blobs LIMIT 1) b, generate_series(1, {MANY}) n",
)
ATTACKS = {
    "none": lambda _: None,
    "orphans": ORPHANS,
    "strangers": STRANGERS,
    "removed": REMOVED,
    "changed": CHANGED,
    "twice": TWICE,
    "rechained": _rechained,
    "too many": TOO_MANY,
    "all": _several(ORPHANS, STRANGERS, CHANGED, REMOVED, TWICE, TOO_MANY),
    "no keys": _sql("DELETE FROM audit.entries WHERE trail = '@keys'"),
    "no trails": _sql("DELETE FROM audit.entries WHERE trail <> '@keys'"),
}


class Watch:
    """Progress as a test sees it; may do something at the first step."""

    def __init__(self, at_once: Callable[[], object] = lambda: None) -> None:
        self.total = self.checked = 0
        self._at_once = at_once

    def start(self, total: int) -> None:
        self.total = total
        self._at_once()

    def advance(self, count: int) -> None:
        self.checked += count


def verify(database: Database, jobs: int, watch: Watch | None = None) -> Report:
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        return verify_database(conn, database.trust, outside=database.outside, jobs=jobs, progress=watch)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every trail is a part of its own."""
    monkeypatch.setattr(verify_parts, "PART", 1)


@pytest.mark.parametrize("name", list(ATTACKS))
def test_the_report_is_the_same_whoever_makes_it(honest: Database, name: str) -> None:
    ATTACKS[name](honest)
    watch = Watch()
    # Each process has to begin: a third one only where there is most to be shared.
    alone, parted, together = verify(honest, 1), verify(honest, 1, watch), verify(honest, 3 if name == "all" else 2)

    assert parted.as_json() == together.as_json() == alone.as_json()
    assert (alone.verdict is Verdict.PASSED) == (name == "none")
    if name != "no keys":
        entries = honest.query("SELECT count(*), count(*) FILTER (WHERE trail IS NOT NULL) FROM audit.entries")[0]
        assert (alone.counts.entries, watch.total) == entries
        assert watch.checked == entries[0]


@pytest.mark.parametrize("name", ["too many", "all"])
def test_what_a_report_leaves_out_is_counted_whoever_makes_it(honest: Database, name: str) -> None:
    ATTACKS[name](honest)
    reports = [verify(honest, jobs) for jobs in (1, 2)]

    assert {len(report.findings) for report in reports} == {MAX_FINDINGS}
    assert reports[0].omitted == reports[1].omitted >= 2 * MANY - MAX_FINDINGS


def test_each_row_is_counted_once_by_however_many(honest: Database) -> None:
    STRANGERS(honest)
    rows = sum(
        honest.query(f"SELECT count(*) FROM {table}")[0][0]
        for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
    )
    assert [verify(honest, jobs).counts.rows for jobs in (1, 2, 3)] == [rows] * 3


NAMES = [
    *("a", "A", "\u00e4", "\u00c4", "a b", "a%s", "a'b", 'a"b', "a\\b", "ss", "\u00df", "~", "-"),
    *("\U0001f600", "\ufb33", "x" * 255),
]


async def test_trails_of_any_name_and_one_that_is_huge_are_each_checked_once(database: Database) -> None:
    async with database.saver() as saver:
        for name in NAMES:
            await record(saver, EntryDraft(name, "run.started", payload={"input": name}))
        await _huge(saver, "m", 120)
    expected = 3 + len(NAMES) + 120
    for jobs in (1, 2, 4):
        watch = Watch()
        report = verify(database, jobs, watch)
        assert (report.verdict, report.findings, report.counts.trails) == (Verdict.PASSED, [], len(NAMES) + 2)
        assert (report.counts.entries, watch.checked, watch.total) == (expected, expected, expected)
        assert report.counts.payloads == len(NAMES) + 120


async def _huge(saver: AsyncAuditedPostgresSaver, trail: str, entries: int) -> None:
    for number in range(entries):
        await record(saver, EntryDraft(trail, "run.started", payload={"input": number}))


async def test_values_too_large_to_stream_in_numbers_are_checked_as_well(database: Database) -> None:
    text = "x" * (3 * 65_536)
    async with database.saver() as saver:
        for number in range(3):
            await record(saver, EntryDraft("case", "run.started", payload={"input": text, "number": number}))
    assert verify(database, 1).verdict is Verdict.PASSED
    database.as_admin("UPDATE audit.payloads SET data = data || 'x' WHERE seq = 2")
    assert [(found.check, found.seq) for found in verify(database, 2).findings] == [("payload", 2)]


def test_small_databases_are_verified_by_this_process_alone(honest: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_parts, "PART", 2_000)
    monkeypatch.setattr(verify_workers, "MODULE", "no_such_module")
    assert verify(honest, 8).verdict is Verdict.PASSED


DIES = """
import os, signal, sys
from countersign.audit import verify_worker
check, done = verify_worker.check_part, []
def dies(*args):
    if done:
        {end}
    done.append(1)
    check(*args)
verify_worker.check_part = dies
verify_worker.main(int(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "-9"), ("os._exit(0)", "0")],
    ids=["killed", "gone"],
)
def test_a_process_that_dies_is_an_error(
    honest: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, code: str
) -> None:
    (tmp_path / "dies.py").write_text(DIES.format(end=end))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(verify_workers, "MODULE", "dies")
    with pytest.raises(ConfigurationError, match=f"ended before its work was done .exit code {code}.") as caught:
        verify(honest, 2)
    assert "--jobs" in caught.value.remedy


def test_a_process_that_cannot_begin_is_an_error(honest: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(ConfigurationError, match="can be started") as caught:
        verify(honest, 2)
    assert "--jobs 1" in caught.value.remedy


def test_a_process_that_cannot_connect_is_an_error(honest: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_workers, "_conninfo", lambda _: "postgresql://nobody@/none?host=/nowhere")
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        verify(honest, 2)


def test_a_snapshot_that_cannot_be_shared_is_an_error(honest: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_workers, "_export", lambda _: "00000003-0000001B-1")
    with pytest.raises(ConfigurationError, match="snapshot cannot be shared") as caught:
        verify(honest, 2)
    assert "--jobs 1" in caught.value.remedy


def test_a_connection_lost_meanwhile_is_an_error(honest: Database) -> None:
    def cut() -> None:
        assert honest.query(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s AND usename = "
            "'countersign_app'",
            (honest.name,),
        ) == [(1,)]

    with pytest.raises((ConfigurationError, psycopg.OperationalError)):
        verify(honest, 2, Watch(cut))


def test_what_is_written_after_the_snapshot_is_seen_by_nobody(honest: Database) -> None:
    before = verify(honest, 1).as_json()
    damage = Watch(lambda: honest.as_admin("UPDATE checkpoint_blobs SET blob = '\\x00'"))

    assert verify(honest, 3, damage).as_json() == before
    assert verify(honest, 3).verdict is Verdict.FAILED
