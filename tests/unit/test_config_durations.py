"""Lengths of time as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.service.config.durations import LONGEST, parse_duration, say_duration

GOOD = {
    "1s": 1, "90s": 90, "15m": 900, "4h": 14400, "2d": 172800, "1d 12h": 129600, "1d12h": 129600, "0d 1s": 1,
    "1d 2h 3m 4s": 93784, "366d": LONGEST, "8784h": LONGEST,
}  # fmt: skip
BAD = [
    "", " ", "0s", "0d 0h", "4", "h", "4 h", "-1h", "+1h", "1.5h", "4H", "1w", "1h 1d", "1h 1h", " 1h", "1h ", "1h\n",
    "367d", "366d 1s", "9999999999s", "\u0661h", "1h;2m", "4hours",
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), GOOD.items())
def test_this_is_a_length_of_time(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", BAD)
def test_this_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (no length of time|not between)"):
        parse_duration(text)


@given(st.integers(1, LONGEST))
def test_what_is_said_is_read_again(seconds: int) -> None:
    assert parse_duration(say_duration(seconds)) == seconds


@given(st.text() | st.from_regex(r"[0-9dhms +.-]{0,12}", fullmatch=True))
def test_any_text_is_a_length_of_time_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 1 <= seconds <= LONGEST
    assert parse_duration(say_duration(seconds)) == seconds
