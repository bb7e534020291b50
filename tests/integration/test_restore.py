"""Restore: a database that came back from a backup goes on only on an operator's word, and nothing signed is belied."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import Database
from countersign.audit import ConfigurationError, VerificationError
from countersign.audit.deployment import open_operator_steps
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import AppendError
from countersign.audit.keys import FileKey, introduction
from countersign.audit.restore import examine, restore
from countersign.audit.seal import Sealer, open_sealer
from countersign.audit.steps import run
from integration.adopting import wait_until
from integration.restoring import OPERATOR, REASON, Backup, restore_log
from integration.sealing import Blow, Log, WatchedConnection, ask, open_appender, own_log, restored

TESTS = Path(__file__).parents[1]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


def leaves(log: Log) -> list[tuple[Any, ...]]:
    return log.database.query("SELECT leaf_index, trail, seq FROM audit.leaves ORDER BY leaf_index")


def state(log: Log) -> list[list[tuple[Any, ...]]]:
    """All that is evidence in the database, and all files of the memory."""
    tables = ("audit.entries", "audit.payloads", "audit.leaves", "audit.heads")
    files = [(str(path), path.read_bytes()) for path in sorted(log.memory.path.rglob("*")) if path.is_file()]
    return [*(log.database.query(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables), files]


def check_goes_on(log: Log) -> None:
    """Append to old and new trails, seal, and hold everything ever signed against what is there then."""
    for trail in ("case", "new", "@system"):
        log.append(trail, 2)
    log.seal()
    log.check()
    log.check_consistency()
    assert log.database.verify().verdict == "passed"


# --- what a restore does

Trails = Sequence[tuple[str, int]]
# What is appended: sealed before the backup, in it and sealed later, and after it. Then the leaves that are lost.
BACKUPS: dict[str, tuple[Trails, Trails, Trails, list[int]]] = {
    "all that came later": ([("case", 2)], [], [("case", 1), ("new", 2)], [5, 6, 7]),
    "nothing": ([("case", 2)], [("case", 1), ("new", 2)], [], []),
    "some of a trail": ([("case", 2)], [("case", 1)], [("case", 2)], [6, 7]),
    "trails in turn": ([], [("new", 1), ("case", 1)], [("case", 1), ("new", 1), ("third", 1)], [5, 6, 7]),
    "of the system's own": ([("@system", 1)], [("@system", 1)], [("@system", 1), ("case", 1)], [5, 6]),
    "before anything was sealed": ([], [], [("case", 1)], [3]),
    "over several tiles": ([("case", 300)], [("case", 300)], [("case", 300), ("new", 3)], list(range(603, 906))),
}


@pytest.mark.parametrize(("sealed", "held", "later", "lost"), BACKUPS.values(), ids=BACKUPS)
def test_what_the_backup_lacks_is_lost_and_the_rest_is_leaves_again(
    log: Log, sealed: Trails, held: Trails, later: Trails, lost: list[int]
) -> None:
    for trail, count in sealed:
        log.append(trail, count)
    if sealed:
        log.seal()
    for trail, count in held:
        log.append(trail, count)
    with restored(log) as backup:
        for trail, count in later:
            log.append(trail, count)
            log.seal()
        log.seal()
        before, size = leaves(log), log.known().head.size
        done = restore_log(backup)

        assert sorted(backup.lost()) == lost
        assert done.found.loss.lost + done.found.loss.linked == size - done.found.database.size
        assert leaves(backup)[: size - len(lost)] == [leaf for leaf in before if leaf[0] not in lost]
        assert backup.known().head == done.head
        backup.seal()
        backup.check()
        check_goes_on(backup)


def test_the_entry_says_what_was_lost_why_and_by_whose_word(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    log.append("kept", 1)
    with restored(log) as backup:
        first = log.known().head
        log.seal()
        log.append("case", 2)
        log.append("new", 1)
        log.seal()
        second = log.known().head
        lost = [
            bytes(row[0]).hex() for row in log.database.query("SELECT leaf_hash FROM audit.leaves ORDER BY leaf_index")
        ]
        done = restore_log(backup)

        ((body, data),) = backup.database.query(
            "SELECT convert_from(e.body, 'UTF8'), p.data FROM audit.entries e JOIN audit.payloads p USING (trail, seq) "
            "WHERE trail = '@system' AND seq = %s",
            (done.seq,),
        )
        entry = json.loads(body)
        assert (entry["kind"], entry["actor"]) == ("log.restored", {"id": "uid:1000", "via": "os-user"})
        assert entry["detail"] == {
            "database": {"size": 5, "root": first.root.hex()},
            "memory": {"size": 9, "root": second.root.hex()},
            "from": 5,
            "to": 9,
            "lost": 3,
        }
        assert json.loads(data) == {"reason": REASON, "lost": [{"from": 6, "hashes": lost[6:9]}]}
        trails = {trail: (*one[:1], *one.first, *one.last) for trail, one in done.found.loss.trails.items()}
        assert trails == {
            "case": (2, 3, "review.opened", 4, "review.opened"),
            "new": (1, 1, "review.opened", 1, "review.opened"),
        }


def test_lost_leaves_that_are_apart_are_listed_apart(log: Log) -> None:
    """Between them stands an entry that the backup holds: what came later of @keys was sealed before it."""
    log.append("case")
    log.seal()
    log.append("kept")
    with restored(log) as backup:
        introduce_a_key(log)
        log.append("new", 2)
        log.seal()
        assert leaves(log)[4:] == [(4, "@keys", 4), (5, "kept", 1), (6, "new", 1), (7, "new", 2)]
        restore_log(backup)
        ((data,),) = backup.database.query("SELECT data FROM audit.payloads WHERE trail = '@system'")
        assert [(part["from"], len(part["hashes"])) for part in json.loads(data)["lost"]] == [(4, 1), (6, 2)]
        assert leaves(backup)[4:] == [(5, "kept", 1), (8, "@system", 1)]
        check_goes_on(backup)


def test_the_head_behind_the_loss_holds_keys_then_the_system_up_to_the_entry(log: Log) -> None:
    log.append("case")
    log.seal()
    with restored(log) as backup:
        log.append("case")
        log.seal()
        size = log.known().head.size
        backup.append("case")
        backup.append("@system", 2)
        introduce_a_key(backup)
        done = restore_log(backup)

        assert done.seq == 3
        assert leaves(backup)[-4:] == [
            (size, "@keys", 4),
            (size + 1, "@system", 1),
            (size + 2, "@system", 2),
            (size + 3, "@system", 3),
        ]
        assert done.head.size == size + 4
        assert backup.database.query("SELECT number, tree_size FROM audit.heads ORDER BY 1 DESC LIMIT 2") == [
            (3, size + 4),
            (2, 4),
        ]
        check_goes_on(backup)


def introduce_a_key(log: Log) -> None:
    key = FileKey.create(log.home / "another.pem")
    with log.connected() as conn, conn.transaction():
        draft = EntryDraft("@keys", "key.introduced", detail=introduction(key.public, ("run.*",)))
        open_appender(conn, log.home).append(conn, draft)


def test_an_entry_behind_one_that_is_lost_stays_lost(log: Log) -> None:
    """As where rows were removed from a backup: a trail must not be linked again over a gap."""
    log.append("case")
    log.seal()
    log.append("case", 3)
    with restored(log) as backup:
        log.seal()
        backup.database.as_admin("DELETE FROM audit.entries WHERE trail = 'case' AND seq = 3")
        restore_log(backup)
        assert sorted(backup.lost()) == [5, 6]
        done = backup.seal()
        assert [(error.trail, error.seq) for error in done.refused] == [("case", 4)]


def test_an_application_that_wrote_before_the_operator_came_loses_nothing(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    log.append("kept", 1)
    with restored(log) as backup:
        log.seal()
        log.append("case", 2)
        log.append("kept", 1)
        log.seal()
        backup.append("case", 3)
        backup.append("kept", 1)
        done = restore_log(backup)

        assert (done.found.loss.linked, done.found.loss.lost) == (1, 3)
        assert backup.seal().entries == 4
        backup.check()
        check_goes_on(backup)


def test_an_application_may_write_at_every_moment_of_a_restore(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    with restored(log) as backup:
        log.append("case", 2)
        log.seal()

        class EveryMoment(Blow):
            def moment(self) -> None:
                self.moments += 1
                backup.append(("case", "new")[self.moments % 2])

        blow = EveryMoment(0, lambda: None)
        with WatchedConnection.connect(backup.database.app_url, autocommit=True) as conn:
            sealer = open_sealer(conn, backup.home)
            appender = run(conn, open_operator_steps(backup.home))
            conn.blow = blow
            restore(conn, sealer, appender, reason=REASON, actor=OPERATOR)
        assert blow.moments > 30
        assert backup.seal().entries == blow.moments
        backup.check()
        check_goes_on(backup)


def test_a_clock_that_is_an_hour_late_changes_nothing(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    with restored(log) as backup:
        log.append("case", 2)
        log.seal()
        restore_log(backup, late=True)
        backup.check()
        check_goes_on(backup)


# --- again


def test_a_restore_after_a_restore(log: Log) -> None:
    """The second backup was taken after the first restore; what it says stays true."""
    log.append("case", 2)
    log.seal()
    with restored(log) as first:
        log.append("case", 3)
        log.seal()
        restore_log(first)
        first.append("case", 2)
        first.seal()
        first.append("kept", 1)
        with restored(first) as second:
            first.append("case", 4)
            first.seal()
            done = restore_log(second)
            assert (done.found.loss.linked, done.found.loss.lost) == (1, 4)
            assert done.seq == 2
            assert len(second.lost()) == 7
            check_goes_on(second)


def test_a_restore_of_a_backup_from_before_a_restore(log: Log) -> None:
    """The first log.restored is lost itself; the second speaks of all that the backup lacks."""
    log.append("case", 2)
    log.seal()
    with restored(log) as first, restored(log) as second:
        log.append("case", 3)
        log.seal()
        restore_log(first)
        first.append("case", 2)
        first.seal()
        done = restore_log(second)
        assert done.found.loss.lost == 3 + 1 + 2
        assert done.seq == 1
        check_goes_on(second)


def test_a_restore_of_a_backup_that_has_what_a_restore_gave_up(log: Log) -> None:
    """The better backup turned up late: what the first lacked has its leaves, and the entries in its place are lost."""
    log.append("case", 2)
    log.seal()
    with restored(log) as first:
        log.append("case", 3)
        log.seal()
        log.append("kept", 2)
        with restored(log) as better:
            log.seal()
            restore_log(first)
            first.append("case", 2)
            first.seal()
            size = first.known().head.size
            done = restore_log(better)
            assert (done.found.loss.linked, done.found.loss.lost) == (2, size - 8 - 2)
            check_goes_on(better)


def test_a_restore_of_which_nobody_sealed_yet_may_be_lost_too(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    with restored(log) as first, ExitStack() as stack:
        log.append("case", 3)
        log.seal()
        for _ in range(3):
            again = stack.enter_context(restored(first))
            restore_log(first)
            first = again  # noqa: PLW2901 - one backup after the other
        done = restore_log(first)
        assert (done.found.loss.lost, done.seq) == (3 + 3, 1)
        check_goes_on(first)


# --- where there is nothing to restore, or nothing may be


def _ahead(log: Log) -> None:
    """As where a sealer was killed between its commit and the memory."""
    copy = log.home / "copy"
    shutil.copytree(log.memory.path, copy)
    log.append("case")
    log.seal()
    shutil.rmtree(log.memory.path)
    shutil.move(copy, log.memory.path)


def _other_history(log: Log) -> None:
    """Somebody sealed something else behind a backup, with a copy of the memory."""
    with restored(log) as twin:
        keep = log.home / "copy"
        shutil.copytree(log.memory.path, keep)
        twin.append("other", 2)
        with twin.sealer() as (sealer, conn):
            sealer.seal(conn)
        shutil.rmtree(twin.memory.path)
        shutil.move(keep, twin.memory.path)
        note, size = twin.database.query("SELECT note, tree_size FROM audit.heads ORDER BY number DESC LIMIT 1")[0]
        rows = twin.database.query("SELECT trail, seq, leaf_index, leaf_hash FROM audit.leaves WHERE leaf_index >= 5")
    log.append("case", 4)
    log.seal()
    log.database.as_admin("DELETE FROM audit.heads WHERE number > 2")
    log.database.as_admin("DELETE FROM audit.leaves WHERE leaf_index >= 5")
    log.database.as_admin("INSERT INTO audit.heads VALUES (3, %s, %s)", (size, note))
    for row in rows:
        log.database.as_admin("INSERT INTO audit.leaves VALUES (%s, %s, %s, %s)", row)


def _behind(log: Log) -> None:
    backup = Backup(log)
    log.append("case", 3)
    log.seal()
    backup.bring_back()


def _memory_with(name: str) -> Callable[[Log], None]:
    def spoil(log: Log) -> None:
        _behind(log)
        path = log.memory.path / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    return spoil


def _after(sql: str) -> Callable[[Log], None]:
    def meddle(log: Log) -> None:
        _behind(log)
        log.database.as_admin(sql)

    return meddle


def _without_memory(log: Log) -> None:
    _behind(log)
    shutil.rmtree(log.memory.path)


def _damaged_system(log: Log) -> None:
    log.append("@system", 2)
    _behind(log)
    log.database.as_admin("UPDATE audit.entries SET body = 'x' WHERE trail = '@system' AND seq = 1")


REFUSED: dict[str, tuple[Callable[[Log], None], str]] = {
    "the database is not behind": (lambda _: None, "not behind"),
    "the memory is behind the database": (_ahead, "not behind"),
    "two histories": (_other_history, "two histories"),
    "no memory": (_without_memory, "no memory"),
    "a body that is not the leaf": (_memory_with("tile/entries/000.p/8"), "another body"),
    "a hash of another tree": (_memory_with("tile/0/000.p/8"), "not what"),
    "no head in the database": (_after("TRUNCATE audit.heads, audit.leaves"), "no tree head at all"),
    "leaves without head": (_after("DELETE FROM audit.heads WHERE number = 2"), "removed or added"),
    "a head that nobody signed": (
        _after("UPDATE audit.heads SET note = 'x' WHERE number = 2"),
        "not one that this log",
    ),
    "a leaf that the entry would be": (
        _after("INSERT INTO audit.leaves VALUES ('@system', 1, -1, '\\x00')"),
        "had lost",
    ),
    "a damaged trail of the system": (_damaged_system, "does not follow|another predecessor|has a body"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_nothing_is_restored(log: Log, spoil: Callable[[Log], None], message: str) -> None:
    log.append("case", 2)
    log.seal()
    spoil(log)
    before = state(log)
    with log.sealer() as (sealer, conn):
        appender = run(conn, open_operator_steps(log.home))
        with pytest.raises((ConfigurationError, VerificationError), match=message) as refused:
            restore(conn, sealer, appender, reason=REASON, actor=OPERATOR)
        assert refused.value.remedy
    assert state(log) == before


def test_a_dry_run_says_the_same_and_does_nothing(log: Log) -> None:
    log.append("case", 2)
    log.seal()
    log.append("kept", 2)
    with restored(log) as backup:
        log.append("case", 3)
        log.seal()
        before = state(backup)
        with backup.sealer() as (sealer, conn):
            found = examine(conn, sealer)
        assert state(backup) == before
        assert restore_log(backup).found == found


def test_a_restore_is_no_part_of_another_transaction(log: Log) -> None:
    _behind(log)
    with log.sealer() as (sealer, conn):
        appender = run(conn, open_operator_steps(log.home))
        with conn.transaction(), pytest.raises(AppendError, match="somebody else"):
            restore(conn, sealer, appender, reason=REASON, actor=OPERATOR)


def test_of_two_databases_the_one_that_is_still_sealed_wins(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lost database was not lost, and went on between: the restored one is found out, and publishes nothing."""
    log.append("case", 2)
    log.seal()
    with restored(log) as backup:
        log.append("case", 2)
        log.seal()
        remember = Sealer.remember

        def late(sealer: Sealer, new: Any) -> None:
            monkeypatch.setattr(Sealer, "remember", remember)
            log.append("case", 40)
            log.seal()
            remember(sealer, new)

        monkeypatch.setattr(Sealer, "remember", late)
        with pytest.raises(VerificationError, match="two histories"):
            restore_log(backup)
        with pytest.raises(VerificationError, match="two histories"):
            restore_log(backup)
    log.check()


