"""Who may change or read what about people, what cannot be, and lists."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, timedelta
from typing import Any, NamedTuple

import pytest

from conftest import Database
from countersign.audit.entry import Actor
from countersign.service.clock import Clock
from countersign.service.errors import AbsentError, ConflictError, ForbiddenError, InvalidError, RequestError
from countersign.service.identity.caller import API_KEY, Caller
from countersign.service.identity.people import People
from countersign.service.identity.records import GrantWanted
from peopled import ADMIN, AUDITOR, FIRST, OPERATOR, OWN, Peopled, peopled, refusal

NEW = "another password"


@pytest.fixture
async def here(shared_database: Database) -> AsyncIterator[Peopled]:
    async with peopled(shared_database) as here:
        yield here


@pytest.fixture
async def alone(database: Database) -> AsyncIterator[Peopled]:
    """Yield people of whom there are none yet."""
    async with peopled(database) as here:
        yield here


class Asked(NamedTuple):
    """Who does it, and to whom."""

    people: People
    clock: Clock
    by: Caller | Actor
    user: str


Act = Callable[[Asked], Awaitable[Any]]
CHANGES: dict[str, Act] = {
    "create_user": lambda a: a.people.create_user(a.by, "fresh", "Fresh", FIRST),
    "reset_password": lambda a: a.people.reset_password(a.by, a.user, NEW),
    "deactivate": lambda a: a.people.deactivate(a.by, a.user),
    "reactivate": lambda a: a.people.reactivate(a.by, a.user),
    "give_grant": lambda a: a.people.give_grant(a.by, a.user, "chief", "orders"),
    "revoke_grant": lambda a: a.people.revoke_grant(a.by, "g-0"),
    "create_api_key": lambda a: a.people.create_api_key(a.by, "key", ["cases:read"], a.clock() + timedelta(days=1)),
    "revoke_api_key": lambda a: a.people.revoke_api_key(a.by, "k-0"),
}
READS: dict[str, Act] = {
    "list_users": lambda a: a.people.list_users(a.by),
    "get_user": lambda a: a.people.get_user(a.by, a.user),
    "find_user": lambda a: a.people.find_user(a.by, "boss"),
    "list_grants": lambda a: a.people.list_grants(a.by),
    "grants of another": lambda a: a.people.list_grants(a.by, a.user),
    "list_api_keys": lambda a: a.people.list_api_keys(a.by),
}


def asked(here: Peopled, by: Caller | Actor, user: str) -> Asked:
    return Asked(here.people, here.clock, by, user)


async def callers(here: Peopled) -> dict[str, Caller]:
    """Return callers of every sort but an administrator."""
    later = here.clock() + timedelta(hours=1)
    soon = here.clock() + timedelta(minutes=1)
    found = {
        "nobody's role": await here.signed_in("plain"),
        "a reviewer": await here.signed_in("reviewer", GrantWanted("pharmacist", "*")),
        "of another name": await here.signed_in("almost", GrantWanted("administrators", "*")),
        "not yet": await here.signed_in("later", GrantWanted("administrator", "*", later)),
        "no longer": await here.signed_in("earlier", GrantWanted("administrator", "*", None, soon)),
        "deactivated": await here.signed_in("inactive", ADMIN),
        "revoked": await here.signed_in("revoked", ADMIN),
        "nobody": Caller("u-00000000000000000000", "session+password"),
    }
    await here.people.deactivate(OPERATOR, found["deactivated"].id)
    (grant,) = await here.people.list_grants(OPERATOR, found["revoked"].id)
    await here.people.revoke_grant(OPERATOR, grant.id)
    here.clock.forward(minutes=2)
    token, _ = await here.api_key("k", ["cases:read"], roles=["auditor"])
    found["an API key"] = await here.people.caller(token)
    # As no token could tell: the id is that of an administrator, and the way is not.
    found["an API key that says it is somebody"] = Caller(
        (await here.people.find_user(OPERATOR, "boss")).id, API_KEY, is_api_key=True
    )
    return found


async def test_nobody_but_an_administrator_changes_anything(alone: Peopled) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    found = await callers(alone)
    found["an auditor"] = await alone.signed_in("auditor", AUDITOR)
    rows, entries = alone.everything(), len(alone.entries())
    for who, caller in found.items():
        for name, act in CHANGES.items():
            refused = await refusal(act(asked(alone, caller, boss.id)))
            assert (type(refused), refused.facts) == (ForbiddenError, {"cause": "role"}), (who, name)

    assert (alone.everything(), len(alone.entries())) == (rows, entries)
    for name, act in CHANGES.items():
        if name in ("create_user", "give_grant", "create_api_key"):
            await act(asked(alone, boss, found["a reviewer"].id))


async def test_nobody_gives_a_role_to_themselves_but_the_operator_and_others_do(alone: Peopled) -> None:
    boss, other = await alone.signed_in("boss", ADMIN), await alone.signed_in("other", ADMIN)
    entries = len(alone.entries())
    refused = await refusal(alone.people.give_grant(boss, boss.id, "pharmacist", "*"))
    assert (type(refused), refused.facts) == (ForbiddenError, {"cause": "self"})
    assert len(alone.entries()) == entries
    await alone.people.give_grant(other, boss.id, "pharmacist", "*")
    await alone.people.give_grant(OPERATOR, boss.id, "physician", "*")
    held = {grant.role for grant in await alone.people.list_grants(boss, boss.id)}
    assert held == {"administrator", "pharmacist", "physician"}


async def test_administrators_and_auditors_read_all_and_others_themselves(alone: Peopled) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    for who, caller in (await callers(alone)).items():
        for name, act in READS.items():
            refused = await refusal(act(asked(alone, caller, boss.id)))
            assert (type(refused), refused.facts) == (ForbiddenError, {"cause": "role"}), (who, name)
    for caller in (boss, await alone.signed_in("auditor", AUDITOR)):
        for act in READS.values():
            await act(asked(alone, caller, boss.id))
    plain = await alone.enter("plain")
    assert (await alone.people.get_user(plain, plain.id)).username == "plain"
    assert await alone.people.list_grants(plain, plain.id) == []


# What cannot be.

BAD: list[tuple[str, Act, type[RequestError]]] = [
    ("a name that is taken", lambda a: a.people.create_user(a.by, "BOSS", "Boss", FIRST), ConflictError),
    ("a name of nothing", lambda a: a.people.create_user(a.by, " ", "Boss", FIRST), InvalidError),
    ("a short password", lambda a: a.people.create_user(a.by, "x", "X", "short"), InvalidError),
    (
        "a grant that cannot be",
        lambda a: a.people.create_user(a.by, "x", "X", FIRST, [GrantWanted("auditor", "orders")]),
        InvalidError,
    ),
    ("nobody's password", lambda a: a.people.reset_password(a.by, "u-0", FIRST), AbsentError),
    ("a short new password", lambda a: a.people.reset_password(a.by, a.user, "short"), InvalidError),
    ("nobody to deactivate", lambda a: a.people.deactivate(a.by, "u-\x00"), AbsentError),
    ("a reason of nothing", lambda a: a.people.deactivate(a.by, a.user, " "), InvalidError),
    ("somebody active", lambda a: a.people.reactivate(a.by, a.user), ConflictError),
    ("a role for nobody", lambda a: a.people.give_grant(a.by, "ü", "chief", "orders"), AbsentError),
    ("no role", lambda a: a.people.give_grant(a.by, a.user, "", "orders"), InvalidError),
    (
        "a role that began",
        lambda a: a.people.give_grant(a.by, a.user, "chief", "*", a.clock() - timedelta(seconds=1)),
        InvalidError,
    ),
    (
        "a role that ended",
        lambda a: a.people.give_grant(a.by, a.user, "chief", "*", None, a.clock()),
        InvalidError,
    ),
    ("nobody's grant", lambda a: a.people.revoke_grant(a.by, "g-\x00"), AbsentError),
    (
        "a key that expired",
        lambda a: a.people.create_api_key(a.by, "k", ["cases:read"], a.clock()),
        InvalidError,
    ),
    (
        "a key for ever",
        lambda a: a.people.create_api_key(a.by, "k", ["cases:read"], a.clock() + timedelta(days=367)),
        InvalidError,
    ),
    (
        "a key that is an administrator",
        lambda a: a.people.create_api_key(a.by, "k", ["cases:read"], a.clock() + timedelta(1), ["administrator"]),
        InvalidError,
    ),
    (
        "a key for nothing",
        lambda a: a.people.create_api_key(a.by, "k", [], a.clock() + timedelta(1)),
        InvalidError,
    ),
    ("nobody's key", lambda a: a.people.revoke_api_key(a.by, ""), AbsentError),
]


@pytest.mark.parametrize(("act", "error"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
async def test_what_cannot_be_changes_nothing(here: Peopled, act: Act, error: type[RequestError]) -> None:
    if not here.database.query("SELECT FROM countersign.users WHERE username = 'boss'"):
        await here.user("boss", ADMIN)
    boss = await here.people.find_user(OPERATOR, "boss")
    before = len(here.entries())
    refused = await refusal(act(asked(here, OPERATOR, boss.id)))

    assert type(refused) is error
    assert len(here.entries()) == before
    assert here.database.query("SELECT count(*) FROM countersign.users") == [(1,)]
    assert here.database.query("SELECT count(*) FROM countersign.api_keys") == [(0,)]


async def test_lists_come_in_pages_and_whole(alone: Peopled) -> None:
    names = [f"user-{number}" for number in range(5)]
    for name in names:
        user = await alone.user(name, GrantWanted("chief", "orders"), own=None)
        await alone.api_key(name, ["cases:read"])
        alone.clock.forward(seconds=number_of(name) % 2)  # some at the same moment
    people = alone.people
    for page in (
        lambda after, limit: people.list_users(OPERATOR, after, limit),
        lambda after, limit: people.list_grants(OPERATOR, None, after, limit),
        lambda after, limit: people.list_api_keys(OPERATOR, after, limit),
    ):
        whole = await page(None, 100)
        found: list[Any] = []
        after = None
        while more := await page(after, 2):
            found += more
            after = more[-1].id
        assert (len(whole), found) == (5, whole)
        assert await page("\x00", 2) == await page("nowhere", 2) == []
    assert {user.username for user in await people.list_users(OPERATOR)} == {*names}
    assert [grant.user for grant in await people.list_grants(OPERATOR, user.id)] == [user.id]


def number_of(name: str) -> int:
    return int(name.rpartition("-")[2])


async def test_a_user_is_told_as_they_are(here: Peopled) -> None:
    user, _ = await here.people.create_user(OPERATOR, "Told", "T. Old", FIRST)
    assert await here.people.get_user(OPERATOR, user.id) == user
    assert (user.username, user.printed_name, user.active, user.password) == ("told", "T. Old", True, "temporary")
    assert user.created_at == here.clock()
    assert user.created_at.tzinfo is UTC
    await here.people.set_password("told", FIRST, OWN)
    assert (await here.people.find_user(OPERATOR, "TOLD")).password == "own"  # noqa: S105 - whose choice it is
    await here.people.deactivate(OPERATOR, user.id)
