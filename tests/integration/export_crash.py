"""Exporting in a fork that kills itself at the nth moment: around a statement, or before a change to a file beside OUT.

A line is `NTH WHAT URL HOME OUT`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from countersign.service.database import Database
from countersign.service.export_command import export_trail
from forks import kill_this_process
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
