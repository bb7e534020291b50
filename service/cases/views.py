"""Views as they were served: kept byte for byte with their salts, so that a digest that somebody signed can be opened.

What is kept is believed only as far as its digest is one that an entry names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, canonical, parse
from countersign.audit.errors import MalformedError

from .held import Random

_LAST = """
SELECT number, digest, salt, view FROM countersign.views WHERE review_id = %s ORDER BY number DESC LIMIT 1
"""
_BY_DIGEST = "SELECT number, digest, salt, view FROM countersign.views WHERE digest = %s AND review_id = %s"
_STORE = "INSERT INTO countersign.views (review_id, number, digest, salt, view) VALUES (%s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Served:
    """A view as it was served; `number` counts from 1 in its review."""

    number: int
    digest: bytes
    salt: bytes
    data: bytes

    @property
    def sound(self) -> bool:
        """Whether the bytes are those of the digest."""
        return hashlib.sha256(self.salt + self.data).digest() == self.digest

    @property
    def view(self) -> dict[str, Any]:
        """The view itself."""
        view = parse(self.data)
        if not isinstance(view, dict):
            raise MalformedError("A view that is not an object.")
        return view


async def last_served(conn: AsyncConnection[Any], review: str) -> Served | None:
    """Return the newest view of a review, if what is kept of it is what was served."""
    cursor = await conn.execute(_LAST, (review,))
    row = await cursor.fetchone()
    return served if row and (served := Served(*row)).sound else None


async def served_as(conn: AsyncConnection[Any], review: str, digest: bytes) -> Served | None:
    """Return the view of a review that has this digest, if it was served and is what it was."""
    cursor = await conn.execute(_BY_DIGEST, (digest, review))
    row = await cursor.fetchone()
    return served if row and (served := Served(*row)).sound else None


async def serve(conn: AsyncConnection[Any], review: str, view: dict[str, Json], random: Random) -> Served:
    """Return the view as it is served: the same as the last time while it is the same, else the next, kept.

    To be called under the lock of the case.
    """
    data = canonical(view)
    cursor = await conn.execute(_LAST, (review,))
    row = await cursor.fetchone()
    last = Served(*row) if row else None
    if last is not None and last.data == data and last.sound:
        return last
    salt = random(32)
    served = Served(last.number + 1 if last else 1, hashlib.sha256(salt + data).digest(), salt, data)
    await conn.execute(_STORE, (review, served.number, served.digest, salt, data))
    return served
