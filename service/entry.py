"""Where the command begins: imports the rest, so that an interrupt during the imports is no traceback either."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command `countersign`. One that was interrupted ends with 130: 1 is a verdict."""
    try:
        import click  # noqa: PLC0415 - that is what this module is for

        from .cli import main as command  # noqa: PLC0415

        try:
            sys.exit(command(standalone_mode=False))
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
