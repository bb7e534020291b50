"""What a monitor keeps from one run to the next, as bytes: canonical JSON, a document a line.

First the head and what belongs to the whole log, then a line for each trail, and last the SHA-256 of all that, so that
a file which was cut or changed by accident is not taken for a smaller one. Whoever could do so on purpose could as well
change the verifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from .branches import End, Left, Reading, Restore
from .canonical import Json, canonical, parse
from .errors import MalformedError
from .merkle import HASH_BYTES, CompactRange
from .monitor import State
from .note import decode_base64, encode_base64, parse_note
from .treehead import TreeHead

SPEC = "countersign/monitor/1"


def encode_state(state: State) -> Iterator[bytes]:
    """Yield the lines of a state."""
    digest = hashlib.sha256()
    for line in _lines(state):
        digest.update(line)
        yield line
    yield canonical({"sha256": digest.hexdigest()}) + b"\n"


def _lines(state: State) -> Iterator[bytes]:
    reading = state.reading
    yield _line(
        {
            "spec": SPEC,
            "note": state.note.encode().decode(),
            "range": [reading.size, *map(encode_base64, reading.range.hashes)],
            "lost": reading.lost,
            "tiles": state.tiles,
            "restores": [list(restore[:4]) for restore in reading.restores],
        }
    )
    for trail, end in reading.ends.items():
        left: list[Json] = [_end(*item) for item in reading.left.get(trail, ())]
        yield _line([trail, _end(*end), *left])


def _line(value: Json) -> bytes:
    return canonical(value) + b"\n"


def _end(seq: int, leaf_hash: bytes, leaf_index: int) -> Json:
    return [seq, encode_base64(leaf_hash), leaf_index]


def decode_state(data: bytes) -> State:
    """Return the state in `data`. Its note is not verified.

    Raises MalformedError, with the reason, for anything that `encode_state` does not write.
    """
    at = data.rfind(b"\n", 0, -1) + 1
    if data[at:] != _line({"sha256": hashlib.sha256(data[:at]).hexdigest()}):
        raise MalformedError("It does not end with the digest of what stands before: it was cut off or changed.")
    try:
        return _decoded([parse(line) for line in data[:at].splitlines()])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise MalformedError("It has another form than this version writes.") from error


def _decoded(documents: list[Any]) -> State:
    first, *trails = documents
    if first["spec"] != SPEC:
        raise MalformedError(f"An unknown spec: {first['spec']!r}; this version reads {SPEC!r}.")
    note = parse_note(first["note"].encode())
    size, *hashes = first["range"]
    reading = Reading(
        CompactRange(0, size, tuple(map(decode_base64, hashes))),
        lost=_count(first["lost"]),
        restores=tuple(map(_restore, first["restores"])),
    )
    for trail, end, *left in trails:
        reading.ends[trail] = End(*_place(end))
        if left:
            reading.left[trail] = tuple(Left(*_place(item)) for item in left)
    return State(note, TreeHead.parse(note.text), reading, _count(first["tiles"]))


def _restore(item: Any) -> Restore:
    at, begin, end, lost = map(_count, item)
    return Restore(at, begin, end, lost)


def _place(item: Any) -> tuple[int, bytes, int]:
    seq, text, leaf_index = item
    leaf_hash = decode_base64(text)
    if len(leaf_hash) != HASH_BYTES:
        raise MalformedError(f"A leaf hash of {len(leaf_hash)} bytes.")
    return _count(seq), leaf_hash, _count(leaf_index)


def _count(value: Any) -> int:
    if type(value) is not int:
        raise MalformedError("A count that is none.")
    return value
