"""The command `countersign seal`: once, or as long as the process lives."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click
import psycopg

from countersign.audit.seal import Sealed, open_sealer

from .database import Database
from .time_tokens import TokenPlan, stamping

PATIENCE = 0.25
"""Seconds between two looks at the database: a head comes at most that, and one batch, after the append."""


def seal_entries(target: Database, *, watch: bool, tokens: TokenPlan | None = None) -> bool:
    """Seal what is there; with `watch`, go on until SIGTERM or SIGINT, and end between two batches.

    Prints each head that was signed. Returns whether no trail was left out of the last one. With `tokens`, time tokens
    are asked for as well, and whether they come changes nothing of that.
    """
    with (
        psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn,
        stamping(target, tokens, watch=watch) as stamp,
        _told_to_stop() as stop,
    ):
        sealer = open_sealer(conn, target.home)
        sealer.sweep(conn)
        done = _told(sealer.seal(conn), always=True)
        stamp(done.head)
        while watch and not stop.wait(PATIENCE):
            if sealer.waiting(conn):
                done = _told(sealer.seal(conn), always=False)
                stamp(done.head)
        return not done.refused


def _told(done: Sealed, *, always: bool) -> Sealed:
    if done.entries or always:
        click.echo(f"Sealed {done.entries} entries; the log has {done.head.size}, root {done.head.root.hex()}")
    for error in done.refused:
        click.echo(f"countersign: {error.message}", err=True)
        click.echo(f"  {error.remedy}", err=True)
    return done


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set, so that what is under way is finished first."""
    stop = threading.Event()

    def told(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
