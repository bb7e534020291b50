"""Who may call which route: role x route x scope, as one table; and a deployment with what its requests are about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx

from apis import PASSWORD, Api, served_here
from conftest import Database
from countersign.service.identity.records import GrantWanted
from countersign.service.order_workflow import new_order
from governing import ORDERS, Deployment, deployed, orders, policy

ORDER = dict(new_order("P-1", "warfarin"))
ROLES = ("prescriber", "pharmacist", "supervisor", "administrator", "auditor")
PEOPLE = (*ROLES, "stranger")
"""Each has their one role, the stranger none."""
EVERYBODY = frozenset(PEOPLE)
OF_CASES = frozenset({"prescriber", "pharmacist", "supervisor", "auditor"})
READERS = frozenset({"administrator", "auditor"})
ADMINISTRATOR = frozenset({"administrator"})
SIGNERS = frozenset({"pharmacist"})


@dataclass
class Things:
    """What requests are about: made anew where a request changes it."""

    api: Api
    place: Deployment
    made: int = 0
    case: str = ""
    review: str = ""
    shown: str = ""
    ids: dict[str, str] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)

    async def enter(self, name: str) -> dict[str, str]:
        """Return the header of somebody's session: the same one again as long as it is open."""
        headers = self.headers.get(name)
        if not headers or (await self.api.get("/api/sessions/current", headers=headers)).status_code != 200:
            headers = self.headers[name] = await self.api.enter(name)
        return headers

    async def with_key(self, *scopes: str) -> dict[str, str]:
        """Return the header of an API key with these scopes, and all roles of the workflow."""
        name = " ".join(scopes)
        if name not in self.headers:
            body = {
                "name": "of the table",
                "scopes": scopes,
                "roles": ["prescriber", "pharmacist", "supervisor"],
                "workflow": ORDERS,
                "expires_at": tomorrow(),
            }
            made = await self.api.post("/api/api-keys", json=body, headers=await self.enter("administrator"))
            self.headers[name] = {"authorization": f"Bearer {made.json()['token']}"}
        return self.headers[name]

    def new(self, what: str) -> str:
        self.made += 1
        return f"{what}-{self.made}"

    async def new_case(self) -> None:
        """Let there be a case that waits at its review, which everybody who may sign it has seen."""
        prescriber = await self.enter("prescriber")
        start = {"workflow": ORDERS, "input": ORDER}
        self.case = (await self.api.post("/api/cases", json=start, headers=prescriber)).json()["id"]
        await self.place.work(self.case)
        seen = await self.api.get("/api/reviews?mine=true&limit=100", headers=await self.enter("pharmacist"))
        self.review = next(item["id"] for item in seen.json()["items"] if item["case"] == self.case)
        shown = await self.api.get(f"/api/reviews/{self.review}", headers=await self.enter("pharmacist"))
        self.shown = shown.json()["shown_digest"]


Body = Callable[[Things, str], Any]


class Row(NamedTuple):
    """A route: who gets past the question whether they may, the scope that an API key needs, and a body that is one."""

    may: frozenset[str]
    scope: str | None
    body: Body | None = None
    public: bool = False
    changes_case: bool = False


def said(decision: str, **more: Any) -> Body:
    return lambda things, name: (
        {"decision": decision, "shown_digest": things.shown, **more}
        | ({"credential": {"username": name, "password": PASSWORD}} if more.get("credential") else {})
    )


def constant(**body: Any) -> Body:
    return lambda _things, _name: body


