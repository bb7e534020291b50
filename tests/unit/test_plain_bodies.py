"""Bodies are read in two ways, a swift and a thorough one; whatever the swift one takes, both read alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from countersign.audit.body import _parse_plain, _parse_thoroughly
from countersign.audit.canonical import MAX_INT, Json, canonical, parse
from countersign.audit.errors import MalformedError
from unit.samples import four, members, note, sealed

PLAIN = members(sealed(note(1, payload={"a": 1})))
FULL: dict[str, Any] = PLAIN | {
    "actor": {"id": "p-17", "role": "pharmacist", "via": "application"},
    "checkpoint": {"id": "c", "ns": "", "parent": None},
    "detail": {"list": [1, {"kind": 'x","kind":"y"}'}], "text": '},"kind":"'},
    "workflow": {"name": "order", "version": "1"},
}
texts = st.one_of(st.text(max_size=5), st.sampled_from(['","kind":"', "}", "\\", "\x7f", "null", "\u00e9", "\n"]))
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INT, MAX_INT) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
changes = st.dictionaries(st.sampled_from([*FULL, "other"]), values, max_size=2)


def thoroughly(data: bytes) -> object:
    try:
        return _parse_thoroughly(data)
    except MalformedError:
        return None


@pytest.mark.parametrize("body", [PLAIN, FULL, *map(members, four())], ids=["plain", "full", "1", "2", "3", "4"])
def test_a_body_as_most_are_is_read_swiftly(body: dict[str, Json]) -> None:
    data = canonical(body)
    assert _parse_plain(data) is not None
    assert _parse_plain(data) == _parse_thoroughly(data)


@given(changes, st.sampled_from([PLAIN, FULL]))
@example({"seq": 0}, PLAIN)
@example({"seq": MAX_INT}, FULL)
@example({"detail": []}, FULL)
@example({"trail": ""}, PLAIN)
@example({"kind": "Run"}, PLAIN)
def test_what_is_read_swiftly_is_read_alike_with_any_member_changed(change: dict[str, Any], body: Any) -> None:
    data = canonical(body | change)
    swiftly = _parse_plain(data)
    assert swiftly is None or swiftly == thoroughly(data)


@given(st.integers(0, 1000), st.sampled_from([b"", b" ", b"0", b'"', b"\\", b"}", b",", b"\x00", b"\xff", b'{"a":1}']))
def test_what_is_read_swiftly_is_read_alike_with_any_bytes_changed(at: int, new: bytes) -> None:
    whole = canonical(FULL)
    at %= len(whole)
    for data in (whole[:at] + new + whole[at:], whole[:at] + new + whole[at + 1 :]):
        swiftly = _parse_plain(data)
        assert swiftly is None or swiftly == thoroughly(data)


EDITS = {
    "a seq beyond what is read": (b'"seq":1', b'"seq":9007199254740992'),
    "a seq of many digits": (b'"seq":1', b'"seq":' + b"1" * 5000),
    "a seq of 0": (b'"seq":1', b'"seq":0'),
    "a leading zero": (b'"seq":1', b'"seq":01'),
    "a member twice": (b'"run":', b'"run":"x","run":'),
    "a detail out of order": (b'"detail":{}', b'"detail":{"b":1,"a":2}'),
    "a detail with a float": (b'"detail":{}', b'"detail":{"a":1.5}'),
    "a detail with a space": (b'"detail":{}', b'"detail":{ }'),
    "a member twice in the detail": (b'"detail":{}', b'"detail":{"a":1,"a":1}'),
    "a needless escape": (b'"run.started"', b'"run\\u002estarted"'),
    "another order": (b'"actor":{"id":"system","via":"system"}', b'"actor":{"via":"system","id":"system"}'),
    "another spec": (b"entry/1", b"entry/2"),
    "no day": (b'"2025-03-01T', b'"2025-02-30T'),
    "white space behind": (b'"trail":"case-1"}', b'"trail":"case-1"}\n'),
}


@pytest.mark.parametrize(("old", "new"), EDITS.values(), ids=EDITS)
def test_what_is_no_body_is_read_in_neither_way(old: bytes, new: bytes) -> None:
    data = canonical(members(sealed(note(1))))
    assert data.count(old) == 1
    edited = data.replace(old, new)
    assert _parse_plain(edited) is None
    assert thoroughly(edited) is None


def test_a_document_deeper_than_the_format_allows_is_refused_though_plain() -> None:
    for levels, allowed in ((200, True), (201, False)):
        data = b"[" * levels + b"]" * levels
        if allowed:
            assert canonical(parse(data)) == data
        else:
            with pytest.raises(MalformedError):
                parse(data)
    assert parse(b'["' + b"[" * 300 + b'"]') == ["[" * 300]
