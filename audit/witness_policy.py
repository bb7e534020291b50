"""Which witnesses there are, where, and how many must cosign: the policy file (C2SP tlog-policy).

All of the format is read: several logs, groups of witnesses and of groups. What is not of it is refused, by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from .errors import ConfigurationError, MalformedError
from .note import Algorithm, VerifierKey

FILE = "witness-policy"
MAX_POLICY = 256 * 1024
MAX_WITNESSES = 64
"""As many as there may be without the cosignatures becoming too many for a note."""
NONE = "none"
_BLANK = re.compile("[ \t]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT = re.compile("[1-9][0-9]{0,3}")
_REFERENCE = "https://c2sp.org/tlog-policy says what may stand there."


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness, under the name it has in the policy. `url` has no slash at its end; without, nobody can ask it."""

    name: str
    key: VerifierKey
    url: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """A group that counts as having cosigned when `threshold` (from 1) of its members have."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """The logs that may be meant, the witnesses, the groups in their order, and the name that must have cosigned."""

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...]
    groups: dict[str, Group]
    quorum: str | None

    def is_met(self, cosigned: Iterable[VerifierKey]) -> bool:
        """Tell whether cosignatures of these keys, all of them verified, are what the policy asks for."""
        keys = {key.text for key in cosigned}
        met = {witness.name for witness in self.witnesses if witness.key.text in keys}
        for name, group in self.groups.items():  # a group stands behind its members
            if len(met.intersection(group.members)) >= group.threshold:
                met.add(name)
        return self.quorum is None or self.quorum in met


def load_policy(path: Path, log: VerifierKey) -> Policy:
    """Return the policy in `path`, by which the witnesses of the log of this key are asked.

    Raises ConfigurationError, with line and remedy, where it cannot be read, is none, names logs but not this one, or
    has a witness that cannot be asked.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY + 1)
    except OSError as error:
        raise ConfigurationError(
            f"The witness policy {path} cannot be read: {error.strerror}.",
            remedy="Put it there, or say where it is: --policy FILE or COUNTERSIGN_WITNESS_POLICY.",
        ) from error
    policy = parse_policy(data, str(path))
    if policy.logs and log not in policy.logs:
        raise ConfigurationError(
            f"The witness policy {path} is not for this log: none of its log lines has the key {log.text}.",
            remedy="Add a log line with this key, or leave all log lines out.",
        )
    for witness in policy.witnesses:
        if witness.url is None:
            raise ConfigurationError(
                f"The witness policy {path} does not say where the witness {witness.name} is.",
                remedy="Put the address, the submission prefix that its operator named, behind its key.",
            )
        if witness.key.public.raw == log.public.raw:
            raise ConfigurationError(
                f"The witness {witness.name} in the policy {path} has the key of the log itself.",
                remedy="Name a witness that somebody else runs, with a key of its own.",
            )
    return policy


def parse_policy(data: bytes, source: str) -> Policy:
    """Return the policy in `data`. Raises ConfigurationError, with the line in `source` and the remedy, otherwise."""
    if len(data) > MAX_POLICY:
        raise ConfigurationError(
            f"The witness policy {source} has more than {MAX_POLICY} bytes.", remedy="Name fewer witnesses."
        )
    reader = _Reader(source)
    *lines, rest = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        reader.read(number, line)
    if rest:
        reader.line = len(lines) + 1
        reader.refuse("the last line does not end with a newline", "The file may have been cut off; end each line.")
    if not reader.decided:
        reader.line = len(lines)
        reader.refuse("there is no quorum line", "End the file with: quorum NAME, or quorum none.")
    return Policy(tuple(reader.logs), tuple(reader.witnesses), reader.groups, reader.quorum)


