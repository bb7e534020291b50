"""Two things at the same instant about one person: one of them is first, and the other one knows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from psycopg import AsyncConnection

from conftest import Database
from countersign.audit.entry import SYSTEM_TRAIL
from countersign.audit.standing import Directory
from countersign.audit.steps import arun
from countersign.service.errors import ConflictError, ForbiddenError, UnauthenticatedError
from countersign.service.identity.records import GrantWanted
from peopled import ADMIN, FIRST, OPERATOR, OWN, PATIENCE, Peopled, SetClock, peopled, refusal

ROUNDS = int(os.environ.get("COUNTERSIGN_DRILL", "8"))
NEW = "another password"


@pytest.fixture
async def servers(shared_database: Database) -> AsyncIterator[list[Peopled]]:
    """Yield the people of one deployment as two server processes have them."""
    async with AsyncExitStack() as stack:
        clock = SetClock()
        yield [await stack.enter_async_context(peopled(shared_database, clock=clock)) for _ in range(2)]


@pytest.fixture
async def alone(database: Database) -> AsyncIterator[list[Peopled]]:
    async with AsyncExitStack() as stack:
        clock = SetClock()
        yield [await stack.enter_async_context(peopled(database, clock=clock)) for _ in range(2)]


async def at_once(*acts: Awaitable[Any]) -> list[Any]:
    """Return what each came to, its exception included, when all were begun at the same time."""
    return await asyncio.wait_for(asyncio.gather(*acts, return_exceptions=True), PATIENCE)


@asynccontextmanager
async def relying(here: Peopled) -> AsyncIterator[tuple[AsyncConnection[Any], Directory]]:
    """Yield a transaction that relies on what people may do, as everything does that is decided in a case."""
    async with here.pool.connection() as conn, conn.transaction():
        await arun(conn, here.people.appender.lock_steps(("a-case",), (SYSTEM_TRAIL,)))
        yield conn, await here.people.directory.current(conn)


async def blocked(here: Peopled) -> None:
    """Return when somebody waits for a lock of the database."""
    sql = "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE NOT l.granted AND d.datname = %s"

    async def watch() -> None:
        while not await asyncio.to_thread(here.database.query, sql, (here.database.name,)):
            pass

    await asyncio.wait_for(watch(), PATIENCE)


async def test_of_two_deactivations_one_counts(servers: list[Peopled]) -> None:
    one, two = servers
    for number in range(ROUNDS):
        user = await one.user(f"twice-{number}", own=None)
        ended = await at_once(*(here.people.deactivate(OPERATOR, user.id) for here in (one, two, one, two)))

        assert ended.count(None) == 1
        assert [type(end) for end in ended if end is not None] == [ConflictError] * 3
        kinds = [entry.kind for entry in one.entries() if entry.detail.get("user") == user.id]
        assert kinds == ["user.created", "credential.enrolled", "user.deactivated"]


async def test_two_administrators_who_deactivate_each_other_leave_one(alone: list[Peopled]) -> None:
    one, two = alone
    ada, bob = await one.signed_in("ada", ADMIN), await two.signed_in("bob", ADMIN)
    for _ in range(ROUNDS):
        ended = await at_once(one.people.deactivate(ada, bob.id), two.people.deactivate(bob, ada.id))

        assert [type(end) for end in ended if end is not None] == [ForbiddenError]
        loser = ada if ended[0] is not None else bob
        await one.people.reactivate(OPERATOR, loser.id)


async def test_two_last_grants_taken_at_once_leave_one(alone: list[Peopled]) -> None:
    one, two = alone
    boss = await one.user("boss", ADMIN, ADMIN)
    for _ in range(ROUNDS):
        everything = await one.people.list_grants(OPERATOR, boss.id, None, 10_000)
        grants = [grant for grant in everything if grant.revoked_at is None]
        ended = await at_once(
            *(here.people.revoke_grant(OPERATOR, grant.id) for here, grant in zip((one, two), grants, strict=True))
        )

        assert [type(end) for end in ended if end is not None] == [ConflictError]
        await one.people.give_grant(OPERATOR, boss.id, "administrator", "*")


async def test_one_of_two_users_gets_a_name(servers: list[Peopled]) -> None:
    for number in range(ROUNDS):
        ended = await at_once(*(here.people.create_user(OPERATOR, f"Name-{number}", "N", FIRST) for here in servers))
        assert [type(end) for end in ended if not isinstance(end, tuple)] == [ConflictError]


async def test_of_two_new_passwords_one_counts(servers: list[Peopled]) -> None:
    one, two = servers
    for number in range(ROUNDS):
        name = f"passwords-{number}"
        await one.user(name)
        words = ["the first new one", "the second new one"]
        ended = await at_once(
            *(here.people.set_password(name, OWN, new) for here, new in zip((one, two), words, strict=True))
        )

        assert [type(end) for end in ended if end is not None] == [UnauthenticatedError]
        good, bad = (words[ended.index(None)], words[1 - ended.index(None)])
        assert (await two.enter(name, good)).session
        assert isinstance(await refusal(two.people.sign_in(name, bad)), UnauthenticatedError)


ENDS: dict[str, Callable[[Peopled, str], Awaitable[Any]]] = {
    "deactivated": lambda here, user: here.people.deactivate(OPERATOR, user),
    "reset": lambda here, user: here.people.reset_password(OPERATOR, user),
}


@pytest.mark.parametrize("end", ENDS)
async def test_whoever_signs_in_meanwhile_has_no_session_afterwards(servers: list[Peopled], end: str) -> None:
    one, two = servers
    for number in range(ROUNDS):
        user = await one.user(f"{end}-{number}")
        signed_in, ended = await at_once(one.people.sign_in(user.username, OWN), ENDS[end](two, user.id))

        assert ended is None or isinstance(ended, str)
        if isinstance(signed_in, tuple):
            assert isinstance(await refusal(one.people.session(signed_in[0])), UnauthenticatedError)
        else:
            assert isinstance(signed_in, UnauthenticatedError)
        assert one.database.query(
            "SELECT FROM countersign.sessions WHERE user_id = %s AND closed_at IS NULL", (user.id,)
        ) == []  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
async def test_what_was_right_when_the_password_was_verified_is_looked_at_again(
    servers: list[Peopled], end: str
) -> None:
    """The change commits while the hash is computed: between what was read before and what is written after."""
    one, two = servers
    user = await one.user(f"during-{end}")
    one.hasher.meanwhile(as_coroutine(ENDS[end](two, user.id)))
    assert isinstance(await refusal(one.people.sign_in(user.username, OWN)), UnauthenticatedError)

    other = await one.signed_in(f"signing-{end}")
    assert other.session is not None
    one.hasher.meanwhile(as_coroutine(ENDS[end](two, other.id)))
    refused = await refusal(one.people.verify_password(other.session, f"signing-{end}", OWN))
    assert (type(refused), refused.facts) == (UnauthenticatedError, {"cause": "session"})

    third = await one.user(f"setting-{end}")
    one.hasher.meanwhile(as_coroutine(ENDS[end](two, third.id)))
    assert isinstance(await refusal(one.people.set_password(third.username, OWN, NEW)), UnauthenticatedError)
    assert isinstance(await refusal(one.people.sign_in(third.username, NEW)), UnauthenticatedError)


async def as_coroutine(act: Awaitable[Any]) -> Any:
    return await act


async def test_signing_out_during_a_signing_wins(servers: list[Peopled]) -> None:
    one, two = servers
    caller = await one.signed_in("out")
    assert caller.session is not None
    one.hasher.meanwhile(two.people.sign_out(caller.session))
    assert (await refusal(one.people.verify_password(caller.session, "out", OWN))).facts == {"cause": "session"}


async def revoke_only_grant(here: Peopled, user: str) -> None:
    (grant,) = await here.people.list_grants(OPERATOR, user)
    await here.people.revoke_grant(OPERATOR, grant.id)


TAKEN: dict[str, Callable[[Peopled, str], Awaitable[Any]]] = {
    "deactivated": lambda here, user: here.people.deactivate(OPERATOR, user),
    "revoked": revoke_only_grant,
    "reset": lambda here, user: here.people.reset_password(OPERATOR, user),
}


@pytest.mark.parametrize("change", TAKEN)
async def test_a_change_waits_for_those_who_rely_on_what_was(servers: list[Peopled], change: str) -> None:
    one, two = servers
    caller = await one.signed_in(f"relied-{change}", GrantWanted("chief", "orders"))
    assert caller.credential is not None
    async with relying(one) as (_, directory):
        change_under_way = asyncio.ensure_future(TAKEN[change](two, caller.id))
        await blocked(one)
        standing = directory.latest(caller.id)
        assert standing is not None
        assert standing.holds("chief", "orders", one.clock())
        assert standing.may_sign_with(caller.credential)
        assert not change_under_way.done()
    await asyncio.wait_for(change_under_way, PATIENCE)

    async with relying(one) as (_, directory):
        now = directory.latest(caller.id)
        assert now is not None
        assert now.place != standing.place
        assert (now.holds("chief", "orders", one.clock()), now.may_sign_with(caller.credential)) == {
            "deactivated": (False, True), "revoked": (False, True), "reset": (True, False),
        }[change]  # fmt: skip
        assert directory.at(caller.id, standing.place) == standing


async def test_who_relies_waits_for_a_change_under_way_and_sees_it(servers: list[Peopled]) -> None:
    one, two = servers
    caller = await one.signed_in("overtaken", GrantWanted("chief", "orders"))
    seen: list[bool] = []

    async def rely() -> None:
        async with relying(two) as (_, directory):
            standing = directory.latest(caller.id)
            seen.append(standing is not None and standing.holds("chief", "orders", two.clock()))

    async with one.pool.connection() as conn, conn.transaction():
        await arun(conn, one.people.appender.lock_steps((SYSTEM_TRAIL,)))
        waiting = asyncio.ensure_future(rely())
        await blocked(one)
        change = asyncio.ensure_future(revoke_only_grant(one, caller.id))
    await asyncio.wait_for(asyncio.gather(waiting, change), PATIENCE)
    await rely()
    assert seen[1:] == [False]


async def test_those_who_rely_do_not_wait_for_each_other(servers: list[Peopled]) -> None:
    one, two = servers
    async with one.pool.connection() as conn, conn.transaction():
        await arun(conn, one.people.appender.lock_steps(("case-1",), (SYSTEM_TRAIL,)))
        async with two.pool.connection() as other, other.transaction():
            await asyncio.wait_for(arun(other, two.people.appender.lock_steps(("case-2",), (SYSTEM_TRAIL,))), PATIENCE)


async def test_an_api_key_revoked_while_it_is_used_is_of_no_use_afterwards(servers: list[Peopled]) -> None:
    one, two = servers
    for number in range(ROUNDS):
        token, key = await one.api_key(f"key-{number}", ["cases:read"])
        used, revoked = await at_once(one.people.api_key(token), two.people.revoke_api_key(OPERATOR, key.id))
        assert revoked is None
        assert isinstance(used, UnauthenticatedError) or used.id == key.id
        assert isinstance(await refusal(one.people.api_key(token)), UnauthenticatedError)


async def test_many_changes_at_once_make_one_chain(alone: list[Peopled]) -> None:
    acts = [
        alone[number % 2].people.create_user(OPERATOR, f"user-{number}", "User", FIRST, [GrantWanted("chief", "*")])
        for number in range(12)
    ]
    users = [user.id for user, _ in await at_once(*acts)]
    await at_once(*(here.people.give_grant(OPERATOR, user, "second", "*") for user in users for here in alone))

    assert alone[0].database.verify().verdict == "passed"
    for here in alone:
        async with here.pool.connection() as conn:
            directory = await here.people.directory.current(conn)
        standings = [directory.latest(user) for user in users]
        assert [len(one.grants) for one in standings if one is not None] == [3] * 12
