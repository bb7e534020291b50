"""Keys: private in files, public in the trail `@keys`, trusted from outside (docs/formats.md, section 4).

What is trusted never comes from the database: the ring is built from `@keys` only after its first entry proved to be
signed by a deployment key that the caller already had.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from .body import Body
from .canonical import Json, parse
from .entry import check_origin
from .errors import ConfigurationError, MalformedError
from .kinds import Kind, allows, check_pattern

TRUST_SPEC = "countersign/trust/1"
_P = 2**255 - 19
_MODE = 0o600
# RFC 7748/8032: the eight points whose order divides 8. A signature under one of them proves nothing.
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key that is fit to be trusted: 32 bytes, canonical, not of small order."""

    raw: bytes
    _key: Ed25519PublicKey

    @classmethod
    def from_raw(cls, raw: bytes) -> PublicKey:
        """Return the key. Raises MalformedError for keys under which a signature would prove nothing."""
        if len(raw) != 32:  # noqa: PLR2004 - RFC 8032
            raise MalformedError(f"An Ed25519 public key has 32 bytes, not {len(raw)}.")
        y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
        if y >= _P:
            raise MalformedError("An Ed25519 public key that is not in canonical form.")
        if raw in _SMALL_ORDER or y in (1, _P - 1):
            raise MalformedError("An Ed25519 public key of small order: anybody can sign under it.")
        return cls(raw, Ed25519PublicKey.from_public_bytes(raw))

    def __reduce__(self) -> tuple[Callable[[bytes], PublicKey], tuple[bytes]]:
        return PublicKey.from_raw, (self.raw,)  # to another process; what stands behind `_key` cannot go there

    @property
    def keyid(self) -> bytes:
        """SHA-256 of the raw key."""
        return hashlib.sha256(self.raw).digest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Tell whether `signature` is this key's over `message`."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class FileKey:
    """A private entry key held in a PKCS#8 PEM file that only its owner may read."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey.from_raw(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        self.keyid = self.public.keyid

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature of `message`, 64 bytes."""
        return self._key.sign(message)

    @classmethod
    def create(cls, path: Path) -> FileKey:
        """Make a new key in a new file of mode 0600, on disk before it is returned. Never overwrites."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_new(path, pem, _MODE)
        return cls(key)

    @classmethod
    def load(cls, path: Path) -> FileKey:
        """Return the key in `path`. Raises ConfigurationError, with the remedy, when it is missing, open or not one."""
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                pem = file.read(1 << 16)
        except OSError as error:
            raise ConfigurationError(
                f"The key file {path} cannot be read: {error.strerror}.",
                remedy="Restore it from the backup of COUNTERSIGN_HOME; a lost key cannot be made again.",
            ) from error
        if mode & 0o077:
            raise ConfigurationError(
                f"The key file {path} can be read by others (mode {mode:04o}).",
                remedy=f"Run: chmod 600 {path}",
            )
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigurationError(
                f"The key file {path} is not an unencrypted PKCS#8 PEM file.",
                remedy="Restore it from the backup of COUNTERSIGN_HOME.",
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigurationError(
                f"The key file {path} holds a key of another kind than Ed25519.",
                remedy="Restore it from the backup of COUNTERSIGN_HOME.",
            )
        return cls(key)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verifier was given from outside: the log's name, the deployment keys it believes, and verifier keys of
    the log in their text form (note.py), the oldest first.
    """

    origin: str
    entry: tuple[PublicKey, ...]
    log: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """Return the document of `trust.json`."""
        return {
            "spec": TRUST_SPEC,
            "origin": self.origin,
            "entry": [base64.b64encode(key.raw).decode("ascii") for key in self.entry],
            "log": list(self.log),
        }

    @classmethod
    def load(cls, path: Path) -> Trust:
        """Return the trust in `path`. Raises ConfigurationError when it is missing or not a trust document."""
        try:
            value = parse(path.read_bytes().strip())
        except OSError as error:
            raise ConfigurationError(
                f"The trust file {path} cannot be read: {error.strerror}.",
                remedy="Give the one that the first `countersign migrate` wrote: --trust FILE.",
            ) from error
        except MalformedError as error:
            raise ConfigurationError(
                f"The trust file {path} is damaged: {error.message}", remedy="Give the one that was kept: --trust FILE."
            ) from error
        try:
            return cls._from_json(value)
        except (MalformedError, ValueError) as error:
            raise ConfigurationError(
                f"The trust file {path} is not a {TRUST_SPEC} document: {error}",
                remedy="Give the one that the first `countersign migrate` wrote: --trust FILE.",
            ) from error

    @classmethod
    def _from_json(cls, value: Json) -> Trust:
        if not isinstance(value, dict) or set(value) != {"spec", "origin", "entry", "log"}:
            raise MalformedError("it does not have exactly the members spec, origin, entry and log.")
        origin, entry, log = value["origin"], value["entry"], value["log"]
        if value["spec"] != TRUST_SPEC or not isinstance(origin, str):
            raise MalformedError(f"its spec is {value['spec']!r}.")
        if not isinstance(entry, list) or not isinstance(log, list):
            raise MalformedError("entry and log are not lists.")
        if not all(isinstance(text, str) for text in [*entry, *log]):
            raise MalformedError("entry and log hold other things than strings.")
        keys = [PublicKey.from_raw(base64.b64decode(str(text), validate=True)) for text in entry]
        return cls(check_origin(origin), tuple(keys), tuple(str(vkey) for vkey in log))


