"""Names of trails and of logs: opaque, short, and nothing that breaks a line or a format."""

from __future__ import annotations

import pytest

from countersign.audit.entry import check_origin, check_trail
from countersign.audit.errors import MalformedError

LONGEST = "x" * 255
TRAILS = ["a", LONGEST, "\u00e9" * 255, "\U0001f600" * 255, "a b", "a/../b", "a@b", "%s", "\u202e"]
NOT_TRAILS = ["", "x" * 256, "\x00", "a\n", "\r", "\t", "a\x1fb", "\x7f", "\x80", "\x9f", "\ud800", "@", "@case"]


@pytest.mark.parametrize("trail", TRAILS)
def test_an_opaque_id_can_name_a_trail(trail: str) -> None:
    assert check_trail(trail) == trail


@pytest.mark.parametrize("trail", NOT_TRAILS)
def test_this_cannot_name_a_trail(trail: str) -> None:
    with pytest.raises(MalformedError, match="thread id"):
        check_trail(trail)


def test_a_leading_at_sign_is_for_our_own_trails_only() -> None:
    assert check_trail("@keys", own=True) == "@keys"
    with pytest.raises(MalformedError, match="must not begin with @"):
        check_trail("@keys")
    with pytest.raises(MalformedError, match="control"):
        check_trail("@keys\n", own=True)


@pytest.mark.parametrize("origin", ["a", LONGEST, "countersign.invalid/0123456789abcdef", "\u00e9.example/log"])
def test_this_can_name_a_log(origin: str) -> None:
    assert check_origin(origin) == origin


@pytest.mark.parametrize("origin", ["", "x" * 256, "a b", "a+b", "a\n", "\x00", "a\u00a0", "a\u2028", "\x7f", "\x85"])
def test_this_cannot_name_a_log(origin: str) -> None:
    with pytest.raises(MalformedError, match="origin"):
        check_origin(origin)


def test_an_origin_that_is_not_unicode_cannot_name_a_log() -> None:
    with pytest.raises(MalformedError, match="origin"):
        check_origin("log\udcff")  # what os.environ holds for a byte that is not UTF-8
