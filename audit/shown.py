"""What signers were shown of a case's state, and whether that is what it was (docs/formats.md, section 12). Pure.

A view is held against two things: what entries of the same trail say that fields held at its checkpoint, which is there
in a bundle too, and the checkpoint itself, where a database is at hand (`marks` of what was read, by `differing`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from .canonical import Json, canonical
from .entry import CheckpointRef

LARGE = 256
"""Bytes from which a value is shown by its digest, as an attachment."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_OBJECT = {"$type", "$repr", "$sha256"}
_NOT = "what was shown is not the state"

Marks = Mapping[str, bytes]
"""By field: a digest of its value, the same for two that mean the same."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Bytes of the state that are too long to be read: which field holds them, and their digest."""

    field: str
    sha256: str
    size: int

    def as_json(self) -> dict[str, Json]:
        """Return the member of a view's `attachments`."""
        return {"field": self.field, "sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, slots=True)
class Shown:
    """A state as it is shown: fields tagged, and long bytes put aside."""

    fields: Mapping[str, Json]
    attachments: tuple[Attachment, ...]
    content: Mapping[str, bytes]
    """The attachments' bytes, by digest."""


def shown_state(fields: Mapping[str, Json]) -> Shown:
    """Return tagged fields as they are shown."""
    found: list[Attachment] = []
    content: dict[str, bytes] = {}
    state = {_name(name): _lightened(value, name, found, content) for name, value in sorted(fields.items())}
    unique = sorted(set(found), key=lambda item: (item.field, item.sha256))
    return Shown(state, tuple(unique), content)


def _name(name: str) -> str:
    return "$" + name if name.startswith("$") else name


def _lightened(value: Json, name: str, found: list[Attachment], content: dict[str, bytes]) -> Json:
    if isinstance(value, list):
        return [_lightened(item, name, found, content) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$bytes"}:
        data = base64.b64decode(str(value["$bytes"]))
        if len(data) <= LARGE:
            return value
        digest = hashlib.sha256(data).hexdigest()
        found.append(Attachment(name, digest, len(data)))
        content[digest] = data
        return {"$attachment": digest}
    if value.keys() == _OBJECT:
        # Where an object lies in one process's memory is nobody's decision, and differs in the next.
        return {**value, "$repr": _ADDRESS.sub("", str(value["$repr"]))}
    return {key: _lightened(item, name, found, content) for key, item in value.items()}


def marks(state: Mapping[str, Json]) -> dict[str, bytes]:
    """Return the digest of each field of a state as it is shown."""
    return {name: mark(value) for name, value in state.items()}


def mark(value: Json) -> bytes:
    """Return a digest of a value as it is shown.

    Numbers count by what they come to: a database gives 1e22 back as an integer. Of an object its type and bytes count,
    and not how a release of a library writes it out.
    """
    return hashlib.sha256(canonical(_plain(value))).digest()


def _plain(value: Json) -> Json:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return {"#": _number(str(value))} if type(value) is int else value
    if value.keys() in ({"$float"}, {"$int"}):
        return {"#": _number(str(*value.values()))}
    if value.keys() == _OBJECT:
        return {"$type": value["$type"], "$sha256": value["$sha256"]}
    return {key: _plain(item) for key, item in value.items()}


def _number(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return str(number.normalize() or 0) if number.is_finite() else text


def has_objects(value: Json) -> bool:
    """Tell whether objects are in a value, which look different to processes that know their types and those that do
    not.
    """
    if isinstance(value, list):
        return any(map(has_objects, value))
    if not isinstance(value, dict):
        return False
    return value.keys() == _OBJECT or any(map(has_objects, value.values()))


@dataclass(slots=True)
class ViewShown:
    """That entry `seq` has shown these values of the state at a checkpoint; those of `objects` have objects in them."""

    seq: int
    marks: Marks
    objects: frozenset[str]
    count: int = 1
    """How many views have shown just this there."""


@dataclass(slots=True)
class Views:
    """What the views of one case showed, and what its entries say that fields held, by checkpoint."""

    shown: dict[tuple[str, str], list[ViewShown]] = field(default_factory=dict)
    """By id and namespace: the views of which no two show the same."""
    count: int = 0
    """How many views there are."""
    compared: int = 0
    """How many values in them were held against what an entry says."""
    _told: dict[tuple[str, str], dict[str, tuple[int, bytes | None]]] = field(default_factory=dict)

    def show(self, seq: int, place: CheckpointRef, state: Mapping[str, Json]) -> Iterator[str]:
        """Take over what a view shows, and yield a sentence for each field of which an entry before says otherwise."""
        at = (place.id, place.ns)
        view = ViewShown(seq, marks(state), frozenset(name for name, value in state.items() if has_objects(value)))
        self.count += 1
        known = self.shown.setdefault(at, [])
        if same := next((one for one in known if one.marks == view.marks), None):
            same.count += 1
        else:
            known.append(view)
        for name, (told_by, told) in self._told.get(at, {}).items():
            if self._differs(view, name, told):
                yield f"shows another value of {name!r} than entry {told_by} says it had: {_NOT}"

    def tell(self, seq: int, place: CheckpointRef, changes: Json) -> Iterator[str]:
        """Take over what an edit says that fields held before it and behind it, likewise."""
        for name, change in _changes(changes):
            for which, at in (("old", (str(place.parent), place.ns)), ("new", (place.id, place.ns))):
                value = shown_state({name: change[which]}).fields if which in change else {}
                if has_objects(list(value.values())):
                    continue
                told = next(iter(marks(value).values()), None)
                self._told.setdefault(at, {})[_name(name)] = (seq, told)
                for view in self.shown.get(at, ()):
                    if self._differs(view, _name(name), told):
                        yield f"says that {name!r} had another value before than entry {view.seq} showed: {_NOT}"

    def _differs(self, view: ViewShown, name: str, told: bytes | None) -> bool:
        if name in view.objects:
            return False
        self.compared += 1
        return view.marks.get(name) != told


def differing(shown: Marks, held: Marks) -> list[str]:
    """Return the fields of which a view shows something else than the state held, or that only one of them has."""
    return sorted(name for name in shown.keys() | held.keys() if shown.get(name) != held.get(name))


def said_otherwise(fields: Sequence[str], checkpoint: str) -> str:
    """Return the sentence about a view whose fields differ from the state, going on from "Entry 7 of trail x"."""
    named = ", ".join(repr(name) for name in fields)
    return f"shows another state than checkpoint {checkpoint} has, in {named}: {_NOT}"


def _changes(value: Json) -> Iterator[tuple[str, Mapping[str, Json]]]:
    for change in value if isinstance(value, list) else ():
        if isinstance(change, dict) and isinstance(change.get("channel"), str):
            yield str(change["channel"]), change
