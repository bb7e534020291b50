"""Times: RFC 3339 in UTC with exactly six decimals and Z, and no other spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.canonical import format_time, parse_time
from countersign.audit.errors import MalformedError

WRITTEN: list[tuple[datetime, str]] = [
    (datetime(2025, 3, 1, 12, 30, 15, 123456, tzinfo=UTC), "2025-03-01T12:30:15.123456Z"),
    (datetime(2025, 3, 1, tzinfo=UTC), "2025-03-01T00:00:00.000000Z"),
    (datetime(2025, 3, 1, 0, 0, 0, 1, tzinfo=UTC), "2025-03-01T00:00:00.000001Z"),
    (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
    (datetime(999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "0999-12-31T23:59:59.999999Z"),
    (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
    (datetime(2024, 2, 29, 23, 30, tzinfo=timezone(timedelta(hours=-5))), "2024-03-01T04:30:00.000000Z"),
    (datetime(2025, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=5, minutes=45))), "2024-12-31T18:45:00.000000Z"),
]

REFUSED = [
    "",
    "2025-03-01",
    "2025-03-01T12:30:15Z",
    "2025-03-01T12:30:15.123Z",
    "2025-03-01T12:30:15.12345Z",
    "2025-03-01T12:30:15.1234567Z",
    "2025-03-01T12:30:15.123456",
    "2025-03-01T12:30:15.123456z",
    "2025-03-01T12:30:15.123456+00:00",
    "2025-03-01t12:30:15.123456Z",
    "2025-03-01 12:30:15.123456Z",
    "2025-03-01T12:30:15,123456Z",
    "2025-3-01T12:30:15.123456Z",
    "2025-03-01T1:30:15.123456Z",
    " 2025-03-01T12:30:15.123456Z",
    "2025-03-01T12:30:15.123456Z\n",
    "2025-02-29T12:30:15.123456Z",
    "2025-13-01T12:30:15.123456Z",
    "2025-03-01T24:00:00.000000Z",
    "2025-03-01T12:60:15.123456Z",
    "2025-06-30T23:59:60.000000Z",
    "0000-03-01T12:30:15.123456Z",
    "12025-03-01T12:30:15.123456Z",
    "999-03-01T12:30:15.123456Z",
    "-025-03-01T12:30:15.123456Z",
    "\u0662\u0660\u0662\u0665-03-01T12:30:15.123456Z",
]


@pytest.mark.parametrize(("moment", "text"), WRITTEN, ids=[item[1] for item in WRITTEN])
def test_a_time_is_written_in_utc_with_six_decimals_and_read_back(moment: datetime, text: str) -> None:
    assert format_time(moment) == text
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_spelling_of_a_time_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="six decimals"):
        parse_time(text)


def test_a_time_without_a_zone_is_not_written() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2025, 3, 1))  # noqa: DTZ001 - the missing zone is the point


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones))  # noqa: DTZ001 - strategy's bounds
def test_every_moment_survives_in_exactly_27_characters(moment: datetime) -> None:
    text = format_time(moment)
    assert len(text) == 27
    assert parse_time(text) == moment


@given(st.text("0123456789-T:.Z +", max_size=30) | st.text())
def test_any_text_is_a_time_in_its_one_spelling_or_malformed(text: str) -> None:
    try:
        moment = parse_time(text)
    except MalformedError:
        return
    assert format_time(moment) == text
