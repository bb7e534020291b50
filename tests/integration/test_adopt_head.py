"""Adopting a head: a machine without memory begins one from the database, once an entry says on whose word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from conftest import ORIGIN, Database
from countersign.audit import ConfigurationError, VerificationError
from countersign.audit.adopt_head import adopt_head
from countersign.audit.deployment import open_operator_steps
from countersign.audit.entry import Actor
from countersign.audit.memory import Known
from countersign.audit.merkle import EMPTY_ROOT
from countersign.audit.note import Note, parse_note, sign
from countersign.audit.outside import read_head
from countersign.audit.steps import run
from countersign.audit.treehead import TreeHead
from drills import STRIDE
from forks import forking
from integration.restoring import REASON, Backup, adopt_log, check_goes_on, files, lose_memory, restore_log, work
from integration.sealing import Log, own_log, restored
from unit.heads import cosigned, note_of

TESTS = Path(__file__).parents[1]
SCHEMA = json.loads(resources.files("countersign.audit").joinpath("schemas/detail.json").read_text())


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


@pytest.fixture
def sealed(log: Log) -> Log:
    """A log of 265 leaves that was sealed three times."""
    for count in (2, 250, 10):
        log.append("case", count)
        log.seal()
    return log


def heads(log: Log) -> list[TreeHead]:
    return [TreeHead(ORIGIN, size, root) for size, root in sorted(log.seen.items())]


def adoptions(log: Log) -> int:
    return len(log.database.query("SELECT FROM audit.entries WHERE kind = 'log.head-adopted'"))


def test_the_memory_is_what_it_was(sealed: Log) -> None:
    before, lost = sealed.known().head, lose_memory(sealed)
    done = adopt_log(sealed)

    assert done.head == sealed.known().head == before
    assert files(sealed.memory.path).items() <= files(lost).items()
    assert len(files(sealed.memory.path)) == 6  # the head; two tiles of leaves, two of entries, one above
    assert sealed.seal().entries == 1
    sealed.check()
    check_goes_on(sealed)


def test_a_log_without_leaves_has_a_memory_too(log: Log) -> None:
    lose_memory(log)
    assert adopt_log(log).head == TreeHead(ORIGIN, 0, EMPTY_ROOT)
    assert list(files(log.memory.path)) == [Path("checkpoint")]
    check_goes_on(log)


def test_the_entry_says_which_head_against_which_and_why(sealed: Log) -> None:
    lose_memory(sealed)
    given = heads(sealed)[1:3]
    done = adopt_log(sealed, *given)
    ((body, data),) = sealed.database.query(
        "SELECT convert_from(e.body, 'UTF8'), p.data FROM audit.entries e JOIN audit.payloads p USING (trail, seq) "
        "WHERE trail = '@system' AND seq = %s",
        (done.seq,),
    )
    entry = json.loads(body)
    Draft202012Validator(SCHEMA).validate(entry)
    assert (entry["kind"], entry["actor"]) == ("log.head-adopted", {"id": "uid:1000", "via": "os-user"})
    assert entry["detail"] == {
        "database": {"size": 265, "root": done.head.root.hex()},
        "given": [{"size": head.size, "root": head.root.hex()} for head in given],
    }
    assert json.loads(data) == {"reason": REASON}


def test_entries_that_are_not_sealed_are_sealed_behind_it(sealed: Log) -> None:
    sealed.append("case", 3)
    lose_memory(sealed)
    adopt_log(sealed)
    assert sealed.seal().entries == 4
    check_goes_on(sealed)


def test_every_head_of_the_log_may_be_given(sealed: Log) -> None:
    lose_memory(sealed)
    assert len(heads(sealed)) == 4
    assert adopt_log(sealed, *heads(sealed)).given == tuple(heads(sealed))


# --- heads that are given


def note(log: Log, size: int) -> Note:
    rows = log.database.query("SELECT note FROM audit.heads WHERE tree_size = %s", (size,))
    return parse_note(bytes(rows[0][0]))


def test_a_head_is_read_from_a_note_with_or_without_cosignatures(sealed: Log, tmp_path: Path) -> None:
    plain = note(sealed, 5)
    for kept in (plain, Note(plain.text, (cosigned(plain.text), *plain.signatures))):
        (tmp_path / "kept").write_bytes(kept.encode())
        assert read_head(tmp_path / "kept", sealed.trust).head == TreeHead(ORIGIN, 5, sealed.seen[5])


def test_what_is_no_head_of_this_log_is_refused(sealed: Log, tmp_path: Path) -> None:
    good = note(sealed, 5).encode()
    for data in (b"", b"x", note_of().encode(), good.replace(b"\n5\n", b"\n6\n"), good + b"x", bytes(2_000_000)):
        (tmp_path / "kept").write_bytes(data)
        with pytest.raises(ConfigurationError, match="is no tree head of this log") as refused:
            read_head(tmp_path / "kept", sealed.trust)
        assert refused.value.remedy
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_head(path, sealed.trust)


def _of_another_tree(log: Log) -> list[TreeHead]:
    return [heads(log)[1], TreeHead(ORIGIN, 5, b"\1" * 32)]


def _larger(log: Log) -> list[TreeHead]:
    head = TreeHead(ORIGIN, 266, b"\1" * 32)
    text = head.text
    signed = Note(text, (sign(text, log.trust.logs[0], log.folder.key("log")),))
    (log.home / "kept").write_bytes(signed.encode())
    return [heads(log)[1], read_head(log.home / "kept", log.trust).head]


GIVEN: dict[str, tuple[Callable[[Log], list[TreeHead]], str]] = {
    "another root at its size": (_of_another_tree, "two histories"),
    "another root at the last size": (lambda _: [TreeHead(ORIGIN, 265, b"\1" * 32)], "two histories"),
    "one that is further": (_larger, "countersign log restore"),
    "too many": (lambda log: heads(log)[:1] * 101, "100 are accepted"),
}


@pytest.mark.parametrize(("given", "message"), GIVEN.values(), ids=GIVEN)
def test_over_a_head_that_does_not_fit_no_memory_begins(
    sealed: Log, given: Callable[[Log], list[TreeHead]], message: str
) -> None:
    lose_memory(sealed)
    with pytest.raises((ConfigurationError, VerificationError)) as refused:
        adopt_log(sealed, *given(sealed))
    assert message in str(refused.value)
    assert not sealed.memory.path.exists()
    assert adoptions(sealed) == 0


def test_a_head_from_before_the_loss_shows_a_restored_backup(sealed: Log) -> None:
    """The case for which heads are given: memory and database lost together, and somebody kept a head."""
    backup = Backup(sealed)
    sealed.append("case")
    sealed.seal()
    kept = heads(sealed)[-1]
    backup.bring_back()
    lost = lose_memory(sealed)
    with pytest.raises(ConfigurationError, match="behind a head that was given") as refused:
        adopt_log(sealed, kept)
    assert "the log's tiles" in refused.value.remedy
    shutil.move(lost, sealed.memory.path)
    restore_log(sealed)
    sealed.check()


# --- where none may begin


def _memory_there(_: Log) -> None:
    pass


def _no_head(log: Log) -> None:
    (log.memory.path / "checkpoint").unlink()


def _nowhere(log: Log) -> None:
    lose_memory(log)
    log.memory.path.symlink_to(log.home / "elsewhere")


def _after(sql: str) -> Callable[[Log], None]:
    def meddle(log: Log) -> None:
        lose_memory(log)
        log.database.as_admin(sql)

    return meddle


ANOTHER = (
    "UPDATE audit.entries SET body = convert_to(replace(convert_from(body, 'UTF8'), 'review', 'revlew'), 'UTF8') "
    "WHERE trail = 'case' AND seq = 3"
)
REFUSED: dict[str, tuple[Callable[[Log], None], str]] = {
    "there is one": (_memory_there, "a memory of the log already"),
    "there is one without its head": (_no_head, "a memory of the log already"),
    "there is a link to none": (_nowhere, "a memory of the log already"),
    "no head in the database": (_after("TRUNCATE audit.heads, audit.leaves"), "no tree head"),
    "a head that nobody signed": (_after("UPDATE audit.heads SET note = 'x' WHERE number = 4"), "not one that"),
    "leaves without head": (_after("DELETE FROM audit.heads WHERE number = 4"), "removed or added"),
    "an entry changed": (_after(ANOTHER), "Leaf 5 of the log is not the entry"),
    "an entry and its leaf changed": (
        _after(
            f"{ANOTHER}; UPDATE audit.leaves l SET leaf_hash = sha256('\\x00'::bytea || e.body) FROM audit.entries e "
            "WHERE e.trail = l.trail AND e.seq = l.seq"
        ),
        "do not lead to its last tree head",
    ),
    "an entry gone": (_after("DELETE FROM audit.entries WHERE trail = 'case' AND seq = 3"), "Leaf 5 of the log has no"),
    "a damaged trail of the system": (
        _after("INSERT INTO audit.entries SELECT '@system', 1, kind, occurred_at, body, keyid, signature "
               "FROM audit.entries WHERE trail = 'case' AND seq = 1"),
        "signed as entry",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_no_memory_begins(sealed: Log, spoil: Callable[[Log], None], message: str) -> None:
    spoil(sealed)
    before = files(sealed.home)
    with pytest.raises(Exception, match=message) as refused:
        adopt_log(sealed)
    assert getattr(refused.value, "remedy", "")
    assert files(sealed.home) == before
    assert adoptions(sealed) == 0


def test_two_do_not_make_it_at_once(sealed: Log) -> None:
    lose_memory(sealed)
    with sealed.memory.anew(), pytest.raises(ConfigurationError, match="Another process"):
        adopt_log(sealed)


def test_one_who_waited_does_not_replace_it(sealed: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked when there was none, and had the turn when there was one."""
    lose_memory(sealed)
    check = type(sealed.memory)._check_none

    def slow(*_: object) -> None:
        monkeypatch.setattr(type(sealed.memory), "_check_none", check)
        adopt_log(sealed)

    monkeypatch.setattr(type(sealed.memory), "_check_none", slow)
    with pytest.raises(ConfigurationError, match="a memory of the log already"):
        adopt_log(sealed)
    assert adoptions(sealed) == 1


