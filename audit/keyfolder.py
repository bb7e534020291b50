"""Where one origin's private keys, its trust file and the log's memory lie: a folder under COUNTERSIGN_HOME."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .canonical import canonical
from .keys import FileKey, Trust, sync_folder, write_new
from .note import Algorithm, VerifierKey

DEPLOYMENT, GRAPH, LOG = "deployment", "graph", "log"
_MAX_NAME = 200  # of a file; most file systems allow 255, and a suffix has to fit


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """Where one origin's keys and trust lie: one folder per origin under COUNTERSIGN_HOME, for its owner alone."""

    path: Path

    @classmethod
    def of(cls, home: Path, origin: str) -> KeyFolder:
        """Return the folder of `origin`. It need not exist."""
        name = quote(origin, safe="")
        if name.startswith(".") or len(name) > _MAX_NAME:
            name = f"origin-{hashlib.sha256(origin.encode()).hexdigest()[:32]}"
        return cls(home / name)

    def key(self, name: str) -> FileKey:
        """Return the private key `name` (deployment, graph or log). Raises ConfigurationError as FileKey.load does."""
        return FileKey.load(self.path / f"{name}.pem")

    def trust(self) -> Trust:
        """Return the trust that the first migration wrote."""
        return Trust.load(self.path / "trust.json")

    def create(self, origin: str) -> None:
        """Make both entry keys, the log's key and the trust file in a new folder of mode 0700. Never overwrites."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.path.mkdir(mode=0o700)
        deployment = FileKey.create(self.path / f"{DEPLOYMENT}.pem")
        FileKey.create(self.path / f"{GRAPH}.pem")
        log = VerifierKey(origin, Algorithm.LOG, FileKey.create(self.path / f"{LOG}.pem").public)
        trust = Trust(origin, (deployment.public,), (log.text,))
        write_new(self.path / "trust.json", canonical(trust.as_json()) + b"\n", 0o644)
        sync_folder(self.path)

    def move_to(self, other: KeyFolder) -> KeyFolder:
        """Rename the folder, durably."""
        self.path.rename(other.path)
        sync_folder(other.path.parent)
        return other
