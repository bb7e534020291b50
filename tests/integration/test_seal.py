"""Sealing: each entry is one leaf, once, and no head ever contradicts another."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import Database
from countersign.audit import ConfigurationError
from countersign.audit import seal as sealing
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import AppendError
from countersign.audit.keyfolder import LOG
from countersign.audit.merkle import verify_inclusion
from countersign.audit.seal import open_sealer
from countersign.audit.steps import run
from countersign.audit.tiles import Tile
from drills import STRIDE
from forks import CONTEXT, begin_forking, forking
from integration.seal_crash import work
from integration.sealing import Log, open_appender, own_log


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path)


def test_a_new_log_begins_with_the_signed_head_of_the_empty_tree(log: Log) -> None:
    assert log.database.query("SELECT number, tree_size FROM audit.heads") == [(1, 0)]
    assert log.known().head.size == 0
    assert log.database.query("SELECT note FROM audit.heads") == [(log.known().note.encode(),)]


def test_entries_become_leaves_with_keys_first(log: Log) -> None:
    log.append("case-2", 3)
    log.append("case-1", 2)
    done = log.seal()

    assert (done.entries, done.head.size, done.refused) == (8, 8, ())
    order = log.database.query("SELECT trail, seq FROM audit.leaves ORDER BY leaf_index")
    assert order[:3] == [("@keys", 1), ("@keys", 2), ("@keys", 3)]
    assert order[3:] == [("case-2", 1), ("case-2", 2), ("case-2", 3), ("case-1", 1), ("case-1", 2)]
    log.check()


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_entries_become_leaves_in_the_order_of_their_writing(
    log: Log, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Whatever their trails are called, and wherever the list has them."""
    monkeypatch.setattr(sealing, "BATCH", batch)
    written = [("z", 1), ("a", 1), ("@system", 1), ("z", 2), ("@system", 2), ("a", 2)]
    for trail, _ in written:
        log.append(trail)
    log.database.as_admin("UPDATE countersign.unsealed SET trail = trail WHERE trail = 'z'")  # a new place in the table
    log.seal()
    order = log.database.query("SELECT trail, seq FROM audit.leaves WHERE trail <> '@keys' ORDER BY leaf_index")
    assert order == written
    log.check()


def test_an_entry_whose_line_was_struck_comes_before_the_next_of_its_trail(log: Log) -> None:
    for trail in ("a", "b", "a", "b"):
        log.append(trail)
    log.database.as_admin("DELETE FROM countersign.unsealed WHERE trail = 'b' AND seq = 1")
    with log.sealer() as (sealer, conn):
        sealer.seal(conn)
    order = log.database.query("SELECT trail, seq FROM audit.leaves WHERE trail <> '@keys' ORDER BY leaf_index")
    assert order == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    log.check()


def test_who_waited_for_a_lock_becomes_a_leaf_behind_who_held_it(log: Log) -> None:
    """An act holds off every change in @system until it commits, also one that was begun before it was written."""
    with log.connected() as acting, ThreadPoolExecutor(1) as threads:
        appender = open_appender(acting, log.home)
        with acting.transaction():
            heads = run(acting, appender.lock_steps(["case"], ["@system"]))
            ending = threads.submit(log.append, "@system")
            while not log.database.query("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"):
                pass
            run(acting, appender.insert_steps(heads, [EntryDraft("case", "review.opened")]))
        ending.result()
    log.seal()
    order = log.database.query("SELECT trail FROM audit.leaves WHERE trail <> '@keys' ORDER BY leaf_index")
    assert order == [("case",), ("@system",)]
    log.check()


def test_without_new_entries_there_is_no_new_head(log: Log) -> None:
    first = log.seal()
    again = log.seal()

    assert again.head == first.head
    assert again.entries == 0
    assert log.database.query("SELECT count(*) FROM audit.heads") == [(2,)]
    assert log.database.query("SELECT count(*) FROM countersign.unsealed") == [(0,)]


