"""Parts of one verification in several processes: each on a connection of its own, all on one exported snapshot.

A process is a fresh `python -m countersign.audit.verify_worker`: nothing of the caller's program runs in it, and no
connection is shared by a fork. What it is told and tells goes through a socket pair that no other process has.
Whoever of them ends before its work is done ends the verification with an error: there is no report of a part.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection as Line
from multiprocessing.connection import wait
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from .errors import ConfigurationError
from .trouble import explain
from .verify import Report
from .verify_parts import Judge, Part

MODULE = "countersign.audit.verify_worker"
ALONE = "With --jobs 1 one connection in one process is enough."
_PATIENCE = 10


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs: where to read, which snapshot, and by what to judge."""

    conninfo: str
    snapshot: str
    judge: Judge


@dataclass(frozen=True, slots=True)
class Advanced:
    """A worker says that it checked so many more entries."""

    count: int


@dataclass(frozen=True, slots=True)
class Done:
    """A worker says what it found in a part."""

    report: Report


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker says why it cannot go on."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    line: Line


def check_together(
    conn: psycopg.Connection[Any],
    parts: Sequence[Part],
    judge: Judge,
    jobs: int,
    report: Report,
    progress: Callable[[int], None],
) -> None:
    """Check `parts` in `jobs` processes, and add to `report` all that they found.

    `conn` is in the transaction whose snapshot they share. Raises ConfigurationError when one of them cannot begin, or
    ends before its work is done; `report` is then of no use.
    """
    setup = Setup(_conninfo(conn), _export(conn), judge)
    with ExitStack() as stack:
        busy = {worker.line: worker for worker in [stack.enter_context(_started(setup)) for _ in range(jobs)]}
        left = iter(parts)
        for worker in list(busy.values()):
            _next(worker, left, busy)
        while busy:
            for line in wait(list(busy)):
                worker = busy[line]  # type: ignore[index]
                told = _told(worker)
                if isinstance(told, Advanced):
                    progress(told.count)
                elif isinstance(told, Done):
                    report.merge(told.report)
                    _next(worker, left, busy)
                else:
                    raise ConfigurationError(told.what, remedy=told.remedy)


def _next(worker: _Worker, left: Iterator[Part], busy: dict[Line, _Worker]) -> None:
    """Give the worker its next part, or nothing more to do."""
    part = next(left, None)
    if part is None:
        del busy[worker.line]
        return
    with suppress(BrokenPipeError):  # why it went is read in its turn
        worker.line.send(part)


def _told(worker: _Worker) -> Advanced | Done | Failed:
    try:
        told: Advanced | Done | Failed = worker.line.recv()
    except (EOFError, ConnectionError):
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(_PATIENCE)
        return Failed(
            "A process that helped to verify ended before its work was done "
            f"(exit code {worker.process.returncode}): nothing can be said.",
            f"Try again; if memory is short, with fewer --jobs. {ALONE}",
        )
    return told


@contextmanager
def _started(setup: Setup) -> Iterator[_Worker]:
    """Yield a process that was given `setup`; it is gone when the context is left."""
    mine, its = Pipe()
    with mine:
        with its:
            # -P: the folder in which somebody verifies must not be able to stand in for a module.
            command = [sys.executable, "-P", "-m", MODULE, str(its.fileno())]
            try:
                process = subprocess.Popen(command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603
            except OSError as error:
                raise ConfigurationError(f"No further process can be started: {error}.", remedy=ALONE) from error
        try:
            with suppress(BrokenPipeError):
                mine.send(setup)
            yield _Worker(process, mine)
            mine.close()  # nothing more to do: it leaves by itself
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
        finally:
            process.kill()
            process.wait()


def _export(conn: psycopg.Connection[Any]) -> str:
    try:
        ((snapshot,),) = conn.execute("SELECT pg_export_snapshot()").fetchall()
    except psycopg.Error as error:
        what, _ = explain(error)
        raise ConfigurationError(f"The snapshot cannot be shared between processes. {what}", remedy=ALONE) from error
    return str(snapshot)


def _conninfo(conn: psycopg.Connection[Any]) -> str:
    """Return how to reach the very server that `conn` is connected to."""
    info = conn.info
    there: dict[str, Any] = {"host": info.host, "port": info.port}
    if "hostaddr=" in info.dsn:
        there["hostaddr"] = info.hostaddr
    if info.password:
        there["password"] = info.password
    return make_conninfo(info.dsn, **there)
