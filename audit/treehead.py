"""Tree heads: size and root hash of a log as the text of a note (C2SP tlog-checkpoint v1.0.0), and who vouches for one.

C2SP calls that text a checkpoint; here a checkpoint is LangGraph's alone. Ours has exactly three lines. What is trusted
comes from outside, as everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from .entry import check_origin
from .errors import ConfigurationError, MalformedError, VerificationError
from .merkle import EMPTY_ROOT, HASH_BYTES, MAX_TREE_SIZE
from .note import Algorithm, Note, Verified, VerifierKey, decode_base64, encode_base64, open_note

_DECIMAL = re.compile("0|[1-9][0-9]{0,18}")


def parse_count(text: str, largest: int = MAX_TREE_SIZE) -> int:
    """Return the number from 0 to `largest` that `text` is the one decimal of. Raises MalformedError otherwise."""
    if not _DECIMAL.fullmatch(text) or int(text) > largest:
        raise MalformedError(f"Not a decimal number from 0 to {largest} without leading zeroes: {text[:100]!r}.")
    return int(text)


def parse_hash(text: str) -> bytes:
    """Return the 32 bytes that `text` is the base64 of. Raises MalformedError otherwise."""
    value = decode_base64(text)
    if len(value) != HASH_BYTES:
        raise MalformedError(f"A hash of {len(value)} bytes; SHA-256 has {HASH_BYTES}.")
    return value


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The tree of `size` leaves (0 to 2^63-1) of the log `origin` has the root hash `root`, 32 bytes.

    Raises MalformedError for anything else, and for an empty tree with another root than that of the empty tree.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_origin(self.origin)
        if not 0 <= self.size <= MAX_TREE_SIZE or len(self.root) != HASH_BYTES:
            raise MalformedError(f"A tree head with a size of {self.size} and a root hash of {len(self.root)} bytes.")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedError("A tree head of size 0 whose root hash is not that of the empty tree.")

    @property
    def text(self) -> str:
        """The text that is signed: origin, size in decimal, root hash in base64, each with a newline."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> TreeHead:
        """Return the tree head that `text` is the text of. Raises MalformedError for other lines, or more of them."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:  # noqa: PLR2004 - three lines, and nothing behind the last newline
            raise MalformedError("A tree head is three lines: origin, size and root hash.")
        return cls(lines[0], parse_count(lines[1]), parse_hash(lines[2]))


@dataclass(frozen=True, slots=True)
class LogTrust:
    """What a verifier was given to believe tree heads: keys of one log, and how many of which witnesses it asks for.

    More than one log key is for the time around a rotation; one of them suffices. Raises ConfigurationError for keys
    of another kind or of several logs, for a public key that is there twice, under whatever name (one holder would
    count for two, or the log witness itself), and for a quorum that these witnesses cannot reach.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        if len({key.name for key in self.logs}) != 1:
            raise _unfit("the log's keys have to be of one log", "Give verifier keys that begin with the log's origin.")
        if any(key.algorithm != Algorithm.LOG for key in self.logs):
            raise _unfit("a log's key is a witness's", "Give the log's verifier key; its key begins with 0x01.")
        if any(key.algorithm != Algorithm.COSIGNATURE for key in self.witnesses):
            raise _unfit("a witness's key is not for cosignatures", "Give a verifier key whose key begins with 0x04.")
        keys = [key.public.raw for key in (*self.logs, *self.witnesses)]
        if len(set(keys)) != len(keys):
            raise _unfit("one public key is trusted twice", "Trust each key once: a log must not witness itself.")
        if not 0 <= self.quorum <= len(self.witnesses):
            raise _unfit(
                f"{len(self.witnesses)} witnesses cannot make a quorum of {self.quorum}", "Give more witnesses."
            )

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.logs[0].name


class OpenedHead(NamedTuple):
    """A tree head that its log vouches for, with the signatures of log and witnesses that verified."""

    head: TreeHead
    signatures: tuple[Verified, ...]


def open_tree_head(note: Note, trust: LogTrust) -> OpenedHead:
    """Return the tree head in `note`, having checked all that `trust` asks for.

    Raises VerificationError: `check` is "note" where a signature of a trusted key is missing or wrong, "origin" where
    the head is of another log, "quorum" where nothing is wrong but too few witnesses have cosigned. Raises
    MalformedError if what was signed is no tree head.
    """
    signatures = tuple(open_note(note, required=trust.logs, known=trust.witnesses))
    head = TreeHead.parse(note.text)
    if head.origin != trust.origin:
        raise VerificationError(
            f"The tree head is of the log {head.origin!r}, not of {trust.origin!r}, though signed by the latter's key.",
            check="origin",
        )
    cosigned = sum(signed.key.algorithm == Algorithm.COSIGNATURE for signed in signatures)
    if cosigned < trust.quorum:
        raise VerificationError(
            f"The tree head of size {head.size} has {cosigned} cosignatures of trusted witnesses; {trust.quorum} are "
            "asked for.",
            check="quorum",
            remedy="Wait for the witnesses, or ask the log's operator for the note with their cosignatures.",
        )
    return OpenedHead(head, signatures)


def _unfit(sentence: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"These keys cannot be trusted as given: {sentence}.", remedy=remedy)
