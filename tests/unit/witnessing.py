"""Heads of one log and of its forks as a memory holds them, without files, and the keys of witnesses."""

from __future__ import annotations

from countersign.audit.entry import leaf_hash
from countersign.audit.memory import Known
from countersign.audit.merkle import consistency_proof, root_hash
from countersign.audit.note import Note, cosign, sign
from countersign.audit.tiles import TileReader
from countersign.audit.treehead import TreeHead
from countersign.audit.witness_policy import Witness
from countersign.audit.witness_request import CosignRequest
from unit.heads import LOG, OTHER, SECONDS, WITNESS, log_key, witness_key
from unit.published import LEAVES, Published
from unit.samples import ORIGIN

URL = "http://witness.invalid/prefix"
ONE = Witness("one", witness_key(), URL)
TWO = Witness("two", witness_key(OTHER, "other.invalid"), "http://other.invalid")


def leaves(size: int, fork_at: int | None = None) -> list[bytes]:
    """Return leaf hashes, other ones from `fork_at` on."""
    other = [leaf_hash(b"another %d" % number) for number in range(size)]
    return LEAVES[:size] if fork_at is None else LEAVES[:fork_at] + other[fork_at:]


def head_of(size: int, fork_at: int | None = None, origin: str = ORIGIN) -> TreeHead:
    return TreeHead(origin, size, root_hash(leaves(size, fork_at)))


def known_of(size: int, fork_at: int | None = None) -> Known:
    log = Published()
    log.append(leaves(size, fork_at))
    head = head_of(size, fork_at)
    tiles = TileReader(log.fetch, tree_size=size, root_hash=head.root)
    return Known(Note(head.text, (sign(head.text, log_key(), LOG),)), head, tiles, [])


def proof_of(old: int, size: int, fork_at: int | None = None) -> tuple[bytes, ...]:
    return tuple(consistency_proof(known_of(size, fork_at).tiles.read, old, size))


def request_of(old: int, size: int, fork_at: int | None = None) -> CosignRequest:
    return CosignRequest(old, proof_of(old, size, fork_at), known_of(size, fork_at).note)


def cosignature_of(size: int, seconds: int = SECONDS) -> str:
    return cosign(head_of(size).text, ONE.key, WITNESS, seconds).line


class Clock:
    """Seconds that only pass when somebody waits."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pauses: list[float] = []

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.seconds += seconds
