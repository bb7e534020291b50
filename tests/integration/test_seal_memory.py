"""The log's memory outside the database, and the database beside it: where the two do not fit, nothing is signed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit import ConfigurationError, VerificationError
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import AppendError
from integration.sealing import Log, own_log, restored
from tamper.tools import append_forged

TESTS = Path(__file__).parents[1]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path)


def test_a_sealer_without_memory_signs_nothing(log: Log) -> None:
    log.seal()
    shutil.rmtree(log.memory.path)
    log.append("case")
    heads = log.database.query("SELECT count(*) FROM audit.heads")
    for _ in range(2):
        with log.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="no memory") as refused:
            sealer.seal(conn)
        assert "countersign log adopt-head" in refused.value.remedy
    assert log.database.query("SELECT count(*) FROM audit.heads") == heads
    assert not log.memory.path.exists()


def test_a_log_folder_without_its_head_is_no_memory(log: Log) -> None:
    log.seal()
    (log.memory.path / "checkpoint").unlink()
    log.append("case")
    with log.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="adopt-head"):
        sealer.seal(conn)


def test_a_memory_that_was_moved_goes_on(log: Log, tmp_path: Path) -> None:
    log.append("case", 300)
    log.seal()
    shutil.move(log.memory.path, tmp_path / "elsewhere")
    log.memory.path.symlink_to(tmp_path / "elsewhere")
    log.append("case")
    log.seal()
    log.check()


def test_a_memory_from_an_older_copy_is_brought_up_to_date(log: Log, tmp_path: Path) -> None:
    log.append("case", 200)
    log.seal()
    shutil.copytree(log.memory.path, tmp_path / "copy")
    for _ in range(3):
        log.append("case", 200)
        log.seal()
    shutil.rmtree(log.memory.path)
    shutil.copytree(tmp_path / "copy", log.memory.path)
    log.seal()
    log.check()


def test_the_memory_of_nothing_is_none_for_a_log_that_went_on(log: Log) -> None:
    """Anybody who has the database has the head of the empty tree, and could begin a folder with it."""
    first = (log.memory.path / "checkpoint").read_bytes()
    for _ in range(2):
        log.append("case")
        log.seal()
    shutil.rmtree(log.memory.path)
    log.memory.path.mkdir()
    (log.memory.path / "checkpoint").write_bytes(first)
    log.append("case")
    with log.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="no memory of the log"):
        sealer.seal(conn)
    assert log.database.query("SELECT count(*) FROM audit.heads") == [(3,)]


def test_a_memory_that_cannot_be_written_delays_the_next_head(log: Log) -> None:
    """One head is committed and waits; no further one is signed before the memory has it."""
    (log.memory.path / "tile").write_text("in the way")
    for _ in range(3):
        log.append("case")
        with log.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="cannot be read or written"):
            sealer.seal(conn)
    assert log.database.query("SELECT tree_size FROM audit.heads ORDER BY 1") == [(0,), (4,)]
    assert log.known().head.size == 0
    (log.memory.path / "tile").unlink()
    assert log.seal().head.size == 6
    log.check()


def test_a_restored_database_is_not_sealed(log: Log) -> None:
    log.append("case")
    log.seal()
    with restored(log) as backup:
        log.append("case")
        log.seal()
        before = log.known().note.encode()
        backup.append("case")
        with backup.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="restored backup") as refused:
            sealer.seal(conn)
        assert "countersign log restore" in refused.value.remedy
        assert backup.database.query("SELECT count(*) FROM audit.heads") == [(2,)]
        assert log.known().note.encode() == before
    log.check()


def test_of_two_databases_that_went_apart_one_is_never_shown(log: Log) -> None:
    """Both sign a head of one size at one time; the memory takes one, and the other is found out from then on."""
    log.append("case")
    log.seal()
    with restored(log) as twin:
        log.append("case")
        with twin.sealer() as (sealer, conn):
            twin.append("other")
            known = sealer._catch_up(conn)
            log.seal()
            with pytest.raises(VerificationError) as refused:
                sealer._seal_batch(conn, known)
            assert refused.value.check == "head"
        with twin.sealer() as (sealer, conn), pytest.raises(VerificationError, match="two histories"):
            sealer.seal(conn)
    log.check()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


SPOILT = {
    "no head": ("checkpoint", _cut, "head"),
    "a head of nobody": ("checkpoint", _flip, "head"),
    "a hash": ("tile/0/000.p/4", _flip, "tile"),
    "a hash less": ("tile/0/000.p/4", _cut, "tile"),
    "no tile": ("tile/0/000.p/4", Path.unlink, "tile"),
    "a body": ("tile/entries/000.p/4", _flip, "tile"),
    "a body less": ("tile/entries/000.p/4", _cut, "tile"),
    "no bodies": ("tile/entries/000.p/4", Path.unlink, "tile"),
}


@pytest.mark.parametrize(("name", "spoil", "check"), SPOILT.values(), ids=SPOILT)
def test_over_a_spoilt_memory_nothing_is_signed_or_written(
    log: Log, name: str, spoil: Callable[[Path], None], check: str
) -> None:
    log.append("case")
    log.seal()
    spoil(log.memory.path / name)
    before = {path: path.read_bytes() for path in log.memory.path.rglob("*") if path.is_file()}
    log.append("case")
    heads = log.database.query("SELECT count(*) FROM audit.heads")
    with log.sealer() as (sealer, conn), pytest.raises(VerificationError) as refused:
        sealer.seal(conn)
    assert (refused.value.check, bool(refused.value.remedy)) == (check, True)
    assert log.database.query("SELECT count(*) FROM audit.heads") == heads
    assert {path: path.read_bytes() for path in log.memory.path.rglob("*") if path.is_file()} == before


# --- the database


INSERT_HEAD = "INSERT INTO audit.heads SELECT number + 1, {size}, {note} FROM audit.heads ORDER BY number DESC LIMIT 1"
MEDDLED = {
    "a leaf removed": ("DELETE FROM audit.leaves WHERE leaf_index = 3", "leaf"),
    "a leaf added": ("INSERT INTO audit.leaves VALUES ('x', 1, 4, '\\x00')", "leaf"),
    "heads and leaves removed": ("TRUNCATE audit.heads, audit.leaves", "restored"),
    "a head cut off": (
        "DELETE FROM audit.heads WHERE number = 2; DELETE FROM audit.leaves WHERE leaf_index >= 0",
        "restored",
    ),
    "the last head of another log": ("UPDATE audit.heads SET note = 'x' WHERE number = 2", "head"),
    "an old head shown as the last": (
        "UPDATE audit.heads SET note = (SELECT note FROM audit.heads WHERE number = 1) WHERE number = 2",
        "head",
    ),
    "a head nobody signed": (INSERT_HEAD.format(size="tree_size + 1", note="'x'"), "head"),
    "a head signed before for another size": (INSERT_HEAD.format(size="tree_size + 1", note="note"), "head"),
}


@pytest.mark.parametrize(("sql", "found"), MEDDLED.values(), ids=MEDDLED)
def test_nothing_is_signed_over_tables_that_were_meddled_with(log: Log, sql: str, found: str) -> None:
    log.append("case")
    log.seal()
    before = log.known().note.encode()
    log.database.as_admin(sql)
    log.append("case")
    heads = log.database.query("SELECT * FROM audit.heads")
    with log.sealer() as (sealer, conn), pytest.raises((VerificationError, ConfigurationError)) as refused:
        sealer.seal(conn)
    assert found in (getattr(refused.value, "check", None) or refused.value.message)
    assert refused.value.remedy
    assert log.database.query("SELECT * FROM audit.heads") == heads
    assert log.known().note.encode() == before


FORK = {
    "put in": "INSERT INTO audit.entries SELECT trail, seq + 2, kind, occurred_at, body, keyid, signature "
    "FROM audit.entries WHERE trail = 'case' AND seq = 2",
    "not the next": "UPDATE audit.entries SET seq = seq + 1 WHERE trail = 'case' AND seq > 2",
    "no entry": "UPDATE audit.entries SET body = 'x' WHERE trail = 'case' AND seq = 3",
    "changed": "UPDATE audit.entries SET body = convert_to(replace(convert_from(body, 'UTF8'), 'suite', 'other'), "
    "'UTF8') WHERE trail = 'case' AND seq = 3",
    "another predecessor": "UPDATE audit.entries SET body = convert_to(regexp_replace(convert_from(body, 'UTF8'), "
    "'\"prev\":\"[0-9a-f]{64}', '\"prev\":\"' || repeat('0', 64)), 'UTF8') WHERE trail = 'case' AND seq = 3",
    "of another trail": "UPDATE audit.entries SET body = (SELECT body FROM audit.entries WHERE trail = 'other' AND "
    "seq = 1) WHERE trail = 'case' AND seq = 3",
}


@pytest.mark.parametrize("sql", FORK.values(), ids=FORK)
def test_a_trail_that_does_not_go_on_where_it_was_sealed_is_left_out(log: Log, sql: str) -> None:
    """What is put in behind sealed entries is no leaf; the other trails do not wait for it."""
    log.append("case", 2)
    log.seal()
    log.append("case")
    log.append("other", 2)
    log.database.as_admin(sql)
    log.append("third")
    with log.sealer() as (sealer, conn):
        sealer.sweep(conn)
        done = sealer.seal(conn)
        assert [(error.trail, error.seq) for error in done.refused] in ([("case", 3)], [("case", 4)])
        assert not sealer.waiting(conn)
    assert done.entries in (3, 4)
    again = log.seal()
    assert ([error.trail for error in again.refused], again.entries) == (["case"], 0)


def test_a_forged_entry_in_its_place_is_sealed_as_the_forgery_it_is(log: Log) -> None:
    """A sealer vouches for what was there, `verify` judges it; so a forger cannot take it back."""
    append_forged(log.database, EntryDraft("case", "review.signed"), log.folder.key("graph"))
    log.seal()
    log.check(honest=False)
    assert log.database.verify().verdict == "failed"
    assert log.database.verify().verdict == "failed"


def test_an_entry_removed_between_commit_and_memory_is_missed(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append("case")

    def killed(*_: object) -> None:
        raise InterruptedError

    with log.sealer() as (sealer, conn):
        with monkeypatch.context() as patch:
            patch.setattr(type(sealer.memory), "advance", killed)
            with pytest.raises(InterruptedError):
                sealer.seal(conn)
        log.database.as_admin("DELETE FROM audit.entries WHERE trail = 'case'")
        with pytest.raises(VerificationError, match="missing") as refused:
            sealer.seal(conn)
    assert refused.value.check == "leaf"


def test_a_trigger_that_edits_leaves_stops_the_sealer(log: Log) -> None:
    log.database.as_admin(
        """
        CREATE FUNCTION test_edits() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.leaf_hash := '\\x00'; RETURN NEW; END $$;
        CREATE TRIGGER test_edits BEFORE INSERT ON audit.leaves FOR EACH ROW EXECUTE FUNCTION test_edits()
        """
    )
    with log.sealer() as (sealer, conn), pytest.raises(AppendError, match="trigger"):
        sealer.seal(conn)
    assert log.database.query("SELECT count(*) FROM audit.leaves") == [(0,)]
