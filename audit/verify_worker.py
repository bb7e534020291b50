"""A process that checks parts of a verification: what `verify_workers` starts. Says Done for each part, or Failed."""

from __future__ import annotations

import gc
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection as Line

import psycopg
from psycopg import sql

from .trouble import explain
from .verify import Report
from .verify_parts import Part, check_part, prepare
from .verify_workers import ALONE, Advanced, Done, Failed, Setup


def main(handle: int) -> None:
    """Check the parts that come through the socket `handle`, until it is closed."""
    # Ctrl-C reaches every process of the terminal; the one that was asked ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is made for an entry is dropped with it: to look for cycles every few hundred objects finds none.
    gc.set_threshold(100_000, 50, 100)
    with Line(handle) as line, suppress(EOFError, ConnectionError):
        setup: Setup = line.recv()
        try:
            _serve(line, setup)
        except psycopg.Error as error:
            what, remedy = explain(error)
            line.send(Failed(what, remedy))


def _serve(line: Line, setup: Setup) -> None:
    judge = setup.judge
    with psycopg.connect(setup.conninfo, autocommit=True, connect_timeout=10) as conn, conn.transaction():
        prepare(conn)
        try:
            conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(setup.snapshot)))
        except psycopg.Error as error:
            what, _ = explain(error)
            line.send(Failed(f"The snapshot cannot be shared between processes. {what}", ALONE))
            return
        while True:
            part: Part = line.recv()
            report = Report()
            check_part(conn, part, judge, report, lambda count: line.send(Advanced(count)))
            line.send(Done(report))


if __name__ == "__main__":
    main(int(sys.argv[1]))
