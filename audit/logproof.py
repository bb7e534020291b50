"""That an entry is in the log, as a file for whoever trusts the keys of log and witnesses (C2SP tlog-proof).

The file holds where the leaf stands, its inclusion proof, and the signed tree head; neither the body nor any key.
"""

from __future__ import annotations

from dataclasses import dataclass

from .entry import leaf_hash
from .errors import MalformedError
from .merkle import HASH_BYTES, MAX_TREE_SIZE, verify_inclusion
from .note import MAX_NOTE, Note, decode_base64, encode_base64, parse_note
from .treehead import LogTrust, OpenedHead, open_tree_head, parse_count, parse_hash

SPEC = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_PROOF = 2 * MAX_NOTE
"""Bytes of a proof: the note and as much besides."""


@dataclass(frozen=True, slots=True)
class LogProof:
    """The leaf `leaf_index` (from 0), the hashes of its inclusion proof from its sibling up, and the note of the head.

    `extra` is data of the application, or None; nothing vouches for it. Raises MalformedError for an index that no leaf
    has, for more than 63 hashes or one that is not of 32 bytes, and for empty extra data.
    """

    leaf_index: int
    hashes: tuple[bytes, ...]
    note: Note
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.leaf_index < MAX_TREE_SIZE:
            raise MalformedError(f"There is no leaf {self.leaf_index} in any log.")
        if len(self.hashes) > MAX_HASHES or any(len(value) != HASH_BYTES for value in self.hashes):
            raise MalformedError(f"A proof of inclusion has at most {MAX_HASHES} hashes of {HASH_BYTES} bytes.")
        if self.extra is not None and not self.extra:
            raise MalformedError("Extra data of a proof that is empty; without any its line is left out.")

    def encode(self) -> bytes:
        """Return the file's bytes."""
        extra = [f"extra {encode_base64(self.extra)}"] if self.extra is not None else []
        lines = [SPEC, *extra, f"index {self.leaf_index}", *map(encode_base64, self.hashes)]
        return "".join(f"{line}\n" for line in (*lines, "")).encode() + self.note.encode()


def parse_log_proof(data: bytes) -> LogProof:
    """Return the proof in `data`, of which `encode` gives the same bytes again. Nothing is verified.

    Raises MalformedError for anything else, and for more than 2,000,000 bytes.
    """
    if len(data) > MAX_PROOF:
        raise MalformedError(f"A proof of {len(data)} bytes; {MAX_PROOF} are accepted.")
    head, blank, note = data.partition(b"\n\n")
    if not blank:
        raise MalformedError("A proof without an empty line before its tree head.")
    if not head.isascii():
        raise MalformedError("A proof with other characters than ASCII before its tree head.")
    spec, *lines = head.decode("ascii").split("\n")
    if spec != SPEC:
        raise MalformedError(f"An unknown kind of proof: {spec[:100]!r}; this version reads {SPEC!r}.")
    extra = decode_base64(lines.pop(0).removeprefix("extra ")) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise MalformedError("A proof that does not say the index of its leaf where it has to.")
    index = parse_count(lines[0].removeprefix("index "), MAX_TREE_SIZE - 1)
    return LogProof(index, tuple(map(parse_hash, lines[1:])), parse_note(note), extra)


def verify_log_proof(proof: LogProof, body: bytes, trust: LogTrust) -> OpenedHead:
    """Return the tree head under which `body` is the leaf that `proof` says, with the signatures that verified.

    Raises what `open_tree_head` raises, and VerificationError (`check` is "inclusion") if the body is not that leaf.
    """
    opened = open_tree_head(proof.note, trust)
    verify_inclusion(
        proof.hashes,
        leaf_hash=leaf_hash(body),
        leaf_index=proof.leaf_index,
        tree_size=opened.head.size,
        root_hash=opened.head.root,
    )
    return opened
