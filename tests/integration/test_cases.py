"""What the desk does with cases and reviews, on a real database, with a worker that carries mandates out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.errors import ConflictError, ForbiddenError, InvalidError
from governed_workflows import PEOPLE, WORKFLOWS
from governing import Deployment, check_evidence, deployed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        for document, graph in WORKFLOWS:
            await place.register(document, graph)
        for name, *roles in PEOPLE:
            await place.person(name, *roles, workflow="*")
        yield place
    check_evidence(shared_database)


async def test_an_order_is_approved(place: Deployment) -> None:
    pat, ada = place.sessions["pat"], place.sessions["ada"]
    case = await place.started(pat)
    page = await place.desk.get_case(pat, case)
    assert page.row.status == "waiting"
    assert [review.role for review in page.reviews] == ["pharmacist"]
    review = page.reviews[0].id
    shown = await place.desk.review(ada, review)
    assert shown.state["dose_mg"] == 5
    assert shown.view["decisions"] == []
    done = await place.decide("ada", review, "approved")
    assert (done.outcome, done.decision) == ("approved", "approved")
    await place.work(case)
    state = await place.desk.state(pat, case)
    assert state.fields["order"] == "GIVE 5 mg warfarin to patient-1"
    assert (await place.desk.get_case(pat, case)).row.status == "completed"
    assert place.kinds(case) == ["case.opened", "review.opened", "review.viewed", "review.signed", "review.decided"]


async def test_an_order_is_rejected(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    with pytest.raises(InvalidError, match="needs a reason"):
        await place.decide("ada", review, "rejected")
    await place.decide("ada", review, "rejected", "Wrong patient.\nAsk again.")
    await place.work(case)
    state = await place.desk.state(place.sessions["pat"], case)
    assert state.fields["order"] == "DO NOT GIVE warfarin to patient-1: Wrong patient.\nAsk again."
    assert place.refusals(case) == ["reason"]


async def test_an_order_is_revised_until_it_is_right(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    first = await place.open_review(case)
    await place.decide("ada", first, "needs_revision", "reduce by 20 %")
    await place.work(case)
    second = await place.open_review(case)
    assert second != first
    shown = await place.desk.review(place.sessions["bo"], second)
    changes = {change["field"]: (change.get("old"), change.get("new")) for change in shown.changes}
    assert changes["dose_mg"] == (5, 4)
    assert [one["decision"] for one in shown.decisions] == ["needs_revision"]
    await place.decide("bo", second, "approved")
    await place.work(case)
    state = await place.desk.state(place.sessions["pat"], case)
    assert state.fields["order"] == "GIVE 4 mg warfarin to patient-1"


async def test_two_of_one_role_and_then_one_of_another(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="two-stages")
    review = await place.open_review(case)
    with pytest.raises(ForbiddenError, match="stage 1 is due"):
        await place.decide("cleo", review, "approved")
    assert (await place.decide("ada", review, "approved", "fine")).outcome is None
    with pytest.raises(ConflictError, match="signed in this round"):
        await place.decide("ada", review, "approved")
    with pytest.raises(InvalidError, match="did not decide"):
        await place.decide("bo", review, "watched")
    assert (await place.decide("bo", review, "approved", "and I agree")).outcome is None
    with pytest.raises(ForbiddenError, match="stage 2 is due"):
        await place.decide("eve", review, "approved")
    assert (await place.decide("cleo", review, "approved")).outcome == "approved"
    await place.work(case)
    state = await place.desk.state(place.sessions["pat"], case)
    assert state.fields["notes"] == "fine\nand I agree"
    assert place.refusals(case) == ["stage", "signed-already", "decision", "stage"]


async def test_two_gates_at_one_pause_are_taken_one_after_the_other(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="two-gates")
    first = await place.open_review(case)
    assert (await place.decide("ada", first, "approved")).outcome == "approved"
    await place.work(case)
    assert (
        "order" not in (await place.desk.state(place.sessions["pat"], case)).fields
        or not (await place.desk.state(place.sessions["pat"], case)).fields["order"]
    )
    second = await place.open_review(case)
    assert (await place.desk.review(place.sessions["cleo"], second)).row.gate == "second"
    await place.decide("cleo", second, "approved")
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["order"] == "GIVE 5 mg warfarin to patient-1"


async def test_a_question_is_answered_with_signed_values(place: Deployment) -> None:
    case = await place.begun("asks", {"scan": None, "dose": 2.5})
    review = await place.open_review(case)
    shown = await place.desk.review(place.sessions["ada"], review)
    assert shown.view["asked"] == {"which": "dose?", "now": {"$float": "2.5"}}
    with pytest.raises(InvalidError, match="10"):
        await place.decide("ada", review, "given", values={"dose": 11.5})
    with pytest.raises(InvalidError, match="takes no values"):
        await place.decide("ada", review, "none", "because", values={"dose": 1})
    await place.decide("ada", review, "given", values={"dose": 7.5})
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["given"] == "7.5 mg"
    assert place.refusals(case) == ["values", "values"]


async def test_a_decision_that_is_written_down_in_the_policy_answers_a_question(place: Deployment) -> None:
    case = await place.begun("asks", {})
    await place.decide("ada", await place.open_review(case), "none", "not today")
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["given"] == "0.5 mg"


async def test_a_pause_without_a_gate_is_the_fallback_roles(place: Deployment) -> None:
    case = await place.begun("unnamed", {})
    review = await place.open_review(case)
    with pytest.raises(ForbiddenError, match="not asked for"):
        await place.decide("ada", review, "proceed", values={"resume": 3})
    await place.decide("sue", review, "proceed", values={"resume": 3})
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["given"] == "3 mg"


async def test_the_fallback_role_stops(place: Deployment) -> None:
    case = await place.begun("unnamed", {})
    review = await place.open_review(case)
    await place.decide("sue", review, "stop", "nobody knows what this is")
    page = await place.desk.get_case(place.sessions["pat"], case)
    assert (page.row.status, page.reviews) == ("stopped", ())
    assert place.kinds(case)[-3:] == ["review.signed", "case.stopped", "review.closed"]
    with pytest.raises(ConflictError, match="closed"):
        await place.decide("sue", review, "proceed", values={"resume": 1})


async def test_an_edit_voids_what_was_signed(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="two-stages")
    review = await place.open_review(case)
    await place.decide("ada", review, "approved")
    stale = (await place.desk.review(place.sessions["bo"], review)).shown_digest
    await place.decide("eve", review, "edit", "weighs more", edits={"dose_mg": 6})
    with pytest.raises(ConflictError, match="moved on") as refused:
        await place.decide("bo", review, "approved", shown_digest=stale)
    assert refused.value.facts["changed"]["decisions"][0]["decision"] == "edit"  # type: ignore[index,call-overload]
    await place.work(case)
    shown = await place.desk.review(place.sessions["bo"], review)
    assert (shown.row.round, shown.row.role) == (2, "pharmacist")
    assert [change["field"] for change in shown.changes] == ["dose_mg"]
    assert [one["counts"] for one in shown.decisions] == [False, True]
    with pytest.raises(ForbiddenError, match="edited"):
        await place.decide("eve", review, "approved")
    for name in ("ada", "bo"):
        await place.decide(name, review, "approved")
    await place.decide("cleo", review, "approved")
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["order"] == "GIVE 6 mg warfarin to patient-1"
