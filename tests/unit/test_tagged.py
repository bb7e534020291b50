"""Tags: what Python value it was stands in the JSON, and nothing of the data can pass for a tag."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from countersign.audit.canonical import Json, canonical, parse_time, tagged

dump = JsonPlusSerializer().dumps_typed


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Text(str):
    __slots__ = ()


class Names(dict[str, int]):
    pass


@dataclass
class Dose:
    mg: int


class NoOffset(tzinfo):
    """A zone that does not know its offset: Python calls such a datetime naive."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        return None

    def dst(self, _moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _moment: datetime | None) -> str | None:
        return None


TAGS: list[tuple[Any, Json]] = [
    (None, None),
    (True, True),
    (False, False),
    ("text", "text"),
    ("\U0001f600", "\U0001f600"),
    ("$float", "$float"),
    (0, 0),
    (2**53 - 1, 2**53 - 1),
    (-(2**53) + 1, -(2**53) + 1),
    (2**53, {"$int": "9007199254740992"}),
    (-(2**53), {"$int": "-9007199254740992"}),
    (10**30, {"$int": "1" + "0" * 30}),
    (0.1, {"$float": "0.1"}),
    (1.0, {"$float": "1.0"}),
    (-0.0, {"$float": "-0.0"}),
    (1e300, {"$float": "1e+300"}),
    (math.nan, {"$float": "nan"}),
    (math.inf, {"$float": "inf"}),
    (-math.inf, {"$float": "-inf"}),
    (b"", {"$bytes": ""}),
    (b"\x00\xff\xfe", {"$bytes": "AP/+"}),
    (datetime(2025, 3, 1, tzinfo=UTC), {"$time": "2025-03-01T00:00:00.000000Z"}),
    (
        datetime(2025, 3, 1, 1, 0, 0, 7, tzinfo=timezone(timedelta(hours=2))),
        {"$time": "2025-02-28T23:00:00.000007Z"},
    ),
    ([], []),
    ((), []),
    ((1, (2.5,)), [1, [{"$float": "2.5"}]]),
    ({}, {}),
    ({"a": [b"a"]}, {"a": [{"$bytes": "YQ=="}]}),
    ({"$": 1, "$a": 2, "$$a": 3, "a$": 4}, {"$$": 1, "$$a": 2, "$$$a": 3, "a$": 4}),
    ({"a": {"$float": {"$int": 1}}}, {"a": {"$$float": {"$$int": 1}}}),
    ({"$type": "x", "$repr": "y", "$sha256": "z"}, {"$$type": "x", "$$repr": "y", "$$sha256": "z"}),
    ({"$map": []}, {"$$map": []}),
    ({1: 2}, {"$map": [[1, 2]]}),
    ({None: 0, "a": 1.5, True: 2}, {"$map": [[None, 0], ["a", {"$float": "1.5"}], [True, 2]]}),
    ({(1, b"k"): {"$x": 1}}, {"$map": [[[1, {"$bytes": "aw=="}], {"$$x": 1}]]}),
    ({"outer": {1: {2: "x"}}}, {"outer": {"$map": [[1, {"$map": [[2, "x"]]}]]}}),
]


@pytest.mark.parametrize(("value", "json_value"), TAGS, ids=[repr(item[0])[:50] for item in TAGS])
def test_a_python_value_is_written_with_this_tag(value: Any, json_value: Json) -> None:
    result = tagged(value, dump)
    assert canonical(result) == canonical(json_value)


OPAQUE: list[tuple[Any, str]] = [
    ({1}, "builtins.set"),
    (frozenset({"a"}), "builtins.frozenset"),
    (bytearray(b"a"), "builtins.bytearray"),
    (datetime(2025, 3, 1), "datetime.datetime"),  # noqa: DTZ001 - naive on purpose
    (date(2025, 3, 1), "datetime.date"),
    (timedelta(seconds=1), "datetime.timedelta"),
    (Decimal("1.10"), "decimal.Decimal"),
    (UUID(int=7), "uuid.UUID"),
    (Colour.RED, f"{__name__}.Colour"),
    (Level.HIGH, f"{__name__}.Level"),
    (Dose(5), f"{__name__}.Dose"),
]


@pytest.mark.parametrize(("value", "name"), OPAQUE, ids=[item[1] for item in OPAQUE])
def test_anything_else_is_named_and_its_langgraph_serialization_digested(value: Any, name: str) -> None:
    digest = hashlib.sha256(dump(value)[1]).hexdigest()
    assert tagged([value], dump) == [{"$type": name, "$repr": repr(value), "$sha256": digest}]


