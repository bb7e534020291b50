"""Sessions, users, grants and API keys over HTTP, and what stands around every route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
import pytest_asyncio

from apis import Api, bearer, served_here
from conftest import Database
from countersign.audit.errors import VerificationError
from countersign.service.api import problems
from countersign.service.api.problems import TABLE, TYPES
from countersign.service.identity.records import GrantWanted

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(shared_database: Database) -> AsyncIterator[Api]:
    async with served_here(shared_database) as api:
        await api.person("root", GrantWanted("administrator", "*"))
        yield api


async def test_a_session_is_a_bearer_or_a_cookie_and_the_cookie_needs_more_to_change_anything(api: Api) -> None:
    said = await api.sign_in("root")
    cookie = said.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    who = await api.get("/api/sessions/current")
    assert who.json()["csrf_token"] == said.json()["csrf_token"]
    new = {"username": "by-cookie", "printed_name": "C"}
    refused = await api.post("/api/users", json=new)
    assert (refused.status_code, refused.json()["facts"]["cause"]) == (403, "csrf")
    made = await api.post("/api/users", json=new, headers={"x-csrf-token": said.json()["csrf_token"]})
    assert made.status_code == 201
    out = await api.delete("/api/sessions/current", headers={"x-csrf-token": said.json()["csrf_token"]})
    assert out.status_code == 204
    assert (await api.get("/api/sessions/current", headers=bearer(said.json()))).status_code == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"username": "root", "password": "wrong password"}, 401),
        ({"username": "nobody", "password": "wrong password"}, 401),
        ({"username": "root"}, 400),
        ({"username": "root", "password": 7}, 400),
        ({"username": "root", "password": "x", "more": 1}, 422),
        ({"username": "\x00", "password": "x"}, 401),
        ([], 400),
    ],
)
async def test_who_does_not_prove_who_they_are_has_no_session(api: Api, body: Any, status: int) -> None:
    answer = await api.post("/api/sessions", json=body)
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers
    problem(answer)


async def test_an_answer_is_kept_for_its_key_and_holds_no_credential(api: Api, shared_database: Database) -> None:
    headers = await api.enter("root")
    made = await api.post("/api/users", json={"username": "k", "printed_name": "K"}, headers=keyed(headers, "1"))
    user, first = made.json()["id"], made.json()["first_password"]
    again = await api.post("/api/users", json={"username": "k", "printed_name": "K"}, headers=keyed(headers, "1"))
    assert (again.status_code, again.json()["facts"]["cause"]) == (409, "told-once")
    other = await api.post("/api/users", json={"username": "o", "printed_name": "K"}, headers=keyed(headers, "1"))
    assert other.status_code == 422
    grant = {"user": user, "role": "pharmacist", "workflow": "orders"}
    given = await api.post("/api/grants", json=grant, headers=keyed(headers, "2"))
    retried = await api.post("/api/grants", json=grant, headers=keyed(headers, "2"))
    assert given.json() == retried.json()
    assert (retried.status_code, retried.headers["idempotent-replayed"]) == (given.status_code, "true")
    assert len((await api.get("/api/grants", params={"user": user}, headers=headers)).json()["items"]) == 1
    kept = shared_database.query(
        "SELECT count(*), bool_or(convert_from(body, 'UTF8') LIKE %s) FROM countersign.answers", (f"%{first}%",)
    )
    assert kept == [(2, False)]


async def test_a_list_comes_whole_in_pages_of_any_size(api: Api) -> None:
    headers = await api.enter("root")
    for number in range(4):
        await api.person(f"user-{number}")
    whole = (await api.get("/api/users", headers=headers)).json()
    assert len(whole["items"]) >= 5
    assert whole["next"] is None
    for limit in (1, 2, len(whole["items"])):
        assert await pages(api, "/api/users", headers, limit) == whole["items"]
    first = (await api.get("/api/users", params={"limit": 1}, headers=headers)).json()
    elsewhere = await api.get("/api/grants", params={"cursor": first["next"]}, headers=headers)
    assert (elsewhere.status_code, elsewhere.json()["facts"]["place"]) == (422, "cursor")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/users?limit=0", 400),
        ("/api/users?limit=101", 400),
        ("/api/users?limit=ten", 400),
        ("/api/users?cursor=AAAA", 422),
        ("/api/users?cursor=%00", 422),
        ("/api/users?cursro=x", 400),
        ("/api/users/u-1", 400),
        ("/api/users/u-00000000000000000000", 404),
        ("/api/nothing", 404),
        ("/readyz/x", 404),
    ],
)
async def test_what_is_no_request_is_a_problem_that_says_where(api: Api, path: str, status: int) -> None:
    answer = await api.get(path, headers=await api.enter("root"))
    assert answer.status_code == status
    problem(answer)


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "facts", "remedy"),
    [
        ("GET", "/nowhere", b"", 404, {}, "/schema/openapi.json"),
        ("GET", "/api/grants/none", b"", 405, {}, "Allow"),
        ("PUT", "/api/users", b"", 405, {}, "Allow"),
        ("POST", "/api/users", b"{", 400, {}, "/schema/openapi.json"),
        ("POST", "/api/users", b'{"username": 7}', 400, None, "facts.places"),
        ("GET", "/api/users/u-00000000000000000000", b"", 404, {}, "list"),
        ("GET", "/problems/none", b"", 404, {}, "conflict"),
        ("POST", "/api/users", b'{"username": "x", "pritned_name": "X", "printed_name": "X"}', 422,
         {"place": "pritned_name"}, "Did you mean printed_name?"),
        ("POST", "/api/users", b'{"username": "x", "printed_name": "X", "grants": [{"role": "r", "wrokflow": "w"}]}',
         422, {"place": "grants[0].wrokflow"}, "Did you mean workflow?"),
        ("POST", "/api/users", b'{"username": "x", "username": "y", "printed_name": "X"}', 422,
         {"place": "username"}, "once"),
        ("POST", "/api/cases", b'{"workflow": "w", "input": {"dose": 1, "dose": 9}}', 422, {"place": "dose"}, "once"),
        ("POST", "/api/reviews/r-" + "0" * 32 + "/decisions", b'{"credential": {"pasword": "x"}}', 422,
         {"place": "credential.pasword"}, "Did you mean password?"),
    ],
)  # fmt: skip
async def test_a_problem_names_the_place_and_the_remedy(
    api: Api, method: str, path: str, content: bytes, status: int, facts: dict[str, Any] | None, remedy: str
) -> None:
    headers = {**await api.enter("root"), "content-type": "application/json"}
    answer = await api.request(method, path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    told = problem(answer)
    assert remedy in told["remedy"]
    if status == 405:
        assert answer.headers["allow"]
    if facts is not None:
        found = told.get("facts", {})
        assert {name: found.get(name) for name in facts} == facts


async def test_every_type_of_problem_has_a_remedy(api: Api) -> None:
    for name, kind in TYPES.items():
        told = (await api.get(f"/problems/{name}")).json()
        assert (told["status"], told["title"], told["remedy"]) == (kind.status, kind.title, kind.remedy)
        assert told["remedy"]


@pytest.mark.parametrize("kind", TABLE, ids=lambda kind: kind.__name__)
async def test_whatever_is_raised_without_a_remedy_is_told_with_one(kind: type[Exception]) -> None:
    more = {"check": "chain"} if issubclass(kind, VerificationError) else {}
    extra = problems._of_any(kind("Something is the matter.", **more)).extra
    assert isinstance(extra, dict)
    assert extra["remedy"]


async def test_every_answer_says_how_it_is_to_be_handled(api: Api) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/api/users", "/nowhere", "/schema/openapi.json"):
        headers = (await api.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
    told = problem(await api.get("/api/users"))
    assert (await api.get(told["type"])).json()["title"] == told["title"]
    assert 'path="/api/users",status_code="401"' in (await api.get("/metrics")).text


async def pages(api: Api, path: str, headers: Mapping[str, str], limit: int) -> list[Any]:
    items: list[Any] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        page = (await api.get(path, params=params, headers=dict(headers))).json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        params["cursor"] = page["next"]


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert told["status"] == answer.status_code
    assert told["title"]
    assert told["detail"]
    assert told["remedy"]
    return told


def keyed(headers: Mapping[str, str], key: str) -> dict[str, str]:
    return {**headers, "idempotency-key": key}
