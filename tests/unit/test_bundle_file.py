"""A bundle takes its name whole and verified, and nobody else's."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.errors import ConfigurationError, VerificationError
from countersign.audit.treehead import LogTrust
from countersign.audit.verify import Verdict
from countersign.audit.verify_bundle import verify_bundle
from countersign.reports.bundle import bundle_file
from unit.bundles import ERASED, TRUST, honest, small_log
from unit.heads import OTHER, log_key


def write(path: Path, *, force: bool = False, trust: LogTrust = TRUST, **changes: Any) -> None:
    with bundle_file(path, force=force) as file:
        file.write(small_log().contents(erased=ERASED, **changes), trust)


def no_links(_old: Path, _new: Path) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_it_is_there_whole_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:  # noqa: FBT001
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == honest()
    assert verify_bundle(tmp_path / "b.zip", TRUST).verdict is Verdict.PASSED
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_meanwhile_is_not_replaced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,  # noqa: FBT001
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "b.zip"
    with bundle_file(path) as file:
        path.write_text("theirs")
        with pytest.raises(ConfigurationError, match="exists already"):
            file.write(small_log().contents(erased=ERASED), TRUST)
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_force_replaces_a_file_only_by_one_that_verifies(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    path.write_text("old")
    with pytest.raises(VerificationError, match="another end of @keys"):
        write(path, force=True, keys=small_log().places("@keys")[:-1])
    assert path.read_text() == "old"
    write(path, force=True)
    assert path.read_bytes() == honest()
    assert list(tmp_path.iterdir()) == [path]


def test_a_bundle_under_another_key_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="is not signed by") as refused:
        write(tmp_path / "b.zip", trust=LogTrust((log_key(OTHER),)))
    assert refused.value.table == "tree-head"
    assert list(tmp_path.iterdir()) == []


def test_what_is_never_written_leaves_nothing(tmp_path: Path) -> None:
    with bundle_file(tmp_path / "b.zip"):
        assert len(list(tmp_path.glob("b.zip.*.new"))) == 1
    assert list(tmp_path.iterdir()) == []
