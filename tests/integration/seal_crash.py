"""Sealing in a fork that kills itself at the nth moment; a line is `NTH URL HOME`."""

from __future__ import annotations

from pathlib import Path

from countersign.audit.seal import open_sealer
from forks import kill_this_process
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
