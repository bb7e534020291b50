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
    return text


def _text(value: Any) -> str:  # noqa: PLR0911 - a table of types
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, dict):
        items = {_key(key): item for key, item in value.items()}
        # jsonb orders keys by length in bytes, then by bytes.
        order = sorted(items, key=lambda key: (len(key.encode()), key.encode()))
        return "{" + ", ".join(f"{_string(key)}: {_text(items[key])}" for key in order) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_text, value)) + "]"
    raise ValueError(f"json.dumps would refuse a {type(value).__name__}")


def _string(text: str) -> str:
    if "\0" in text:
        raise ValueError("jsonb holds no NUL")
    return encode_basestring(text)


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
