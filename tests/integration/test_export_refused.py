"""What cannot be exported: it is told with the remedy, nothing is recorded, and what lies there stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import AuditError, ConfigurationError, NotFoundError, VerificationError
from countersign.audit.export import check_exportable
from countersign.audit.verify import Verdict
from countersign.audit.verify_bundle import verify_bundle
from integration.exporting import CASE, Bundle, add_case, export, exports
from integration.sealing import Log, own_log
from tamper.tools import append_forged
from unit.heads import WITNESS


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    return own_log(database, tmp_path / "home")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "bundle.zip"


# --- what is not


def _no_deployment_key(log: Log, _out: Path) -> None:
    (log.folder.path / "deployment.pem").unlink()


def _no_log_key(log: Log, _out: Path) -> None:
    (log.folder.path / "log.pem").unlink()


def _no_memory(log: Log, _out: Path) -> None:
    shutil.rmtree(log.memory.path)


def _memory_ahead(log: Log, out: Path) -> None:
    """The database is an old backup: the memory has seen more of it."""
    log.append("another", 2)
    log.seal()
    log.database.as_admin("DELETE FROM audit.heads WHERE number > 1")
    log.database.as_admin("DELETE FROM audit.leaves")


def _in_the_way(_log: Log, out: Path) -> None:
    out.write_text("kept")


def _dangling(_log: Log, out: Path) -> None:
    out.symlink_to("nowhere")


def _a_folder(_log: Log, out: Path) -> None:
    out.mkdir()


def _no_folder(_log: Log, out: Path) -> None:
    out.parent.rmdir()


def _a_file_for_a_folder(_log: Log, out: Path) -> None:
    out.parent.rmdir()
    out.parent.write_text("")


def _payload_changed(log: Log, _out: Path) -> None:
    log.database.as_admin("UPDATE audit.payloads SET data = '{}' WHERE trail = 'case'")


def _entry_gone(log: Log, _out: Path) -> None:
    log.database.as_admin("DELETE FROM audit.entries WHERE trail = 'case' AND seq = 2")


def _forged(log: Log, _out: Path) -> None:
    append_forged(log.database, EntryDraft(CASE, "review.opened"), WITNESS)


def _sealed_otherwise(log: Log, _out: Path) -> None:
    log.seal()
    log.database.as_admin("UPDATE audit.leaves SET leaf_hash = sha256('x') WHERE trail = 'case' AND seq = 3")


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (_no_deployment_key, ConfigurationError, "deployment key is not on this machine"),
        (_no_log_key, ConfigurationError, r"log\.pem"),
        (_no_memory, ConfigurationError, "no memory of the log"),
        (_memory_ahead, ConfigurationError, "behind the log's memory"),
        (_in_the_way, ConfigurationError, "exists already"),
        (_dangling, ConfigurationError, "exists already"),
        (_a_folder, ConfigurationError, "is a folder"),
        (_no_folder, ConfigurationError, "No file can be made"),
        (_a_file_for_a_folder, ConfigurationError, "No file can be made"),
        (_payload_changed, VerificationError, "salt or data was changed"),
        (_entry_gone, VerificationError, "2 is missing"),
        (_forged, VerificationError, "never introduced"),
    ],
)
def test_what_cannot_be_written_is_not_recorded_either(
    log: Log, out: Path, spoil: Callable[[Log, Path], None], error: type[AuditError], sentence: str
) -> None:
    add_case(log)
    spoil(log, out)
    with pytest.raises(error, match=sentence):
        export(log, out)
    assert exports(log) == 0
    assert out.parent.is_file() or not list(out.parent.parent.rglob("*.new"))
    if spoil is _in_the_way:
        assert out.read_text() == "kept"


def test_a_trail_that_was_sealed_otherwise_is_not_gone_on_with(log: Log, out: Path) -> None:
    add_case(log)
    _sealed_otherwise(log, out)
    with pytest.raises(VerificationError, match="is not the one that was sealed"):
        export(log, out)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("moves", "sentence"),
    [
        ([(3, -9), (4, 3), (-9, 4)], "is leaf 3, an entry before it in its trail is leaf 4"),
        ([(3, -9)], "Entry 1 of trail 'case' is leaf -9"),
        ([(3, 100)], "the table of leaves ends at 101"),
    ],
)
def test_leaves_that_were_moved_are_not_exported(
    log: Log, out: Path, moves: list[tuple[int, int]], sentence: str
) -> None:
    add_case(log)
    log.seal()
    for old, new in moves:
        log.database.as_admin("UPDATE audit.leaves SET leaf_index = %s WHERE leaf_index = %s", (new, old))
    with pytest.raises(VerificationError, match=sentence):
        export(log, out)
    assert (exports(log), list(out.parent.iterdir())) == (0, [])


@pytest.mark.parametrize("trail", ["@keys", "@system", "", "a\nb"])
def test_only_trails_of_cases_are_exported(trail: str) -> None:
    with pytest.raises(ConfigurationError, match="Only the trail of a case"):
        check_exportable(trail)


def test_an_unknown_trail_is_not_begun(log: Log, out: Path) -> None:
    with pytest.raises(NotFoundError, match="no trail 'case'"):
        export(log, out)
    assert exports(log) == 0
    assert list(out.parent.iterdir()) == []


def test_an_existing_file_is_replaced_by_force_only(log: Log, out: Path) -> None:
    add_case(log)
    out.write_text("old")
    with pytest.raises(ConfigurationError, match="--force"):
        export(log, out)
    export(log, out, force=True)
    Bundle(out).check()
    assert exports(log) == 1


_STRIKE = """
CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER strike BEFORE INSERT ON countersign.unsealed FOR EACH ROW
WHEN (NEW.trail = 'case' AND NEW.seq = 4{}) EXECUTE FUNCTION strike()
"""


def test_an_entry_struck_from_the_list_is_sealed_all_the_same(log: Log, out: Path) -> None:
    add_case(log)
    log.database.as_admin(_STRIKE.format(" AND pg_trigger_depth() > 0"))  # as it is appended, not as it is looked for
    export(log, out)
    assert verify_bundle(out, log.trust).verdict is Verdict.PASSED


def test_an_entry_that_cannot_be_sealed_is_told(log: Log, out: Path) -> None:
    add_case(log)
    log.database.as_admin(_STRIKE.format(""))
    with pytest.raises(VerificationError, match="does not become a leaf"):
        export(log, out)
    assert list(out.parent.iterdir()) == []
