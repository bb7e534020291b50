"""Answers that a caller may already have: each carries an ETag, and is not sent again while it is the same."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response
from litestar.enums import MediaType

T = TypeVar("T", bound=msgspec.Struct)


def detail(request: Request[Any, Any, Any], answer: T) -> Response[T]:
    """Return `answer` with its ETag, or 304 where the caller's `If-None-Match` has it."""
    data = msgspec.json.encode(answer)
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    given = [item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")]
    headers = {"etag": etag, "vary": "authorization, cookie"}
    found: Any = Response(data, media_type=MediaType.JSON, headers=headers)
    if etag in given:
        found = Response(b"", status_code=304, headers=headers)
    return found  # type: ignore[no-any-return]
