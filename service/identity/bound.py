"""Ids that follow from what they stand for, so that nobody who only writes to the database can put something in place.

What a row says is believed where its id says so too. The ids of credentials and API keys stand in signed entries, so a
digest suffices. Those of sessions and of statements that wait stand in no entry: they need a key of this deployment.
"""

from __future__ import annotations

import hashlib
import hmac

_DIGITS = 20


def framed(*parts: str | bytes) -> bytes:
    """Return the parts as one text of bytes that no other parts come to."""
    encoded = [part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(8) + part for part in encoded)


def bound_id(letter: str, *parts: str | bytes) -> str:
    """Return the id of what consists of these parts: a letter, `-`, and 20 hex digits."""
    return f"{letter}-{hashlib.sha256(framed(letter, *parts)).hexdigest()[:_DIGITS]}"


def keyed_id(letter: str, secret: bytes, *parts: str | bytes, digits: int = _DIGITS) -> str:
    """Return an id of these parts that only who has `secret` can make."""
    return f"{letter}-{hmac.digest(secret, framed(letter, *parts), 'sha256').hex()[:digits]}"


def is_bound(given: str, made: str) -> bool:
    """Tell whether an id is the one that was made of what it stands for."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), made.encode())
