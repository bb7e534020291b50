"""Where this machine keeps keys, trust and the embedded database, and whose hands are on it."""

from __future__ import annotations

import getpass
import hashlib
import os
from pathlib import Path

from .entry import Actor


def default_home(working_folder: Path, *, as_root: bool) -> Path:
    """Return `.countersign` below the working folder; as root, a folder of its own under /var/lib/countersign.

    PostgreSQL does not run as root, and the account it runs as must not need anybody's home folder opened for it.
    """
    if not as_root:
        return working_folder / ".countersign"
    digest = hashlib.sha256(str(working_folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return Path("/var/lib/countersign") / digest[:12]


def home_folder() -> Path:
    """Return COUNTERSIGN_HOME, or the default for the folder this process works in. It need not exist."""
    if configured := os.environ.get("COUNTERSIGN_HOME"):
        return Path(configured).expanduser().absolute()
    return default_home(Path.cwd(), as_root=hasattr(os, "geteuid") and os.geteuid() == 0)


def os_user() -> Actor:
    """Return the operating system's user as an actor."""
    return Actor(f"uid:{os.getuid()}" if hasattr(os, "getuid") else f"user:{getpass.getuser()}", "os-user")
