"""What people do to a case beside deciding: correct, redirect, stop, retry, move, remark; and what cannot be begun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.engine.jobs import queue_of
from countersign.service.errors import AbsentError, ConflictError, ForbiddenError, InvalidError
from countersign.service.order_workflow import new_order
from governed_workflows import PEOPLE, WORKFLOWS
from governing import ORDERS, Deployment, check_evidence, deployed, gate, orders, policy

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


async def test_a_correction_from_outside_reopens_a_review(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    shown = await place.desk.review(place.sessions["ada"], review)
    with pytest.raises(ForbiddenError, match="role"):
        await place.desk.correct(place.sessions["pat"], case, {"dose_mg": 7}, "mistyped")
    await place.desk.correct(place.sessions["bo"], case, {"dose_mg": 7}, "mistyped")
    with pytest.raises(ConflictError):
        await place.decide("ada", review, "approved", shown_digest=shown.shown_digest)
    await place.work(case)
    assert await place.open_review(case) == review
    with pytest.raises(ConflictError) as refused:
        await place.decide("ada", review, "approved", shown_digest=shown.shown_digest)
    assert refused.value.facts["changed"]["fields"] == ["dose_mg"]  # type: ignore[index,call-overload]
    await place.decide("ada", review, "approved")
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["order"] == "GIVE 7 mg warfarin to patient-1"


async def test_a_question_is_asked_anew_when_the_case_is_corrected(place: Deployment) -> None:
    case = await place.begun("asks", {"dose": 1.5})
    review = await place.open_review(case)
    await place.desk.correct(place.sessions["bo"], case, {"dose": 3.5}, "weighed")
    await place.work(case)
    shown = await place.desk.review(place.sessions["ada"], await place.open_review(case))
    assert shown.row.id == review
    assert shown.view["asked"] == {"which": "dose?", "now": {"$float": "3.5"}}
    await place.decide("ada", review, "given", values={"dose": 2})
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["given"] == "2 mg"


async def test_a_case_is_redirected(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    first = await place.open_review(case)
    with pytest.raises(InvalidError, match="cannot be redirected"):
        await place.desk.redirect(place.sessions["sue"], case, "issue", "hurry")
    await place.desk.redirect(place.sessions["sue"], case, "analyze", "look again")
    await place.work(case)
    second = await place.open_review(case)
    assert second != first
    await place.decide("ada", second, "approved")
    await place.work(case)
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "completed"


async def test_a_case_is_stopped(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    with pytest.raises(ForbiddenError):
        await place.desk.stop(place.sessions["ada"], case, "enough")
    await place.desk.stop(place.sessions["sue"], case, "enough")
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "stopped"
    with pytest.raises(ConflictError, match="closed"):
        await place.decide("ada", review, "approved")
    for act in (
        place.desk.correct(place.sessions["bo"], case, {"dose_mg": 1}, "x"),
        place.desk.redirect(place.sessions["sue"], case, "analyze", "x"),
        place.desk.retry(place.sessions["sue"], case, "x"),
        place.desk.stop(place.sessions["sue"], case, "x"),
    ):
        with pytest.raises(ConflictError, match="stopped"):
            await act


async def test_a_run_that_failed_is_tried_again_after_a_correction(place: Deployment) -> None:
    case = await place.begun("fails", {})
    await place.decide("ada", await place.open_review(case), "given", values={"dose": 9.5})
    await place.work(case)
    row = (await place.desk.get_case(place.sessions["pat"], case)).row
    assert (row.status, row.problem) == ("failed", "builtins.ValueError: too much")
    await place.desk.retry(place.sessions["sue"], case, "perhaps now")
    await place.work(case)
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "failed"


async def test_a_signature_is_taken_back_before_it_has_an_effect(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="two-stages")
    review = await place.open_review(case)
    await place.decide("ada", review, "approved")
    with pytest.raises(ConflictError, match="no signature of yours"):
        await place.desk.withdraw(place.sessions["bo"], review, "changed my mind")
    await place.desk.withdraw(place.sessions["ada"], review, "changed my mind")
    await place.decide("bo", review, "approved")
    await place.decide("ada", review, "approved")
    done = await place.decide("cleo", review, "approved")
    assert done.outcome == "approved"
    with pytest.raises(ConflictError, match="decided"):
        await place.desk.withdraw(place.sessions["ada"], review, "too late")


async def test_a_remark_is_signed_or_not(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    await place.desk.annotate(place.sessions["pat"], case, "The patient called.")
    seq = await place.signed_remark("ada", case, "I should not have.", refers=1)
    history = await place.desk.history(place.sessions["pat"], case)
    assert [(line["seq"], line["of"]) for line in history][-1] == (seq, seq)
    assert [line["what"] for line in history][-1] == "I should not have."
    assert all(line["what"] for line in history if str(line["kind"]).startswith(("case.", "review.opened")))
    with pytest.raises(InvalidError, match="no entry 99"):
        await place.desk.annotate(place.sessions["pat"], case, "What?", 99)


async def test_long_bytes_are_shown_by_their_digest(place: Deployment) -> None:
    case = await place.begun("asks", {"dose": 1})
    review = await place.open_review(case)
    shown = await place.desk.review(place.sessions["ada"], review)
    assert shown.view["attachments"] == []


async def test_who_may_not_read_a_case_is_told_that_there_is_none(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    nobody = place.sessions["nobody"]
    for reading in (
        place.desk.get_case(nobody, case),
        place.desk.state(nobody, case),
        place.desk.history(nobody, case),
        place.desk.review(nobody, review),
        place.desk.comment(nobody, review, "hello"),
        place.desk.annotate(nobody, case, "hello"),
    ):
        with pytest.raises(AbsentError):
            await reading
    assert await place.desk.list_cases(nobody) == []
    assert case in {row.id for row in await place.desk.list_cases(place.sessions["audrey"])}
    with pytest.raises(ForbiddenError):
        await place.desk.start(nobody, ORDERS, {})


async def test_a_case_waits_for_its_version_until_somebody_moves_it(place: Deployment) -> None:
    old = await place.register(policy("moved", [gate()]), orders(), "old")
    case = await place.desk.start(place.sessions["pat"], "moved", dict(new_order("patient-1", "warfarin")))
    graph = place.graphs.pop(old)
    new = await place.register(policy("moved", [gate(question="And now?")]), orders(), "new")
    await place.work(case)
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "running"
    with pytest.raises(ForbiddenError):
        await place.desk.move(place.sessions["pat"], case, new.version, "it is fixed")
    with pytest.raises(AbsentError):
        await place.desk.move(place.sessions["sue"], case, "f" * 32, "it is fixed")
    await place.desk.move(place.sessions["sue"], case, new.version, "it is fixed")
    queues = place.database.query("SELECT queue_name FROM procrastinate_jobs WHERE lock = %s", (case,))
    assert queues == [(queue_of(new.name, new.version),)]
    await place.work(case)
    review = await place.open_review(case)
    assert (await place.desk.review(place.sessions["ada"], review)).view["question"] == "And now?"
    await place.decide("ada", review, "approved")
    await place.work(case)
    page = await place.desk.get_case(place.sessions["pat"], case)
    assert (page.row.status, page.row.version) == ("completed", new.version)
    with pytest.raises(ConflictError):
        await place.desk.move(place.sessions["sue"], case, old.version, "back")
    assert graph.version == old.version


async def test_a_case_that_is_moved_while_people_are_asked_is_asked_under_its_new_policy(place: Deployment) -> None:
    old = await place.register(policy("asked-again", [gate()]), orders(), "old")
    case = await place.started(place.sessions["pat"], workflow="asked-again")
    first = await place.open_review(case)
    new = await place.register(policy("asked-again", [gate(question="And now?")]), orders(), "new")
    await place.desk.move(place.sessions["sue"], case, new.version, "it is fixed")
    review = await place.open_review(case)
    assert review != first
    shown = await place.desk.review(place.sessions["ada"], review)
    assert (shown.view["question"], shown.row.status) == ("And now?", "open")
    await place.decide("ada", review, "approved")
    await place.work(case)
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "completed"
    assert old != new


async def test_two_questions_at_once_are_decided_side_by_side(place: Deployment) -> None:
    case = await place.begun("side-by-side", {})
    reviews = {row.id: row for row in (await place.desk.get_case(place.sessions["pat"], case)).reviews}
    assert len(reviews) == 2
    asked = {review: (await place.desk.review(place.sessions["ada"], review)).view["asked"] for review in reviews}
    assert sorted(map(str, asked.values())) == ["left?", "right?"]
    for review, question in sorted(asked.items(), key=lambda pair: str(pair[1])):
        await place.decide("ada", review, "answered", values={"answer": f"{question}!"})
        await place.work(case)
    fields = (await place.desk.state(place.sessions["pat"], case)).fields
    assert (fields["left"], fields["right"]) == ("left?!", "right?!")
    page = await place.desk.get_case(place.sessions["pat"], case)
    assert (page.row.status, page.reviews) == ("completed", ())


async def test_a_pause_in_a_subgraph_is_the_fallback_roles(place: Deployment) -> None:
    case = await place.begun("nested", {"dose": 2.5})
    review = await place.open_review(case)
    shown = await place.desk.review(place.sessions["sue"], review)
    assert (shown.row.gate, shown.row.role) == (None, "supervisor")
    assert shown.view["checkpoint"]["ns"].startswith("inner:")  # type: ignore[index,call-overload,union-attr]
    await place.decide("sue", review, "proceed")
    await place.work(case)
    assert (await place.desk.state(place.sessions["pat"], case)).fields["given"] == "2.5 mg"


async def test_rows_that_say_otherwise_than_the_trail_are_mended(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    place.database.as_admin("UPDATE countersign.reviews SET status = 'closed', role = 'x' WHERE id = %s", (review,))
    place.database.as_admin("UPDATE countersign.cases SET status = 'running' WHERE id = %s", (case,))
    assert await place.desk.sweep() >= 1
    assert await place.open_review(case) == review
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "waiting"
    assert not await place.desk.settle(case)


async def test_what_is_no_input_is_refused(place: Deployment) -> None:
    pat = place.sessions["pat"]
    deep: Any = []
    for _ in range(70):
        deep = [deep]
    refused: list[Any] = [None, [], "text", 7, {"a": {1: 2}}, {"x": "half \ud800"}, {"x": deep}, {"x": "a" * 1_100_000}]
    for bad in refused:
        with pytest.raises(InvalidError):
            await place.desk.start(pat, ORDERS, bad)
    for number in ("", "a\x00b", "x" * 201, 7):
        with pytest.raises(InvalidError):
            await place.desk.start(pat, ORDERS, {}, number)
    with pytest.raises(InvalidError):
        await place.desk.start(pat, ORDERS, {}, None, ["config"])
    with pytest.raises(AbsentError):
        await place.desk.start(pat, "unknown", {})
