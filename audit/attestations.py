"""What others say of the log's heads, as the database keeps it: cosignatures of witnesses, and time tokens.

Nothing here is checked: whoever reads it holds it against the head's note and the keys that he trusts. It comes later
than the head, and what has come is never replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

from .bundle import HEAD_TIME
from .leaves import StoredHead
from .note import Note, Signature, parse_note, parse_signatures
from .steps import Statement, Steps

_ADD_COSIGNATURES = """
INSERT INTO audit.cosignatures (tree_size, name, key_id, line)
SELECT %s, * FROM unnest(%b::text[], %b::bytea[], %b::bytea[]) ON CONFLICT DO NOTHING
"""
_COSIGNATURES = "SELECT line FROM audit.cosignatures WHERE tree_size = %s::bigint ORDER BY name, key_id"
_COSIGNED = """
SELECT h.number, h.tree_size, h.note FROM audit.heads h
WHERE EXISTS (SELECT FROM audit.cosignatures c WHERE c.tree_size = h.tree_size) ORDER BY h.tree_size DESC LIMIT 1
"""
_COSIGNED_BY = """
SELECT coalesce(max(tree_size), 0) FROM audit.cosignatures WHERE name = %s AND key_id = %b::bytea
"""
_ADD_STAMP = "INSERT INTO audit.tokens (tree_size, token) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_STAMPS = "SELECT tree_size, token FROM audit.tokens ORDER BY tree_size DESC LIMIT %s"
_STAMP = "SELECT token FROM audit.tokens WHERE tree_size = %s::bigint"
_STAMPED = """
SELECT h.number, h.tree_size, h.note FROM audit.heads h
WHERE EXISTS (SELECT FROM audit.tokens t WHERE t.tree_size = h.tree_size) ORDER BY h.tree_size DESC LIMIT 1
"""


def add_cosignatures_steps(tree_size: int, signatures: Sequence[Signature]) -> Steps[None]:
    """Keep what witnesses sent of the head of this size; of a witness's key the first one stays."""
    if signatures:
        columns = zip(*((item.name, item.key_id, item.line.encode()) for item in signatures), strict=True)
        yield Statement(_ADD_COSIGNATURES, (tree_size, *map(list, columns)))


def cosigned_note_steps(head: StoredHead) -> Steps[Note]:
    """Return the note of a head with all cosignatures that have come. Raises MalformedError for what are none."""
    rows = yield Statement(_COSIGNATURES, (head.tree_size,))
    note = parse_note(head.note)
    lines = "".join(bytes(line).decode("utf-8", "replace") for (line,) in rows)
    return Note(note.text, (*note.signatures, *parse_signatures(lines)))


def last_cosigned_steps() -> Steps[StoredHead | None]:
    """Return the newest head of which any witness has sent a cosignature."""
    rows = yield Statement(_COSIGNED)
    return StoredHead(*rows[0]) if rows else None


def cosigned_size_steps(name: str, key_id: bytes) -> Steps[int]:
    """Return the size of the largest head of which this key of a witness has sent a cosignature, 0 if of none."""
    rows = yield Statement(_COSIGNED_BY, (name, key_id))
    return int(rows[0][0])


def add_token_steps(tree_size: int, token: bytes) -> Steps[None]:
    """Keep a time token of the head of this size, if there is none yet."""
    yield Statement(_ADD_STAMP, (tree_size, token))


def token_steps(tree_size: int) -> Steps[bytes | None]:
    """Return the time token of the head of this size, if one has come."""
    rows = yield Statement(_STAMP, (tree_size,))
    return bytes(rows[0][0]) if rows else None


def newest_tokens_steps(limit: int) -> Steps[list[tuple[int, bytes]]]:
    """Return so many of the time tokens at most, each with the size of its head, the largest first.

    A log that has one a minute has half a million after a year, of some kilobytes each: all are more than one reads.
    """
    rows = yield Statement(_STAMPS, (limit,))
    return [(tree_size, bytes(token)) for tree_size, token in rows]


def token_file_steps(tree_size: int) -> Steps[dict[str, bytes]]:
    """Return what a bundle under the head of this size has in `others`: its time token by name, if one has come."""
    token = yield from token_steps(tree_size)
    return {} if token is None else {HEAD_TIME: token}


def last_stamped_steps() -> Steps[StoredHead | None]:
    """Return the newest head of which there is a time token."""
    rows = yield Statement(_STAMPED)
    return StoredHead(*rows[0]) if rows else None
