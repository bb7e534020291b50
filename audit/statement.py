"""The statement that a person signs, and the salted digests in it of what they saw and why (docs/formats.md).

Pure: salts, nonce and time are parameters. What a statement proves: these bytes were approved by whoever answered for
the credential that the entry names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from .canonical import Json, canonical, format_time, parse_hex32, parse_time
from .errors import MalformedError

SPEC = "countersign/statement/1"
VIEW = "countersign/view/1"
VALID = timedelta(minutes=5)
"""How long after it was issued a statement may be completed."""
ANNOTATE = "annotate"
_MEMBERS = frozenset(
    {
        "spec", "origin", "trail", "review", "shown_digest", "decision", "meaning", "reason_digest", "signer", "role",
        "nonce", "issued_at",
    }
)  # fmt: skip
_TEXTS = ("origin", "trail", "review", "decision", "meaning", "signer", "role")


@dataclass(frozen=True, slots=True)
class Statement:
    """Who decides what about which view of which review, and why. Digests and nonce are 32 bytes."""

    origin: str
    trail: str
    review: str
    shown_digest: bytes
    decision: str
    meaning: str
    reason_digest: bytes
    signer: str
    role: str
    nonce: bytes
    issued_at: datetime

    def as_json(self) -> dict[str, Json]:
        """Return the document, whose canonical form is what a signature covers."""
        return {
            "spec": SPEC,
            "origin": self.origin,
            "trail": self.trail,
            "review": self.review,
            "shown_digest": self.shown_digest.hex(),
            "decision": self.decision,
            "meaning": self.meaning,
            "reason_digest": self.reason_digest.hex(),
            "signer": self.signer,
            "role": self.role,
            "nonce": self.nonce.hex(),
            "issued_at": format_time(self.issued_at),
        }

    def encode(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical(self.as_json())


def parse_statement(document: Json) -> Statement:
    """Return the statement that a document of spec version 1 is. Raises MalformedError, with the reason, otherwise."""
    if not isinstance(document, dict) or document.get("spec") != SPEC:
        raise MalformedError(f"Not a statement of spec {SPEC!r}.")
    if document.keys() != _MEMBERS:
        raise MalformedError(f"A statement with other members than {', '.join(sorted(_MEMBERS))}.")
    texts: dict[str, str] = {}
    for name in (*_TEXTS, "issued_at"):
        value = document[name]
        if not isinstance(value, str) or not value:
            raise MalformedError(f"The statement's {name} is not a text.")
        texts[name] = value
    issued_at = parse_time(texts.pop("issued_at"))
    shown, reason, nonce = (parse_hex32(document[name]) for name in ("shown_digest", "reason_digest", "nonce"))
    return Statement(shown_digest=shown, reason_digest=reason, nonce=nonce, issued_at=issued_at, **texts)


def shown_digest(salt: bytes, view: Json) -> bytes:
    """Return the commitment to a view as it was served: SHA-256(salt || canonical JSON). `salt` is 32 bytes."""
    return _salted(salt, view)


def reason_digest(salt: bytes, text: str, values: Mapping[str, Json]) -> bytes:
    """Return the commitment to a reason and the values that come with it: over `{"text", "values"}`, likewise."""
    return _salted(salt, {"text": text, "values": dict(values)})


def annotation_of(refers: int | None) -> str:
    """Return what stands for the review in the statement of a signed annotation that refers to an entry, or to none."""
    return f"annotation:{refers or 0}"


def in_time(statement: Statement, at: datetime) -> bool:
    """Tell whether a statement may be completed at this moment.

    Clocks of two machines may differ by a little in either direction, so what counts is the distance.
    """
    return abs(at - statement.issued_at) <= VALID


def _salted(salt: bytes, document: Json) -> bytes:
    return hashlib.sha256(salt + canonical(document)).digest()
