"""Sealing with witnesses: what comes is kept, who is away holds nothing up, and an alarm stops everything."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit.alarm import check_alarm
from countersign.audit.attestations import add_cosignatures_steps, cosigned_size_steps
from countersign.audit.errors import ConfigurationError, VerificationError
from countersign.audit.memory import Known, Memory
from countersign.audit.note import Signature, parse_note
from countersign.audit.seal import log_key
from countersign.audit.steps import run
from countersign.audit.treehead import LogTrust, open_tree_head
from countersign.audit.witness import OtherHistoryError
from countersign.audit.witness_request import SIZE_TYPE, CosignRequest
from countersign.audit.witnesses import ask_witnesses, cosigned_by, merge_cosignatures, policy_of
from integration.sealing import Log, own_log, restored
from integration.witnessed import (
    Answer,
    Running,
    Scripted,
    running,
    scripted,
    seal,
    watching,
    write_policy,
)


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Scripted]:
    with scripted(tmp_path, "one") as script:
        yield script


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Scripted]:
    with scripted(tmp_path, "two") as script:
        yield script


def cosigned(log: Log) -> list[tuple[int, str]]:
    return log.database.query("SELECT tree_size, name FROM audit.cosignatures ORDER BY 1, 2")


def check_memory(log: Log, *scripts: Scripted) -> None:
    """Fail unless the head in the memory is the log's with a cosignature of each, and is read as before."""
    trust = LogTrust(log.trust.logs, tuple(script.key for script in scripts), len(scripts))
    open_tree_head(parse_note((log.memory.path / "checkpoint").read_bytes()), trust)
    log.check()


def ask(log: Log, *scripts: Scripted, patience: float = 60.0, known: Known | None = None) -> list[str]:
    """Ask about a head, and return who cosigned and whose trouble there was."""
    witnesses = [script.witness for script in scripts]
    asked = ask_witnesses(known or log.known(), witnesses, patience=patience, newest=log.known)
    assert [line.line for line in asked.note.signatures[-len(asked.came) :]] == [
        item.signature.line for item in asked.came
    ] or not asked.came
    return sorted([item.witness.name for item in asked.came] + [f"-{item.witness.name}" for item in asked.troubles])


def test_what_comes_goes_into_the_database_and_the_memory(log: Log, one: Scripted, two: Scripted) -> None:
    write_policy(log, 2, one.witness, two.witness)
    done = seal(log)
    assert (done.good, done.err) == (True, "")
    first, *told, last = done.out.splitlines()
    assert first.startswith("Sealed 3 entries")
    assert sorted(told) == [f"Cosigned 3 by {name} at 2026-03-02T12:01:00.000000Z" for name in ("one", "two")]
    assert last == "The head of 3 leaves is cosigned as the witness policy asks"
    assert cosigned(log) == [(3, "one.invalid"), (3, "two.invalid")]
    check_memory(log, one, two)

    again = seal(log)
    assert (again.good, len(again.out.splitlines())) == (True, 1)  # nobody is asked what he has said
    log.append("case")
    assert "Cosigned 4 by one" in seal(log).out
    assert [one.asked.get_nowait().old_size for _ in range(2)] == [0, 3]
    assert one.asked.empty()
    check_memory(log, one, two)


def test_who_is_away_delays_evidence_and_nothing_else(log: Log, one: Scripted, two: Scripted) -> None:
    write_policy(log, 2, one.witness, two.witness)
    assert seal(log).good
    two.answer = lambda _: Answer(404, b"not here")
    log.append("case", 4)
    done = seal(log)
    assert done.good
    assert "Cosigned 7 by one" in done.out
    assert "policy asks" not in done.out
    assert "The witness two (http://" in done.err
    assert "refuses with 404: b'not here'" in done.err
    assert "The last head it cosigned has 3 leaves, 4 fewer than this one" in done.err
    assert "has 1 cosignatures, fewer than the witness policy asks for" in done.err
    two.answer = two.cosigned
    done = seal(log)
    assert (done.good, done.err) == (True, "")
    assert "Cosigned 7 by two" in done.out
    check_memory(log, one, two)


