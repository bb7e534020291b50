"""A log of seven entries with its key, two witnesses, and the notes they sign."""

from __future__ import annotations

from countersign.audit.entry import leaf_hash
from countersign.audit.keys import FileKey
from countersign.audit.merkle import CompactRange, inclusion_proof
from countersign.audit.note import Algorithm, Note, Signature, VerifierKey, cosign, sign
from countersign.audit.tiles import TileReader
from countersign.audit.treehead import LogTrust, TreeHead
from unit.published import Published
from unit.samples import ORIGIN, key_of_seed

SECONDS = 1_740_832_215
BODIES = [b"body %d" % number for number in range(7)]
LEAVES = [leaf_hash(body) for body in BODIES]
LOG, WITNESS, OTHER = key_of_seed(11), key_of_seed(12), key_of_seed(13)


def log_key(signer: FileKey = LOG, name: str = ORIGIN) -> VerifierKey:
    return VerifierKey(name, Algorithm.LOG, signer.public)


def witness_key(signer: FileKey = WITNESS, name: str = "witness.invalid") -> VerifierKey:
    return VerifierKey(name, Algorithm.COSIGNATURE, signer.public)


WITNESSES = (witness_key(), witness_key(OTHER, "other.invalid"))
TRUST = LogTrust((log_key(),), WITNESSES, 1)
HEAD = TreeHead(ORIGIN, len(LEAVES), CompactRange().extend(LEAVES).root_hash)


def signed(text: str = HEAD.text) -> Signature:
    return sign(text, log_key(), LOG)


def cosigned(text: str = HEAD.text, seconds: int = SECONDS) -> Signature:
    return cosign(text, witness_key(), WITNESS, seconds)


def note_of(text: str = HEAD.text) -> Note:
    return Note(text, (signed(text), cosigned(text)))


def proof_of(leaf_index: int) -> list[bytes]:
    log = Published()
    log.append(LEAVES)
    reader = TileReader(log.fetch, tree_size=HEAD.size, root_hash=HEAD.root)
    return inclusion_proof(reader.read, leaf_index, HEAD.size)
