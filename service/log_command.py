"""The commands `countersign log ...`."""

from __future__ import annotations

import click


@click.group("log")
def log_group() -> None:
    """Show the log to others."""
