"""Credentials of auditors: who may read the bodies of entries over HTTP.

A credential is 32 random bytes as text, shown once. What is kept is its SHA-256, a line each in a file beside the keys:
whoever reads the file cannot read the log with it, and to take a credential back its line is removed. As nobody can
guess 32 random bytes, the plain digest is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from pathlib import Path

from countersign.audit.errors import ConfigurationError
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.keys import sync_folder

FILE = "auditors"
_PREFIX = "csa_"
RANDOM_BYTES = 32
_LINE = re.compile("([0-9a-f]{64}) ([^\\s]{1,100})")


def auditors_file(folder: KeyFolder) -> Path:
    """Return the file of an origin's credentials. It need not exist."""
    return folder.path / FILE


def new_credential(file: Path, name: str, random: bytes) -> str:
    """Return a new credential for `name`, whose digest is in `file` and on disk. `random` are 32 random bytes.

    Raises ConfigurationError for a name that is empty, longer than 100 characters or has white space.
    """
    credential = f"{_PREFIX}{random.hex()}"
    line = f"{_digest(credential)} {name}"
    if len(random) != RANDOM_BYTES or not _LINE.fullmatch(line):
        raise ConfigurationError(
            f"{name[:100]!r} cannot be the name of a credential.",
            remedy="Give a name of 1 to 100 characters without white space, such as auditor-2026.",
        )
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "ab") as out:
        out.write(f"{line}\n".encode())
        out.flush()
        os.fsync(out.fileno())
    sync_folder(file.parent)
    return credential


def is_auditor(file: Path, credential: str) -> bool:
    """Tell whether the digest of `credential` is in `file`, in a time that does not tell how nearly.

    The file is read anew, so that a line which was removed counts no longer. One that is not there names nobody; lines
    of another form are for people.
    """
    wanted = _digest(credential)
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return False
    known = [found[1] for found in map(_LINE.fullmatch, lines) if found]
    return any([hmac.compare_digest(digest, wanted) for digest in known])  # noqa: C419 - all of them, every time


def _digest(credential: str) -> str:
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest()
