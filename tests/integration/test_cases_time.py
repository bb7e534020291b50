"""What time does: reminders, escalations and ends, each once, whoever looks and however often."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.cases.desk import Desk
from countersign.service.errors import ConflictError, ForbiddenError
from governing import Deployment, check_evidence, deployed, gate, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

REMIND, ESCALATE, EXPIRE = 100, 200, 300
TIMES = {"remind": REMIND, "escalate": ESCALATE, "expire": EXPIRE}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        await place.register(policy("rejects", [gate(times=TIMES)]), orders())
        await place.register(policy("stops", [gate(times=TIMES, on_expiry="stop")]), orders())
        await place.person("pat", "prescriber", workflow="*")
        await place.person("ada", "pharmacist", workflow="*")
        await place.person("cleo", "chief", workflow="*")
        yield place
    check_evidence(shared_database)


async def _everybody_looks(place: Deployment) -> int:
    """Let several processes, one that has just started among them, do what is due, at once and again."""
    desks = [place.desk, *(Desk(place.pool, place.people, place.saver, clock=place.watch) for _ in range(3))]
    done = await asyncio.gather(*(desk.keep_time() for desk in desks))
    again = await asyncio.gather(*(desk.keep_time() for desk in desks))
    assert sum(again) == 0
    return sum(done)


async def test_a_review_is_reminded_of_escalated_and_expires_once_each(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="rejects")
    review = await place.open_review(case)
    opened = place.watch()
    assert await _everybody_looks(place) == 0
    assert (await place.desk.next_due() or opened) > opened
    expected = ["case.opened", "review.opened"]
    for seconds, kinds in ((REMIND, ["review.reminded"]), (ESCALATE - REMIND, ["review.escalated"])):
        place.watch.forward(seconds)
        await _everybody_looks(place)
        expected += kinds
        assert place.kinds(case) == expected
    place.watch.forward(EXPIRE - ESCALATE)
    await _everybody_looks(place)
    assert place.kinds(case) == [*expected, "review.expired", "review.decided"]
    with pytest.raises(ConflictError) as refused:
        await place.decide("ada", review, "approved")
    assert refused.value.facts["cause"] == "expired"
    await place.work(case)
    fields = (await place.desk.state(place.sessions["pat"], case)).fields
    assert fields["order"] == "DO NOT GIVE warfarin to patient-1: no reason given"
    assert await place.desk.next_due() is None


async def test_what_was_missed_is_made_up_for(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="rejects")
    await place.later(10 * EXPIRE)
    await _everybody_looks(place)
    kinds = place.kinds(case)
    assert kinds[2:] == ["review.reminded", "review.escalated", "review.expired", "review.decided"]


async def test_after_escalation_another_role_decides_as_well(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="rejects")
    review = await place.open_review(case)
    with pytest.raises(ForbiddenError):
        await place.decide("cleo", review, "approved")
    assert not [row for row in await place.desk.list_reviews(place.sessions["cleo"], mine=True) if row.id == review]
    await place.later(ESCALATE)
    await place.desk.keep_time()
    assert [row.other_role for row in await place.desk.list_reviews(place.sessions["cleo"], mine=True)] == ["chief"]
    assert (await place.decide("cleo", review, "approved")).outcome == "approved"


async def test_a_case_is_stopped_when_the_policy_says_so(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="stops")
    await place.later(EXPIRE)
    await _everybody_looks(place)
    assert place.kinds(case)[-3:] == ["review.expired", "case.stopped", "review.closed"]
    page = await place.desk.get_case(place.sessions["pat"], case)
    assert (page.row.status, page.reviews) == ("stopped", ())


async def test_nobody_decides_when_the_time_is_over_though_nobody_said_so_yet(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="rejects")
    review = await place.open_review(case)
    await place.later(EXPIRE)
    with pytest.raises(ConflictError, match="over"):
        await place.decide("ada", review, "approved")
    await _everybody_looks(place)
    assert place.refusals(case) == ["expired"]


async def test_a_decision_in_time_is_not_undone_by_the_end_of_it(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="rejects")
    await place.decide("ada", await place.open_review(case), "approved")
    await place.later(EXPIRE)
    assert await _everybody_looks(place) == 0
    await place.work(case)
    fields = (await place.desk.state(place.sessions["pat"], case)).fields
    assert fields["order"] == "GIVE 5 mg warfarin to patient-1"
