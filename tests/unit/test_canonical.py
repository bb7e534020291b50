"""Canonical JSON: one document, one encoding; everything else is refused with a MalformedError."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from countersign.audit.canonical import MAX_DEPTH, MAX_INT, Json, canonical, parse
from countersign.audit.errors import MalformedError

# RFC 8785, section 3.2.3: the order of these keys is by UTF-16 code units, so U+1F600 comes before U+FB33.
RFC_KEYS = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]

ENCODINGS: list[tuple[Json, bytes]] = [
    (None, b"null"),
    (True, b"true"),
    (False, b"false"),
    (0, b"0"),
    (-1, b"-1"),
    (MAX_INT, b"9007199254740991"),
    (-MAX_INT, b"-9007199254740991"),
    ("", b'""'),
    ("a/b", b'"a/b"'),
    ('"\\', b'"\\"\\\\"'),
    ("\b\t\n\f\r", b'"\\b\\t\\n\\f\\r"'),
    ("\x00\x0b\x1f", b'"\\u0000\\u000b\\u001f"'),
    ("\x7f", b'"\x7f"'),
    ("\xe9", b'"\xc3\xa9"'),
    ("e\u0301", b'"e\xcc\x81"'),
    ("\u2028", b'"\xe2\x80\xa8"'),
    ("\U0001f600", b'"\xf0\x9f\x98\x80"'),
    ("<script>&'", b'"<script>&\'"'),
    ([], b"[]"),
    ({}, b"{}"),
    ([1, "2", [None]], b'[1,"2",[null]]'),
    ({"b": 1, "a": {"d": [], "c": {}}}, b'{"a":{"c":{},"d":[]},"b":1}'),
    ({"a": 1, "B": 2, "": 3, "aa": 4, "1": 5}, b'{"":3,"1":5,"B":2,"a":1,"aa":4}'),
    ({"10": 1, "9": 2}, b'{"10":1,"9":2}'),
    ({"\uffff": 1, "\U00010000": 2}, b'{"\xf0\x90\x80\x80":2,"\xef\xbf\xbf":1}'),
]


class Colour(StrEnum):
    RED = "red"


def nested(levels: int) -> Json:
    value: Json = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(("value", "data"), ENCODINGS, ids=[repr(item[1]) for item in ENCODINGS])
def test_a_value_has_this_one_encoding(value: Json, data: bytes) -> None:
    assert canonical(value) == data
    assert parse(data) == value


def test_keys_stand_in_the_order_of_the_rfcs_own_example() -> None:
    for keys in (RFC_KEYS, RFC_KEYS[::-1], sorted(RFC_KEYS)):
        data = canonical(dict.fromkeys(keys, 0))
        assert list(json.loads(data)) == RFC_KEYS


def test_keys_inside_the_bmp_behind_the_surrogates_come_after_those_beyond_it() -> None:
    assert list(json.loads(canonical({"\ue000": 1, "\U0010ffff": 2, "\ud7ff": 3}))) == [
        "\ud7ff",
        "\U0010ffff",
        "\ue000",
    ]


def test_200_levels_are_allowed_and_201_are_not() -> None:
    assert canonical(nested(MAX_DEPTH)) == b"[" * 200 + b"]" * 200
    assert canonical(parse(b'{"":' * 200 + b"0" + b"}" * 200)) == b'{"":' * 200 + b"0" + b"}" * 200
    with pytest.raises(MalformedError, match="deeper than 200"):
        canonical(nested(MAX_DEPTH + 1))
    with pytest.raises(MalformedError, match="deeper than 200"):
        parse(b'{"":' * 201 + b"0" + b"}" * 201)


UNWRITABLE: list[tuple[Any, str]] = [
    (0.0, "float"),
    (1.5, "float"),
    (float("nan"), "float"),
    (float("inf"), "float"),
    (2**53, "beyond"),
    (-(2**53), "beyond"),
    (2**64, "beyond"),
    ({1: 2}, "not a string"),
    ({None: 2}, "not a string"),
    ({True: 2}, "not a string"),
    ({"a": {b"b": 2}}, "not a string"),
    ({Colour.RED: 1}, "not a string"),
    ("\ud800", "Unicode"),
    ("a\udfffb", "Unicode"),
    ("\udc00\ud800", "Unicode"),
    ({"\ud800": 1}, "Unicode"),
    (["\ud83d", "\ude00"], "Unicode"),
    ((1, 2), "tuple"),
    (b"a", "bytes"),
    ({1, 2}, "set"),
    (Decimal(1), "Decimal"),
    (Colour.RED, "Colour"),
    ([...], "ellipsis"),
]


@pytest.mark.parametrize(("value", "reason"), UNWRITABLE, ids=[repr(item[0])[:40] for item in UNWRITABLE])
def test_what_has_no_one_encoding_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        canonical(value)


def test_an_integer_too_long_for_python_to_print_is_refused_like_any_other() -> None:
    with pytest.raises(MalformedError, match="beyond"):
        canonical(10**5000)


REFUSED: list[tuple[str, bytes, str]] = [
    ("nothing", b"", "Not a JSON"),
    ("two documents", b"1 2", "Not a JSON"),
    ("a float", b"1.5", "float"),
    ("a float that is whole", b"1.0", "float"),
    ("an exponent", b"1e3", "float"),
    ("a negative exponent", b"1E-3", "float"),
    ("NaN", b"NaN", "float"),
    ("Infinity", b"[Infinity]", "float"),
    ("minus Infinity", b"-Infinity", "float"),
    ("2^53", b"9007199254740992", "beyond"),
    ("-2^53", b"-9007199254740992", "beyond"),
    ("an integer of 5000 digits", b"1" * 5000, "Not a JSON"),
    ("minus zero", b"-0", "canonical form"),
    ("a leading zero", b"01", "Not a JSON"),
    ("a plus sign", b"+1", "Not a JSON"),
    ("a duplicate key", b'{"a":1,"a":1}', "twice"),
    ("a duplicate key, once escaped", b'{"a":1,"\\u0061":2}', "twice"),
    ("a duplicate key inside", b'[{"b":{"a":1,"a":2}}]', "twice"),
    ("white space in front", b" 1", "canonical form"),
    ("white space behind", b"1\n", "canonical form"),
    ("white space inside", b'{"a": 1}', "canonical form"),
    ("another key order", b'{"b":1,"a":2}', "canonical form"),
    ("keys in code-point order", b'{"\xef\xbf\xbf":1,"\xf0\x90\x80\x80":2}', "canonical form"),
    ("an escaped letter", b'"\\u0061"', "canonical form"),
    ("an escaped slash", b'"\\/"', "canonical form"),
    ("a long escape of a line feed", b'"\\u000a"', "canonical form"),
    ("a control character in upper-case hex", b'"\\u001F"', "canonical form"),
    ("an escaped non-ASCII letter", b'"\\u00e9"', "canonical form"),
    ("an escaped surrogate pair", b'"\\ud83d\\ude00"', "canonical form"),
    ("an escaped lone surrogate", b'"\\ud800"', "Unicode"),
    ("a lone surrogate as a key", b'{"\\udfff":1}', "Unicode"),
    ("a lone surrogate in UTF-8", b'"\xed\xa0\x80"', "Not a JSON"),
    ("an overlong encoding", b'"\xc0\xaf"', "Not a JSON"),
    ("Latin-1", b'"\xe9"', "Not a JSON"),
    ("a byte order mark", b"\xef\xbb\xbf1", "Not a JSON"),
    ("UTF-16", "1".encode("utf-16"), "Not a JSON"),
    ("a raw control character", b'"\x01"', "Not a JSON"),
    ("single quotes", b"'a'", "Not a JSON"),
    ("a trailing comma", b"[1,]", "Not a JSON"),
    ("a comment", b"1//", "Not a JSON"),
    ("an open bracket", b"[", "Not a JSON"),
    ("brackets beyond any stack", b"[" * 200_000, "Not a JSON"),
]


@pytest.mark.parametrize(("data", "reason"), [item[1:] for item in REFUSED], ids=[item[0] for item in REFUSED])
def test_a_document_in_another_form_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        parse(data)


unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | unicode_text,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(unicode_text, inner, max_size=6),
    max_leaves=30,
)
# Bytes that come near JSON find more than bytes at random.
near_json = st.text('{}[]",:0123456789eE+-.\\ntrufalsbx \té\U0001f600').map(str.encode)


@given(documents)
def test_what_was_written_is_read_back_as_it_was(value: Json) -> None:
    data = canonical(value)
    again = parse(data)
    assert again == value
    assert canonical(again) == data


@given(documents)
@example(dict.fromkeys(RFC_KEYS, 0))
def test_the_bytes_are_those_of_an_independent_implementation_of_the_rfc(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.integers())
def test_integers_are_allowed_exactly_where_the_independent_implementation_allows_them(value: int) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.IntegerDomainError:
        with pytest.raises(MalformedError):
            canonical(value)
    else:
        assert canonical(value) == expected


@given(documents)
def test_another_spelling_of_a_document_is_refused(value: Json) -> None:
    data = canonical(value)
    loose = json.dumps(value, indent=1).encode()
    assert parse(data) == value
    if loose != data:
        with pytest.raises(MalformedError):
            parse(loose)


@given(st.binary() | near_json)
@example(b"[[[[" * 1000)
@example(b'"\\ud800\\udc00"')
def test_any_bytes_are_a_canonical_document_or_malformed(data: bytes) -> None:
    try:
        value = parse(data)
    except MalformedError:
        return
    assert canonical(value) == data


@given(documents, st.integers(0, 10_000), st.binary(max_size=3))
def test_a_damaged_document_is_another_canonical_document_or_malformed(
    value: Json, place: int, inserted: bytes
) -> None:
    data = canonical(value)
    at = place % (len(data) + 1)
    damaged = data[:at] + inserted + data[at + len(inserted) // 2 :]
    try:
        again = parse(damaged)
    except MalformedError:
        return
    assert canonical(again) == damaged
