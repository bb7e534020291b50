"""Who may call which route: every route there is, by every role, and with every scope."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.identity.names import SCOPES
from rights import EVERYBODY, TABLE, Things, answer, call, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def things(shared_database: Database) -> AsyncIterator[Things]:
    async with opened(shared_database) as things:
        yield things


async def test_the_table_has_a_row_for_every_route_there_is(things: Things) -> None:
    document = (await things.api.get("/schema/openapi.json")).json()
    routes = {(method, path) for path, item in document["paths"].items() for method in item}
    assert routes == set(TABLE)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route[0]} {route[1]}")
async def test_a_route_lets_through_whom_the_table_names_and_nobody_else(
    things: Things, route: tuple[str, str]
) -> None:
    row = TABLE[route]
    if row.changes_case:
        await things.new_case()
    anonymous = await call(things, route, "stranger", {})
    assert (anonymous == 401) is not row.public, anonymous
    found = {}
    for name in (*sorted(EVERYBODY - row.may), *sorted(row.may)):
        found[name] = await call(things, route, name, await things.enter(name))
    assert {name for name, status in found.items() if status not in (401, 403, 404)} == row.may, found
    assert max(found.values()) < 500


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route[0]} {route[1]}")
async def test_an_api_key_does_what_its_scope_says_and_what_needs_a_person_never(
    things: Things, route: tuple[str, str]
) -> None:
    row = TABLE[route]
    if row.public:
        return
    if row.changes_case:
        await things.new_case()
    others = [scope for scope in SCOPES if scope != row.scope]
    refused = await answer(things, route, "", await things.with_key(*others))
    assert (refused.status_code, refused.json()["facts"]["cause"]) == (403, "scope" if row.scope else "api-key")
    if row.scope:
        status = await call(things, route, "", await things.with_key(row.scope))
        assert status not in (401, 403) or (row.scope, status) == ("entries:read", 403)
        assert status < 500
