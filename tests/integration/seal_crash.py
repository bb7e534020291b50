"""A process that seals in a fork for every line it reads; the fork kills itself at the nth moment.

`python -m integration.seal_crash`, from the folder `tests`; a line is `NTH URL HOME`. The answer is how the fork ended.
"""

from __future__ import annotations

from pathlib import Path

from countersign.audit.seal import open_sealer
from forks import kill_this_process, serve
from integration.sealing import Blow, WatchedConnection, watch_files


def work(line: str) -> None:
    nth, url, home = line.split(maxsplit=2)
    blow = Blow(int(nth), kill_this_process)
    watch_files(Path(home), blow)
    with WatchedConnection.connect(url, autocommit=True) as conn:
        sealer = open_sealer(conn, Path(home))
        conn.blow = blow
        sealer.sweep(conn)
        sealer.seal(conn)


if __name__ == "__main__":
    serve(work)
