"""What is said of a declared type is what LangGraph's serializer and the payload's tags really do with its values."""

from __future__ import annotations

import collections
import io
import operator
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, Protocol, TypeVar
from uuid import UUID

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send
from pydantic import BaseModel, SecretStr
from typing_extensions import TypedDict

from countersign.audit.canonical import tagged
from countersign.audit.serde import strict_serializer
from countersign.audit.statetypes import Judgement, Shown, judge, key_of


class Colour(Enum):
    RED = "red"


class Word(StrEnum):
    YES = "yes"


class Model(BaseModel):
    dose: int
    note: str = ""


@dataclass
class Note:
    text: str


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Holder:
    note: Note
    point: Point


class Name(str):
    __slots__ = ()


class Keeper:
    pass


class Frame(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    keeper: Keeper


class Part(TypedDict):
    dose: int
    weight: NotRequired[int]


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


class Walks(Protocol):
    def walk(self) -> None: ...


Grams = NewType("Grams", int)
T = TypeVar("T")

JSON: list[tuple[Any, Any]] = [
    (int, 1),
    (str, "a"),
    (bool, True),
    (type(None), None),
    (Optional[int], None),  # noqa: UP045 - as people write it
    (int | None, 3),
    (Literal["a", 1], "a"),
    (list[str], ["a"]),
    (tuple[int, ...], (1, 2)),
    (dict[str, list[int]], {"a": [1]}),
    (Part, {"dose": 1}),
    (Annotated[list[str], operator.add], ["a"]),
    (Sequence[str], ["a"]),
    (Mapping[str, int], {"a": 1}),
    (Grams, 5),
]
TAGGED: list[tuple[Any, Any]] = [
    (float, 0.5),
    (bytes, b"a"),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
    (dict[int, str], {1: "a"}),
    (list[float | None], [0.5]),
]
REBUILT: list[tuple[Any, Any]] = [
    (set[int], {1}),
    (frozenset[str], frozenset("a")),
    (collections.deque[int], collections.deque([1])),
    (Decimal, Decimal("1.5")),
    (UUID, UUID(int=5)),
    (date, date(2026, 1, 1)),
    (timedelta, timedelta(1)),
    (Path, Path("/a")),
    (re.Pattern[str], re.compile("a")),
    (IPv4Address, IPv4Address("127.0.0.1")),
    (HumanMessage, HumanMessage("hello", id="1")),
    (AnyMessage, HumanMessage("hello", id="1")),
    (Send, Send("a", 1)),
]
TO_REGISTER: list[tuple[Any, Any, set[type]]] = [
    (Colour, Colour.RED, {Colour}),
    (Word, Word.YES, {Word}),
    (Model, Model(dose=1), {Model}),
    (Note, Note("a"), {Note}),
    (Point, Point(1, 2), {Point}),
    (list[Note], [Note("a")], {Note}),
    (Sequence[Note], [Note("a")], {Note}),
    (dict[str, Model | None], {"a": Model(dose=1)}, {Model}),
    (Holder, Holder(Note("a"), Point(1, 2)), {Holder, Note, Point}),
    (SecretStr, SecretStr("a"), {SecretStr}),
]
LOST: list[tuple[Any, Any]] = [
    (Name, Name("a")),
    (collections.OrderedDict[str, int], collections.OrderedDict(a=1)),
    (collections.Counter[str], collections.Counter("a")),
    (ValueError, ValueError("a")),
]
NEVER: list[tuple[Any, Any]] = [
    (Keeper, Keeper()),
    (list[Keeper], [Keeper()]),
    (Frame, Frame(keeper=Keeper())),
    (io.StringIO, io.StringIO()),
    (threading.Lock, threading.Lock()),
    (Callable[[int], int], abs),
    (Callable, abs),
    (Callable[..., Any] | None, abs),
]
OPEN: list[Any] = [Any, object, list, dict, dict[str, Any], list[Any], Shape, Walks, T, "Nowhere"]


def names(pairs: list[Any]) -> list[str]:
    return [str(getattr(pair[0], "__name__", None) or pair[0]) + f"-{place}" for place, pair in enumerate(pairs)]


def dump(value: Any) -> tuple[str, bytes]:
    return strict_serializer(None).dumps_typed(value)


def back(value: Any, allowed: Any = None) -> Any:
    serde = JsonPlusSerializer(allowed_msgpack_modules=allowed)
    return serde.loads_typed(serde.dumps_typed(value))


@pytest.mark.parametrize(("annotation", "value"), JSON, ids=names(JSON))
def test_what_json_has_a_word_for(annotation: Any, value: Any) -> None:
    assert judge(annotation, set()) == Judgement(Shown.JSON)
    assert "$" not in str(tagged(value, dump))


@pytest.mark.parametrize(("annotation", "value"), TAGGED, ids=names(TAGGED))
def test_what_a_tag_tells(annotation: Any, value: Any) -> None:
    assert judge(annotation, set()) == Judgement(Shown.TAGGED)
    assert "$" in str(tagged(value, dump))
    assert "$type" not in str(tagged(value, dump))


@pytest.mark.parametrize(("annotation", "value"), REBUILT, ids=names(REBUILT))
def test_what_is_shown_by_its_repr_and_rebuilt(annotation: Any, value: Any) -> None:
    assert judge(annotation, set()) == Judgement(Shown.REPR)
    assert "$type" in str(tagged(value, dump))
    assert back(value) == value
    assert type(back(value)) is type(value)


@pytest.mark.parametrize(("annotation", "value", "classes"), TO_REGISTER, ids=names(TO_REGISTER))
def test_what_stays_data_until_it_is_registered(annotation: Any, value: Any, classes: set[type]) -> None:
    found = judge(annotation, set())
    assert (found.shown, set(found.register), found.lost, found.unsaved) == (Shown.REPR, classes, (), ())
    assert "$type" in str(tagged(value, dump))
    assert type_tree(back(value)) != type_tree(value)
    keys = {key_of(kind) for kind in classes}
    assert judge(annotation, keys).register == ()
    assert type_tree(back(value, keys)) == type_tree(value)


def type_tree(value: Any) -> str:
    """Return what a value is made of."""
    return f"{type(value).__name__} {value!r}"


@pytest.mark.parametrize(("annotation", "value"), LOST, ids=names(LOST))
def test_what_never_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    found = judge(annotation, set())
    assert (found.shown, found.register, found.unsaved) == (Shown.REPR, (), ())
    ((kind, _),) = found.lost
    assert type(back(value, [kind])) is not type(value)


@pytest.mark.parametrize(("annotation", "value"), NEVER, ids=names(NEVER))
def test_what_no_checkpoint_can_hold(annotation: Any, value: Any) -> None:
    found = judge(annotation, set())
    assert found.shown == Shown.NEVER
    assert found.unsaved
    with pytest.raises(TypeError):
        dump(value)


@pytest.mark.parametrize("annotation", OPEN, ids=str)
def test_what_depends_on_the_value(annotation: Any) -> None:
    assert judge(annotation, set()) == Judgement(Shown.OPEN)


def test_a_class_inside_a_function_cannot_be_found_again() -> None:
    @dataclass
    class Inner:
        text: str

    found = judge(Inner, set())
    assert [kind for kind, _ in found.lost] == [Inner]
    assert back(Inner("a"), [Inner]) == {"text": "a"}


def test_a_class_that_holds_itself_ends() -> None:
    assert judge(Tree, {key_of(Tree)}) == Judgement(Shown.REPR)


@dataclass
class Tree:
    left: Tree | None
    parts: list[Tree]
