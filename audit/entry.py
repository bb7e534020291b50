"""An entry: one immutable signed record, and the draft it is made from (docs/formats.md, section 2).

No clock, no randomness, no database: time, salt, position and signer are parameters.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Protocol

from .canonical import Json, Rendered, assemble, format_time, quoted, render
from .errors import AppendError, MalformedError
from .kinds import check_kind

SPEC = "countersign/entry/1"
PAYLOAD_TYPE = "application/vnd.countersign.entry+json"
_PAE_HEAD = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} ".encode()
MAX_BODY = 65_535
MAX_LIST = 100
GENESIS = bytes(32)
SYSTEM_TRAIL = "@system"
KEYS_TRAIL = "@keys"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ORIGIN = re.compile(r"[^\s+\x00-\x1f\x7f-\x9f]{1,255}")


class Signer(Protocol):
    """A private entry key: a file here, later a hardware module."""

    @property
    def keyid(self) -> bytes:
        """SHA-256 of the raw public key, 32 bytes: a hint, never trusted."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it. `id` is opaque (no name, no mail address); `via` says how identity was proved."""

    id: str
    via: str
    role: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Return the body's member `actor`."""
        return {"id": self.id, "via": self.via, **({"role": self.role} if self.role is not None else {})}


UNATTRIBUTED = Actor("unattributed", "unattributed")
SYSTEM = Actor("system", "system")


@dataclass(frozen=True, slots=True)
class Workflow:
    """Which graph, in which version."""

    name: str
    version: str

    def as_json(self) -> dict[str, Json]:
        """Return the body's member `workflow`."""
        return {"name": self.name, "version": self.version}


@dataclass(frozen=True, slots=True)
class CheckpointRef:
    """Which of LangGraph's checkpoints, in which namespace ("" is the root graph's)."""

    id: str
    ns: str = ""
    parent: str | None = None

    def text(self) -> str:
        """Return the body's member `checkpoint`, in canonical form."""
        parent = "null" if self.parent is None else quoted(self.parent)
        return f'{{"id":{quoted(self.id)},"ns":{quoted(self.ns)},"parent":{parent}}}'


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """What is to be recorded, before it has a place, a time, a hash and a signature.

    `detail` stays for ever and readable: no personal data, no free text, no unsalted digest of content. Everything
    long, personal or guessable goes to `payload`, of which the body holds only a salted commitment.
    """

    trail: str
    kind: str
    actor: Actor = SYSTEM
    workflow: Workflow | None = None
    run: str | None = None
    checkpoint: CheckpointRef | None = None
    detail: Mapping[str, Json] = field(default_factory=dict)
    payload: Mapping[str, Json | Rendered] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is stored: the body's bytes are the truth, everything else is beside them."""

    trail: str
    seq: int
    kind: str
    occurred_at: datetime
    body: bytes
    keyid: bytes
    signature: bytes
    salt: bytes | None = None
    data: bytes | None = None

    @property
    def leaf_hash(self) -> bytes:
        """The Merkle leaf, and the next entry's `prev`."""
        return leaf_hash(self.body)


def leaf_hash(body: bytes) -> bytes:
    """Return SHA-256(0x00 || body), RFC 6962's leaf hash."""
    return hashlib.sha256(b"\x00" + body).digest()


def payload_digest(salt: bytes, data: bytes) -> bytes:
    """Return the salted commitment to a payload: SHA-256(salt || data)."""
    return hashlib.sha256(salt + data).digest()


def pae(body: bytes) -> bytes:
    """Return what is signed: DSSE v1's pre-authentication encoding of the body under our payload type."""
    return b"%s%d %s" % (_PAE_HEAD, len(body), body)


def envelope(entry: Entry) -> dict[str, Json]:
    """Return the entry as a DSSE envelope, the form in which it leaves the database."""
    return {
        "payload": base64.b64encode(entry.body).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": entry.keyid.hex(), "sig": base64.b64encode(entry.signature).decode("ascii")}],
    }


