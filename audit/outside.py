"""What is known of a log outside its database: keys, the memory, and heads that somebody kept.

All of it is read before the database is: then an honest database is never behind what it is held against.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography.x509 import Certificate

from .errors import ConfigurationError, MalformedError, VerificationError
from .keys import Trust
from .memory import Known, Memory
from .note import MAX_NOTE, Note, Verified, VerifierKey, parse_note
from .treehead import LogTrust, TreeHead, open_tree_head


class GivenHead(NamedTuple):
    """A head that the verifier brought along, signed by the log, with the signatures that verified."""

    name: str
    note: Note
    head: TreeHead
    signatures: tuple[Verified, ...]


@dataclass(frozen=True, slots=True)
class Outside:
    """What a database is held against. `wrong` are findings: why a memory that is there is not to be believed.

    `authorities` are the certificates of time stamping authorities; without them time tokens are not looked at.
    """

    log: LogTrust | None = None
    memory: Known | None = None
    heads: tuple[GivenHead, ...] = ()
    wrong: tuple[VerificationError, ...] = ()
    authorities: tuple[Certificate, ...] = ()

    @property
    def largest(self) -> int:
        """The size of the largest head that the database did not bring along itself; -1 without any."""
        heads = [given.head for given in self.heads] + ([self.memory.head] if self.memory else [])
        return max((head.size for head in heads), default=-1)

    def contradiction(self, head: TreeHead, since: int, source: str) -> VerificationError | None:
        """Return the failure of a head with fewer than `since` leaves that the tree in the memory does not have.

        Larger ones are compared where the log is read, which begins with that tree.
        """
        if head.size >= since or self.memory is None:
            return None
        try:
            found = self.memory.range_of(head.size).root_hash
        except VerificationError as error:
            return error
        if found == head.root:
            return None
        return VerificationError(
            f"The tree head of size {head.size} in {source} has the root {head.root.hex()}; the tree that was verified "
            f"before has {found.hex()} there: two histories of this log were signed.",
            check="head",
        )


def log_trust(trust: Trust, witnesses: tuple[VerifierKey, ...] = (), quorum: int = 0) -> LogTrust | None:
    """Return what heads are believed by: the log's keys that `trust` names; None where it names none.

    Raises ConfigurationError for keys that are no keys of this log, or that do not go together.
    """
    try:
        keys = tuple(VerifierKey.parse(text) for text in trust.log)
    except MalformedError as error:
        raise ConfigurationError(
            f"The trust file names a key of the log that is none: {error.message}",
            remedy="Give the one that the first `countersign migrate` wrote: --trust FILE.",
        ) from error
    if not keys:
        return None
    if keys[0].name != trust.origin:
        raise ConfigurationError(
            f"The trust file is of {trust.origin}, and its key of the log is of {keys[0].name}.",
            remedy="Give the one that the first `countersign migrate` wrote: --trust FILE.",
        )
    return LogTrust(keys, witnesses, quorum)


def read_outside(log: LogTrust | None, memory: Memory | None, files: tuple[Path, ...] = ()) -> Outside:
    """Return all that there is outside. What was signed by another log, or by nobody, is not taken for a head.

    Raises ConfigurationError for files that cannot be read, or that are no heads of this log.
    """
    if log is None:
        if files:
            raise ConfigurationError(
                "A head was given, and no key of the log to check it with.",
                remedy="Give a trust file that names the log's key: --trust FILE.",
            )
        return Outside()
    # The witnesses of a head are weighed where it is used, so a head that they have not cosigned yet is a head.
    keys = LogTrust(log.logs, log.witnesses)
    heads = tuple(read_head(path, keys) for path in files)
    try:
        known = memory.open(LogTrust(log.logs)) if memory is not None else None
    except VerificationError as error:
        return Outside(log, None, heads, (error,))
    return Outside(log, known, heads)


def read_head(path: Path, log: LogTrust) -> GivenHead:
    """Return the head in a file: a signed note. Raises ConfigurationError if it is none that this log signed."""
    try:
        with path.open("rb") as file:
            note = parse_note(file.read(MAX_NOTE + 1))
        opened = open_tree_head(note, log)
    except OSError as error:
        raise ConfigurationError(f"The tree head {path} cannot be read: {error.strerror}.") from error
    except (MalformedError, VerificationError) as error:
        raise ConfigurationError(
            f"{path} is no tree head of this log: {error.message}",
            remedy="Give a signed note of the log: a copy of the file checkpoint beside its tiles, or of tree-head.",
        ) from error
    return GivenHead(str(path), note, opened.head, opened.signatures)
