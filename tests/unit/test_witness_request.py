"""The request to a witness: one spelling, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.errors import MalformedError
from countersign.audit.witness_request import MAX_REQUEST, CosignRequest, encode_size, parse_request, parse_size
from unit.heads import note_of
from unit.witnessing import request_of

GOOD = request_of(3, 7).encode()
LINE = GOOD.split(b"\n")[1] + b"\n"


def test_a_request_is_what_the_specification_shows() -> None:
    old, *rest = GOOD.decode().split("\n")
    assert old == "old 3"
    blank = rest.index("")
    assert [len(line) for line in rest[:blank]] == [44] * len(request_of(3, 7).proof)
    assert "\n".join(rest[blank + 1 :]).encode() == request_of(3, 7).note.encode()


@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_it_is_read_as_it_was_written(old: int, proof: list[bytes]) -> None:
    request = CosignRequest(old, tuple(proof), note_of())
    assert parse_request(request.encode()) == request


@given(st.binary(max_size=400) | st.integers(0, len(GOOD) - 1).map(lambda at: GOOD[:at]))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_request(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_read_as_it_is(at: int, change: int) -> None:
    data = GOOD[:at] + bytes([GOOD[at] ^ change]) + GOOD[at + 1 :]
    try:
        request = parse_request(data)
    except MalformedError:
        return
    assert request.encode() == data


WRONG = {
    "no old size": GOOD.replace(b"old 3\n", b""),
    "a leading zero": GOOD.replace(b"old 3", b"old 03"),
    "two blanks": GOOD.replace(b"old 3", b"old  3"),
    "a sign": GOOD.replace(b"old 3", b"old +3"),
    "digits that are not ASCII": GOOD.replace(b"old 3", "old \u0663".encode()),
    "2^63": GOOD.replace(b"old 3", b"old 9223372036854775808"),
    "a carriage return": GOOD.replace(b"old 3\n", b"old 3\r\n"),
    "64 hashes": GOOD.replace(LINE, LINE * 62, 1),
    "a hash of 31 bytes": GOOD.replace(LINE, b"A" * 42 + b"==\n", 1),
    "a hash in another spelling": GOOD.replace(LINE, LINE.replace(b"=", b""), 1),
    "no empty line": GOOD.replace(b"\n\n", b"\n", 1),
    "a note without signatures": GOOD[: GOOD.index("\u2014".encode())],
    "no newline at the end": GOOD[:-1],
    "too long": GOOD + b"x" * MAX_REQUEST,
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_these_are_refused(data: bytes) -> None:
    assert data != GOOD
    with pytest.raises(MalformedError):
        parse_request(data)


@given(st.integers(0, 2**63 - 1))
def test_a_size_is_read_as_it_was_written(size: int) -> None:
    assert parse_size(encode_size(size)) == size


@pytest.mark.parametrize("data", [b"", b"\n", b"1", b"1\n\n", b"01\n", b"-1\n", b" 1\n", b"1\r\n", b"%d\n" % 2**63])
def test_this_is_no_size(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_size(data)


@pytest.mark.parametrize(("old", "hashes"), [(-1, 0), (2**63, 0), (1, 64)])
def test_no_request_can_say_this(old: int, hashes: int) -> None:
    with pytest.raises(MalformedError):
        CosignRequest(old, (bytes(32),) * hashes, note_of())
