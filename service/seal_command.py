"""The command `countersign seal`: once, or as long as the process lives."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
import psycopg

from countersign.audit.errors import VerificationError
from countersign.audit.seal import Sealed, Sealer, open_sealer
from countersign.audit.treehead import TreeHead
from countersign.audit.trouble import explain
from countersign.audit.witness import OtherHistoryError

from .database import Database
from .seal_witnesses import Witnessing
from .time_tokens import TokenPlan, stamping

Say = Callable[[str], object]
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 30.0  # seconds between two tries to reach a database that went away
PATIENCE = 0.25
"""Seconds between two looks at the database: a head comes at most that, and one batch, after the append."""


def seal_entries(target: Database, *, watch: bool, policy: Path | None = None, tokens: TokenPlan | None = None) -> bool:
    """Seal what is there; with `watch`, go on until SIGTERM or SIGINT, and end between two batches.

    A connection that breaks while it watches is made anew, as often as it takes.

    Prints each head that was signed, and what the witnesses of `policy` say of it. Returns whether no trail was left
    out of the last one, and no witness raised an alarm. With `tokens`, time tokens are asked for as well, and whether
    they come changes nothing of that.
    """
    with told_to_stop() as stop:
        if watch:
            return seal_until(target, stop, policy=policy, tokens=tokens)
        with stamping(target, tokens, watch=False) as stamp:
            return _session(target, policy, stamp, None, lambda: None, click.echo)


def seal_until(
    target: Database,
    stop: threading.Event,
    *,
    policy: Path | None = None,
    tokens: TokenPlan | None = None,
    say: Say = click.echo,
) -> bool:
    """Seal until `stop` is set, as `seal_entries` does when it watches; in any thread. `say` is told of every head."""
    with stamping(target, tokens, watch=True) as stamp:
        pause, begun = _FIRST_PAUSE, threading.Event()
        while True:
            begun.clear()
            try:
                return _session(target, policy, stamp, stop, begun.set, say)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                # Whoever cannot begin is told so; who was sealing goes on as soon as there is a database again.
                if not begun.is_set() and pause == _FIRST_PAUSE:
                    raise
                pause = _FIRST_PAUSE if begun.is_set() else pause
                click.echo(f"countersign: {explain(error)[0]} Trying again in {pause:g} s.", err=True)
            if stop.wait(pause):
                return True
            pause = min(2 * pause, _LAST_PAUSE)


def _session(
    target: Database,
    policy: Path | None,
    stamp: Callable[[TreeHead], object],
    stop: threading.Event | None,
    begun: Callable[[], None],
    say: Say,
) -> bool:
    """Seal on one connection, until `stop` is set; without it, once. `begun` is told when the first head is there."""
    with psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn:
        sealer = open_sealer(conn, target.home)
        witnesses = Witnessing(conn, sealer, policy)
        try:
            return _seal(conn, sealer, witnesses, stamp, stop, begun, say)
        except VerificationError as error:
            if error.check != "witness":
                raise
            click.echo(f"countersign: {error.message} Nothing more is signed.", err=True)
            click.echo(f"  {error.remedy}", err=True)
            if isinstance(error, OtherHistoryError):
                click.echo(f"  What it answered is kept in {witnesses.keep(error)}", err=True)
            return False


def _seal(
    conn: psycopg.Connection[Any],
    sealer: Sealer,
    witnesses: Witnessing,
    stamp: Callable[[TreeHead], object],
    stop: threading.Event | None,
    begun: Callable[[], None],
    say: Say,
) -> bool:
    witnesses.check()
    sealer.sweep(conn)
    done = _told(sealer.seal(conn, before=witnesses.check), say, always=True)
    begun()
    stamp(done.head)
    if stop is None:
        witnesses.ask_once()
        return not done.refused
    with witnesses.watching():
        while not stop.wait(PATIENCE):
            witnesses.check()
            if sealer.waiting(conn):
                done = _told(sealer.seal(conn, before=witnesses.check), say, always=False)
                stamp(done.head)
                witnesses.tell()
        witnesses.check()
    return not done.refused


def _told(done: Sealed, say: Say, *, always: bool) -> Sealed:
    if done.entries or always:
        say(f"Sealed {done.entries} entries; the log has {done.head.size}, root {done.head.root.hex()}")
    for error in done.refused:
        click.echo(f"countersign: {error.message}", err=True)
        click.echo(f"  {error.remedy}", err=True)
    return done


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
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
