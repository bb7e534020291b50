"""What becomes of a declared type in the trail and on reading: judged from the annotation alone, nothing is built.

Follows LangGraph's msgpack serializer, which decides what can be saved, and the strict reading of it, which decides
what is rebuilt; `tests/unit/test_statetypes.py` holds it against both.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
import sys
import types
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path
from re import Pattern
from typing import Annotated, Any, Literal, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID
from zoneinfo import ZoneInfo

from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES  # what even the strictest serializer rebuilds
from langgraph.store.base import Item
from typing_extensions import ReadOnly, is_typeddict

Key = tuple[str, ...]
"""Module and name of a class, as LangGraph's allowlist has it."""


class Shown(IntEnum):
    """How a value of a type stands in the payload of an entry. The greater, the less a reader learns from it."""

    JSON = 0
    TAGGED = 1
    REPR = 2
    OPEN = 3
    NEVER = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of the values of a type.

    `register` are classes that stay data on reading until they are registered; `lost` those that always do, with what
    they come back as; `unsaved` those that no checkpoint can hold.
    """

    shown: Shown
    register: tuple[type, ...] = ()
    lost: tuple[tuple[type, str], ...] = ()
    unsaved: tuple[Any, ...] = ()


_SAVED = (
    Path, Pattern, UUID, Decimal, set, frozenset, collections.deque, datetime, timedelta, date, time, timezone,
    ZoneInfo, IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, Enum, Item,
)  # fmt: skip
_FIELDS = ("model_fields", "__dataclass_fields__", "_fields")
_NATIVE = (str, int, float, bytes, list, tuple, dict)
_WRAPPERS = (Annotated, Required, NotRequired, ReadOnly)


def judge(annotation: Any, allowed: set[Key]) -> Judgement:
    """Return what becomes of values that `annotation` describes, when `allowed` is registered beyond the safe types."""
    found = [*_walk(annotation, allowed, set())]
    register = dict.fromkeys(one for item in found for one in item.register)
    return Judgement(
        max((item.shown for item in found), default=Shown.OPEN),
        tuple(register),
        tuple(dict.fromkeys(one for item in found for one in item.lost)),
        tuple(dict.fromkeys(one for item in found for one in item.unsaved)),
    )


def key_of(kind: type) -> Key:
    """Return the key under which LangGraph's allowlist knows a class."""
    return kind.__module__, kind.__name__


def importable(kind: type) -> bool:
    """Tell whether a reader can find the class again by its module and name."""
    return getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind


