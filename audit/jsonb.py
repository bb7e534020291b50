"""How PostgreSQL prints jsonb, foretold: so that a row's digest is known before the row is sent.

Only ever a forecast. The database compares it with what it really stored, in the same statement, and refuses if they
differ; the caller then takes the longer way, which digests what came back. Compared with the server by property tests.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any


def jsonb_text(value: Any) -> str | None:
    """Return what `($1::jsonb)::text` will be for a document that `json.dumps` accepts, or None if that is not sure."""
    try:
        text = _text(value)
        text.encode()  # lone surrogates: jsonb refuses them, whichever way they come
    except (ValueError, RecursionError):
        return None
    # jsonb holds no NUL. Whoever writes a backslash and u0000 is taken for one: that costs time, and nothing else.
    return None if "\\u0000" in text else text


def _text(value: Any) -> str:  # noqa: C901, PLR0911 - a table of types
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is dict:
        return _object(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        return _object(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    raise ValueError(f"json.dumps would refuse a {type(value).__name__}")


def _object(value: dict[Any, Any]) -> str:
    items = value
    try:
        plain = "".join(items).isascii()
    except TypeError:
        items = {_key(key): item for key, item in value.items()}
        plain = "".join(items).isascii()
    # jsonb orders keys by length in bytes, then by bytes.
    if plain:
        order = sorted(sorted(items), key=len)
    else:
        order = sorted(items, key=lambda key: (len(key.encode()), key.encode()))
    return "{" + ", ".join([f"{encode_basestring(key)}: {_text(items[key])}" for key in order]) + "}"


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("jsonb holds no infinity and no NaN")
    text = format(Decimal(float.__repr__(value)), "f")
    return text.removeprefix("-") if value == 0 else text


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    # json.dumps spells other keys in ways of its own, and may make two of them one: let it, where that can happen.
    (spelled,) = json.loads(json.dumps({key: None}))
    return str(spelled)
