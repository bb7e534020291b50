"""Lists are handed out in pages, each from a place that the page before named.

A cursor is that place: the sort values of the last item, and a digest of the question it belongs to. It is opaque to
callers, holds nothing they have not seen, and is read as untrusted input: a forged one is at worst another place in a
list that the caller may read anyhow.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

from litestar.params import QueryParameter

from ..errors import InvalidError

MOST = 100
_LONGEST = 512
PRINTABLE = "^[^\\x00-\\x1f\\x7f]*$"
"""What a filter may hold: nothing that the database cannot be sent."""

Limit = Annotated[int, QueryParameter(ge=1, le=MOST, description="How many items at most.")]
CursorText = Annotated[
    str | None,
    QueryParameter(name="cursor", max_length=_LONGEST, description="`next` of the page before, with the same filters."),
]


def cursor_of(place: Sequence[str | int], question: Mapping[str, Any]) -> str:
    """Return the cursor of what follows `place` in the list that `question` asks for."""
    data = json.dumps([_digest(question), *place], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def place_of(cursor: str | None, question: Mapping[str, Any], *kinds: type[str | int]) -> tuple[Any, ...] | None:
    """Return the place that a cursor names, None without one: a value of each of `kinds`.

    Raises InvalidError for a cursor that no answer to this question has named.
    """
    if cursor is None:
        return None
    try:
        data = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise _no_cursor() from error
    if not isinstance(data, list) or len(data) != len(kinds) + 1 or data[0] != _digest(question):
        raise _no_cursor()
    place = tuple(data[1:])
    if any(type(value) is not kind for value, kind in zip(place, kinds, strict=True)) or not _sendable(place):
        raise _no_cursor()
    return place


def moment_and_id(place: tuple[Any, ...] | None) -> tuple[datetime, str] | None:
    """Return a place in a list that is ordered by a moment and an id. Raises InvalidError for no moment."""
    return None if place is None else (_moment(place[0]), str(place[1]))


def moment_trail_seq(place: tuple[Any, ...] | None) -> tuple[datetime, str, int] | None:
    """Return a place in a list of entries. Raises InvalidError for no moment, or no number of an entry."""
    if place is None:
        return None
    if not 0 < place[2] < 2**63:
        raise _no_cursor()
    return _moment(place[0]), str(place[1]), int(place[2])


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _no_cursor() from error
    if moment.tzinfo is None:
        raise _no_cursor()
    return moment


def _digest(question: Mapping[str, Any]) -> str:
    data = json.dumps({key: str(value) for key, value in question.items() if value is not None}, sort_keys=True)
    return hashlib.sha256(data.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _sendable(place: Sequence[Any]) -> bool:
    """Tell whether PostgreSQL takes the texts at all."""
    texts = [value for value in place if isinstance(value, str)]
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for value in texts for char in value)


def _no_cursor() -> InvalidError:
    return InvalidError(
        "The cursor is none of this list.",
        remedy="Take `next` of the page before, and ask with the same filters; or begin without a cursor.",
        facts={"place": "cursor"},
    )
