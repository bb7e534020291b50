"""A process that exports in a fork for every line it reads; the fork kills itself at the nth moment.

`python -m integration.export_crash`, from the folder `tests`; a line is `NTH WHAT URL HOME OUT`, where the moments are
those around statements or those before changes to files beside OUT. The answer is how the fork ended.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from countersign.service.database import Database
from countersign.service.export_command import export_trail
from forks import kill_this_process, serve
from integration.sealing import Blow, WatchedConnection, watch_files


def work(line: str) -> None:
    nth, what, url, home, out = line.split(maxsplit=4)
    blow = Blow(int(nth), kill_this_process)
    if what == "files":
        watch_files(Path(out).parent, blow)
    else:
        watch_statements(blow)
    export_trail(Database(url, url, Path(home)), "case", Path(out))


def watch_statements(blow: Blow) -> None:
    def connect(*args: Any, **kwargs: Any) -> WatchedConnection:
        conn = WatchedConnection.connect(*args, **kwargs)
        conn.blow = blow
        return conn

    psycopg.connect = connect


if __name__ == "__main__":
    serve(work)
