"""Where there is nothing to restore, or nothing may be restored, nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Database
from countersign.audit import ConfigurationError, VerificationError
from countersign.audit.deployment import open_operator_steps
from countersign.audit.errors import AppendError
from countersign.audit.restore import examine, restore
from countersign.audit.seal import Sealer, open_sealer
from countersign.audit.steps import run
from integration.restoring import OPERATOR, REASON, fall_behind, restore_log, state
from integration.sealing import Log, own_log, restored


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


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


def _memory_with(name: str) -> Callable[[Log], None]:
    def spoil(log: Log) -> None:
        fall_behind(log)
        path = log.memory.path / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    return spoil


def _after(sql: str) -> Callable[[Log], None]:
    def meddle(log: Log) -> None:
        fall_behind(log)
        log.database.as_admin(sql)

    return meddle


def _without_memory(log: Log) -> None:
    fall_behind(log)
    shutil.rmtree(log.memory.path)


def _damaged_system(log: Log) -> None:
    log.append("@system", 2)
    fall_behind(log)
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
    fall_behind(log)
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
    fall_behind(log)
    restore_log(log)
    shutil.rmtree(log.memory.path)
    shutil.copytree(tmp_path / "copy", log.memory.path)
    with log.sealer() as (sealer, conn), pytest.raises(VerificationError, match=r"Leaf 5 .* missing") as refused:
        sealer.seal(conn)
    assert "not older than that restore" in refused.value.remedy


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