def check_trail(trail: str, *, own: bool = False) -> str:
    """Return `trail` if an entry may carry it: 1 to 255 characters, valid Unicode, no control characters.

    A leading `@` is ours alone (`own`). Raises MalformedError otherwise.
    """
    if not 1 <= len(trail) <= 255:  # noqa: PLR2004 - the format's own limit
        raise MalformedError("A thread id must be a string of 1 to 255 characters.")
    if _CONTROL.search(trail):
        raise MalformedError(f"A thread id must not contain control characters: {trail!r}.")
    if _SURROGATE.search(trail):
        raise MalformedError(f"A thread id must be valid Unicode: {trail!r}.")
    if trail.startswith("@") and not own:
        raise MalformedError(f"A thread id must not begin with @, which marks this service's own trails: {trail!r}.")
    return trail


def check_origin(origin: str) -> str:
    """Return `origin` if it can name a log: 1 to 255 characters without space, `+` or control characters."""
    if not _ORIGIN.fullmatch(origin) or _SURROGATE.search(origin):
        raise MalformedError(f"An origin must be 1 to 255 characters without space or +: {origin!r}.")
    return origin


# The same few names stand in entry after entry; what failed is not kept, so that it fails again.
known_origin = lru_cache(16)(check_origin)
known_trail = lru_cache(64)(partial(check_trail, own=True))
known_kind = lru_cache(64)(check_kind)


def seal(
    draft: EntryDraft, *, origin: str, seq: int, prev: bytes, occurred_at: datetime, salt: bytes, signer: Signer
) -> Entry:
    """Return the signed entry that `draft` becomes at this place in its trail.

    Raises AppendError when the body would exceed 65,535 bytes or holds what canonical JSON cannot carry.
    """
    kind = _check_draft(draft, origin, seq, prev)
    data = None
    try:
        body: dict[str, Json | Rendered] = {
            "spec": SPEC,
            "origin": origin,
            "trail": draft.trail,
            "seq": seq,
            "prev": prev.hex(),
            "kind": kind,
            "occurred_at": format_time(occurred_at),
            "actor": _rendered(draft.actor),
            "detail": dict(draft.detail),
        }
        if draft.workflow is not None:
            body["workflow"] = _rendered(draft.workflow)
        if draft.run is not None:
            body["run"] = draft.run
        if draft.checkpoint is not None:
            body["checkpoint"] = Rendered(draft.checkpoint.text())
        if draft.payload is not None:
            data = assemble(draft.payload)
            body["payload"] = Rendered(f'{{"digest":"{payload_digest(salt, data).hex()}","size":{len(data)}}}')
        encoded = assemble(body)
    except MalformedError as error:
        raise AppendError(
            f"A {kind} entry cannot be written down: {error.message}",
            remedy="Keep what is recorded to JSON values; long or personal content belongs in the payload.",
            trail=draft.trail,
        ) from error
    if len(encoded) > MAX_BODY:
        raise AppendError(
            f"The body of a {kind} entry would be {len(encoded)} bytes; the format allows {MAX_BODY}.",
            remedy="Shorten what stands in detail, actor, run or workflow: long content belongs in the payload.",
            trail=draft.trail,
        )
    return Entry(
        draft.trail,
        seq,
        kind,
        occurred_at,
        encoded,
        signer.keyid,
        signer.sign(pae(encoded)),
        salt if data is not None else None,
        data,
    )


def _check_draft(draft: EntryDraft, origin: str, seq: int, prev: bytes) -> str:
    """Return the draft's kind, having refused what no reader would accept: it would be signed for nothing."""
    actor, workflow, checkpoint = draft.actor, draft.workflow, draft.checkpoint
    texts: list[Any] = [actor.id, actor.via, draft.trail]
    texts += [text for text in (actor.role, draft.run, checkpoint and checkpoint.parent) if text is not None]
    texts += [workflow.name, workflow.version] if workflow else []
    texts += [checkpoint.id, checkpoint.ns] if checkpoint else []
    if not all(isinstance(text, str) for text in texts):
        raise AppendError(
            f"A {draft.kind} entry cannot be written down: actor, workflow, run and checkpoint are strings: {texts}.",
            remedy="Pass str(id) where you have a number or another object.",
            trail=draft.trail,
        )
    if seq < 1 or len(prev) != len(GENESIS):
        raise AppendError(f"There is no place {seq} behind {prev.hex()} in a trail.", trail=draft.trail)
    known_origin(origin)
    known_trail(draft.trail)
    return known_kind(draft.kind)


@lru_cache(256)
def _rendered(who: Actor | Workflow) -> Rendered:
    """Return a body's member that stands in entry after entry."""
    return render(who.as_json())
