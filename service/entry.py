"""Where the command begins: imports the rest, so that an interrupt during the imports is no traceback either."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command `countersign`."""
    try:
        from .cli import main as command  # noqa: PLC0415 - that is what this module is for

        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
