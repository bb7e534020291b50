"""Processes of the tests' own that begin at once: forked from one that has imported what any of them needs."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection as Line
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

ENDS = {0: "survived", -signal.SIGKILL: "killed"}
CONTEXT = multiprocessing.get_context("forkserver")
_CRASHING = ("crash", "resumer", "seal_crash", "restoring", "export_crash", "engine_crash")
CONTEXT.set_forkserver_preload(["events.crash"] + [f"integration.{name}" for name in _CRASHING])
_TESTS = str(Path(__file__).parent)


@contextmanager
def another(main: Callable[..., None], *arguments: object) -> Iterator[tuple[BaseProcess, Line]]:
    """Run `main(line, *arguments)` in another process; yield it and the other end of the line. Then it is gone."""
    begin_forking()
    mine, its = CONTEXT.Pipe()
    with mine:
        process = CONTEXT.Process(target=main, args=(its, *arguments))
        with its:
            process.start()
        try:
            yield process, mine
        finally:
            process.kill()
            process.join()


def begin_forking() -> None:
    """Start the process that is forked, unless it is there: Python before 3.13 tells it of no path but this one."""
    with patch.dict(os.environ, PYTHONPATH=_TESTS):
        forkserver.ensure_running()


@contextmanager
def forking(work: Callable[[str], None], *first: str) -> Iterator[Callable[[str], str]]:
    """Yield a function that has `work` done on a line in a fork of its own, and returns how the fork ended.

    That is `killed`, `survived` or `failed`. The process that is forked does its `first` lines itself, to the end: what
    takes longer for the first time does so once, and not in every fork.
    """
    with another(_serve, work, first) as (_, line):

        def give(order: str) -> str:
            line.send(order)
            return str(line.recv())

        yield give


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _serve(line: Line, work: Callable[[str], None], first: Sequence[str]) -> None:
    for order in first:
        work(order)
    gc.collect()
    gc.freeze()  # what is there already is not looked through, and so copied, in every fork
    with suppress(EOFError):
        while True:
            line.send(_end_of(partial(work, line.recv())))


def _end_of(work: Callable[[], None]) -> str:
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:  # noqa: BLE001 - the fork must not go on as the process it came from
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return ENDS.get(os.waitstatus_to_exitcode(status), "failed")
