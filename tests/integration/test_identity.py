"""Users, sessions and passwords: who gets in, with what, and for how long."""

from __future__ import annotations

import pytest

from conftest import Database
from countersign.service.errors import ForbiddenError, UnauthenticatedError
from countersign.service.identity.caller import SESSION
from countersign.service.identity.names import ADMINISTRATOR
from countersign.service.identity.records import GrantWanted
from peopled import FIRST, OWN, peopled

ADMIN = GrantWanted(ADMINISTRATOR, "*")


async def test_a_user_signs_in_with_a_password_of_their_own(shared_database: Database) -> None:
    async with peopled(shared_database) as here:
        user = await here.user("Ada.Own")
        token, session = await here.people.sign_in("ADA.own", OWN)
        caller = await here.people.caller(token)

    assert (caller.id, caller.via, caller.session, caller.credential) == (
        user.id, SESSION, session.id, session.credential,
    )  # fmt: skip
    assert caller.allows("cases:start")


async def test_a_first_password_opens_nothing(shared_database: Database) -> None:
    async with peopled(shared_database) as here:
        await here.user("first", own=None)
        with pytest.raises(ForbiddenError) as refused:
            await here.people.sign_in("first", FIRST)
        assert refused.value.facts["cause"] == "own-password"


async def test_an_administrator_gives_a_role(shared_database: Database) -> None:
    async with peopled(shared_database) as here:
        boss = await here.signed_in("boss", ADMIN)
        user, _ = await here.people.create_user(boss, "new", "New", FIRST)
        await here.people.give_grant(boss, user.id, "pharmacist", "orders")
        with pytest.raises(UnauthenticatedError):
            await here.people.sign_in("new", OWN)
        assert [grant.role for grant in await here.people.list_grants(boss, user.id)] == ["pharmacist"]
    assert shared_database.verify().verdict == "passed"