def hints_of(kind: Any) -> dict[str, Any]:
    """Return the annotations of a class; none where they name what is not there."""
    try:
        return get_type_hints(kind, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return {}


def _walk(tp: Any, allowed: set[Key], seen: set[Any]) -> Iterator[Judgement]:
    tp = getattr(tp, "__supertype__", tp)
    origin, args = get_origin(tp), get_args(tp)
    if origin in _WRAPPERS:
        yield from _walk(args[0], allowed, seen)
    elif origin is Literal:
        for value in args:
            yield from _walk(type(value), allowed, seen)
    elif origin is Union or isinstance(tp, types.UnionType):
        for arg in args:
            yield from _walk(arg, allowed, seen)
    elif origin is not None:
        yield from _generic(tp, origin, args, allowed, seen)
    elif tp is None or tp is types.NoneType:
        yield Judgement(Shown.JSON)
    else:
        yield from _plain(tp, allowed, seen)


def _plain(tp: Any, allowed: set[Key], seen: set[Any]) -> Iterator[Judgement]:
    if inspect.isbuiltin(tp):  # threading.Lock was a function before it was a class
        yield Judgement(Shown.NEVER, unsaved=(tp,))
    elif tp is Any or not isinstance(tp, type):
        yield Judgement(Shown.OPEN)
    elif tp not in seen:
        seen.add(tp)
        yield from _class(tp, allowed, seen)


def _generic(tp: Any, origin: Any, args: tuple[Any, ...], allowed: set[Key], seen: set[Any]) -> Iterator[Judgement]:
    if origin is collections.abc.Callable:
        yield Judgement(Shown.NEVER, unsaved=(tp,))
        return
    inner = [item for arg in args if arg is not ... for item in _walk(arg, allowed, set(seen))]
    yield from inner
    if inspect.isabstract(origin):
        # Sequence, Mapping: most likely a list or a dict, and so JSON.
        yield Judgement(Shown.JSON)
    elif origin is dict:
        yield Judgement(Shown.JSON if args[0] is str else Shown.TAGGED)
    elif origin in (list, tuple):
        yield Judgement(Shown.JSON)
    else:
        yield from _class(origin, allowed, seen)


def _class(kind: Any, allowed: set[Key], seen: set[Any]) -> Iterator[Judgement]:
    if kind is collections.abc.Callable:
        yield Judgement(Shown.NEVER, unsaved=(kind,))
    elif kind in (bool, str, int):
        yield Judgement(Shown.JSON)
    elif kind in (float, bytes, datetime):
        yield Judgement(Shown.TAGGED)
    elif kind in (list, tuple, dict, object) or _is_open(kind):
        yield Judgement(Shown.OPEN)
    elif is_typeddict(kind):
        yield Judgement(Shown.JSON)
        for hint in hints_of(kind).values():
            yield from _walk(hint, allowed, seen)
    elif not _can_be_saved(kind):
        yield Judgement(Shown.NEVER, unsaved=(kind,))
    else:
        yield _rebuilt(kind, allowed)
        yield from _fields(kind, allowed, seen)


def _is_open(kind: type) -> bool:
    """Tell whether values are of some class derived from this one, which says nothing of them."""
    return inspect.isabstract(kind) or bool(getattr(kind, "_is_protocol", False)) or isinstance(kind, TypeVar)


def _can_be_saved(kind: type) -> bool:
    if issubclass(kind, (*_SAVED, *_NATIVE, BaseException)) or dataclasses.is_dataclass(kind):
        return True
    if any(callable(getattr(kind, name, None)) for name in ("model_dump", "get_secret_value", "dict", "_asdict")):
        return True
    return (kind.__module__, kind.__name__) in (("numpy", "ndarray"), ("langgraph.types", "Send"))


def _rebuilt(kind: type, allowed: set[Key]) -> Judgement:
    if issubclass(kind, BaseException):
        return Judgement(Shown.REPR, lost=((kind, "text"),))
    if (kind.__module__, kind.__name__) == ("numpy", "ndarray"):
        return Judgement(Shown.REPR)
    natives = [native for native in _NATIVE if issubclass(kind, native)]
    if natives and not issubclass(kind, Enum) and not callable(getattr(kind, "_asdict", None)):
        return Judgement(Shown.REPR, lost=((kind, f"a {natives[0].__name__}"),))
    if kind in (Path, Pattern):
        return Judgement(Shown.REPR)
    if not importable(kind):
        return Judgement(Shown.REPR, lost=((kind, "data: a class inside a function or a class is not found again"),))
    known = key_of(kind) in allowed or key_of(kind) in SAFE_MSGPACK_TYPES
    return Judgement(Shown.REPR, register=() if known else (kind,))


def _fields(kind: type, allowed: set[Key], seen: set[Any]) -> Iterator[Judgement]:
    """Yield what the fields of a class add: of a model only what cannot be saved, as it rebuilds its parts itself."""
    is_model = callable(getattr(kind, "model_dump", None))
    if key_of(kind) in SAFE_MSGPACK_TYPES:
        return
    fields = next((f for name in _FIELDS if (f := getattr(kind, name, None))), ())
    for name, hint in hints_of(kind).items():
        for item in _walk(hint, allowed, seen) if name in fields else ():
            if item.unsaved:
                yield item
            elif not is_model:
                yield Judgement(Shown.REPR, item.register, item.lost)