# --- killed


@pytest.mark.long
def test_adopting_may_be_killed_at_any_moment(sealed: Log) -> None:
    """There is no memory or a whole one, never one without its entry, and a further try always goes on."""
    killed = stood = 0
    with forking(work) as give:
        for nth in range(1, 1000, STRIDE):
            shutil.rmtree(sealed.memory.path, ignore_errors=True)
            before = adoptions(sealed)
            end = give(f"adopt-head {nth} {sealed.database.app_url} {sealed.home}")
            assert end in ("killed", "survived"), end
            assert adoptions(sealed) in (before, before + 1)
            if sealed.memory.path.exists():
                stood += 1
                assert adoptions(sealed) == before + 1
                sealed.check_consistency()
                sealed.seal()
                sealed.check()
            else:
                with sealed.sealer() as (sealer, conn), pytest.raises(ConfigurationError, match="no memory"):
                    sealer.seal(conn)
            if end == "survived":
                break
            killed += 1
    assert killed > 40 // STRIDE
    assert stood > 1 // STRIDE
    assert adoptions(sealed) <= killed


def test_after_a_kill_the_next_try_leaves_two_entries_at_most(sealed: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between entry and rename, as bad as it gets."""
    lose_memory(sealed)

    def killed(*_: object) -> None:
        raise InterruptedError(4, "killed")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(ConfigurationError, match="cannot be read or written"):
            adopt_log(sealed)
    assert not sealed.memory.path.exists()
    adopt_log(sealed)
    assert adoptions(sealed) == 2
    assert not list(sealed.folder.path.glob("*.new"))
    check_goes_on(sealed)


def test_a_moved_sealer_goes_on_with_the_old_heads(sealed: Log) -> None:
    """The memory begins with the last head; who kept an older one is still shown that it is extended."""
    with restored(sealed) as moved:
        lose_memory(moved)
        adopt_log(moved, *heads(sealed))
        moved.seal()
        moved.check()
        moved.check_consistency()


def test_who_knows_a_later_head_stops_it_before_anything_is_done(sealed: Log) -> None:
    before = adoptions(sealed)
    shutil.rmtree(sealed.memory.path)

    def knows_better(known: Known) -> None:
        raise VerificationError(f"A witness knows more than {known.head.size} leaves.", check="witness")

    actor = Actor("uid:0", "os-user")
    with sealed.connected() as conn:
        appender = run(conn, open_operator_steps(sealed.home))
        with pytest.raises(VerificationError, match="knows more than"):
            adopt_head(conn, sealed.memory, sealed.trust, appender, reason="disk", actor=actor, vouched=knows_better)
    assert (sealed.memory.path.exists(), adoptions(sealed)) == (False, before)
