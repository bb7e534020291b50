"""Signing: statements in two steps, every attempt that is refused, and who may attest."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from conftest import Database
from countersign.service.errors import (
    AbsentError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    RequestError,
    UnauthenticatedError,
)
from countersign.service.identity.caller import Caller
from governing import OPERATOR, ORDERS, PASSWORD, Deployment, check_evidence, credential, deployed, gate, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

TWO = gate(stages=[{"role": "pharmacist", "count": 2}])
TRUSTING = gate(accept="attested", stages=[{"role": "pharmacist", "count": 2}], separation=[])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        for document in (policy(), policy("two", [TWO]), policy("trusting", [TRUSTING])):
            await place.register(document, orders())
        for name, *roles in (
            ("pat", "prescriber"),
            ("ada", "pharmacist"),
            ("bo", "pharmacist"),
            ("sue", "supervisor"),
            ("cleo", "chief"),
            ("both", "prescriber", "pharmacist"),
            ("gone", "pharmacist"),
        ):
            await place.person(name, *roles, workflow="*")
        yield place
    check_evidence(shared_database)


async def _asked(place: Deployment, name: str, review: str, **more: Any) -> dict[str, Any]:
    page = await place.desk.review(place.sessions[name], review)
    return {"decision": "approved", "reason": "", "shown_digest": page.shown_digest, **more}


STALE = "0" * 64
# Who, what they send besides, and of what they are told: whether they may at all, then the page, then what they say.
ORDER_OF_REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("pat", {"shown_digest": STALE, "decision": "maybe"}, "role"),
    ("sue", {"shown_digest": STALE}, "role"),
    ("both", {"shown_digest": STALE, "decision": "rejected"}, "starter"),
    ("ada", {"shown_digest": STALE, "decision": "maybe"}, "decision"),
    ("ada", {"shown_digest": STALE, "decision": "rejected"}, "digest"),
    ("ada", {"decision": "edit", "edits": {"dose_mg": 0}}, "values"),
    ("ada", {"decision": "rejected"}, "reason"),
]


@pytest.mark.parametrize(("name", "more", "cause"), ORDER_OF_REFUSALS)
async def test_who_may_not_decide_is_told_that_before_anything_else(
    place: Deployment, name: str, more: dict[str, Any], cause: str
) -> None:
    case = await place.started(place.sessions["both" if cause == "starter" else "pat"])
    review = await place.open_review(case)
    asked = await _asked(place, name, review, **more)
    with pytest.raises(RequestError) as refused:
        await place.desk.begin_signing(place.sessions[name], review, asked)
    assert refused.value.facts["cause"] == cause
    assert place.refusals(case) == [cause]
    if cause == "decision":
        assert refused.value.facts["known"] == ["approved", "rejected", "needs_revision", "edit"]


async def test_over_is_over_for_everybody_whatever_they_send(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    asked = await _asked(place, "pat", review, shown_digest=STALE)
    await place.decide("ada", review, "approved")
    with pytest.raises(ConflictError) as refused:
        await place.desk.begin_signing(place.sessions["pat"], review, asked)
    assert refused.value.facts["cause"] == "closed"


@pytest.mark.parametrize("column", ["statement", "content"])
async def test_a_statement_that_was_changed_in_the_table_is_not_signed(place: Deployment, column: str) -> None:
    case = await place.started(place.sessions["pat"])
    review, ada = await place.open_review(case), place.sessions["ada"]
    other = await place.desk.begin_signing(ada, review, await _asked(place, "ada", review, reason="as it should be"))
    asked = await _asked(place, "ada", review, decision="rejected", reason="far too much")
    signing = await place.desk.begin_signing(ada, review, asked)
    changed = f"UPDATE countersign.signings g SET {column} = o.{column} FROM countersign.signings o "
    changed += "WHERE g.id = %s AND o.id = %s"
    assert place.database.as_admin(changed, (signing.id, other.id)) == 1

    with pytest.raises(ConflictError) as refused:
        await place.desk.complete_signing(ada, review, signing.id, credential("ada"))
    assert refused.value.facts["cause"] == "damaged"


async def test_a_statement_is_fixed_and_then_completed(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review, ada = await place.open_review(case), place.sessions["ada"]
    signing = await place.desk.begin_signing(ada, review, await _asked(place, "ada", review, reason="looks right"))
    said = signing.statement
    assert (said["spec"], said["trail"], said["review"]) == ("countersign/statement/1", case, review)
    assert (said["signer"], said["role"], said["decision"]) == (ada.id, "pharmacist", "approved")
    with pytest.raises(ForbiddenError, match="password"):
        await place.desk.complete_signing(ada, review, signing.id, credential("ada", "wrong horse battery"))
    done = await place.desk.complete_signing(ada, review, signing.id, {"password": PASSWORD, "username": "ada"})
    assert done.outcome == "approved"
    with pytest.raises(ConflictError, match="completed already"):
        await place.desk.complete_signing(ada, review, signing.id, credential("ada"))
    assert place.refusals(case) == ["credential", "statement-used"]


async def test_a_statement_is_good_for_five_minutes(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review, ada = await place.open_review(case), place.sessions["ada"]
    signing = await place.desk.begin_signing(ada, review, await _asked(place, "ada", review))
    place.watch.forward(301)
    with pytest.raises(ConflictError, match="five minutes"):
        await place.desk.complete_signing(ada, review, signing.id, credential("ada"))
    assert place.refusals(case) == ["statement-expired"]


async def test_a_statement_is_for_its_session_its_review_and_what_was_seen(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"], workflow="two")
    other = await place.started(place.sessions["pat"])
    review, ada = await place.open_review(case), place.sessions["ada"]
    signing = await place.desk.begin_signing(ada, review, await _asked(place, "ada", review))
    with pytest.raises(ForbiddenError, match="another session"):
        await place.desk.complete_signing(place.sessions["bo"], review, signing.id, credential("bo"))
    with pytest.raises(AbsentError):
        await place.desk.complete_signing(ada, await place.open_review(other), signing.id, credential("ada"))
    await place.decide("bo", review, "approved")
    with pytest.raises(ConflictError, match="moved on"):
        await place.desk.complete_signing(ada, review, signing.id, credential("ada"))
    assert place.refusals(case) == ["session", "digest"]


async def test_the_first_signature_of_a_session_takes_all_components(place: Deployment) -> None:
    token, _ = await place.people.sign_in("ada", PASSWORD)
    session = await place.people.session(token)
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    shown = await place.desk.review(session, review)
    asked = {"decision": "needs_revision", "reason": "by 10 %", "shown_digest": shown.shown_digest}
    with pytest.raises(ForbiddenError, match="username"):
        await place.desk.decide(session, review, asked, {"password": PASSWORD})
    await place.desk.decide(session, review, asked, {"username": "ada", "password": PASSWORD})
    await place.work(case)
    review = await place.open_review(case)
    shown = await place.desk.review(session, review)
    asked = {"decision": "approved", "shown_digest": shown.shown_digest}
    await place.desk.decide(session, review, asked, {"password": PASSWORD})


REFUSED: list[tuple[str, str, str, dict[str, Any], type[RequestError]]] = [
    ("role", "sue", "approved", {}, ForbiddenError),
    ("role", "cleo", "approved", {}, ForbiddenError),
    ("starter", "both", "approved", {}, ForbiddenError),
    ("decision", "ada", "maybe", {}, InvalidError),
    ("reason", "ada", "rejected", {"reason": " \n"}, InvalidError),
    ("reason", "ada", "rejected", {"reason": "bell \x07"}, InvalidError),
    ("reason", "ada", "rejected", {"reason": "turned \u202e around"}, InvalidError),
    ("reason", "ada", "rejected", {"reason": "half \ud800"}, InvalidError),
    ("reason", "ada", "rejected", {"reason": 7}, InvalidError),
    ("values", "ada", "approved", {"values": {"x": 1}}, InvalidError),
    ("values", "ada", "approved", {"values": [1]}, InvalidError),
    ("values", "ada", "edit", {"edits": {"patient": "someone"}, "reason": "x"}, InvalidError),
    ("values", "ada", "edit", {"edits": {}, "reason": "x"}, InvalidError),
    ("reason", "ada", "edit", {"edits": {"dose_mg": 3}}, InvalidError),
    ("digest", "ada", "approved", {"shown_digest": "00" * 32}, ConflictError),
    ("digest", "ada", "approved", {"shown_digest": "what I saw"}, InvalidError),
    ("digest", "ada", "approved", {"shown_digest": None}, InvalidError),
]


async def test_every_attempt_that_is_refused_is_an_entry(place: Deployment) -> None:
    case = await place.started(place.sessions["both"])
    review = await place.open_review(case)
    before = place.database.kinds(case)
    for cause, name, decision, more, error in REFUSED:
        asked = await _asked(place, name, review, decision=decision, **more)
        with pytest.raises(error) as refused:
            await place.desk.decide(place.sessions[name], review, asked, credential(name))
        assert refused.value.facts["cause"] == cause, (cause, more)
    assert place.refusals(case) == [row[0] for row in REFUSED]
    after = [kind for kind in place.database.kinds(case)[len(before) :] if kind != "review.viewed"]
    assert after == ["review.refused"] * len(REFUSED)
    said = place.database.query(
        "SELECT convert_from(e.body, 'UTF8') || coalesce(convert_from(p.data, 'UTF8'), '') FROM audit.entries e "
        "LEFT JOIN audit.payloads p USING (trail, seq) WHERE trail = %s AND kind = 'review.refused'",
        (case,),
    )
    assert not [row for row in said if "maybe" in row[0] or "someone" in row[0]]


async def test_nobody_signs_what_they_were_not_shown(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    asked = await _asked(place, "ada", review)
    with pytest.raises(ConflictError, match="not shown"):
        await place.desk.decide(place.sessions["bo"], review, asked, credential("bo"))
    other = await place.open_review(await place.started(place.sessions["pat"]))
    with pytest.raises(ConflictError, match="no view of this review"):
        await place.desk.decide(place.sessions["ada"], other, asked, credential("ada"))
    assert place.refusals(case) == ["not-viewed"]


async def test_nobody_signs_with_the_credential_of_another(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    asked = await _asked(place, "ada", review)
    for bad in (None, {}, {"password": 1}, {"password": PASSWORD, "username": 1}, {"password": PASSWORD + "x"}):
        with pytest.raises(RequestError):
            await place.desk.decide(place.sessions["ada"], review, asked, bad)
    with pytest.raises(ForbiddenError):
        await place.desk.decide(place.sessions["ada"], review, asked, credential("bo"))
    assert place.refusals(case) == ["credential"] * 6


async def test_who_is_deactivated_or_lost_the_role_signs_no_more(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review, gone = await place.open_review(case), place.sessions["gone"]
    asked = await _asked(place, "gone", review)
    grants = await place.people.list_grants(OPERATOR, gone.id)
    await place.people.revoke_grant(OPERATOR, grants[0].id)
    with pytest.raises(ForbiddenError, match="do not have"):
        await place.desk.decide(gone, review, asked, credential("gone"))
    await place.people.give_grant(
        OPERATOR, gone.id, "pharmacist", ORDERS, valid_until=place.watch() + timedelta(hours=1)
    )
    await place.later(3_601)
    gone = place.sessions["gone"]
    with pytest.raises(RequestError):
        await place.desk.decide(gone, review, asked, credential("gone"))
    await place.people.deactivate(OPERATOR, gone.id)
    with pytest.raises(UnauthenticatedError):
        await place.desk.decide(gone, review, asked, credential("gone"))
    assert place.refusals(case)[0] == "role"
    assert place.refusals(case)[-1] == "inactive"


async def _api_key(place: Deployment, *roles: str) -> Caller:
    until = place.watch() + timedelta(days=1)
    token, _ = await place.people.create_api_key(
        OPERATOR, f"lab {uuid.uuid4()}", ["reviews:attest", "reviews:read"], until, roles, "*"
    )
    return await place.people.caller(token)


async def test_an_api_key_attests_where_its_word_is_accepted(place: Deployment) -> None:
    key = await _api_key(place, "pharmacist")
    case = await place.started(place.sessions["pat"], workflow="trusting")
    review = await place.open_review(case)
    shown = await place.desk.review(key, review)
    asked = {"decision": "approved", "shown_digest": shown.shown_digest}
    with pytest.raises(ForbiddenError, match="never signs"):
        await place.desk.decide(key, review, asked, credential("ada"))
    with pytest.raises(ForbiddenError, match="never signs"):
        await place.desk.begin_signing(key, review, asked)
    assert (await place.desk.attest(key, review, asked)).outcome is None
    assert (await place.decide("ada", review, "approved")).outcome == "approved"
    await place.work(case)
    assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "completed"


async def test_an_api_keys_word_counts_for_nothing_elsewhere(place: Deployment) -> None:
    key = await _api_key(place, "pharmacist")
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    shown = await place.desk.review(key, review)
    asked = {"decision": "approved", "shown_digest": shown.shown_digest}
    assert (await place.desk.attest(key, review, asked)).outcome is None
    again = await place.desk.review(place.sessions["ada"], review)
    assert [(one["decision"], one["counts"]) for one in again.decisions] == [("approved", False)]
    assert again.row.status == "open"
    with pytest.raises(ForbiddenError, match="does not attest"):
        await place.desk.attest(place.sessions["ada"], review, asked)


async def test_remarks_and_claims_are_for_those_who_take_part(place: Deployment) -> None:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    await place.desk.claim(place.sessions["ada"], review)
    await place.desk.comment(place.sessions["pat"], review, "It is urgent.")
    page = await place.desk.review(place.sessions["bo"], review)
    assert page.row.claimed_by == place.sessions["ada"].id
    assert [remark["text"] for remark in page.comments] == ["It is urgent."]
    assert (await place.decide("bo", review, "approved")).outcome == "approved"
    with pytest.raises(ConflictError):
        await place.desk.claim(place.sessions["ada"], review)