@dataclass(frozen=True, slots=True)
class IntroducedKey:
    """An entry key as `@keys` introduced it, with the kinds it may sign."""

    public: PublicKey
    kinds: tuple[str, ...]

    def may_sign(self, kind: str) -> bool:
        """Tell whether this key may vouch for entries of `kind`."""
        return _allows(self.kinds, kind)


_allows = lru_cache(256)(allows)  # asked for every entry, of which there are few kinds

Ring = Mapping[bytes, IntroducedKey]
"""Key id to key: the entry keys that `@keys` introduced."""


def introduced(body: Body) -> IntroducedKey | None:
    """Return the entry key that a `key.introduced` body introduces; None for keys that sign no entries.

    Raises MalformedError when the detail is not what section 4 of the format demands.
    """
    if body.kind != Kind.KEY_INTRODUCED:
        return None
    detail = body.detail
    purpose, kinds = detail.get("purpose"), detail.get("kinds")
    if purpose == "log":
        return None
    if purpose != "entry" or not isinstance(kinds, list) or not kinds:
        raise MalformedError("A key.introduced entry without purpose, kinds and public_key.")
    return IntroducedKey(_public_key(body), tuple(check_pattern(str(kind)) for kind in kinds))


def introduced_log_key(body: Body) -> PublicKey:
    """Return the key of the log that a `key.introduced` body of this purpose introduces.

    Raises MalformedError when it introduces none, or one that signs entries as well.
    """
    if body.kind != Kind.KEY_INTRODUCED or body.detail.get("purpose") != "log" or body.detail.get("kinds", []) != []:
        raise MalformedError("An entry that does not introduce a key of the log, without kinds.")
    return _public_key(body)


def _public_key(body: Body) -> PublicKey:
    text = body.detail.get("public_key")
    if not isinstance(text, str):
        raise MalformedError("A key.introduced entry without purpose, kinds and public_key.")
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedError("The public key of a key.introduced entry is not base64.") from error
    return PublicKey.from_raw(raw)


def introduction(key: PublicKey, kinds: Iterable[str]) -> dict[str, Json]:
    """Return the detail of the `key.introduced` entry for an entry key."""
    return {"public_key": base64.b64encode(key.raw).decode("ascii"), "purpose": "entry", "kinds": list(kinds)}


def log_introduction(key: PublicKey) -> dict[str, Json]:
    """Return the detail of the `key.introduced` entry for the log's key, which signs heads and no entry."""
    return {"public_key": base64.b64encode(key.raw).decode("ascii"), "purpose": "log"}


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that did not exist, on disk when this returns. Raises ConfigurationError if it exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} exists already and is never overwritten.", remedy="Move it away if it is not in use."
        ) from error
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make the names in `path` durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
