"""What the desk does with cases and reviews, on a real database, with a worker that carries mandates out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from conftest import Database
from governing import ORDERS, Deployment, credential, decision, deployed, gate, orders, policy

from countersign.audit.verify import Verdict
from countersign.service.errors import ConflictError, ForbiddenError

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        await place.register(policy(), orders())
        for name, *roles in (
            ("pat", "prescriber"),
            ("ada", "pharmacist"),
            ("bo", "pharmacist"),
            ("sue", "supervisor"),
            ("cleo", "chief"),
            ("both", "prescriber", "pharmacist"),
        ):
            await place.person(name, *roles)
        yield place
    report = shared_database.verify()
    assert report.verdict is Verdict.PASSED, [finding.message for finding in report.findings]


async def test_an_order_is_approved(place: Deployment) -> None:
    pat, ada = place.sessions["pat"], place.sessions["ada"]
    case = await place.started(pat)
    page = await place.desk.get_case(pat, case)
    assert page.row.status == "waiting"
    assert [review.role for review in page.reviews] == ["pharmacist"]
    review = await place.open_review(ada, case)
    shown = await place.desk.review(ada, review)
    assert shown.view["state"]["dose_mg"] == 5
    done = await place.decide("ada", review, "approved")
    assert (done.outcome, done.decision) == ("approved", "approved")
    await place.work(case)
    state = await place.desk.state(pat, case)
    assert state.fields["order"] == "GIVE 5 mg warfarin to patient-1"
    assert (await place.desk.get_case(pat, case)).row.status == "completed"
    assert place.kinds(case) == ["case.opened", "review.opened", "review.viewed", "review.signed", "review.decided"]
