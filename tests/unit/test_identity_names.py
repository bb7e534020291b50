"""Names, passwords, roles and scopes as people type them: one spelling, or refused with the member that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.service.errors import InvalidError
from countersign.service.identity import names

P = "a good password"


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("ada", "ada"),
        ("Ada.Lovelace", "ada.lovelace"),
        ("  ada ", "ada"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("\uff21\uff44\uff41", "ada"),  # full width
        ("\u212bngstrom", "\u00e5ngstrom"),  # the sign of the unit
        ("A\u030angstrom", "\u00e5ngstrom"),  # a letter and its ring apart
        ("ﬁona", "fiona"),
    ],
)
def test_a_username_has_one_spelling(typed: str, folded: str) -> None:
    assert names.check_username(typed) == folded


@given(st.text())
def test_folding_twice_is_folding_once(typed: str) -> None:
    once = names.fold_username(typed)
    assert names.fold_username(once) == once


@given(st.text())
def test_what_can_be_a_username_stays_one_when_it_is_written_in_capitals(typed: str) -> None:
    try:
        name = names.check_username(typed)
    except InvalidError:
        return
    assert 1 <= len(name) <= 100
    assert name.isprintable()
    assert names.check_username(name) == name


REFUSED: list[tuple[str, Callable[..., Any], tuple[Any, ...], str]] = [
    ("no username", names.check_username, ("",), "username"),
    ("a username of spaces", names.check_username, ("   ",), "username"),
    ("a username too long", names.check_username, ("a" * 101,), "username"),
    ("a username that gets too long", names.check_username, ("ß" * 51,), "username"),
    ("a username with NUL", names.check_username, ("a\x00b",), "username"),
    ("a username with a line break", names.check_username, ("a\nb",), "username"),
    ("a username turned around", names.check_username, ("ada\u202e",), "username"),
    ("a username that is no Unicode", names.check_username, ("a\ud800",), "username"),
    ("no printed name", names.check_printed_name, (" ",), "printed_name"),
    ("a printed name too long", names.check_printed_name, ("a" * 101,), "printed_name"),
    ("a printed name with a tab", names.check_printed_name, ("A\tB",), "printed_name"),
    ("a key without name", names.check_label, ("",), "name"),
    ("a reason of nothing", names.check_reason, (" ",), "reason"),
    ("a reason too long", names.check_reason, ("a" * 4_001,), "reason"),
    ("a reason of two lines", names.check_reason, ("a\nb",), "reason"),
    ("a password of 11", names.check_password, ("a" * 11, "u"), "password"),
    ("a password of 257", names.check_password, ("a" * 257, "u"), "password"),
    ("a password that is short in its normal form", names.check_password, ("e\u0301" * 11, "u"), "password"),
    ("a password that is no Unicode", names.check_password, ("a" * 12 + "\ud800", "u"), "password"),
    ("a password that is the username", names.check_password, ("ada.lovelace", "ada.lovelace"), "password"),
    ("the username in capitals", names.check_password, (" ADA.Lovelace ", "ada.lovelace"), "password"),
    ("a new password too short", names.check_password, ("short", "u", "new"), "new"),
    ("no role", names.check_grant, ("", "orders"), "role"),
    ("a role with space around", names.check_grant, (" chief", "orders"), "role"),
    ("a role too long", names.check_grant, ("r" * 256, "orders"), "role"),
    ("no workflow", names.check_grant, ("chief", ""), "workflow"),
    ("a workflow with NUL", names.check_grant, ("chief", "a\x00"), "workflow"),
    ("an administrator of one workflow", names.check_grant, ("administrator", "orders"), "workflow"),
    ("an auditor of one workflow", names.check_grant, ("auditor", "orders"), "workflow"),
    ("no scope", names.check_scopes, ([],), "scopes"),
    ("a scope to sign", names.check_scopes, (["reviews:sign"],), "scopes"),
    ("a scope for users", names.check_scopes, (["cases:read", "users:write"],), "scopes"),
]


@pytest.mark.parametrize(("check", "given", "place"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_is_refused_with_its_place(
    check: Callable[..., Any], given: tuple[Any, ...], place: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        check(*given)
    assert refused.value.facts == {"place": place}
    typed = given[0]
    if isinstance(typed, str) and typed.strip() and check is not names.check_grant:
        assert typed not in str(refused.value)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        (P, P),
        ("a" * 12, "a" * 12),
        ("a" * 256, "a" * 256),
        ("\uff41" * 12, "a" * 12),
        ("e\u0301" * 12, "\u00e9" * 12),
        ("a\x00b\x00c\x00d\x00e\x00f\x00", "a\x00b\x00c\x00d\x00e\x00f\x00"),
        ("  " + P, "  " + P),
    ],
)
def test_a_password_is_kept_in_its_normal_form(typed: str, kept: str) -> None:
    assert names.check_password(typed, "somebody") == kept
    assert names.typed_password(typed) == kept


@pytest.mark.parametrize(("typed", "form"), [("u-0123", "u-0123"), ("", ""), ("u-\x00", ""), ("ü", ""), ("\ud800", "")])
def test_what_is_no_id_finds_nothing(typed: str, form: str) -> None:
    assert names.known_form(typed) == form


def test_scopes_stand_once_and_in_order() -> None:
    assert names.check_scopes(["reviews:attest", "cases:read", "cases:read"]) == ["cases:read", "reviews:attest"]


@pytest.mark.parametrize("role", ["administrator", "auditor"])
def test_roles_of_the_system_are_for_all_workflows(role: str) -> None:
    assert names.check_grant(role, "*") == (role, "*")
