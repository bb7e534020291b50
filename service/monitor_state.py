"""The file in which a monitor keeps what it has verified, and the heads that exclude each other beside it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from countersign.audit.errors import ConfigurationError, MalformedError, VerificationError
from countersign.audit.keys import sync_folder
from countersign.audit.monitor import State
from countersign.audit.monitorstate import decode_state, encode_state
from countersign.audit.note import Note
from countersign.audit.treehead import LogTrust, TreeHead, open_tree_head


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Hold off other monitors with this file: the one that ends last would take back what another has seen.

    Raises ConfigurationError if there is one. The operating system ends the lock when its holder dies.
    """
    lock = file.with_name(f"{file.name}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ConfigurationError(
            f"Another monitor is at work with {file}.", remedy="Wait for it, or give this one a state of its own."
        ) from error
    try:
        yield
    finally:
        os.close(handle)


def read_state(file: Path, trust: LogTrust) -> State | None:
    """Return the state in `file`, None where there is no file yet.

    Raises ConfigurationError for a file that was damaged, or is of another log: a monitor that began anew by itself
    would have forgotten what it has seen.
    """
    try:
        state = decode_state(file.read_bytes())
        open_tree_head(state.note, replace(trust, quorum=0))
    except FileNotFoundError:
        return None
    except (MalformedError, VerificationError) as error:
        raise ConfigurationError(
            f"{file} is not what a monitor of {trust.origin} left: {error.message}",
            remedy="Put back a copy of it. Without one, what was seen before is forgotten: move the file away, and the "
            "whole log is read anew.",
        ) from error
    return state


def write_state(file: Path, state: State) -> None:
    """Replace the state in `file`; whatever happens meanwhile, the old one or the new one is there, whole."""
    new = file.with_name(f"{file.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.writelines(encode_state(state))
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    sync_folder(file.parent)


def keep_evidence(file: Path, notes: Sequence[Note]) -> list[Path]:
    """Write each note into a file of its own beside `file`, named after its size and bytes, and return them."""
    kept = []
    for note in notes:
        data = note.encode()
        size = TreeHead.parse(note.text).size
        path = file.with_name(f"{file.name}.head-{size}-{hashlib.sha256(data).hexdigest()[:16]}")
        if not path.exists():
            new = path.with_name(f"{path.name}.new")
            new.write_bytes(data)
            new.replace(path)
        kept.append(path)
    if kept:
        sync_folder(file.parent)
    return kept
