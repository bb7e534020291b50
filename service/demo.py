"""The demonstration: see `demo`."""

from __future__ import annotations

from pathlib import Path


def demo(out: Path) -> None:
    """Not ready yet."""
    raise NotImplementedError(out)
