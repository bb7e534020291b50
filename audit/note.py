"""Signed notes (C2SP signed-note v1.0.0) and their keys: Ed25519 for the log, cosignature/v1 for witnesses.

A note is a text with one line for each signature behind it. Nothing in the text is to be believed before `open_note`
has returned: parsing says only that the bytes have the form. The text's own meaning is treehead.py's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from .entry import Signer
from .errors import ConfigurationError, MalformedError, VerificationError
from .keys import PublicKey

MAX_SIGNATURES = 100
MAX_NOTE = 1_000_000
"""Bytes of a note. C2SP asks for 16 signatures at least, of which some kinds are 5 kB long."""
MAX_SECONDS = 2**63 - 1
KEY_ID_BYTES = 4
_TIME_BYTES = 8
_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID = re.compile("[0-9a-f]{8}")


class Algorithm(IntEnum):
    """What a key signs, and the byte that says so in its id. One key must not serve for both."""

    LOG = 0x01
    COSIGNATURE = 0x04


def check_name(name: str) -> str:
    """Return `name` if a key may have it: not empty, no space of Unicode's, no `+`, no control character.

    Raises MalformedError otherwise.
    """
    if (
        not name
        or "+" in name
        or any(char.isspace() for char in name)
        or _CONTROL.search(name)
        or not _is_unicode(name)
    ):
        raise MalformedError(f"The name of a key must not be empty or contain a space or +: {name[:100]!r}.")
    return name


def decode_base64(text: str) -> bytes:
    """Return the bytes that `text` is the one standard base64 of. Raises MalformedError for any other spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedError(f"Not base64: {text[:100]!r}.") from error
    if encode_base64(data) != text:
        raise MalformedError(f"Not the canonical base64 of its bytes: {text[:100]!r}.")
    return data


def encode_base64(data: bytes) -> str:
    """Return standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with the name it signs under. For a log's key, that is the log's origin.

    `key_id` are the first 4 bytes of SHA-256(name || 0x0A || algorithm || public key): it tells keys of one name apart
    and proves nothing. Raises MalformedError for a name that no key may have.
    """

    name: str
    algorithm: Algorithm
    public: PublicKey
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        digest = hashlib.sha256(self.name.encode() + b"\n" + self._material).digest()
        object.__setattr__(self, "key_id", digest[:KEY_ID_BYTES])

    @property
    def text(self) -> str:
        """`name+hex(key id)+base64(algorithm || public key)`, as keys are handed around."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(self._material)}"

    @property
    def _material(self) -> bytes:
        return bytes([self.algorithm]) + self.public.raw

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Return the key that `text` is the text of.

        Raises MalformedError for another spelling, a key id that is not this key's, an algorithm that is not ours, and
        for Ed25519 keys under which a signature would prove nothing.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        if not _KEY_ID.fullmatch(key_id) or not encoded:
            raise MalformedError(f"Not a verifier key, name+key id+key: {text[:400]!r}.")
        material = decode_base64(encoded)
        if material[:1] not in [bytes([algorithm]) for algorithm in Algorithm]:
            raise MalformedError(f"A verifier key of a kind that is not supported, 0x{material[:1].hex()}.")
        key = cls(name, Algorithm(material[0]), PublicKey.from_raw(material[1:]))
        if key.key_id.hex() != key_id:
            raise MalformedError(f"The verifier key of {name} has the id {key.key_id.hex()}, not {key_id}.")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who claims to have signed, and what stands behind the key id: the signature's own bytes.

    Of an unknown key both are any bytes. Raises MalformedError where no line could say this.
    """

    name: str
    key_id: bytes
    data: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.data:
            raise MalformedError(f"A signature of {self.name} without key id or without signature.")

    @property
    def line(self) -> str:
        """U+2014, space, name, space, base64(key id || signature), newline."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.data)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text that ends with a newline, and 1 to 100 signatures of it, none of them checked yet.

    Raises MalformedError for a text with control characters or without final newline.
    """

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        _check_text(self.text)
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise MalformedError(f"A note has 1 to {MAX_SIGNATURES} signatures, not {len(self.signatures)}.")

    def encode(self) -> bytes:
        """Return the note's bytes: text, empty line, signature lines."""
        return "".join([self.text, "\n", *(signature.line for signature in self.signatures)]).encode()


