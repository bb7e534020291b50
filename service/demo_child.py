"""The demonstration's server: `countersign serve`, told to end when whoever started it is gone, killed or not."""

from __future__ import annotations

import os
import signal
import threading

from .entry import main


def _end_with_parent() -> None:
    """Wait for the end of the standard input, which comes with the end of the process at its other end."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()
