"""Backups of a database, what an operator does behind one, and ways to disturb that."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from countersign.audit.adopt_head import Adopted, adopt_head
from countersign.audit.deployment import open_operator_steps
from countersign.audit.entry import Actor
from countersign.audit.restore import Restored, restore
from countersign.audit.seal import open_sealer
from countersign.audit.steps import run
from countersign.audit.treehead import TreeHead
from forks import kill_this_process
from integration.sealing import Blow, Log, WatchedConnection, open_appender, watch_files

OPERATOR = Actor("uid:1000", "os-user")
REASON = "the disk of ward 3 is gone"


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


def restore_log(log: Log, *, late: bool = False) -> Restored:
    """Restore as the command does, with a clock that is an hour `late` or not."""
    with log.sealer() as (sealer, conn):
        appender = open_appender(conn, log.home, an_hour_ago) if late else run(conn, open_operator_steps(log.home))
        done = restore(conn, sealer, appender, reason=REASON, actor=OPERATOR)
    log.look()
    return done


def adopt_log(log: Log, *given: TreeHead, copy: Path | None = None) -> Adopted:
    """Begin the memory anew as the command does."""
    with log.connected() as conn:
        appender = run(conn, open_operator_steps(log.home))
        return adopt_head(conn, log.memory, log.trust, appender, reason=REASON, actor=OPERATOR, given=given, copy=copy)


class Backup:
    """What the database held when this was made, to be brought back as often as it takes."""

    def __init__(self, log: Log) -> None:
        self._database = log.database
        log.database.as_admin(
            """
            DROP TABLE IF EXISTS backup;
            CREATE TABLE backup AS SELECT trail, seq FROM audit.entries;
            DROP TABLE IF EXISTS backup_heads;
            CREATE TABLE backup_heads AS SELECT number, tree_size FROM audit.heads
            """
        )

    def bring_back(self) -> None:
        """Put the database back: nothing that was there is changed by anybody, so what came later has to go."""
        self._database.as_admin(
            """
            DELETE FROM audit.entries WHERE (trail, seq) NOT IN (SELECT trail, seq FROM backup);
            DELETE FROM audit.payloads WHERE (trail, seq) NOT IN (SELECT trail, seq FROM backup);
            DELETE FROM audit.leaves WHERE leaf_index >= (SELECT max(tree_size) FROM backup_heads);
            DELETE FROM audit.heads WHERE number NOT IN (SELECT number FROM backup_heads);
            DELETE FROM countersign.unsealed;
            INSERT INTO countersign.unsealed SELECT trail, seq FROM audit.entries
                WHERE (trail, seq) NOT IN (SELECT trail, seq FROM audit.leaves)
            """
        )


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


def fall_behind(log: Log) -> None:
    """Bring a backup back over a log that went on by three entries."""
    backup = Backup(log)
    log.append("case", 3)
    log.seal()
    backup.bring_back()


def files(folder: Path) -> dict[Path, bytes]:
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def lose_memory(log: Log) -> Path:
    """Take the memory away, and return where it lies now."""
    lost = log.home / "lost"
    shutil.rmtree(lost, ignore_errors=True)
    shutil.move(log.memory.path, lost)
    return lost


def work(line: str) -> None:
    """Do an operator's act, and be killed at its nth moment. A line is `ACT NTH URL HOME`."""
    act, nth, url, home = line.split(maxsplit=3)
    blow = Blow(int(nth), kill_this_process)
    watch_files(Path(home), blow)
    with WatchedConnection.connect(url, autocommit=True) as conn:
        sealer = open_sealer(conn, Path(home))
        appender = run(conn, open_operator_steps(Path(home)))
        conn.blow = blow
        if act == "restore":
            restore(conn, sealer, appender, reason=REASON, actor=OPERATOR)
        else:
            adopt_head(conn, sealer.memory, sealer._trust, appender, reason=REASON, actor=OPERATOR)
