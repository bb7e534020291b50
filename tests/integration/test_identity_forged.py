"""Who can write to the service's tables and has no key becomes nobody else by that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from conftest import Database
from countersign.service.errors import ForbiddenError, UnauthenticatedError
from peopled import OWN, Peopled, peopled, refusal

THIEF = "the thief's own password"
_CREDENTIAL = """
UPDATE countersign.credentials c SET {} FROM countersign.users t, countersign.users v, countersign.credentials s
WHERE t.username = %s AND v.username = %s AND s.user_id = t.id AND s.revoked_at IS NULL
AND c.user_id = v.id AND c.revoked_at IS NULL
"""
_NEW_CREDENTIAL = """
WITH gone AS (
    UPDATE countersign.credentials c SET revoked_at = now() FROM countersign.users v
    WHERE v.username = %(victim)s AND c.user_id = v.id AND c.revoked_at IS NULL RETURNING c.user_id
)
INSERT INTO countersign.credentials (id, user_id, kind, secret, own, enrolled_at)
SELECT 'c-00000000000000000000', gone.user_id, 'password', s.secret, true, now() FROM gone, countersign.credentials s
JOIN countersign.users t ON t.id = s.user_id WHERE t.username = %(thief)s AND s.revoked_at IS NULL
"""
_SESSION = """
INSERT INTO countersign.sessions (id, digest, user_id, credential_id, opened_at, seen_at, expires_at, signed)
SELECT 's-00000000000000000000', sha256('css_forged'), s.user_id, s.credential_id, s.opened_at, s.seen_at, s.expires_at,
    true FROM countersign.sessions s JOIN countersign.users u ON u.id = s.user_id WHERE u.username = %s
"""
_WHOSE = """
UPDATE countersign.sessions t SET user_id = v.id, credential_id = c.id
FROM countersign.users v JOIN countersign.credentials c ON c.user_id = v.id AND c.revoked_at IS NULL
WHERE t.id = %s AND v.username = %s
"""


@pytest.fixture
async def here(shared_database: Database) -> AsyncIterator[Peopled]:
    async with peopled(shared_database) as here:
        yield here


async def test_a_password_that_was_put_into_the_table_opens_no_session(here: Peopled) -> None:
    await here.user("victim.secret")
    await here.user("thief.secret", own=THIEF)
    changed = _CREDENTIAL.format("secret = s.secret")
    assert here.database.as_admin(changed, ("thief.secret", "victim.secret")) == 1

    assert isinstance(await refusal(here.people.sign_in("victim.secret", THIEF)), UnauthenticatedError)
    assert isinstance(await refusal(here.people.set_password("victim.secret", THIEF, OWN)), UnauthenticatedError)


async def test_a_password_that_was_put_into_the_table_signs_nothing(here: Peopled) -> None:
    victim = await here.signed_in("victim.signs")
    await here.user("thief.signs", own=THIEF)
    changed = _CREDENTIAL.format("secret = s.secret")
    assert here.database.as_admin(changed, ("thief.signs", "victim.signs")) == 1
    assert victim.session is not None

    refused = await refusal(here.people.verify_password(victim.session, "victim.signs", THIEF))
    assert isinstance(refused, ForbiddenError)
    assert refused.facts["cause"] == "credential"


async def test_a_credential_that_no_entry_enrolled_opens_no_session(here: Peopled) -> None:
    await here.user("victim.new")
    await here.user("thief.new", own=THIEF)
    names = {"victim": "victim.new", "thief": "thief.new"}
    assert here.database.as_admin(_NEW_CREDENTIAL, names) == 1

    assert isinstance(await refusal(here.people.sign_in("victim.new", THIEF)), UnauthenticatedError)


async def test_a_session_that_was_put_into_the_table_is_none(here: Peopled) -> None:
    await here.signed_in("victim.session")
    assert here.database.as_admin(_SESSION, ("victim.session",)) == 1

    assert isinstance(await refusal(here.people.session("css_forged")), UnauthenticatedError)


async def test_a_session_becomes_nobody_elses(here: Peopled) -> None:
    await here.user("victim.whose")
    await here.user("thief.whose")
    token, session = await here.people.sign_in("thief.whose", OWN)
    assert here.database.as_admin(_WHOSE, (session.id, "victim.whose")) == 1

    assert isinstance(await refusal(here.people.session(token)), UnauthenticatedError)


async def test_a_digest_that_was_put_into_the_table_is_of_no_api_key(here: Peopled) -> None:
    token, key = await here.api_key("stolen", ["cases:read"])
    changed = "UPDATE countersign.api_keys SET digest = sha256('csk_forged') WHERE id = %s"
    assert here.database.as_admin(changed, (key.id,)) == 1

    assert isinstance(await refusal(here.people.api_key("csk_forged")), UnauthenticatedError)
    assert isinstance(await refusal(here.people.api_key(token)), UnauthenticatedError)
