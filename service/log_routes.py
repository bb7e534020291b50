"""The log over HTTP, as C2SP tlog-tiles asks for it: the signed head, tiles for everybody, bodies for auditors.

What is served are the files of the log's memory, and nothing that the head in it does not cover: a tile is on disk
before the head that speaks of it, and that head might never come. A narrower version of a tile that is full by now is
gone; its hashes are the first of the full one, and are answered with these, as are the bodies of an entry tile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, route
from litestar.params import FromPath

from countersign.audit.errors import MalformedError
from countersign.audit.memory import HEAD
from countersign.audit.note import parse_note
from countersign.audit.tiles import (
    HEIGHT,
    WIDTH,
    EntryTile,
    Tile,
    decode_entries,
    encode_entries,
    hashes_of,
    parse_path,
)
from countersign.audit.treehead import TreeHead

from .auditors import is_auditor

PREFIX = "/log"
_FOR_EVER = "public, max-age=31536000, immutable"
_TEXT, _BYTES = "text/plain", "application/octet-stream"
_SCHEME = "bearer "
Answer = Response[bytes]
_Request = Request[Any, Any, Any]


def log_router(memory: Path, auditors: Path) -> Router:
    """Return the routes below `/log/` for the memory in this folder; `auditors` is the file of credentials."""

    @route("/checkpoint", http_method=["GET", "HEAD"], sync_to_thread=True)
    def head(request: _Request) -> Answer:
        data = _read(memory / HEAD)
        return _not_found() if data is None else _found(request, data, _TEXT, {"cache-control": "no-cache"})

    @route("/tile/entries/{place:path}", http_method=["GET", "HEAD"], sync_to_thread=True)
    def entries(request: _Request, place: FromPath[str]) -> Answer:
        if not is_auditor(auditors, _bearer(request)):
            return _unauthorized()
        tile = _parsed(request, f"tile/entries{place}")
        data = _entries(memory, tile) if isinstance(tile, EntryTile) else None
        private = {"cache-control": "private, no-store", "vary": "authorization"}
        return _not_found() if data is None else _found(request, data, _BYTES, private)

    @route("/tile/{place:path}", http_method=["GET", "HEAD"], sync_to_thread=True)
    def tile(request: _Request, place: FromPath[str]) -> Answer:
        found = _parsed(request, f"tile{place}")
        data = _hashes(memory, found) if isinstance(found, Tile) else None
        return _not_found() if data is None else _found(request, data, _BYTES, {"cache-control": _FOR_EVER})

    # It knows its auditors itself: where it is part of the service, nobody else has to.
    own = {"exclude_from_auth": True}
    return Router(PREFIX, route_handlers=[head, entries, tile], include_in_schema=False, opt=own)


def _parsed(request: _Request, path: str) -> Tile | EntryTile | None:
    """Return the tile that is asked for, None for anything but its one path: no doubled slash, nothing encoded."""
    try:
        tile = parse_path(path)
    except MalformedError:
        return None
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return tile if raw.endswith(f"/{tile.path}".encode()) else None


def _hashes(memory: Path, tile: Tile) -> bytes | None:
    if not _is_covered(memory, tile.level, tile.index, tile.width):
        return None
    data = _read(memory / tile.path)
    if data is None and tile.width < WIDTH and (data := _read(memory / (full := Tile(tile.level, tile.index)).path)):
        return b"".join(hashes_of(full, data)[: tile.width])
    return data


def _entries(memory: Path, tile: EntryTile) -> bytes | None:
    if not _is_covered(memory, 0, tile.index, tile.width):
        return None
    data = _read(memory / tile.path)
    if data is None and tile.width < WIDTH and (data := _read(memory / (full := EntryTile(tile.index)).path)):
        return encode_entries(decode_entries(full, data)[: tile.width])
    return data


def _is_covered(memory: Path, level: int, index: int, width: int) -> bool:
    """Tell whether the tree of the head has this tile, or a wider version of it."""
    data = _read(memory / HEAD)
    if data is None:
        return False
    size = TreeHead.parse(parse_note(data).text).size  # what the sealer put there; readers verify it
    return (index * WIDTH + width) << HEIGHT * level <= size


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _bearer(request: _Request) -> str:
    """Return the credential that came along, empty where there is none: no digest is that of nothing."""
    header = request.headers.get("authorization", "")
    return header[len(_SCHEME) :].strip() if header.lower().startswith(_SCHEME) else ""


def _found(request: _Request, data: bytes, media_type: str, headers: Mapping[str, str]) -> Answer:
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    headers = {**headers, "etag": etag, "x-content-type-options": "nosniff"}
    if etag in [item.strip() for item in request.headers.get("if-none-match", "").split(",")]:
        return Response(b"", status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def _not_found() -> Answer:
    return Response(b"Not found.\n", status_code=404, media_type=_TEXT, headers={"cache-control": "no-store"})


def _unauthorized() -> Answer:
    """Answer alike without credential and with a wrong one, and whatever was asked for."""
    headers = {"cache-control": "no-store", "www-authenticate": 'Bearer realm="log"'}
    return Response(b"For auditors.\n", status_code=401, media_type=_TEXT, headers=headers)
