"""Files below a folder that appear whole or not at all, and are on disk before anything that speaks of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from .keys import sync_folder

AT_ONCE = 64
"""Files that are open at a time."""
_SYNCING = 8  # threads
_MODE = 0o644


def write_files(root: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Put files in place below `root`, each whole and on disk; their names are durable when their folders are synced.

    Many are written before the first of them is synced: the disk then has most of its work in one go.
    """
    paths = [root / name for name in files]
    data = list(files.values())
    for at in range(0, len(paths), AT_ONCE):
        some = paths[at : at + AT_ONCE]
        new = _write_beside(some, data[at : at + AT_ONCE])
        for path, place in zip(new, some, strict=True):
            path.replace(place)
    return paths


def _write_beside(paths: Sequence[Path], contents: Sequence[bytes]) -> list[Path]:
    """Write files beside these, on disk on return, and return those."""
    new = [path.with_name(f"{path.name}.new") for path in paths]
    with ExitStack() as stack:
        handles: list[int] = []
        for path, data in zip(new, contents, strict=True):
            _make_folder(path.parent)
            # What a killed writer left there is overwritten: it holds no lock.
            handles.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE))
            stack.callback(os.close, handles[-1])
            with os.fdopen(handles[-1], "wb", closefd=False) as file:
                file.write(data)
        _sync(handles)
    return new


def _sync(handles: Sequence[int]) -> None:
    if len(handles) == 1:
        os.fsync(handles[0])
        return
    with ThreadPoolExecutor(
        _SYNCING
    ) as threads:  # a file system that is asked for many at once writes its journal once
        list(threads.map(os.fsync, handles))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
