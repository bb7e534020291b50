"""What a request with an Idempotency-Key did, kept in the transaction in which it did it.

So a retry finds it, whatever became of the server in between; and of two servers that carry out the same request, one
after the other, only the one that has it still can commit.
"""

from __future__ import annotations

from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection

from countersign.audit.entry import Actor

from ..errors import ConflictError
from .caller import Caller

_NOTE: LiteralString = """
UPDATE countersign.answers SET body = %s
WHERE principal = %s AND key = %s AND status IS NULL AND headers = %s RETURNING true
"""


async def note(conn: AsyncConnection[Any], by: Caller | Actor, outcome: object) -> None:
    """Keep what the request of `by` has done, if it came with a key, in the transaction of `conn`.

    `outcome` is what its answer is made of, without any credential: JSON, or a dataclass of it. Raises ConflictError,
    so that nothing of the transaction stays, where another server has taken the request over meanwhile.
    """
    if not isinstance(by, Caller) or by.sent is None:
        return
    data = msgspec.json.encode(outcome)
    cursor = await conn.execute(_NOTE, (data, by.id, by.sent.key, by.sent.server))
    if await cursor.fetchone() is None:
        raise ConflictError(
            "Another server carries this request out now.",
            remedy="Send it again in a second.",
            facts={"cause": "in-progress"},
        )
