"""What is sent to a witness, and the one answer with a form of its own (C2SP tlog-witness v1.0.0, `add-checkpoint`).

Bytes and values only; client and server are elsewhere. Nothing is verified here: parsing says that bytes have the form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import MalformedError
from .merkle import MAX_TREE_SIZE
from .note import Note, encode_base64, parse_note
from .treehead import parse_count, parse_hash

MAX_PROOF = 63
"""Hashes of a consistency proof that a witness takes."""
MAX_REQUEST = 256 * 1024
"""Bytes of a request: room for the proof, and for a note with dozens of signatures of any kind."""
SIZE_TYPE = "text/x.tlog.size"
"""The media type of the answer 409 that names the size a witness knows."""
_OLD = "old "
_SIZE = re.compile(rb"(?:0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class CosignRequest:
    """That a witness which knows the tree of `old_size` leaves shall cosign the head in `note`, and why it may.

    `proof` is the consistency proof between the two, at most 63 hashes. Raises MalformedError where no request could
    say this.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: Note

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_TREE_SIZE or len(self.proof) > MAX_PROOF:
            raise MalformedError(
                f"A request with the old size {self.old_size} and {len(self.proof)} hashes; {MAX_PROOF} are accepted."
            )

    def encode(self) -> bytes:
        """Return the body of the request: old size, proof, an empty line, the note."""
        lines = [f"{_OLD}{self.old_size}\n", *(f"{encode_base64(item)}\n" for item in self.proof), "\n"]
        return "".join(lines).encode() + self.note.encode()


def parse_request(data: bytes) -> CosignRequest:
    """Return the request in `data`, of which `encode` gives the same bytes again. Raises MalformedError otherwise."""
    if len(data) > MAX_REQUEST:
        raise MalformedError(f"A request of {len(data)} bytes; {MAX_REQUEST} are accepted.")
    before, blank, note = data.partition(b"\n\n")
    if not blank:
        raise MalformedError("A request without an empty line before the note.")
    try:
        first, *hashes = before.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError("A request whose old size or proof is not ASCII.") from error
    if not first.startswith(_OLD):
        raise MalformedError("A request that does not begin with the old size.")
    if len(hashes) > MAX_PROOF:
        raise MalformedError(f"A proof of {len(hashes)} hashes; {MAX_PROOF} are accepted.")
    old_size = parse_count(first.removeprefix(_OLD))
    return CosignRequest(old_size, tuple(parse_hash(line) for line in hashes), parse_note(note))


def encode_size(size: int) -> bytes:
    """Return the body of an answer 409: the size of the tree that the witness cosigned last."""
    return b"%d\n" % size


def parse_size(data: bytes) -> int:
    """Return the size in the body of an answer 409. Raises MalformedError for anything else."""
    if not _SIZE.fullmatch(data):
        raise MalformedError(f"Not the size of a tree: {data[:100]!r}.")
    return parse_count(data[:-1].decode("ascii"))
