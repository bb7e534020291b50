"""What is committed counts, and its answer says so, whatever happened to whoever is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from apis import Api, bearer, served_here
from conftest import Database
from governing import OPERATOR, ORDERS, PASSWORD, Deployment, check_evidence, credential, deployed, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

Site = tuple[Deployment, Api]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(shared_database: Database) -> AsyncIterator[Site]:
    async with deployed(shared_database) as place, served_here(shared_database) as api:
        await place.register(policy(), orders())
        await place.person("pat", "prescriber")
        yield place, api
    check_evidence(shared_database)


async def _ready(site: Site, name: str, *roles: str) -> tuple[str, str, dict[str, str], dict[str, Any]]:
    """Return a case that waits, its review, a session over HTTP, and the body of an approval."""
    place, api = site
    caller = await place.person(name, *roles)
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    page = await place.desk.review(caller, review)
    session = await api.post("/api/sessions", json={"username": name, "password": PASSWORD})
    api.cookies.clear()
    body = {"decision": "approved", "shown_digest": page.shown_digest, "credential": credential(name)}
    return case, review, bearer(session.json()), body


async def _revoke_when(site: Site, case: str, kind: str, user: str) -> None:
    """Take a user's rights once an entry of a kind is there."""
    place, _ = site
    async with await psycopg.AsyncConnection.connect(place.database.app_url, autocommit=True) as conn:
        await conn.execute("LISTEN countersign_case")
        while kind not in place.database.kinds(case):
            async for _told in conn.notifies(timeout=1, stop_after=1):
                break
    for grant in await place.people.list_grants(OPERATOR, user):
        await place.people.revoke_grant(OPERATOR, grant.id)


async def test_a_signature_counts_though_its_signer_may_not_read_the_case_any_more(site: Site) -> None:
    place, api = site
    case, review, session, body = await _ready(site, "leaver", "pharmacist")
    headers = {**session, "prefer": "wait=30"}
    # Nobody works here, so that the answer is waited for until the right to it is gone.
    said, _ = await asyncio.gather(
        api.post(f"/api/reviews/{review}/decisions", json=body, headers=headers),
        _revoke_when(site, case, "review.decided", place.users["leaver"]),
    )
    assert said.status_code == 201, said.text
    assert (said.json()["outcome"], said.json()["now"]) == ("approved", None)


async def test_so_does_a_correction(site: Site) -> None:
    place, api = site
    case, _, session, _ = await _ready(site, "corrector", "pharmacist")
    asked = {"values": {"dose_mg": 3}, "reason": "mistyped"}
    said, _ = await asyncio.gather(
        api.post(f"/api/cases/{case}/state", json=asked, headers={**session, "prefer": "wait=30"}),
        _revoke_when(site, case, "case.corrected", place.users["corrector"]),
    )
    assert said.status_code == 202, said.text
    assert said.json()["case"] is None


async def test_so_is_a_case_that_was_started(site: Site) -> None:
    place, api = site
    await place.person("starter", "prescriber")
    session = await api.post("/api/sessions", json={"username": "starter", "password": PASSWORD})
    api.cookies.clear()
    body = {"workflow": ORDERS, "input": {}}
    key = {"idempotency-key": "so-started", "prefer": "wait=30"}
    begun = asyncio.create_task(api.post("/api/cases", json=body, headers={**bearer(session.json()), **key}))
    mine = "SELECT id FROM countersign.cases WHERE started_by = %s"
    # Told to whoever listens; the case is there, and the answer waits for it to rest, which it does not.
    async with await psycopg.AsyncConnection.connect(place.database.app_url, autocommit=True) as conn:
        await conn.execute("LISTEN countersign_case")
        while not (found := place.database.query(mine, (place.users["starter"],))):
            async for _told in conn.notifies(timeout=1, stop_after=1):
                break
    for grant in await place.people.list_grants(OPERATOR, place.users["starter"]):
        await place.people.revoke_grant(OPERATOR, grant.id)
    said = await begun
    assert (said.status_code, said.json()) == (202, {"id": found[0][0]})
    assert said.headers["location"] == f"/api/cases/{found[0][0]}"


async def test_a_failure_behind_the_commit_is_no_failure_of_the_decision(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer could not be made (503); the same request once more is told what it did, and decides nothing anew."""
    place, api = site
    case, review, session, body = await _ready(site, "steady", "pharmacist")
    broken = [True]

    async def found_afterwards(*given: Any) -> Any:
        if broken.pop():
            broken.append(False)
            raise psycopg.OperationalError("gone")
        return None

    monkeypatch.setattr("countersign.service.api.reviews.found_afterwards", found_afterwards)
    headers = {**session, "idempotency-key": "steady-1"}
    first = await api.post(f"/api/reviews/{review}/decisions", json=body, headers=headers)
    assert first.status_code == 503, first.text
    again = await api.post(f"/api/reviews/{review}/decisions", json=body, headers=headers)
    assert again.status_code == 201, again.text
    assert (again.json()["outcome"], place.kinds(case).count("review.decided")) == ("approved", 1)
    assert place.refusals(case) == []