def test_an_old_copy_of_the_memory_says_that_it_is_too_old(log: Log, tmp_path: Path) -> None:
    log.append("case", 2)
    log.seal()
    shutil.copytree(log.memory.path, tmp_path / "copy")
    _behind(log)
    restore_log(log)
    shutil.rmtree(log.memory.path)
    shutil.copytree(tmp_path / "copy", log.memory.path)
    with log.sealer() as (sealer, conn), pytest.raises(VerificationError, match=r"Leaf 5 .* missing") as refused:
        sealer.seal(conn)
    assert "not older than that restore" in refused.value.remedy


# --- others at work


def seal_until(url: str, home: Path, size: int) -> None:
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


def append_until_sealed(url: str, home: Path, size: int) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        appender = open_appender(conn, home)
        while True:
            with conn.transaction():
                entries = appender.append(conn, *(EntryDraft(trail, "review.opened") for trail in ("case", "new")))
            appender.committed(entries)
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
        workers = [spawn.Process(target=seal_until, args=(url, log.home, size)) for _ in range(2)]
        workers.append(spawn.Process(target=append_until_sealed, args=(url, log.home, size)))
        for worker in workers:
            worker.start()
        wait_until(lambda: bool(backup.database.query("SELECT FROM audit.entries WHERE trail = 'new'")))
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


