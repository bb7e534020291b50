"""A request with an Idempotency-Key whose server was ended behind the commit, and before its answer was kept, is told
what it did when it comes again, and does nothing anew: a row for every route that changes something.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest
import pytest_asyncio
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from apis import PASSWORD, Api, served_here
from conftest import Database
from countersign.service.api.answers import Answers
from countersign.service.errors import ConflictError
from countersign.service.identity.caller import Sent
from countersign.service.identity.records import GrantWanted
from countersign.service.order_workflow import new_order
from governing import ORDERS, Deployment, check_evidence, deployed, gate, orders, policy
from rights import TABLE, tomorrow

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORDER = dict(new_order("P-1", "warfarin"))
FAILS = "fails"
PEOPLE = {"pat": "prescriber", "ada": "pharmacist", "bo": "pharmacist", "sue": "supervisor"}


class Number(TypedDict, total=False):
    number: int


def _raise(_: Number) -> Number:
    raise ValueError("no such number")


def failing() -> Any:
    builder: Any = StateGraph(Number)
    builder.add_node("count", _raise)
    builder.add_edge(START, "count")
    return builder.compile()


class Site(NamedTuple):
    place: Deployment
    api: Api
    versions: tuple[str, str]
    sessions: dict[str, dict[str, str]]
    """Headers, by name."""

    async def post(self, name: str, path: str, body: Any, **headers: str) -> httpx.Response:
        said = await self.api.post(path, json=body, headers={**self.sessions[name], **headers})
        self.api.cookies.clear()
        return said

    async def a_case(self, workflow: str = ORDERS) -> str:
        given = ORDER if workflow == ORDERS else {}
        case: str = (await self.post("pat", "/api/cases", {"workflow": workflow, "input": given})).json()["id"]
        await self.place.work(case)
        return case

    async def a_review(self) -> tuple[str, str]:
        """Return a review that waits, and the digest of what ada and the key were shown."""
        path = f"/api/reviews?status=open&case={await self.a_case()}"
        (review,) = (await self.api.get(path, headers=self.sessions["ada"])).json()["items"]
        shown = await self.api.get(f"/api/reviews/{review['id']}", headers=self.sessions["ada"])
        return review["id"], shown.json()["shown_digest"]

    async def a_user(self) -> str:
        body = {"username": uuid.uuid4().hex, "printed_name": "Somebody"}
        return str((await self.post("root", "/api/users", body)).json()["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(shared_database: Database) -> AsyncIterator[Site]:
    stages = [{"role": "pharmacist", "count": 2}]
    async with deployed(shared_database) as place, served_here(shared_database) as api:
        document = policy(gates=[gate(stages=stages, accept="attested", separation=[])])
        versions = [(await place.register(document, orders(), mark)).version for mark in ("1", "2")]
        await place.register(policy(FAILS, []), failing())
        await api.person("root", GrantWanted("administrator", "*"))
        for name, role in PEOPLE.items():
            await api.person(name, GrantWanted(role, "*"))
        sessions = {name: await api.enter(name) for name in ("root", *PEOPLE)}
        site = Site(place, api, (versions[0], versions[1]), sessions)
        key = {"name": "lab", "scopes": ["reviews:attest"], "roles": ["pharmacist"], "expires_at": tomorrow()}
        made = await site.post("root", "/api/api-keys", key)
        sessions["lab"] = {"authorization": f"Bearer {made.json()['token']}"}
        yield site
    check_evidence(shared_database)


Sending = tuple[str, str, Any]
"""Who sends it, the path, and the body."""


def credential(name: str) -> dict[str, str]:
    return {"username": name, "password": PASSWORD}


def to_case(name: str, workflow: str = ORDERS, /, **body: Any) -> Callable[[Site, str], Awaitable[Sending]]:
    async def make(site: Site, route: str) -> Sending:
        return name, route.format(case=await site.a_case(workflow)), body

    return make


def to_review(name: str, /, *, shown: bool = False, **body: Any) -> Callable[[Site, str], Awaitable[Sending]]:
    async def make(site: Site, route: str) -> Sending:
        review, digest = await site.a_review()
        return name, route.format(review=review), {**body, **({"shown_digest": digest} if shown else {})}

    return make


def to_user(**body: Any) -> Callable[[Site, str], Awaitable[Sending]]:
    async def make(site: Site, route: str) -> Sending:
        return "root", route.format(user=await site.a_user()), body

    return make


def as_it_is(name: str, /, **body: Any) -> Callable[[Site, str], Awaitable[Sending]]:
    async def make(_: Site, route: str) -> Sending:
        return name, route, body

    return make


async def a_new_user(_: Site, route: str) -> Sending:
    return "root", route, {"username": uuid.uuid4().hex, "printed_name": "Somebody"}


async def reactivation(site: Site, route: str) -> Sending:
    user = await site.a_user()
    await site.post("root", f"/api/users/{user}/deactivate", {})
    return "root", route.format(user=user), {}


async def a_grant(site: Site, route: str) -> Sending:
    return "root", route, {"user": await site.a_user(), "role": "pharmacist", "workflow": ORDERS}


async def a_move(site: Site, route: str) -> Sending:
    body = {"version": site.versions[0], "reason": "as it was"}
    return "sue", route.format(case=await site.a_case()), body


async def completion(site: Site, route: str) -> Sending:
    review, digest = await site.a_review()
    body = {"decision": "approved", "shown_digest": digest}
    made = await site.post("ada", f"/api/reviews/{review}/signings", body)
    path = route.format(review=review, signing_id=made.json()["id"])
    return "ada", path, {"credential": credential("ada")}


async def withdrawal(site: Site, route: str) -> Sending:
    review, digest = await site.a_review()
    body = {"decision": "approved", "shown_digest": digest, "credential": credential("ada")}
    made = await site.post("ada", f"/api/reviews/{review}/decisions", body)
    return "ada", route.format(review=review), {"signed": made.json()["seq"], "reason": "mistaken"}


approval = {"decision": "approved"}
ROWS: dict[str, Callable[[Site, str], Awaitable[Sending]]] = {
    "/api/users": a_new_user,
    "/api/users/{user}/deactivate": to_user(reason="gone"),
    "/api/users/{user}/reactivate": reactivation,
    "/api/users/{user}/reset-password": to_user(),
    "/api/grants": a_grant,
    "/api/api-keys": as_it_is("root", name="made once", scopes=["cases:read"], expires_at=tomorrow()),
    "/api/cases": as_it_is("pat", workflow=ORDERS, input=ORDER),
    "/api/cases/{case}/state": to_case("ada", values={"dose_mg": 4}, reason="less"),
    "/api/cases/{case}/redirect": to_case("sue", to="analyze", reason="again"),
    "/api/cases/{case}/stop": to_case("sue", reason="enough"),
    "/api/cases/{case}/retry": to_case("sue", FAILS, reason="perhaps now"),
    "/api/cases/{case}/move": a_move,
    "/api/cases/{case}/annotations": to_case("ada", text="seen", refers=1, credential=credential("ada")),
    "/api/reviews/{review}/signings": to_review("ada", shown=True, **approval),
    "/api/reviews/{review}/signings/{signing_id}": completion,
    "/api/reviews/{review}/decisions": to_review("ada", shown=True, **approval, credential=credential("ada")),
    "/api/reviews/{review}/attestations": to_review("lab", shown=True, **approval),
    "/api/reviews/{review}/withdrawal": withdrawal,
    "/api/reviews/{review}/claim": to_review("ada"),
    "/api/reviews/{review}/comments": to_review("ada", text="looking"),
}
_TOLD_ONCE = ("/api/users", "/api/users/{user}/reset-password", "/api/api-keys")


async def test_the_table_has_a_row_for_every_route_that_changes_something() -> None:
    assert set(ROWS) == {path for (method, path), row in TABLE.items() if method == "post" and not row.public}


@pytest.mark.parametrize("how", ["the server is killed", "an exception"])
@pytest.mark.parametrize("route", ROWS)
async def test_what_was_done_is_done_once_whatever_becomes_of_its_answer(
    site: Site, route: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path, body = await ROWS[route](site, route)
    before = _done(site)
    key = uuid.uuid4().hex

    lost = threading.Event()

    async def keep(*_: Any) -> None:
        lost.set()
        raise psycopg.OperationalError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(Answers, "keep", keep)
        first = await site.post(name, path, body, **{"idempotency-key": key, "connection": "close"})
        await asyncio.to_thread(lost.wait)  # the answer is here before the server is done with it
    assert first.status_code < 300, first.text
    done = _done(site)
    assert done > before
    if how == "the server is killed":
        nobody = "UPDATE countersign.answers SET headers = %s WHERE key = %s AND status IS NULL"
        assert site.place.database.as_admin(nobody, ((1).to_bytes(8), key)) == 1
    again = await site.post(name, path, body, **{"idempotency-key": key})
    assert _done(site) == done
    if route in _TOLD_ONCE:
        assert (again.status_code, again.json()["facts"]["cause"]) == (409, "told-once")
        location = again.json()["facts"]["location"]
        assert location == (f"{path}/{first.json()['id']}" if first.status_code == 201 else None)
        return
    assert (again.status_code, again.content) == (first.status_code, first.content)
    replayed = await site.post(name, path, body, **{"idempotency-key": key})
    assert (replayed.content, replayed.headers["idempotent-replayed"]) == (first.content, "true")


def _done(site: Site) -> int:
    """Return how many entries and statements there are."""
    counts = "SELECT (SELECT count(*) FROM audit.entries) + (SELECT count(*) FROM countersign.signings)"
    return int(site.place.database.query(counts)[0][0])


async def test_a_server_whose_request_was_taken_over_commits_nothing_of_it(site: Site) -> None:
    """It was slow, not ended: whoever has the request now is not found to be the second."""
    place = site.place
    review, _ = await site.a_review()
    caller = await place.person("slow", "pharmacist")
    taken = "INSERT INTO countersign.answers VALUES (%s, 'slow', '', NULL, %s, NULL, now())"
    place.database.as_admin(taken, (caller.id, (2).to_bytes(8)))
    before = _done(site)
    with pytest.raises(ConflictError) as refused:
        await place.desk.comment(replace(caller, sent=Sent("slow", (1).to_bytes(8))), review, "looking")
    assert refused.value.facts == {"cause": "in-progress"}
    assert _done(site) == before
    await place.desk.comment(replace(caller, sent=Sent("slow", (2).to_bytes(8))), review, "looking")
    assert _done(site) == before + 1
