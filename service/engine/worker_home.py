"""What of a deployment's keys a worker gets: the graph key, and whom to trust. Never the deployment or the log key."""

from __future__ import annotations

import os
from pathlib import Path

from countersign.audit.errors import ConfigurationError
from countersign.audit.keyfolder import GRAPH, KeyFolder

_FILES = (f"{GRAPH}.pem", "trust.json")


def prepare_worker_home(folder: KeyFolder, target: Path) -> Path:
    """Make `target` a home that holds of `folder` what a worker may have, and nothing else; return it.

    It is for this process's user alone. Repeating it is free. Raises ConfigurationError when the folder cannot be made,
    or holds more than it may.
    """
    place = target / folder.path.name
    try:
        for made in (target, place):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
            made.chmod(0o700)
        _check_nothing_else(target, place)
        for name in _FILES:
            _copy(folder.path / name, place / name)
    except OSError as error:
        raise ConfigurationError(
            f"The worker's home {target} cannot be made: {error.strerror or error}.",
            remedy="Choose a folder that this user may write.",
        ) from error
    return target


def _copy(source: Path, target: Path) -> None:
    fresh = target.with_name(target.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(source.read_bytes())
    fresh.replace(target)


def _check_nothing_else(target: Path, place: Path) -> None:
    """Refuse a folder in which a worker would find another key: a whole COUNTERSIGN_HOME, or what was left there."""
    strange = [path for path in (*target.iterdir(), *place.iterdir()) if path != place and path.name not in _NAMES]
    if strange:
        raise ConfigurationError(
            f"{target} holds what no worker may have: {strange[0].name}.",
            remedy="Choose an empty folder: a worker gets a home of its own.",
        )


_NAMES = (*_FILES, *(f"{name}.new" for name in _FILES))
