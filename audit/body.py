"""Reading the body of an entry back (docs/formats.md, section 2): bytes from outside, refused unless they are one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from .canonical import MAX_INT, Json, parse, parse_time
from .entry import MAX_BODY, SPEC, Actor, CheckpointRef, Workflow, known_kind, known_origin, known_trail
from .errors import MalformedError

_REQUIRED = frozenset({"spec", "origin", "trail", "seq", "prev", "kind", "occurred_at", "actor", "detail"})
_ALLOWED = _REQUIRED | {"workflow", "run", "checkpoint", "payload"}
_HEX = re.compile("[0-9a-f]{64}")
# T is a text that needs no escape, D a digest, N a number; every one of them is a group.
_PLAIN = re.compile(
    (
        r"{`actor`:{`id`:T,(?:`role`:T,)?`via`:T},(?:`checkpoint`:{`id`:T,`ns`:T,`parent`:(?:null|T)},)?"
        r"`detail`:({.*?}),`kind`:T,`occurred_at`:T,`origin`:T,(?:`payload`:{`digest`:D,`size`:(0|N)},)?`prev`:D,"
        r"(?:`run`:T,)?`seq`:(N),`spec`:`countersign/entry/1`,`trail`:T(?:,`workflow`:{`name`:T,`version`:T})?}"
    )
    .replace("T", r"`([^`\\\x00-\x1f]*)`")
    .replace("D", "`([0-9a-f]{64})`")
    .replace("N", "[1-9][0-9]{0,15}")
    .replace("`", '"')
)
_SHORT = 1_000  # characters of a detail that is kept to be recognised: most say what another one said


class Body(NamedTuple):
    """A body that was read and has the shape the format demands."""

    origin: str
    trail: str
    seq: int
    prev: bytes
    kind: str
    occurred_at: datetime
    actor: Actor
    detail: Mapping[str, Json]
    workflow: Workflow | None
    run: str | None
    checkpoint: CheckpointRef | None
    payload_digest: bytes | None
    payload_size: int


def parse_body(data: bytes) -> Body:
    """Return the body in `data`. Raises MalformedError with the reason when it is not one of spec version 1."""
    if len(data) > MAX_BODY:
        raise MalformedError(f"A body of {len(data)} bytes; the format allows {MAX_BODY}.")
    return _parse_plain(data) or _parse_thoroughly(data)


def _parse_plain(data: bytes) -> Body | None:
    """Return the body in `data` if it is one of the usual look, in a third of the time; None otherwise.

    The pattern is the canonical form of a body of ASCII texts that need no escape, with any `detail`. As JSON reads in
    one way only, what matches and has a canonical detail is what the thorough way would read.
    """
    found = _PLAIN.fullmatch(data.decode("ascii")) if data.isascii() else None
    if found is None:
        return None
    actor, role, via, at, ns, parent, detail, kind, time, origin, digest, size, prev, run, seq, trail, name, version = (
        found.groups()
    )
    number = int(seq)
    if number > MAX_INT or (size is not None and int(size) > MAX_INT):
        return None
    try:
        return Body(
            known_origin(origin),
            known_trail(trail),
            number,
            bytes.fromhex(prev),
            known_kind(kind),
            parse_time(time),
            _actor(actor, via, role),
            _detail(detail) if len(detail) < _SHORT else _parse_detail(detail),
            _workflow(name, version) if name is not None else None,
            run,
            CheckpointRef(at, ns, parent) if at is not None else None,
            bytes.fromhex(digest) if digest is not None else None,
            int(size) if size is not None else 0,
        )
    except MalformedError:
        return None  # the thorough way says what is wrong


def _parse_detail(text: str) -> Mapping[str, Json]:
    detail = parse(text.encode())
    if not isinstance(detail, dict):
        raise MalformedError("The body's detail is not an object.")
    return detail


def _parse_thoroughly(data: bytes) -> Body:
    value = parse(data)
    if not isinstance(value, dict):
        raise MalformedError("A body that is not an object.")
    if value.get("spec") != SPEC:
        raise MalformedError(f"An unknown spec: {value.get('spec')!r}; this version reads {SPEC!r}.")
    if not value.keys() >= _REQUIRED:
        raise MalformedError(f"The body lacks {', '.join(sorted(_REQUIRED - value.keys()))}.")
    if not value.keys() <= _ALLOWED:
        raise MalformedError(f"The body has unknown members: {', '.join(sorted(value.keys() - _ALLOWED))}.")
    payload = _optional(value, "payload", {"digest", "size"})
    size = payload["size"] if payload else 0
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise MalformedError("The size of the payload is not a count of bytes.")
    seq = value["seq"]
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 1:
        raise MalformedError("The body's seq is not an integer from 1.")
    detail = value["detail"]
    if not isinstance(detail, dict):
        raise MalformedError("The body's detail is not an object.")
    return Body(
        origin=known_origin(_text(value, "origin")),
        trail=known_trail(_text(value, "trail")),
        seq=seq,
        prev=_digest(value["prev"], "prev"),
        kind=known_kind(_text(value, "kind")),
        occurred_at=parse_time(_text(value, "occurred_at")),
        actor=_parse_actor(value["actor"]),
        detail=detail,
        workflow=_parse_workflow(value),
        run=_text(value, "run") if "run" in value else None,
        checkpoint=_parse_checkpoint(value),
        payload_digest=_digest(payload["digest"], "payload digest") if payload else None,
        payload_size=size,
    )


# The same few stand in entry after entry; what failed is not kept, so that it fails again.
_actor = lru_cache(64)(Actor)
_workflow = lru_cache(64)(Workflow)
_detail = lru_cache(256)(_parse_detail)


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value[key]
    if not isinstance(text, str):
        raise MalformedError(f"The member {key} is not a string.")
    return text


def _digest(text: Any, what: str) -> bytes:
    if isinstance(text, str) and _HEX.fullmatch(text):
        return bytes.fromhex(text)
    raise MalformedError(f"The {what} is not 64 lower-case hex digits.")


def _optional(value: Mapping[str, Any], key: str, members: set[str]) -> dict[str, Any] | None:
    if key not in value:
        return None
    item = value[key]
    if not isinstance(item, dict) or item.keys() != members:
        raise MalformedError(f"The body's {key} does not have exactly the members {', '.join(sorted(members))}.")
    return item


def _parse_actor(item: Any) -> Actor:
    if not isinstance(item, dict) or not {"id", "via"} <= item.keys() <= {"id", "via", "role"}:
        raise MalformedError("The body's actor does not have the members id and via, and at most role.")
    return Actor(_text(item, "id"), _text(item, "via"), _text(item, "role") if "role" in item else None)


def _parse_workflow(value: Mapping[str, Any]) -> Workflow | None:
    item = _optional(value, "workflow", {"name", "version"})
    return Workflow(_text(item, "name"), _text(item, "version")) if item is not None else None


def _parse_checkpoint(value: Mapping[str, Any]) -> CheckpointRef | None:
    item = _optional(value, "checkpoint", {"id", "ns", "parent"})
    if item is None:
        return None
    parent = item["parent"]
    if parent is not None and not isinstance(parent, str):
        raise MalformedError("The parent of a checkpoint is neither null nor a string.")
    return CheckpointRef(_text(item, "id"), _text(item, "ns"), parent)