class _Reader:
    """What has been read of a policy so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.line = 0
        self.logs: list[VerifierKey] = []
        self.witnesses: list[Witness] = []
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self.decided = False
        self._names: set[str] = set()
        self._members: set[str] = set()
        self._keys: dict[bytes, int] = {}

    def refuse(self, what: str, remedy: str = _REFERENCE) -> NoReturn:
        raise ConfigurationError(f"The witness policy {self.source}, line {self.line}: {what}.", remedy=remedy)

    def read(self, number: int, line: bytes) -> None:
        self.line = number
        if _CONTROL.search(line):
            self.refuse("it has a control character", "Only blanks and tabs may stand between words, LF at the end.")
        # Names are octets: what is no UTF-8 stays what it is, and nothing is normalised.
        text = line.decode("utf-8", "surrogateescape").strip(" \t")
        if not text or text.startswith("#"):
            return
        keyword, *words = _BLANK.split(text)
        match keyword:
            case "log":
                self._log(words)
            case "witness":
                self._witness(words)
            case "group":
                self._group(words)
            case "quorum":
                self._quorum(words)
            case _:
                self.refuse(f"it begins with {keyword[:100]!r}, which is none of log, witness, group and quorum")

    def _log(self, words: list[str]) -> None:
        if not 1 <= len(words) <= 2:  # noqa: PLR2004 - key and address
            self.refuse("a log has a key, and perhaps an address")
        self.logs.append(self._key(words[0], Algorithm.LOG))

    def _witness(self, words: list[str]) -> None:
        if not 2 <= len(words) <= 3:  # noqa: PLR2004 - name, key and address
            self.refuse("a witness has a name, a key, and perhaps an address")
        name = self._new_name(words[0])
        if len(self.witnesses) == MAX_WITNESSES:
            self.refuse(f"there are more than {MAX_WITNESSES} witnesses", "Name fewer witnesses.")
        url = self._url(words[2]) if len(words) > 2 else None  # noqa: PLR2004 - name, key and address
        self.witnesses.append(Witness(name, self._key(words[1], Algorithm.COSIGNATURE), url))

    def _group(self, words: list[str]) -> None:
        if len(words) < 3:  # noqa: PLR2004 - name, threshold and members
            self.refuse("a group has a name, all, any or a number, and members")
        name, threshold, *members = words
        for member in members:
            if member not in self._names:
                self.refuse(f"{member!r} is no witness or group of a line before", "Define it above this line.")
            if member in self._members:
                self.refuse(f"{member!r} is a member twice", "Let each witness and group be a member once at most.")
            self._members.add(member)
        count = {"all": len(members), "any": 1}.get(threshold) or self._threshold(threshold, len(members))
        self.groups[self._new_name(name)] = Group(count, tuple(members))

    def _threshold(self, text: str, most: int) -> int:
        if not _COUNT.fullmatch(text) or int(text) > most:
            self.refuse(f"{text[:100]!r} is not all, any or a number from 1 to {most}, of members that must cosign")
        return int(text)

    def _quorum(self, words: list[str]) -> None:
        if len(words) != 1:
            self.refuse("a quorum is one name, or none")
        if self.decided:
            self.refuse("there is a second quorum line", "Leave one of them.")
        if words[0] != NONE and words[0] not in self._names:
            self.refuse(f"{words[0]!r} is no witness or group of a line before", "Define it above this line.")
        self.decided = True
        self.quorum = None if words[0] == NONE else words[0]

    def _new_name(self, name: str) -> str:
        if name == NONE or name in self._names:
            self.refuse(f"the name {name!r} is taken", "Give another name: witnesses and groups share them.")
        self._names.add(name)
        return name

    def _key(self, text: str, algorithm: Algorithm) -> VerifierKey:
        try:
            key = VerifierKey.parse(text)
        except MalformedError as error:
            self.refuse(
                f"{text[:200]!r} is no key that is supported ({error.message})",
                "Ask its owner for the verifier key, of Ed25519: name+0123abcd+base64.",
            )
        if key.algorithm != algorithm:
            wanted = {Algorithm.LOG: "a log", Algorithm.COSIGNATURE: "a witness"}[algorithm]
            self.refuse(
                f"the key of {key.name} is not one of {wanted}: its algorithm is 0x{key.algorithm:02x}",
                f"Ask for the key of {wanted}, whose algorithm is 0x{algorithm:02x}.",
            )
        earlier = self._keys.setdefault(key.public.raw, self.line)
        if earlier != self.line:
            self.refuse(f"it has the same public key as line {earlier}", "Whoever holds one key counts once.")
        return key

    def _url(self, text: str) -> str:
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and text.isascii()
        except ValueError:
            good = False
            parts = urlsplit("")
        if not good or "@" in parts.netloc or "?" in text or "#" in text:
            self.refuse(
                f"{text[:200]!r} is no address that a witness can be asked at",
                "Write https://host/prefix, or http:// within a network of your own; nothing behind the path.",
            )
        return text.rstrip("/")
