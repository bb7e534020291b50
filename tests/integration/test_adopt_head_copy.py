"""Adopting a head of a log that lost leaves: their bodies are in copies of its entry tiles only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit import ConfigurationError, VerificationError
from integration.restoring import Backup, adopt_log, check_goes_on, files, lose_memory, restore_log
from integration.sealing import Log, own_log


@pytest.fixture
def sealed(database: Database, tmp_path: Path) -> Log:
    """A log of 265 leaves."""
    log = own_log(database, tmp_path / "home")
    log.append("case", 262)
    log.seal()
    return log


@pytest.fixture
def bereft(sealed: Log) -> Log:
    """A log of which the leaves 265 to 664 were lost with a backup, and then the memory."""
    backup = Backup(sealed)
    sealed.append("case", 400)
    sealed.seal()
    backup.bring_back()
    restore_log(sealed)
    sealed.append("case", 200)
    sealed.seal()
    return sealed


def test_what_was_lost_needs_a_copy(bereft: Log) -> None:
    lose_memory(bereft)
    with pytest.raises(ConfigurationError, match="Leaf 265 of the log has no entry") as refused:
        adopt_log(bereft)
    assert "--from FOLDER" in refused.value.remedy
    assert not bereft.memory.path.exists()


@pytest.mark.parametrize("only", ["tile", "tile/entries"])
def test_with_a_copy_of_the_entries_it_is_whole(bereft: Log, tmp_path: Path, only: str) -> None:
    lost = lose_memory(bereft)
    shutil.copytree(lost / only, tmp_path / "copy" / only)
    adopt_log(bereft, copy=tmp_path / "copy")
    assert files(bereft.memory.path).items() <= files(lost).items()
    check_goes_on(bereft)


def test_a_copy_from_just_behind_the_loss_will_do(sealed: Log, tmp_path: Path) -> None:
    """Its last tile is narrower than the one that is needed: the database has the rest."""
    backup = Backup(sealed)
    sealed.append("case", 20)
    sealed.seal()
    shutil.copytree(sealed.memory.path, tmp_path / "copy")
    backup.bring_back()
    restore_log(sealed)
    sealed.append("case", 20)
    sealed.seal()
    lose_memory(sealed)
    adopt_log(sealed, copy=tmp_path / "copy")
    check_goes_on(sealed)


def _without(name: str) -> Callable[[Path], None]:
    return lambda copy: (copy / name).unlink()


def _cut(copy: Path) -> None:
    path = copy / "tile/entries/001"
    path.write_bytes(path.read_bytes()[:-1])


def _other(copy: Path) -> None:
    path = copy / "tile/entries/001"
    path.write_bytes(path.read_bytes().replace(b"review.opened", b"review.closed"))


COPIES: dict[str, tuple[Callable[[Path], None], str]] = {
    "lacks a tile": (_without("tile/entries/001"), "It is not in"),
    "is cut": (_cut, "cannot be used"),
    "has other bodies": (_other, "do not lead to its last tree head"),
}


@pytest.mark.parametrize(("spoil", "message"), COPIES.values(), ids=COPIES)
def test_a_copy_that_will_not_do(bereft: Log, spoil: Callable[[Path], None], message: str) -> None:
    lost = lose_memory(bereft)
    spoil(lost)
    with pytest.raises((ConfigurationError, VerificationError), match=message):
        adopt_log(bereft, copy=lost)
    assert not bereft.memory.path.exists()