@pytest.mark.parametrize("value", [Text("a"), Names(a=1)], ids=["str", "dict"])
def test_a_subclass_does_not_pass_for_the_plain_type(value: Any) -> None:
    result = tagged(value, lambda _: ("test", b"bytes"))
    assert isinstance(result, dict)
    assert result["$type"] == f"{__name__}.{type(value).__name__}"
    assert result["$sha256"] == hashlib.sha256(b"bytes").hexdigest()


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udcff.txt"])
def test_a_string_that_is_not_unicode_is_named_and_digested_as_python_holds_it(text: str) -> None:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    assert tagged(text, dump) == {"$type": "builtins.str", "$repr": repr(text), "$sha256": digest}


def test_a_key_that_is_not_unicode_makes_the_mapping_a_list_of_pairs() -> None:
    result: Any = tagged({"\ud800": 1, "$a": 2}, dump)
    assert [item for _, item in result["$map"]] == [1, 2]
    assert result["$map"][0][0]["$type"] == "builtins.str"
    canonical(result)


def test_a_repr_that_is_not_unicode_is_made_printable() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<\ud800>"

    result: Any = tagged(Odd(), lambda _: ("test", b""))
    assert result["$repr"] == "<\\ud800>"
    canonical(result)


def test_what_the_serializer_raises_passes_through() -> None:
    def refuse(_value: Any) -> tuple[str, bytes]:
        raise RuntimeError("no such type")

    with pytest.raises(RuntimeError, match="no such type"):
        tagged({"a": [object()]}, refuse)


@pytest.mark.parametrize(
    "moment",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=2))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_a_moment_that_has_no_year_in_utc_is_recorded_all_the_same(moment: datetime) -> None:
    dump(moment)  # LangGraph stores it
    assert canonical(tagged({"until": moment}, dump))


def test_a_datetime_whose_zone_has_no_offset_is_not_written_as_a_moment() -> None:
    result = tagged(datetime(2025, 3, 1, tzinfo=NoOffset()), lambda _: ("test", b""))
    assert isinstance(result, dict)
    assert "$time" not in result


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {1: v}])
def test_data_nested_too_deep_ends_in_a_digest_and_stays_canonical(wrap: Any) -> None:
    value: Any = "core"
    for _ in range(150):
        value = wrap(value)
    data = canonical(tagged(value, lambda v: ("test", repr(v).encode())))
    assert data.count(b"$sha256") == 1


def test_data_nested_in_keys_stays_canonical() -> None:
    key: Any = "core"
    for _ in range(150):
        key = (key,)
    value: Any = {key: 1}
    for _ in range(60):
        value = {2: value}
    data = canonical(tagged(value, lambda v: ("test", repr(v).encode())))
    assert data.count(b"$sha256") == 1


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - strategy's bounds
any_text = st.text(st.characters(exclude_categories=()))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text | st.binary() | moments
foreign = (
    st.decimals(allow_nan=False) | st.uuids() | st.datetimes() | st.complex_numbers() | st.frozensets(st.integers())
)
hashable = st.recursive(scalars | foreign, lambda inner: st.tuples(inner, inner), max_leaves=3)
python_values = st.recursive(
    scalars | foreign,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(hashable, inner, max_size=5)
        | st.dictionaries(any_text, inner, max_size=5)
        | st.sets(hashable, max_size=3)
    ),
    max_leaves=20,
)


def by_repr(value: Any) -> tuple[str, bytes]:
    return "test", repr(value).encode("utf-8", "surrogatepass")


@given(python_values)
def test_whatever_python_holds_the_tagged_form_is_canonical_json(value: Any) -> None:
    canonical(tagged(value, by_repr))


plain_text = st.text(st.characters(exclude_categories=["Cs"]))
dollar_text = st.text("$abfloatimeyp").map(lambda text: "$" + text) | plain_text
readable = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | dollar_text | st.binary() | moments
keys = st.none() | st.integers() | dollar_text | st.binary()
tree: st.SearchStrategy[Any] = st.recursive(
    readable,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(dollar_text, inner, max_size=5)
        | st.dictionaries(keys, inner, max_size=5)
    ),
    max_leaves=20,
)


def untagged(value: Any) -> Any:  # noqa: PLR0911 - one line for each tag
    """Read the tags back, by the words of the format alone."""
    if isinstance(value, list):
        return [untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"$float": text, **rest} if not rest:
            return float(text)
        case {"$int": text, **rest} if not rest:
            return int(text)
        case {"$bytes": text, **rest} if not rest:
            return base64.b64decode(text, validate=True)
        case {"$time": text, **rest} if not rest:
            return parse_time(text)
        case {"$map": pairs, **rest} if not rest:
            return {untagged(key): untagged(item) for key, item in pairs}
    assert all(key.startswith("$$") for key in value if key.startswith("$"))
    return {key.removeprefix("$"): untagged(item) for key, item in value.items()}


@given(tree)
def test_a_reader_gets_back_what_was_tagged(value: Any) -> None:
    data = canonical(tagged(value, dump))
    again = untagged(json.loads(data))
    assert again == value
    assert canonical(tagged(again, dump)) == data
