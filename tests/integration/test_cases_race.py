"""Several at once: of any number of decisions on one review one counts, and the entries say which came first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.cases.desk import Desk
from countersign.service.errors import ConflictError, RequestError
from countersign.service.order_workflow import new_order
from governing import OPERATOR, PASSWORD, Deployment, check_evidence, credential, deployed, gate, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

MANY = [f"racer-{number}" for number in range(8)]
DECISIONS = ("approved", "rejected", "needs_revision")
QUICK = gate(times={"remind": None, "escalate": None, "expire": 600}, escalate_to=None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        await place.register(policy(), orders())
        await place.register(policy("quick", [QUICK]), orders())
        await place.person("pat", "prescriber", workflow="*")
        await place.person("boss", "pharmacist", workflow="*")
        for name in MANY:
            await place.person(name, "pharmacist", workflow="*")
        yield place
    check_evidence(shared_database)


async def _all(*work: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


def _desks(place: Deployment) -> list[Desk]:
    """Return the desks of two processes: what one of them remembers the other does not."""
    return [place.desk, Desk(place.pool, place.people, place.saver, clock=place.watch)]


async def _views(place: Deployment, review: str, names: list[str]) -> dict[str, dict[str, Any]]:
    asked = {}
    for number, name in enumerate(names):
        page = await place.desk.review(place.sessions[name], review)
        decision = DECISIONS[number % len(DECISIONS)]
        asked[name] = {"decision": decision, "reason": f"says {name}", "shown_digest": page.shown_digest}
    return asked


@pytest.mark.parametrize("number", [2, 3, 5, 8])
async def test_one_of_many_decisions_counts_and_the_others_are_told_whose(place: Deployment, number: int) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    names = MANY[:number]
    asked = await _views(place, review, names)
    desks = _desks(place)
    done = await _all(
        *(
            desks[place_in % 2].decide(place.sessions[name], review, asked[name], credential(name))
            for place_in, name in enumerate(names)
        )
    )
    won = [(name, result) for name, result in zip(names, done, strict=True) if not isinstance(result, BaseException)]
    assert len(won) == 1, done
    (name, result) = won[0]
    for other in done:
        if other is result:
            continue
        assert isinstance(other, ConflictError), other
        assert other.facts["winner"] == {
            "actor": place.sessions[name].id,
            "decision": asked[name]["decision"],
            "seq": result.decided,
        }
    await asyncio.gather(place.work(case))
    kinds = place.kinds(case)
    assert kinds.count("review.signed") == 1
    assert kinds.count("review.decided") == 1
    assert place.refusals(case) == ["closed"] * (number - 1)


async def test_a_statement_is_completed_once_however_often_it_is_tried(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    asked = (await _views(place, review, MANY[:1]))[MANY[0]]
    me = place.sessions[MANY[0]]
    signing = await place.desk.begin_signing(me, review, asked)
    done = await _all(
        *(desk.complete_signing(me, review, signing.id, credential(MANY[0])) for desk in _desks(place) * 2)
    )
    assert len([one for one in done if not isinstance(one, BaseException)]) == 1
    assert place.kinds(case).count("review.signed") == 1


async def test_a_decision_against_the_end_of_its_time(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="quick")
    review = await place.open_review(case)
    asked = (await _views(place, review, MANY[:1]))[MANY[0]]
    place.watch.forward(600)
    done = await _all(
        place.desk.decide(place.sessions[MANY[0]], review, asked, credential(MANY[0])),
        *(desk.keep_time() for desk in _desks(place) * 2),
    )
    assert isinstance(done[0], ConflictError), done
    assert done[0].facts["cause"] == "expired"
    kinds = place.kinds(case)
    assert (kinds.count("review.expired"), kinds.count("review.decided"), kinds.count("review.signed")) == (1, 1, 0)


async def test_a_decision_against_an_edit(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    asked = (await _views(place, review, MANY[:1]))[MANY[0]]
    one, other = await _all(
        place.desk.decide(place.sessions[MANY[0]], review, asked, credential(MANY[0])),
        place.desk.correct(place.sessions["boss"], case, {"dose_mg": 8}, "mistyped"),
    )
    assert [isinstance(one, ConflictError), isinstance(other, ConflictError)].count(True) == 1, (one, other)
    await place.work(case)
    state = (await place.desk.state(place.sessions["pat"], case)).fields
    given = {"order": "GIVE 5 mg warfarin to patient-1"}
    assert (state["dose_mg"] == 8) is isinstance(one, ConflictError)
    assert isinstance(other, ConflictError) is (state["order"] == given["order"])


@pytest.mark.parametrize("how", ["deactivated", "revoked", "signed out"])
async def test_a_decision_against_the_end_of_a_right(place: Deployment, how: str) -> None:
    name = f"leaver-{how.replace(' ', '-')}"
    leaver = await place.person(name, "pharmacist", workflow="*")
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    asked = (await _views(place, review, [name]))[name]
    if how == "deactivated":
        end: Awaitable[None] = place.people.deactivate(OPERATOR, leaver.id)
    elif how == "revoked":
        grants = await place.people.list_grants(OPERATOR, leaver.id)
        end = place.people.revoke_grant(OPERATOR, grants[0].id)
    else:
        end = place.people.sign_out(str(leaver.session))
    done, _ = await _all(place.desk.decide(leaver, review, asked, credential(name, PASSWORD)), end)
    if isinstance(done, BaseException):
        assert isinstance(done, RequestError), done
        assert place.kinds(case).count("review.signed") == 0
    else:
        assert done.outcome == "approved"
    again = await place.started(place.sessions["pat"])
    with pytest.raises(RequestError):
        await place.desk.decide(leaver, await place.open_review(again), asked, credential(name))


async def test_settling_at_once_opens_one_review(place: Deployment) -> None:
    case = await place.desk.start(place.sessions["pat"], "medication-order", dict(new_order("p", "heparin")))
    await place.engine.deliver(case)
    await asyncio.gather(*(desk.settle(case) for desk in _desks(place) * 4))
    assert place.kinds(case).count("review.opened") == 1


async def test_one_first_look_of_each_signer_is_an_entry(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    desks = _desks(place)
    pages = await asyncio.gather(
        *(desks[number % 2].review(place.sessions[MANY[number % 4]], review) for number in range(12))
    )
    assert len({page.shown_digest for page in pages}) == 1
    assert place.kinds(case).count("review.viewed") == 4
    await asyncio.gather(*(desk.review(place.sessions["pat"], review) for desk in desks))
    assert place.kinds(case).count("review.viewed") == 4
