"""Finding things: what is mine to sign among very many, cases page by page, entries by person, time and kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.cases import lists
from countersign.service.cases.desk import EntryFilter
from countersign.service.cases.lists import EntryFilter as Filter
from countersign.service.errors import ConflictError, ForbiddenError, InvalidError
from governing import ORDERS, Deployment, check_evidence, deployed, gate, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILL = """
INSERT INTO countersign.cases SELECT 'filled-' || n, 'filled', 'v', 'number-' || n, 'waiting', 'somebody',
    timestamptz '2025-01-01Z' + n * interval '1 second', now(), 1, NULL FROM generate_series(1, %s) n
"""
FILL_REVIEWS = """
INSERT INTO countersign.reviews
SELECT 'r-filled-' || n, 'filled-' || n, 'filled', 'gate', 'open', 1, 'role-' || n %% 20, NULL,
    CASE WHEN n %% 40 = 3 THEN ARRAY['me'] ELSE '{}' END, timestamptz '2025-01-01Z' + n * interval '1 second', now(),
    NULL, NULL, timestamptz '2030-01-01Z', NULL, NULL FROM generate_series(1, %s) n
"""
MANY = 20_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        await place.register(policy(), orders())
        await place.register(policy("two", [gate(stages=[{"role": "pharmacist", "count": 2}])]), orders())
        for name, *roles in (
            ("pat", "prescriber"),
            ("ada", "pharmacist"),
            ("bo", "pharmacist"),
            ("both", "prescriber", "pharmacist"),
            ("audrey", "auditor"),
        ):
            await place.person(name, *roles, workflow="*")
        await place.person("ward", "pharmacist", workflow="two")
        yield place
    check_evidence(shared_database)


def _plan(database: Database, sql: str, params: Any) -> str:
    return "\n".join(row[0] for row in database.query("EXPLAIN (COSTS OFF) " + sql, params))


async def test_mine_is_what_i_may_sign_now(place: Deployment) -> None:
    mine = await place.started(place.sessions["pat"])
    own = await place.started(place.sessions["both"])
    twice = await place.started(place.sessions["pat"], workflow="two")
    reviews = {case: await place.open_review(case) for case in (mine, own, twice)}

    async def inbox(name: str) -> set[str]:
        rows = await place.desk.list_reviews(place.sessions[name], mine=True)
        return {case for case, review in reviews.items() if review in {row.id for row in rows}}

    assert await inbox("ada") == {mine, own, twice}
    assert await inbox("both") == {mine, twice}
    assert await inbox("pat") == set()
    assert await inbox("ward") == {twice}
    await place.decide("ada", reviews[twice], "approved")
    assert await inbox("ada") == {mine, own}
    assert await inbox("bo") == {mine, own, twice}
    await place.decide("bo", reviews[mine], "approved")
    assert await inbox("ada") == {own}
    rows = await place.desk.list_reviews(place.sessions["pat"], status="decided")
    assert reviews[mine] in {row.id for row in rows}
    with pytest.raises(InvalidError):
        await place.desk.list_reviews(place.sessions["ada"], mine=True, status="decided")


async def test_the_inbox_walks_along_indexes_however_many_reviews_are_open(place: Deployment) -> None:
    for statement, params in ((FILL, (MANY,)), (FILL_REVIEWS, (MANY,)), ("ANALYZE countersign.reviews", None)):
        place.database.as_admin(statement, params)
    async with place.pool.connection() as conn:
        roles = [("filled", f"role-{number}") for number in (3, 4, 5)]
        seen: list[str] = []
        after = None
        while page := await lists.my_reviews(conn, "me", roles, after=after, most=500):
            assert [(row.opened_at, row.id) for row in page] == sorted((row.opened_at, row.id) for row in page)
            seen += [row.id for row in page]
            after = (page[-1].opened_at, page[-1].id)
    expected = [n for n in range(1, MANY + 1) if n % 20 in (3, 4, 5) and n % 40 != 3]
    assert seen == [f"r-filled-{n}" for n in expected]
    query = {"workflows": ["filled"], "roles": ["role-3"], "me": "me", "at": "-infinity", "id": "", "most": 50}
    plan = _plan(place.database, lists.mine_statement(), query)
    assert "reviews_open" in plan
    assert "Seq Scan" not in plan
    due = _plan(
        place.database,
        "SELECT case_id FROM countersign.reviews WHERE status = 'open' AND least(remind_at, escalate_at, expire_at) <= "
        "now() ORDER BY least(remind_at, escalate_at, expire_at) LIMIT 200",
        None,
    )
    assert "reviews_due" in due


async def test_cases_come_page_by_page_the_newest_first(place: Deployment) -> None:
    cases = [await place.desk.start(place.sessions["pat"], ORDERS, {}, f"bed 7 / {number}") for number in range(5)]
    seen: list[str] = []
    after = None
    while page := await place.desk.list_cases(
        place.sessions["pat"], after=after, most=2, workflow=ORDERS, started_by=place.sessions["pat"].id
    ):
        seen += [row.id for row in page]
        after = (page[-1].started_at, page[-1].id)
    assert len(seen) == len(set(seen))
    assert set(cases) <= set(seen)
    (found,) = await place.desk.list_cases(place.sessions["pat"], case_number="bed 7 / 3")
    assert found.id == cases[3]
    assert await place.desk.list_cases(place.sessions["ward"], workflow=ORDERS) == []
    with pytest.raises(InvalidError):
        await place.desk.list_cases(place.sessions["pat"], status="asleep")


async def test_entries_are_found_by_person_kind_time_and_workflow(place: Deployment) -> None:
    place.watch.forward(1)
    case = await place.started(place.sessions["pat"])
    await place.decide("ada", await place.open_review(case), "approved")
    audrey, ada = place.sessions["audrey"], place.sessions["ada"]
    found = await place.desk.entries(audrey, Filter(person=ada.id, trail=case))
    assert [row.kind for row in found] == ["review.decided", "review.signed", "review.viewed"]
    assert {row.actor["id"] for row in found} == {ada.id}
    signed = await place.desk.entries(audrey, EntryFilter(kind="review.signed", workflow=ORDERS), most=1)
    assert [row.trail for row in signed] == [case]
    later = place.watch() + timedelta(days=1)
    assert await place.desk.entries(audrey, EntryFilter(since=later)) == []
    assert await place.desk.entries(audrey, EntryFilter(until=datetime(2020, 1, 1, tzinfo=UTC))) == []
    everything: list[tuple[str, int]] = []
    after = None
    while page := await place.desk.entries(audrey, EntryFilter(), after=after, most=100):
        everything += [(row.trail, row.seq) for row in page]
        after = (page[-1].occurred_at, page[-1].trail, page[-1].seq)
    assert len(everything) == len(set(everything))
    assert len(everything) == place.database.query("SELECT count(*) FROM audit.entries")[0][0]
    with pytest.raises(ForbiddenError):
        await place.desk.entries(ada, EntryFilter())
    assert await place.desk.entries(ada, EntryFilter(trail=case, kind="case.opened"))
    plan = _plan(
        place.database,
        lists._ENTRIES + " WHERE " + lists._OF_PERSONS + lists._ACTOR + " = %s ORDER BY e.occurred_at DESC LIMIT 50",
        (ada.id,),
    )
    assert "entries_by_person" in plan


async def test_an_entry_that_was_forged_is_not_listed_beside_others(place: Deployment) -> None:
    audrey = place.sessions["audrey"]
    mark = "forged-trail"
    place.database.as_admin(
        "INSERT INTO audit.entries SELECT %s, seq, kind, occurred_at, body, keyid, signature FROM audit.entries "
        "WHERE kind = 'case.opened' LIMIT 1",
        (mark,),
    )
    try:
        with pytest.raises(ConflictError, match="signed as"):
            await place.desk.entries(audrey, EntryFilter(trail=mark))
    finally:
        place.database.as_admin("DELETE FROM audit.entries WHERE trail = %s", (mark,))