def test_without_a_policy_nobody_is_asked(log: Log, one: Scripted) -> None:
    assert seal(log).err == ""
    assert one.asked.empty()


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_policy_may_lie_elsewhere(
    log: Log, one: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    elsewhere = write_policy(log, 1, one.witness).rename(tmp_path / "policy")
    if how == "variable":
        monkeypatch.setenv("COUNTERSIGN_WITNESS_POLICY", str(elsewhere))
    assert "Cosigned 3 by one" in seal(log, elsewhere if how == "option" else None).out


def test_a_policy_that_cannot_be_used_is_no_head(log: Log) -> None:
    (log.folder.path / "witness-policy").write_text("quorum x\n")
    with pytest.raises(ConfigurationError, match="line 1: 'x' is no witness"):
        seal(log)
    assert log.database.query("SELECT max(tree_size) FROM audit.heads") == [(0,)]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        policy_of(log.folder, log_key(log.folder), Path("nowhere"))


# --- alarms


def _conflict(size: int) -> Answer:
    return Answer(409, b"%d\n" % size, SIZE_TYPE)


def test_an_alarm_ends_the_sealing_until_somebody_has_looked(log: Log, one: Scripted) -> None:
    write_policy(log, 1, one.witness)
    one.answer = lambda _: _conflict(3)  # "three leaves, as you; but not yours"
    done = seal(log)
    assert not done.good
    assert "holds a tree of 3 leaves as well, with another root. Nothing more is signed." in done.err
    assert "Stop every sealer" in done.err
    path = log.folder.path / "witness-alarm"
    assert f"kept in {path}" in done.err
    document = json.loads(path.read_text())
    assert (document["spec"], document["witness"], document["status"]) == (
        "countersign/witness-alarm/1", one.key.text, 409,
    )  # fmt: skip
    assert base64.b64decode(document["answer"]) == b"3\n"
    assert base64.b64decode(document["shown"]) == log.known().note.encode()

    log.append("case")
    one.answer = one.cosigned
    for _ in range(2):
        done = seal(log)
        assert (done.good, done.out) == (False, "")
        assert str(path) in done.err
    with pytest.raises(VerificationError, match="another history"):
        check_alarm(log.folder)
    assert log.database.query("SELECT max(tree_size) FROM audit.heads") == [(3,)]
    path.unlink()
    assert seal(log).good
    log.check()


def test_a_restored_database_with_its_old_memory_is_found_by_the_witness(log: Log, one: Scripted) -> None:
    """Database and folder from one backup fit each other: only somebody outside knows that there was more."""
    write_policy(log, 1, one.witness)
    seal(log)
    backup = own_log(log.database, log.home / "backup")
    with restored(Log(backup.database)) as old:
        log.append("case", 2)
        assert "Cosigned 5 by one" in seal(log).out
        one.answer = lambda request: _conflict(5) if request.old_size != 5 else one.cosigned(request)
        old.append("other")
        done = seal(old)
    assert not done.good
    assert "knows a head of 5 leaves, our last has 4" in done.err
    assert "restored or older" in done.err


def test_a_witness_that_is_further_is_none_where_the_memory_is_too(log: Log, one: Scripted) -> None:
    """Two sealers: the other one was faster, and the witness has its head already."""
    log.seal()
    old = log.known()
    log.append("case")
    log.seal()
    one.answer = lambda _: _conflict(4)
    assert ask(log, one, known=old) == ["-one"]
    log.append("case")
    one.answer = lambda _: _conflict(5)
    with pytest.raises(OtherHistoryError) as alarm:
        ask(log, one, known=old)
    assert alarm.value.size == 5


# --- asking


def test_patience_ends_for_one_that_never_answers(log: Log, one: Scripted, two: Scripted) -> None:
    log.seal()
    held = threading.Event()

    def never(request: CosignRequest) -> Answer:
        held.wait()
        return two.cosigned(request)

    two.answer = never
    assert ask(log, one, two, patience=0.5) == ["-two", "one"]
    held.set()


def test_who_has_cosigned_is_not_asked_again(log: Log, one: Scripted, two: Scripted) -> None:
    log.seal()
    signed = one.cosigned(CosignRequest(0, (), log.known().note)).body.decode()
    assert log.memory.add_cosignatures(log.known().note.text, [parse_line(signed)])
    assert ask(log, one, two) == ["two"]
    assert one.asked.empty()
    assert [item.key for item in cosigned_by(log.known().note, [one.witness, two.witness])] == [one.key]


def parse_line(line: str) -> Signature:
    _, name, encoded = line.rstrip("\n").split(" ")
    blob = base64.b64decode(encoded)
    return Signature(name, blob[:4], blob[4:])


# --- what was kept


def test_a_head_that_was_overtaken_keeps_its_own(log: Log, one: Scripted) -> None:
    log.seal()
    old = log.known().note
    log.append("case")
    log.seal()
    line = parse_line(one.cosigned(CosignRequest(0, (), old)).body.decode())
    before = (log.memory.path / "checkpoint").read_bytes()
    assert not log.memory.add_cosignatures(old.text, [line])
    assert (log.memory.path / "checkpoint").read_bytes() == before


def test_the_first_of_a_key_stays(log: Log, one: Scripted, two: Scripted) -> None:
    log.seal()
    known = log.known()
    lines = [parse_line(script.cosigned(CosignRequest(0, (), known.note)).body.decode()) for script in (one, two)]
    later = Signature(lines[0].name, lines[0].key_id, bytes(72))
    assert log.memory.add_cosignatures(known.note.text, [lines[0], later])
    assert log.memory.add_cosignatures(known.note.text, [later, lines[1], later])
    assert log.known().note.signatures == (*known.note.signatures, *lines)
    check_memory(log, one, two)


def test_what_a_killed_sealer_left_in_the_database_alone_is_merged(log: Log, one: Scripted, two: Scripted) -> None:
    log.seal()
    known = log.known()
    line = parse_line(one.cosigned(CosignRequest(0, (), known.note)).body.decode())
    forged = Signature(two.key.name, two.key.key_id, bytes(72))
    with log.connected() as conn:
        run(conn, add_cosignatures_steps(known.head.size, [line, forged]))
        note = merge_cosignatures(conn, log.memory, [one.witness, two.witness])
        assert run(conn, cosigned_size_steps(one.key.name, one.key.key_id)) == known.head.size
        assert run(conn, cosigned_size_steps("nobody.invalid", b"none")) == 0
    assert note
    assert log.known().note.signatures == (*known.note.signatures, line)
    check_memory(log, one)
    assert ask(log, one, two) == ["two"]  # what somebody forged in the database counts for nothing


def test_rows_that_are_no_cosignatures_hold_nothing_up(log: Log, one: Scripted) -> None:
    write_policy(log, 1, one.witness)
    log.seal()
    log.database.as_admin("INSERT INTO audit.cosignatures VALUES (3, 'x', '\\x00', '\\xff'), (9, 'y', '\\x00', 'z')")
    done = seal(log)
    assert (done.good, done.err) == (True, "")
    assert "Cosigned 3 by one" in done.out


def test_a_reader_that_is_overtaken_reads_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its head and its tiles a sealer fills the tiles, and takes the narrower ones away."""
    log.append("case", 2)
    log.seal()
    genuine, seen = Memory._known, list[bytes]()

    def overtaken(self: Memory, data: bytes, trust: LogTrust) -> Known:
        seen.append(data)
        if len(seen) == 1:
            monkeypatch.setattr(Memory, "_known", genuine)
            log.append("case", 251)
            assert log.seal().head.size == 256
            monkeypatch.setattr(Memory, "_known", overtaken)
        return genuine(self, data, trust)

    monkeypatch.setattr(Memory, "_known", overtaken)
    assert log.known().head.size == 256
    assert len(seen) == 2


# --- beside sealing


def test_a_slow_witness_holds_up_neither_sealing_nor_the_others(log: Log, one: Scripted, two: Scripted) -> None:
    """It is held back until the test says so, over three heads; then it is asked about the newest alone."""
    held = threading.Event()

    def slow(request: CosignRequest) -> Answer:
        held.wait()
        return two.cosigned(request)

    two.answer = slow
    with watching(log, one, two) as watch:
        watch.until("Cosigned 3 by one")
        shown = [two.asked.get()]
        for size in (4, 5, 6):
            log.append("case")
            watch.until(f"Cosigned {size} by one")
        held.set()
        watch.until("The head of 6 leaves is cosigned as the witness policy asks")
        code, _ = watch.end()
    assert code == 0
    while not two.asked.empty():
        shown.append(two.asked.get())
    sizes = [int(request.note.text.split("\n")[1]) for request in shown]
    assert (sizes[0], sizes[-1], sizes) == (3, 6, sorted(sizes))
    assert (6, "two.invalid") in cosigned(log)
    check_memory(log, one, two)


def test_a_witness_that_comes_back_is_asked_about_the_newest_head(log: Log, one: Scripted, two: Scripted) -> None:
    two.answer = lambda _: Answer(404, b"")
    with watching(log, one, two) as watch:
        watch.until("Cosigned 3 by one")
        log.append("case")
        watch.until("Cosigned 4 by one")
        two.answer = two.cosigned
        watch.until("The head of 4 leaves is cosigned as the witness policy asks")
        code, err = watch.end()
    assert code == 0
    assert "The last head it cosigned is none so far; sealing goes on." in err
    check_memory(log, one, two)


def test_an_alarm_ends_the_watch(log: Log, one: Scripted, two: Scripted) -> None:
    with watching(log, one, two) as watch:
        watch.until("The head of 3 leaves")
        two.answer = lambda _: Answer(422, b"other tree")
        log.append("case")
        _, err = watch.process.communicate()
    assert watch.process.returncode == 1
    assert "holds a tree of 3 leaves of which ours is no extension" in err
    assert (log.folder.path / "witness-alarm").exists()
    log.append("case")
    assert not seal(log).good


# --- our own witness, as a process


def test_our_witness_is_asked_killed_and_asked_again(log: Log, tmp_path: Path) -> None:
    (key,) = log.trust.logs
    with running(tmp_path / "w", key) as first:
        write_policy(log, 1, first.witness)
        assert seal(log).good
        first.process.kill()
        first.process.wait()
        log.append("case")
        done = seal(log)
        assert done.good
        assert "cannot be reached (ConnectError" in done.err
    with running(tmp_path / "w", key) as second:
        assert second.witness.key == first.witness.key
        assert f"{key.name}: last cosigned a head of 3 leaves" in second.said
        write_policy(log, 1, second.witness)
        done = seal(log)
        assert (done.good, done.err) == (True, "")
        assert second.process.poll() is None
    assert cosigned(log) == [(3, "one.invalid"), (4, "one.invalid")]
    _check(log, second)


def _check(log: Log, running: Running) -> None:
    trust = LogTrust(log.trust.logs, (running.witness.key,), 1)
    open_tree_head(parse_note((log.memory.path / "checkpoint").read_bytes()), trust)
    log.check()
