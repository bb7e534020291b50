"""Signing in, sessions and passwords: who gets in, with what, and for how long."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from conftest import Database
from countersign.service.errors import ForbiddenError, InvalidError, UnauthenticatedError
from countersign.service.identity.caller import API_KEY, SESSION
from countersign.service.identity.passwords import Passwords
from peopled import FIRST, OPERATOR, OWN, Peopled, peopled, refusal

NEW = "another password"


@pytest.fixture
async def here(shared_database: Database) -> AsyncIterator[Peopled]:
    async with peopled(shared_database) as here:
        yield here


async def test_a_user_signs_in_with_a_password_of_their_own(here: Peopled) -> None:
    user = await here.user("Ada.Own")
    token, session = await here.people.sign_in(" ADA.own", OWN)
    caller = await here.people.caller(token)

    assert (caller.id, caller.session, caller.credential) == (user.id, session.id, session.credential)
    assert (caller.via, caller.is_api_key, caller.scopes) == (SESSION, False, frozenset())
    assert caller.allows("cases:start")
    assert session.expires_at - session.opened_at == here.limits.absolute


async def test_a_password_may_be_typed_in_another_form(here: Peopled) -> None:
    await here.user("forms", own="caf\u00e9 caf\u00e9 caf\u00e9")

    assert (await here.enter("forms", "cafe\u0301 cafe\u0301 cafe\u0301")).session


async def test_of_a_token_only_its_digest_is_kept(here: Peopled) -> None:
    await here.user("digest")
    token, session = await here.people.sign_in("digest", OWN)

    kept = here.database.query("SELECT digest FROM countersign.sessions WHERE id = %s", (session.id,))
    assert kept == [(hashlib.sha256(token.encode()).digest(),)]
    assert len(bytes.fromhex(token.removeprefix("css_"))) == 32


WRONG = ["", "wrong", "a wrong password", "x" * 300, "x" * 20 + "\ud800", "nul\x00" * 4]


@pytest.mark.parametrize("name", ["sure", "nobody", "", "no\x00body", "no\ud800body", "n" * 500, "gone", "made"])
async def test_every_refusal_is_the_same_after_the_same_work(here: Peopled, name: str) -> None:
    if name in ("sure", "gone", "made"):
        user = await here.user(name, own=None if name == "made" else OWN)
        if name == "gone":
            await here.people.deactivate(OPERATOR, user.id)
    for password in WRONG:
        before = here.hasher.verified, here.hasher.hashed
        refused = await refusal(here.people.sign_in(name, password))

        assert isinstance(refused, UnauthenticatedError)
        assert refused.message == "The username or the password is wrong, or the user is not active."
        assert refused.remedy == "Try again, or ask an administrator."
        assert refused.facts == {}
        assert (here.hasher.verified - before[0], here.hasher.hashed - before[1]) == (1, 0)


async def test_a_deactivated_user_gets_the_answer_of_a_wrong_password(here: Peopled) -> None:
    user = await here.user("left")
    wrong = await refusal(here.people.sign_in("left", NEW))
    await here.people.deactivate(OPERATOR, user.id)
    right = await refusal(here.people.sign_in("left", OWN))

    assert (type(right), str(right), right.facts) == (type(wrong), str(wrong), wrong.facts)


async def test_the_password_that_an_administrator_set_opens_nothing_but_the_way_to_ones_own(here: Peopled) -> None:
    await here.user("beginner", own=None)
    refused = await refusal(here.people.sign_in("beginner", FIRST))
    assert isinstance(refused, ForbiddenError)
    assert refused.facts == {"cause": "own-password"}
    assert here.database.query("SELECT FROM countersign.sessions s JOIN countersign.users u ON u.id = s.user_id "
                               "WHERE u.username = 'beginner'") == []  # fmt: skip

    await here.people.set_password("beginner", FIRST, NEW)
    assert (await here.enter("beginner", NEW)).session
    assert isinstance(await refusal(here.people.sign_in("beginner", FIRST)), UnauthenticatedError)


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ("short", "A password has 12 to 256 characters."),
        ("x" * 257, "A password has 12 to 256 characters."),
        ("SAME-as-the-name", "A password is not the username."),
        (OWN, "The new password is the old one."),
    ],
)
async def test_a_new_password_that_cannot_be_one_changes_nothing(here: Peopled, new: str, sentence: str) -> None:
    if not here.database.query("SELECT FROM countersign.users WHERE username = 'same-as-the-name'"):
        await here.user("same-as-the-name")
    refused = await refusal(here.people.set_password("same-as-the-name", OWN, new))

    assert (type(refused), refused.message, refused.facts) == (InvalidError, sentence, {"place": "new"})
    assert (await here.enter("same-as-the-name")).session


async def test_a_new_password_needs_the_old_one(here: Peopled) -> None:
    await here.user("keeper")
    for name in ("keeper", "unknown"):
        before = here.hasher.verified, here.hasher.hashed
        assert isinstance(await refusal(here.people.set_password(name, "not the old one", NEW)), UnauthenticatedError)
        assert (here.hasher.verified - before[0], here.hasher.hashed - before[1]) == (1, 0)
    assert (await here.enter("keeper")).session


async def test_a_new_password_closes_the_sessions_of_the_old_one(here: Peopled) -> None:
    await here.user("changing")
    token, _ = await here.people.sign_in("changing", OWN)
    await here.people.set_password("changing", OWN, NEW)

    assert (await refusal(here.people.session(token))).facts == {"cause": "session"}
    assert (await here.enter("changing", NEW)).session


async def test_an_administrators_reset_closes_sessions_and_has_to_be_replaced(here: Peopled) -> None:
    user = await here.user("forgot")
    token, _ = await here.people.sign_in("forgot", OWN)
    first = await here.people.reset_password(OPERATOR, user.id)

    assert isinstance(await refusal(here.people.session(token)), UnauthenticatedError)
    assert isinstance(await refusal(here.people.sign_in("forgot", OWN)), UnauthenticatedError)
    assert (await refusal(here.people.sign_in("forgot", first))).facts == {"cause": "own-password"}
    await here.people.set_password("forgot", first, NEW)
    assert (await here.enter("forgot", NEW)).session


async def test_a_session_ends_when_nobody_uses_it(here: Peopled) -> None:
    await here.user("idle")
    token, _ = await here.people.sign_in("idle", OWN)
    for _ in range(4):  # longer than the limit in all, and never between two uses
        here.clock.forward(minutes=14)
        await here.people.session(token)
    here.clock.forward(minutes=15)

    assert (await refusal(here.people.session(token))).facts == {"cause": "session"}


async def test_a_session_ends_however_it_is_used(here: Peopled) -> None:
    await here.user("busy")
    token, session = await here.people.sign_in("busy", OWN)
    while here.clock() + here.limits.idle < session.expires_at:
        here.clock.forward(minutes=14)
        await here.people.session(token)
    here.clock.at = session.expires_at

    assert (await refusal(here.people.session(token))).facts == {"cause": "session"}


async def test_signing_out_closes_one_session(here: Peopled) -> None:
    await here.user("leaver")
    (one, first), (two, _) = [await here.people.sign_in("leaver", OWN) for _ in range(2)]
    await here.people.sign_out(first.id)
    await here.people.sign_out(first.id)

    assert (await refusal(here.people.session(one))).facts == {"cause": "session"}
    assert (await here.people.session(two)).session


async def test_deactivation_closes_all_sessions_and_reactivation_opens_none(here: Peopled) -> None:
    user = await here.user("away")
    tokens = [(await here.people.sign_in("away", OWN))[0] for _ in range(2)]
    await here.people.deactivate(OPERATOR, user.id, "on leave")
    for token in tokens:
        assert isinstance(await refusal(here.people.session(token)), UnauthenticatedError)
    await here.people.reactivate(OPERATOR, user.id, "back")
    for token in tokens:
        assert isinstance(await refusal(here.people.session(token)), UnauthenticatedError)
    assert (await here.enter("away")).session


async def test_a_session_counts_only_while_its_user_is_active_whatever_the_session_says(here: Peopled) -> None:
    await here.user("row")
    token, _ = await here.people.sign_in("row", OWN)
    here.database.as_admin("UPDATE countersign.users SET active = false WHERE username = 'row'")

    assert isinstance(await refusal(here.people.session(token)), UnauthenticatedError)


BAD_TOKENS = [
    "",
    "css_",
    "csk_",
    "css_" + "0" * 64,
    "csk_" + "0" * 64,
    "csa_" + "0" * 64,
    "css_\x00",
    "css_\ud800",
    "x" * 9_999,
]


@pytest.mark.parametrize("token", BAD_TOKENS)
async def test_what_is_no_token_opens_nothing(here: Peopled, token: str) -> None:
    for look in (here.people.caller, here.people.session, here.people.api_key):
        assert isinstance(await refusal(look(token)), UnauthenticatedError)


async def test_an_api_key_is_no_session_and_a_session_no_api_key(here: Peopled) -> None:
    await here.user("both")
    token, _ = await here.people.sign_in("both", OWN)
    key_token, key = await here.api_key("for both", ["cases:start"])
    caller = await here.people.caller(key_token)

    assert (caller.id, caller.via, caller.session, caller.credential) == (key.id, API_KEY, None, None)
    assert caller.is_api_key
    assert caller.allows("cases:start")
    assert not caller.allows("cases:read")
    assert isinstance(await refusal(here.people.session(key_token)), UnauthenticatedError)
    assert isinstance(await refusal(here.people.api_key(token)), UnauthenticatedError)


async def test_an_api_key_ends_at_its_time_and_when_it_is_revoked(here: Peopled) -> None:
    until = here.clock()
    ends, ending = await here.api_key("ends", ["cases:read"], days=1)
    revoked, key = await here.api_key("revoked", ["cases:read"], days=1)
    await here.people.revoke_api_key(OPERATOR, key.id)
    assert isinstance(await refusal(here.people.api_key(revoked)), UnauthenticatedError)
    assert (await here.people.api_key(ends)).id == ending.id
    here.clock.at = ending.expires_at

    assert ending.expires_at > until
    assert isinstance(await refusal(here.people.api_key(ends)), UnauthenticatedError)


@pytest.mark.parametrize(
    ("forged", "counts"), [("scopes = '{cases:read,entries:read}'", True), ("revoked_at = NULL", False)]
)
async def test_what_an_api_key_is_for_stands_in_its_entries(here: Peopled, forged: str, *, counts: bool) -> None:
    token, key = await here.api_key("forged", ["cases:read"])
    if not counts:
        await here.people.revoke_api_key(OPERATOR, key.id)
    assert here.database.as_admin(f"UPDATE countersign.api_keys SET {forged} WHERE id = %s", (key.id,)) == 1

    if counts:
        assert (await here.people.api_key(token)).scopes == {"cases:read"}
    else:
        assert isinstance(await refusal(here.people.api_key(token)), UnauthenticatedError)


# The password given again for a signature.

Components = tuple[str, ...]
BOTH, PRIVATE = ("password", "user-id"), ("password",)


async def test_the_first_signing_of_a_session_takes_all_components_and_later_ones_the_private_one(
    here: Peopled,
) -> None:
    caller = await here.signed_in("signer")
    assert caller.session is not None
    lacking = await refusal(here.people.verify_password(caller.session, None, OWN))
    assert (type(lacking), lacking.facts) == (ForbiddenError, {"cause": "credential", "place": "username"})

    proved = [await here.people.verify_password(caller.session, name, OWN) for name in ("Signer", None, "signer")]

    assert [credential.components for credential in proved] == [BOTH, PRIVATE, BOTH]
    assert {(one.id, one.user, one.session) for one in proved} == {(caller.credential, caller.id, caller.session)}
    again = await here.enter("signer")
    assert again.session is not None
    assert (await refusal(here.people.verify_password(again.session, None, OWN))).facts["place"] == "username"


@pytest.mark.parametrize(
    ("name", "password"),
    [("wronged", "wrong"), ("wronged", ""), ("other", OWN), ("", OWN), ("wr\x00", OWN), ("wronged", "x" * 300)],
)
async def test_a_wrong_component_signs_nothing_and_the_next_signing_is_still_the_first(
    here: Peopled, name: str, password: str
) -> None:
    if not here.database.query("SELECT FROM countersign.users WHERE username = 'wronged'"):
        await here.user("wronged")
        await here.user("other")
    caller = await here.enter("wronged")
    assert caller.session is not None
    before = here.hasher.verified
    refused = await refusal(here.people.verify_password(caller.session, name, password))

    assert (type(refused), refused.message) == (ForbiddenError, "The username or the password is wrong.")
    assert refused.facts == {"cause": "credential"}
    assert here.hasher.verified - before == 1
    assert (await refusal(here.people.verify_password(caller.session, None, OWN))).facts["place"] == "username"


async def closed(here: Peopled, session: str) -> None:
    await here.people.sign_out(session)


async def idle(here: Peopled, _: str) -> None:
    here.clock.forward(minutes=15)


async def over(here: Peopled, _: str) -> None:
    here.clock.forward(hours=12)


async def inactive(here: Peopled, session: str) -> None:
    await here.people.deactivate(OPERATOR, here.owner(session))


async def replaced(here: Peopled, session: str) -> None:
    await here.people.reset_password(OPERATOR, here.owner(session))


ENDS = [closed, idle, over, inactive, replaced]


@pytest.mark.parametrize("end", ENDS)
async def test_nobody_signs_in_a_session_that_is_over(
    here: Peopled, end: Callable[[Peopled, str], Awaitable[None]]
) -> None:
    caller = await here.signed_in(f"over-{end.__name__}")
    assert caller.session is not None
    await here.people.verify_password(caller.session, f"over-{end.__name__}", OWN)
    await end(here, caller.session)
    before = here.hasher.verified
    refused = await refusal(here.people.verify_password(caller.session, None, OWN))

    assert (type(refused), refused.facts) == (UnauthenticatedError, {"cause": "session"})
    assert here.hasher.verified == before


# What is not stored, and what is.


async def test_what_somebody_unknown_typed_is_nowhere(here: Peopled, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    typed = "secret-typed-in-the-wrong-box"
    await here.user("typist")
    for name, password in ((typed, OWN), ("typist", typed), (typed, typed)):
        await refusal(here.people.sign_in(name, password))
        await refusal(here.people.set_password(name, password, NEW))

    assert "A password was refused" in caplog.text
    assert typed not in caplog.text
    assert typed not in here.everything()


async def test_the_parameters_are_those_that_pwdlib_recommends() -> None:
    passwords = Passwords()
    secret = await passwords.hash(OWN)

    assert secret.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert await passwords.verify(OWN, secret)
    assert not await passwords.verify(OWN, None)


async def test_two_hashes_of_a_password_differ(here: Peopled) -> None:
    passwords = Passwords(here.hasher)
    assert len({await passwords.hash(OWN) for _ in range(3)}) == 3


async def test_the_loop_goes_on_while_a_password_is_verified(here: Peopled) -> None:
    await here.user("slow")
    turns: list[int] = []

    async def other() -> None:
        turns.append(1)

    here.hasher.meanwhile(other())
    await here.people.sign_in("slow", OWN)
    assert turns == [1]


async def test_no_connection_is_taken_while_passwords_are_verified(shared_database: Database) -> None:
    """With one connection in all, whatever is asked meanwhile gets it: no transaction is open."""
    async with peopled(shared_database, most=1) as here:
        await here.user("alone")
        token, session = await here.people.sign_in("alone", OWN)
        seen: list[str | None] = []

        async def look() -> None:
            seen.append((await here.people.session(token)).session)

        for attempt in (
            here.people.sign_in("alone", OWN),
            here.people.verify_password(session.id, "alone", OWN),
            here.people.set_password("alone", OWN, NEW),
        ):
            here.hasher.meanwhile(look())
            await asyncio.wait_for(attempt, 60)
        assert seen == [session.id] * 3
