"""A process that does work in a fork for each line it reads, and answers how the fork ended."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial

ENDS = {0: "survived", -signal.SIGKILL: "killed"}


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end_of(work: Callable[[], None]) -> str:
    """Do `work` in a fork and return `survived`, `killed` or `failed`."""
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


def serve(work: Callable[[str], None]) -> None:
    """Answer each line of the standard input with how `work` on it ended."""
    for line in sys.stdin:
        sys.stdout.write(end_of(partial(work, line.strip())) + "\n")
        sys.stdout.flush()
