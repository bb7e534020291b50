"""Restore: a database that came back from a backup goes on only on an operator's word, and nothing signed is belied."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conftest import Database
from countersign.audit.deployment import open_operator_steps
from countersign.audit.entry import EntryDraft
from countersign.audit.keys import FileKey, introduction
from countersign.audit.restore import restore
from countersign.audit.seal import open_sealer
from countersign.audit.steps import run
from integration.restoring import OPERATOR, REASON, check_goes_on, restore_log
from integration.sealing import Blow, Log, WatchedConnection, open_appender, own_log, restored

TESTS = Path(__file__).parents[1]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


def leaves(log: Log) -> list[tuple[Any, ...]]:
    return log.database.query("SELECT leaf_index, trail, seq FROM audit.leaves ORDER BY leaf_index")


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