def test_a_restore_may_be_killed_at_any_moment(log: Log) -> None:
    """What was done the next sealer goes on with, what was not the next restore does. Each loss is behind the last."""
    command = [sys.executable, "-m", "integration.restoring"]
    killed = done = 0
    lose(log)
    with subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for nth in range(1, 1000):
            before = log.database.query(COUNTS)
            end = ask(process, f"restore {nth} {log.database.app_url} {log.home}")
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
        assert process.stdin
        process.stdin.close()
    assert killed > 40
    assert done > 8
    log.check_consistency()


# --- the rights it takes


def test_a_restore_needs_the_deployment_key(log: Log) -> None:
    (log.folder.path / "deployment.pem").unlink()
    with log.connected() as conn, pytest.raises(ConfigurationError, match=r"deployment\.pem does not exist"):
        run(conn, open_operator_steps(log.home))


def test_a_restore_needs_the_key_of_the_log(log: Log) -> None:
    (log.folder.path / "log.pem").unlink()
    with log.connected() as conn, pytest.raises(ConfigurationError, match=r"log\.pem"):
        open_sealer(conn, log.home)


def test_the_graph_key_restores_nothing(log: Log) -> None:
    """It lies beside graph code; in the deployment key's place it would sign what every verification fails on."""
    shutil.copy(log.folder.path / "graph.pem", log.folder.path / "deployment.pem")
    with log.connected() as conn, pytest.raises(ConfigurationError, match="may not sign"):
        run(conn, open_operator_steps(log.home))