def parse_note(data: bytes) -> Note:
    """Return the note in `data`, of which `encode` gives the same bytes again. Nothing is verified.

    Raises MalformedError for anything else, for more than 1,000,000 bytes, and for more than 100 signatures.
    """
    if len(data) > MAX_NOTE:
        raise MalformedError(f"A note of {len(data)} bytes; {MAX_NOTE} are accepted.")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("A note that is not UTF-8.") from error
    text, blank, lines = whole.rpartition("\n\n")
    if not blank:
        raise MalformedError("A note without an empty line before its signatures.")
    return Note(text + "\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Return the signatures in these lines, as a witness sends them. Raises MalformedError for any other line."""
    if lines.count("\n") > MAX_SIGNATURES:
        raise MalformedError(f"More than {MAX_SIGNATURES} signatures.")
    *parts, rest = lines.split("\n")
    if rest:
        raise MalformedError("A signature line that does not end with a newline.")
    return tuple(_parse_line(line) for line in parts)


def _parse_line(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise MalformedError(f"Not a signature line: {line[:400]!r}.")
    check_name(name)
    blob = decode_base64(encoded)
    return Signature(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise MalformedError("A text that does not end with a newline cannot be signed as a note.")
    if _CONTROL.search(text) or not _is_unicode(text):
        raise MalformedError("A text with control characters, or that is not Unicode, cannot be signed as a note.")


def merged_note(note: Note, signatures: Sequence[Signature]) -> Note:
    """Return `note` with those of `signatures` behind it of whose keys it has none. Nothing is verified.

    Raises MalformedError where they would be too many.
    """
    merged: dict[tuple[str, bytes], Signature] = {}
    for signature in signatures:
        merged.setdefault((signature.name, signature.key_id), signature)
    there = {(signature.name, signature.key_id) for signature in note.signatures}
    return Note(note.text, (*note.signatures, *(merged[key] for key in merged if key not in there)))


class Verified(NamedTuple):
    """A signature that verified: whose, and for a cosignature the witness's time in seconds since 1970, UTC."""

    key: VerifierKey
    cosigned_at: int | None


def open_note(note: Note, *, required: Sequence[VerifierKey], known: Sequence[VerifierKey] = ()) -> list[Verified]:
    """Return the signatures of `note` under required and known keys, all of which verified, in the note's order.

    A key is met where name and key id are the same; lines of other keys are ignored. Raises VerificationError (`check`
    is "note") if a key that is met did not sign this text or stands twice, and if no required one is met.
    """
    keys = _by_id([*required, *known])
    met: dict[tuple[str, bytes], Signature] = {}
    for signature in note.signatures:
        identity = signature.name, signature.key_id
        if identity in met:
            raise _refused(f"The note has two signatures of {signature.name} under the key {signature.key_id.hex()}.")
        if identity in keys:
            met[identity] = signature
    opened = [Verified(keys[identity], _verify(keys[identity], note.text, met[identity].data)) for identity in met]
    if not any((key.name, key.key_id) in met for key in required):
        wanted = " or ".join(f"{key.name} ({key.key_id.hex()})" for key in required) or "anybody trusted"
        raise _refused(f"The note is not signed by {wanted}.")
    return opened


def _by_id(keys: Sequence[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    found: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if found.setdefault((key.name, key.key_id), key).public.raw != key.public.raw:
            raise ConfigurationError(
                f"Two different keys of {key.name} have the id {key.key_id.hex()}: one was made to resemble the other.",
                remedy="Find out which of the two is genuine, and trust that one alone.",
            )
    return found


def _verify(key: VerifierKey, text: str, data: bytes) -> int | None:
    """Return the time of a cosignature, None for a log's signature, having verified it."""
    if key.algorithm == Algorithm.LOG:
        seconds, signature, message = None, data, text.encode()
    else:
        seconds, signature = int.from_bytes(data[:_TIME_BYTES], "big"), data[_TIME_BYTES:]
        message = cosigned(text, seconds)
    if (seconds or 0) > MAX_SECONDS or not key.public.verifies(signature, message):
        raise _refused(f"The signature of {key.name} under the key {key.key_id.hex()} does not match the text.")
    return seconds


def _refused(sentence: str) -> VerificationError:
    return VerificationError(sentence, check="note")


def cosigned(text: str, seconds: int) -> bytes:
    """Return what a witness signs (C2SP tlog-cosignature v1): two lines of its own, and the note's text."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def sign(text: str, key: VerifierKey, signer: Signer) -> Signature:
    """Return the log's signature of a note's text, under `key`, whose private half `signer` holds.

    Raises ConfigurationError if it holds another, and MalformedError for a text that no note may have.
    """
    if key.algorithm != Algorithm.LOG:
        raise ValueError("a key for cosignatures does not sign for a log")
    _check_text(text)
    return _checked(text, key, signer.sign(text.encode()))


def cosign(text: str, key: VerifierKey, signer: Signer, seconds: int) -> Signature:
    """Return a witness's cosignature/v1 of a note's text. Requires 0 <= seconds <= 2^63-1, since 1970, UTC.

    Raises what `sign` raises.
    """
    if key.algorithm != Algorithm.COSIGNATURE or not 0 <= seconds <= MAX_SECONDS:
        raise ValueError("a cosignature needs a key for cosignatures and a time from 0 to 2^63-1")
    _check_text(text)
    return _checked(text, key, seconds.to_bytes(_TIME_BYTES, "big") + signer.sign(cosigned(text, seconds)))


def _checked(text: str, key: VerifierKey, data: bytes) -> Signature:
    """Return the signature if it verifies: nobody could take back a wrong one that was published."""
    try:
        _verify(key, text, data)
    except VerificationError as error:
        raise ConfigurationError(
            f"What was signed for {key.name} does not verify under its key {key.key_id.hex()}: the private key is "
            "another one.",
            remedy="Give the private key that belongs to this verifier key.",
        ) from error
    return Signature(key.name, key.key_id, data)
