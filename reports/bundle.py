"""A bundle as a file: it appears whole, on disk and verified under its name, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from countersign.audit.bundle import Contents, write_bundle
from countersign.audit.errors import ConfigurationError, VerificationError
from countersign.audit.keys import sync_folder
from countersign.audit.treehead import LogTrust
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_bundle import verify_bundle

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)


class BundleFile:
    """A file beside its place, to be written and verified there before it takes its name. Made by `bundle_file`."""

    def __init__(self, path: Path, beside: Path, file: BinaryIO, *, force: bool) -> None:
        self.path = path
        self._beside, self._file, self._force = beside, file, force

    def write(self, contents: Contents, trust: LogTrust) -> Report:
        """Write the bundle, verify it as its receiver will, and put it in its place; return that report.

        Raises VerificationError with the first finding, and ConfigurationError where there is a file of that name by
        now; nothing is left then.
        """
        write_bundle(self._file, contents)
        self._file.flush()
        os.fsync(self._file.fileno())
        report = verify_bundle(self._beside, trust)
        if report.verdict is Verdict.FAILED:
            found = report.findings[0]
            raise VerificationError(
                f"The bundle does not verify, and is not kept. {found.message}",
                check=found.check,
                trail=found.trail,
                seq=found.seq,
                table=found.table,
                leaf_index=found.leaf_index,
                remedy="Run: countersign verify",
            )
        self._put()
        return report

    def _put(self) -> None:
        if self._force:
            self._beside.replace(self.path)
        else:
            self._put_new()
        sync_folder(self.path.parent)

    def _put_new(self) -> None:
        """Give the file its name, unless somebody else did: a rename would replace theirs, a link does not."""
        try:
            os.link(self._beside, self.path)
        except FileExistsError as error:
            raise _exists(self.path) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.lexists(self.path):  # on FAT and the like there is no better way
                raise _exists(self.path) from error
            self._beside.replace(self.path)


@contextmanager
def bundle_file(path: Path, *, force: bool = False) -> Iterator[BundleFile]:
    """Yield a new file beside `path`, for its owner alone: it holds what people typed. It goes unless it was written.

    Raises ConfigurationError if there is something of that name (with `force`: if it is no file), or if the folder does
    not exist or cannot be written. A process that is killed leaves at most a file whose name ends in `.new`.
    """
    if path.is_dir() or (os.path.lexists(path) and not force):
        raise _exists(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    except OSError as error:
        raise ConfigurationError(
            f"No file can be made in {path.parent}: {error.strerror}.", remedy="Choose another place: --out FILE"
        ) from error
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield BundleFile(path, beside, file, force=force)
    finally:
        with suppress(FileNotFoundError):
            beside.unlink()


def _exists(path: Path) -> ConfigurationError:
    if path.is_dir():
        return ConfigurationError(f"{path} is a folder.", remedy="Name a file: --out FILE")
    return ConfigurationError(f"{path} exists already.", remedy="Choose another name, or replace it with --force.")
