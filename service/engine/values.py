"""Values out of entries: from tagged JSON (docs/formats.md, section 1) back to what Python had."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from countersign.audit.canonical import Json, parse_time
from countersign.audit.errors import MalformedError


def untagged(value: Json) -> Any:
    """Return the value that was tagged. Raises MalformedError for one of which only a digest was kept, or for no tag.

    Lists and tuples look the same; a list comes back.
    """
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, item),) = value.items()
        if name in _TAGS:
            return _read(name, item)
    return {_plain(name): untagged(item) for name, item in value.items()}


def _plain(name: str) -> str:
    if name.startswith("$") and not name.startswith("$$"):
        raise MalformedError(f"A value cannot be made again from its tag {name!r}.")
    return name.removeprefix("$")


def _read(name: str, item: Json) -> Any:
    try:
        return _TAGS[name](item)
    except (TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise MalformedError(f"A value tagged {name!r} is none: {error}.") from error


_TAGS: dict[str, Any] = {
    "$float": float,
    "$int": int,
    "$bytes": lambda text: base64.b64decode(text, validate=True),
    "$time": parse_time,
    "$map": lambda pairs: {untagged(key): untagged(item) for key, item in pairs},
}