TABLE: dict[tuple[str, str], Row] = {
    ("get", "/healthz"): Row(EVERYBODY, None, public=True),
    ("get", "/readyz"): Row(EVERYBODY, None, public=True),
    ("get", "/problems/{name}"): Row(EVERYBODY, None, public=True),
    ("post", "/api/sessions"): Row(
        EVERYBODY, None, lambda _, name: {"username": name, "password": PASSWORD}, public=True
    ),
    ("post", "/api/passwords"): Row(
        EVERYBODY,
        None,
        lambda _, name: {"username": name, "password": PASSWORD, "new_password": PASSWORD},
        public=True,
    ),
    ("get", "/api/sessions/current"): Row(EVERYBODY, "workflows:read"),
    ("delete", "/api/sessions/current"): Row(EVERYBODY, None),
    ("get", "/api/users"): Row(READERS, None),
    ("post", "/api/users"): Row(
        ADMINISTRATOR, None, lambda things, _: {"username": things.new("user"), "printed_name": "Somebody"}
    ),
    ("get", "/api/users/{user}"): Row(READERS, None),
    ("post", "/api/users/{user}/deactivate"): Row(ADMINISTRATOR, None, constant(reason="gone")),
    ("post", "/api/users/{user}/reactivate"): Row(ADMINISTRATOR, None, constant(reason="back")),
    ("post", "/api/users/{user}/reset-password"): Row(ADMINISTRATOR, None, constant()),
    ("get", "/api/grants"): Row(READERS, None),
    ("post", "/api/grants"): Row(
        ADMINISTRATOR,
        None,
        lambda things, _: {"user": things.ids["user"], "role": things.new("role"), "workflow": ORDERS},
    ),
    ("delete", "/api/grants/{grant}"): Row(ADMINISTRATOR, None),
    ("get", "/api/api-keys"): Row(READERS, None),
    ("post", "/api/api-keys"): Row(
        ADMINISTRATOR,
        None,
        lambda things, _: {"name": things.new("key"), "scopes": ["cases:read"], "expires_at": tomorrow()},
    ),
    ("delete", "/api/api-keys/{key}"): Row(ADMINISTRATOR, None),
    ("get", "/api/workflows"): Row(EVERYBODY, "workflows:read"),
    ("get", "/api/entries"): Row(frozenset({"auditor"}), "entries:read"),
    ("get", "/api/cases"): Row(EVERYBODY, "cases:read"),
    ("post", "/api/cases"): Row(frozenset({"prescriber"}), "cases:start", constant(workflow=ORDERS, input=ORDER)),
    ("get", "/api/cases/{case}"): Row(OF_CASES, "cases:read"),
    ("get", "/api/cases/{case}/state"): Row(OF_CASES, "cases:read"),
    ("get", "/api/cases/{case}/history"): Row(OF_CASES, "cases:read"),
    ("get", "/api/cases/{case}/trail"): Row(OF_CASES, "cases:read"),
    ("post", "/api/cases/{case}/state"): Row(
        SIGNERS, "cases:correct", constant(values={"dose_mg": 4}, reason="less"), changes_case=True
    ),
    ("post", "/api/cases/{case}/redirect"): Row(
        frozenset({"supervisor"}), None, constant(to="analyze", reason="again"), changes_case=True
    ),
    ("post", "/api/cases/{case}/stop"): Row(
        frozenset({"supervisor"}), "cases:stop", constant(reason="enough"), changes_case=True
    ),
    ("post", "/api/cases/{case}/retry"): Row(frozenset({"supervisor"}), "cases:retry", constant(reason="again")),
    ("post", "/api/cases/{case}/move"): Row(
        frozenset({"supervisor"}), None, lambda things, _: {"version": things.ids["version"], "reason": "newer"}
    ),
    ("post", "/api/cases/{case}/annotations"): Row(OF_CASES, None, constant(text="seen")),
    ("get", "/api/reviews"): Row(EVERYBODY, "reviews:read"),
    ("get", "/api/reviews/{review}"): Row(OF_CASES, "reviews:read"),
    ("get", "/api/reviews/{review}/attachments/{sha256}"): Row(frozenset(), "reviews:read"),
    ("post", "/api/reviews/{review}/signings"): Row(SIGNERS, None, said("approved"), changes_case=True),
    ("post", "/api/reviews/{review}/signings/{signing_id}"): Row(
        frozenset(), None, lambda _, name: {"credential": {"username": name, "password": PASSWORD}}
    ),
    ("post", "/api/reviews/{review}/decisions"): Row(
        SIGNERS, None, said("approved", credential=True), changes_case=True
    ),
    ("post", "/api/reviews/{review}/attestations"): Row(frozenset(), "reviews:attest", said("approved")),
    ("post", "/api/reviews/{review}/withdrawal"): Row(OF_CASES, None, constant(signed=1, reason="mistaken")),
    ("post", "/api/reviews/{review}/claim"): Row(OF_CASES, None),
    ("post", "/api/reviews/{review}/comments"): Row(OF_CASES, None, constant(text="looking")),
    ("get", "/api/events"): Row(EVERYBODY, "cases:read"),
}
"""Where nobody may, what is asked for is not there: that it is not is what everybody is told."""


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Things]:
    """Yield a deployment with somebody for each role, and a case that waits."""
    async with deployed(database) as place, served_here(database) as api:
        workflow = await place.register(policy(), orders())
        for role in ROLES:
            await api.person(role, GrantWanted(role, "*" if role in READERS else ORDERS))
        await api.person("stranger")
        await api.person("victim")
        things = Things(api, place)
        things.ids = {"version": workflow.version, "user": api.ids["victim"]}
        administrator = await api.enter("administrator")
        grant = {"user": api.ids["victim"], "role": "chief", "workflow": ORDERS}
        things.ids["grant"] = (await api.post("/api/grants", json=grant, headers=administrator)).json()["id"]
        key = {"name": "spare", "scopes": ["cases:read"], "expires_at": tomorrow()}
        things.ids["key"] = (await api.post("/api/api-keys", json=key, headers=administrator)).json()["id"]
        await things.new_case()
        yield things


async def call(things: Things, route: tuple[str, str], name: str, headers: dict[str, str]) -> int:
    return (await answer(things, route, name, headers)).status_code


async def answer(things: Things, route: tuple[str, str], name: str, headers: dict[str, str]) -> httpx.Response:
    method, path = route
    row = TABLE[route]
    places = things.ids | {
        "case": things.case,
        "review": things.review,
        "name": "conflict",
        "sha256": "0" * 64,
        "signing_id": "g-" + "0" * 32,
    }
    body = row.body(things, name) if row.body else None
    request = things.api.build_request(method.upper(), path.format(**places), json=body, headers=headers)
    found = await things.api.send(request, stream=True)
    if found.headers.get("content-type", "").startswith("text/event-stream"):
        await found.aclose()  # it would go on for ever
    else:
        await found.aread()
    things.api.cookies.clear()
    return found
