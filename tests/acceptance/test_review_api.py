"""The review API over HTTP, async and sync: the same answers, the same trails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from examples.review_api import audited_api

from acceptance.trails import actors, changes, story
from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver, AuditedPostgresSaver

ROUND = ["interrupt.raised", "state.updated", "run.resumed"]


@pytest.fixture(params=["async", "sync"])
async def client(
    request: pytest.FixtureRequest, saver: AsyncAuditedPostgresSaver, sync_saver: AuditedPostgresSaver
) -> AsyncIterator[httpx.AsyncClient]:
    api = audited_api(saver if request.param == "async" else sync_saver)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://api") as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, user: str, **body: str) -> Any:
    answer = await client.post(f"/orders/{path}", json=body, headers={"x-user": user})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_order_is_revised_and_approved(database: Database, client: httpx.AsyncClient) -> None:
    order = await post(client, "start", "ward-3", patient="P-1", drug="vancomycin")
    case = order["order_id"]
    assert (order["status"], order["dose_mg"], order["flags"]) == ("awaiting_review", 2000, ["check renal function"])
    order = await post(
        client, "review", "pharmacist-17", order_id=case, decision="needs_revision", notes="reduce by 50%"
    )
    assert (order["status"], order["dose_mg"]) == ("awaiting_review", 1000)
    order = await post(client, "review", "pharmacist-18", order_id=case, decision="approved")
    assert (order["status"], order["order"]) == ("complete", "GIVE 1000 mg vancomycin to P-1")

    assert story(database, case) == ["run.started", *ROUND, *ROUND, "run.completed"]
    assert [edit["decision"] for edit in changes(database, case)] == [("", "needs_revision"), ("", "approved")]
    assert actors(database, case, "run.started") == ["ward-3"]
    assert actors(database, case, "state.updated") == ["pharmacist-17", "pharmacist-18"]
    assert actors(database, case, "run.resumed") == ["pharmacist-17", "pharmacist-18"]
    assert database.verify().findings == []


async def test_two_orders_for_one_patient_are_two_cases(database: Database, client: httpx.AsyncClient) -> None:
    first = await post(client, "start", "ward-3", patient="P-1", drug="warfarin")
    second = await post(client, "start", "ward-3", patient="P-1", drug="heparin")
    assert first["order_id"] != second["order_id"]
    await post(client, "review", "pharmacist-17", order_id=first["order_id"], decision="rejected")
    assert story(database, first["order_id"])[-1] == "run.completed"
    assert story(database, second["order_id"]) == ["run.started", "interrupt.raised"]
    assert database.verify().findings == []


async def test_a_finished_or_unknown_order_takes_no_decision(database: Database, client: httpx.AsyncClient) -> None:
    case = (await post(client, "start", "ward-3", patient="P-1", drug="warfarin"))["order_id"]
    await post(client, "review", "pharmacist-17", order_id=case, decision="approved")
    before = story(database, case)
    for order_id in (case, "order-unknown"):
        answer = await client.post("/orders/review", json={"order_id": order_id, "decision": "rejected"})
        assert answer.status_code == 409
    assert story(database, case) == before
    assert database.verify().findings == []