@pytest.mark.parametrize("batch", [1, 2, 7, 100])
def test_batches_of_any_size_make_the_same_tree(log: Log, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(sealing, "BATCH", batch)
    for number in range(5):
        log.append(f"case-{number % 2}", number + 1)
    assert log.seal().head.size == 18
    log.append("case-0", 3)
    log.seal()
    log.check()


def test_a_log_grows_over_several_tiles_and_drops_partial_ones(log: Log) -> None:
    """Sizes on both sides of a full tile, and a step over more than one."""
    for count in (250, 2, 1, 1, 600, 256, 7):
        log.append("case", count)
        log.seal()
        log.check()
    tiles = log.memory.path / "tile"
    assert sorted(path.name for path in (tiles / "0").iterdir()) == ["000", "001", "002", "003", "004.p"]
    assert not list(log.memory.path.rglob("*.new"))


def test_every_leaf_is_proven_from_the_files_alone(log: Log) -> None:
    from countersign.audit.merkle import inclusion_proof  # noqa: PLC0415 - beside verify_inclusion it is too alike

    log.append("case", 30)
    log.seal()
    known = log.known()
    for index, hashed in enumerate(known.tiles.tile(Tile(0, 0, 33))[at : at + 32] for at in range(0, 33 * 32, 32)):
        proof = inclusion_proof(known.tiles.read, index, 33)
        verify_inclusion(proof, leaf_hash=hashed, leaf_index=index, tree_size=33, root_hash=known.head.root)


def test_an_entry_that_commits_late_is_sealed_late_and_not_skipped(log: Log) -> None:
    with log.connected() as late, log.connected() as other:
        appender = open_appender(late, log.home)
        with late.transaction():
            appender.append(late, EntryDraft("late", "review.opened"), EntryDraft("late", "review.opened"))
            for _ in range(2):
                with other.transaction():
                    open_appender(other, log.home).append(other, EntryDraft("early", "review.opened"))
                log.seal()
            assert log.database.query("SELECT count(*) FROM audit.leaves WHERE trail = 'late'") == [(0,)]
        assert log.seal().entries == 2
    log.check()


def test_an_entry_that_is_rolled_back_is_no_leaf(log: Log) -> None:
    with log.connected() as conn, conn.transaction(force_rollback=True):
        open_appender(conn, log.home).append(conn, EntryDraft("case", "review.opened"))
        log.seal()
    log.append("case")
    assert log.seal().entries == 1
    log.check()


def test_a_clock_that_goes_back_changes_nothing(log: Log) -> None:
    for now in (datetime.now(UTC), datetime.now(UTC) - timedelta(hours=1)):
        with log.connected() as conn, conn.transaction():
            open_appender(conn, log.home, lambda now=now: now).append(  # type: ignore[misc]
                conn, EntryDraft("case", "review.opened"), EntryDraft("other", "review.opened")
            )
        assert log.seal().entries == (5 if len(log.bodies()) <= 5 else 2)
    log.check()


def test_what_somebody_struck_from_the_list_is_found_by_the_next_sealer(log: Log) -> None:
    log.append("case", 2)
    log.database.as_admin("DELETE FROM countersign.unsealed")
    with log.sealer() as (sealer, conn):
        assert not sealer.waiting(conn)
    assert log.seal().entries == 5
    log.check()


# --- two sealers


def seal_often(url: str, home: Path, times: int) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        sealer = open_sealer(conn, home)
        for _ in range(times):
            sealer.seal(conn)


def append_often(url: str, home: Path, trail: str, times: int) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        appender = open_appender(conn, home)
        for _ in range(times):
            with conn.transaction():
                entries = appender.append(conn, EntryDraft(trail, "review.opened"))
            appender.committed(entries)


def test_two_sealers_race_while_others_append(log: Log) -> None:
    begin_forking()
    url = log.database.app_url
    workers = [CONTEXT.Process(target=seal_often, args=(url, log.home, 60)) for _ in range(2)]
    workers += [CONTEXT.Process(target=append_often, args=(url, log.home, f"case-{n}", 60)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    log.seal()
    assert len(log.bodies()) == 123
    log.check()


def test_a_sealer_that_slept_behind_its_commit_overwrites_no_later_head(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed or paused between commit and memory, while another goes on: the memory never goes back."""
    log.append("case")
    with log.sealer() as (sealer, conn):
        advance = type(sealer.memory).advance

        def asleep(*args: Any) -> None:
            monkeypatch.setattr(type(sealer.memory), "advance", advance)
            log.append("case")
            assert log.seal().head.size == 5
            advance(*args)

        monkeypatch.setattr(type(sealer.memory), "advance", asleep)
        sealer.seal(conn)
    assert log.known().head.size == 5
    log.check()


# --- killed


@pytest.mark.long
def test_a_sealer_may_be_killed_at_any_moment(log: Log) -> None:
    """Around the statements and before the changes to a file, until one run is not hit any more."""
    killed = 0
    with forking(work) as give:
        for nth in range(1, 1000, STRIDE):
            log.append(f"case-{nth // STRIDE % 3}", 130)  # every other time a tile is filled
            end = give(f"{nth} {log.database.app_url} {log.home}")
            assert end in ("killed", "survived"), end
            log.look()
            if end == "survived":
                break
            killed += 1
    assert killed > 45 // STRIDE
    log.seal()
    log.check()


# --- keys


def test_a_log_key_that_nobody_trusts_signs_nothing(log: Log) -> None:
    shutil.copy(log.folder.path / "graph.pem", log.folder.path / f"{LOG}.pem")
    with log.connected() as conn, pytest.raises(ConfigurationError, match=r"trust\.json"):
        open_sealer(conn, log.home)


def test_a_saver_needs_no_key_of_the_log(log: Log) -> None:
    (log.folder.path / f"{LOG}.pem").unlink()
    log.append("case")
    with log.connected() as conn, pytest.raises(ConfigurationError, match=r"log\.pem"):
        open_sealer(conn, log.home)


# --- the transaction


def test_a_head_is_not_known_before_it_is_committed(log: Log) -> None:
    with log.sealer() as (sealer, conn):
        with conn.transaction(), pytest.raises(AppendError, match="somebody else") as refused:
            sealer.seal(conn)
        assert "autocommit" in refused.value.remedy
        conn.autocommit = False
        with pytest.raises(AppendError, match="somebody else"):
            sealer.seal(conn)
    assert log.known().head.size == 0


@pytest.mark.parametrize(("setting", "found"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
def test_a_head_is_durable_whatever_the_session_says(log: Log, setting: str, found: str) -> None:
    """After a crash of the server an honest database would stand behind its memory."""
    log.database.as_admin(
        f"""
        CREATE FUNCTION test_says() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF current_setting('synchronous_commit') <> '{found}' THEN RAISE EXCEPTION 'not durable'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER test_says BEFORE INSERT ON audit.heads FOR EACH ROW EXECUTE FUNCTION test_says()
        """
    )
    with log.sealer() as (sealer, conn):
        conn.execute("SELECT set_config('synchronous_commit', %s, false)", (setting,))
        assert sealer.seal(conn).head.size == 3


def test_only_read_committed_is_good_enough(log: Log) -> None:
    with log.sealer() as (sealer, conn):
        conn.execute("SET default_transaction_isolation = 'repeatable read'")
        with pytest.raises(AppendError, match="READ COMMITTED"):
            sealer.seal(conn)
