"""A witness that is killed between its disk and its answer: `python -m integration.witness_crash FOLDER KEY`."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from countersign.service.witness_server import serve, witness_app
from countersign.service.witness_state import open_witness
from forks import kill_this_process


def clock() -> float:
    """Asked for the time of a cosignature, when the head is stored."""
    kill_this_process()
    return 0.0


if __name__ == "__main__":
    with (
        open_witness(Path(sys.argv[1]), [sys.argv[2]], print) as state,
        socket.create_server(("127.0.0.1", 0)) as bound,
    ):
        print(state.key.text)  # noqa: T201 - for the test that waits
        print(f"Listening on http://127.0.0.1:{bound.getsockname()[1]}", flush=True)  # noqa: T201
        serve(witness_app(state, print, now=clock), bound)
