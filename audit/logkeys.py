"""From the log's key that a verifier was given to the one that signs today (docs/formats.md).

A new key of the log signs one head together with the old one, and under that head lies the entry of `@keys` that
introduces it. So the old key vouches for the new one, and whoever trusts the former can go on to the latter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .body import parse_body
from .entry import Entry
from .errors import ConfigurationError, MalformedError, VerificationError
from .keys import introduced_log_key
from .logproof import LogProof, verify_log_proof
from .note import Algorithm, VerifierKey
from .treehead import LogTrust, open_tree_head


class Handover(NamedTuple):
    """An entry of `@keys` that introduces a key of the log, and its inclusion under a head that two keys signed."""

    entry: Entry
    proof: LogProof


class Walked(NamedTuple):
    """The trust that was reached, and the `seq` of the entries over which, with the leaves they are."""

    trust: LogTrust
    leaves: dict[int, int]


def walk(trust: LogTrust, handovers: Iterable[Handover]) -> Walked:
    """Return `trust` with every key of the log that a key in it vouches for, by way of others or at once.

    `handovers` are in the order of `seq`. One that no trusted key signed, as those before the key that was given,
    counts for nothing. Raises VerificationError for one that a trusted key signed and that is wrong.
    """
    reached, leaves = trust, dict[int, int]()
    for handover in handovers:
        try:
            key = VerifierKey(trust.origin, Algorithm.LOG, introduced_log_key(parse_body(handover.entry.body)))
            if key in reached.logs or not _is_signed(handover.proof, reached):
                continue
            verify_log_proof(handover.proof, handover.entry.body, LogTrust(reached.logs))
            open_tree_head(handover.proof.note, LogTrust((key,)))
            reached = LogTrust((*reached.logs, key), trust.witnesses, trust.quorum)
        except (MalformedError, ConfigurationError, VerificationError) as error:
            raise VerificationError(
                f"The log's key that entry {handover.entry.seq} of @keys introduces was not handed over to: "
                f"{error.message}",
                check="note",
                trail=handover.entry.trail,
                seq=handover.entry.seq,
                table=f"log-keys/{handover.entry.seq}.tlog-proof",
            ) from error
        leaves[handover.entry.seq] = handover.proof.leaf_index
    return Walked(reached, leaves)


def _is_signed(proof: LogProof, trust: LogTrust) -> bool:
    trusted = {(key.name, key.key_id) for key in trust.logs}
    return any((signature.name, signature.key_id) in trusted for signature in proof.note.signatures)
