"""A governed deployment for tests: people, a workflow with its policy, a desk, and a worker that does what it may.

Everything real but the clock, which a test sets, and the passwords, which are cheap to hash.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from psycopg_pool import AsyncConnectionPool
from pwdlib.hashers.argon2 import Argon2Hasher

from conftest import Database
from countersign.audit.canonical import Json, parse
from countersign.audit.entry import SYSTEM_TRAIL, Actor, EntryDraft, Workflow
from countersign.audit.kinds import Kind
from countersign.audit.policy import parse_policy
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.standing import PARTS, part_digest, version_of
from countersign.audit.verify import Verdict
from countersign.service.cases.desk import Desk
from countersign.service.cases.signing import SignedOff
from countersign.service.engine.deliver import Engine
from countersign.service.engine.gates import Governed
from countersign.service.engine.gates import governed as govern
from countersign.service.engine.locks import Locks
from countersign.service.identity.caller import Caller
from countersign.service.identity.passwords import Passwords
from countersign.service.identity.people import People, open_people
from countersign.service.identity.records import GrantWanted
from countersign.service.order_workflow import new_order, order_workflow

OPERATOR = Actor("uid:0", "os-user")
ORDERS = "medication-order"
PASSWORD = "correct horse battery"  # noqa: S105 - of nobody
WRITE: dict[str, Json] = {"decision": "$decision", "notes": "$reason"}


def gate(name: str = "pharmacist", **changes: Any) -> dict[str, Json]:
    """Return a gate before the node `review`, in which one pharmacist approves, rejects or sends back."""
    whole: dict[str, Any] = {
        "name": name,
        "when": "before",
        "node": "review",
        "question": "May this order be given?",
        "stages": [{"role": "pharmacist", "count": 1}],
        "accept": "signed",
        "separation": ["editor", "starter"],
        "decisions": [
            decision("approved", releases=True, reason=False, write=WRITE),
            decision("rejected", releases=False, reason=True, write=WRITE),
            decision("needs_revision", releases=False, reason=True, write=WRITE),
        ],
        "edit": {
            "meaning": "I have changed this order.",
            "values": {
                "type": "object",
                "properties": {"dose_mg": {"type": "integer", "minimum": 1}},
                "additionalProperties": False,
                "minProperties": 1,
            },
        },
        "times": {"remind": 14_400, "escalate": 28_800, "expire": 86_400},
        "escalate_to": "chief",
        "on_expiry": "rejected",
    }
    return whole | changes


def decision(name: str, *, releases: bool, reason: bool, write: Json, values: Json = None) -> dict[str, Json]:
    """Return a decision of a gate."""
    return {
        "name": name,
        "meaning": f"I have looked at this order: {name.replace('_', ' ')}.",
        "releases": releases,
        "reason": reason,
        "write": write,
        "values": values,
    }


def policy(
    workflow: str = ORDERS, gates: Sequence[Mapping[str, Json]] | None = None, **changes: Any
) -> dict[str, Json]:
    """Return a policy document."""
    whole: dict[str, Any] = {
        "spec": "countersign/policy/1",
        "workflow": workflow,
        "title": workflow,
        "fallback": "supervisor",
        "retention": {"class": "clinical", "days": 3_650},
        "acts": {
            "start": ["prescriber"],
            "correct": ["pharmacist"],
            "redirect": {"roles": ["supervisor"], "to": ["analyze"]},
            "stop": ["supervisor"],
            "move": ["supervisor"],
            "retry": ["supervisor"],
            "read": ["prescriber", "pharmacist", "supervisor", "chief"],
        },
        "gates": [dict(item) for item in gates] if gates is not None else [gate()],
    }
    return whole | changes


class Watch:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@dataclass
class Deployment:
    """One deployment under test."""

    database: Database
    pool: AsyncConnectionPool[Any]
    people: People
    desk: Desk
    saver: AsyncAuditedPostgresSaver
    watch: Watch
    engine: Engine
    graphs: dict[Workflow, Governed]
    users: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, Caller] = field(default_factory=dict)

    async def person(self, name: str, *roles: str, workflow: str = ORDERS) -> Caller:
        """Return the session of a person, made on first use with these roles."""
        if name not in self.users:
            grants = [GrantWanted(role, workflow) for role in roles]
            user, first = await self.people.create_user(OPERATOR, name, f"{name.title()} Example", None, grants)
            await self.people.set_password(name, first, PASSWORD)
            self.users[name] = user.id
        if name not in self.sessions:
            token, _ = await self.people.sign_in(name, PASSWORD)
            self.sessions[name] = await self.people.session(token)
        return self.sessions[name]

    async def later(self, seconds: float) -> None:
        """Let time pass, and everybody sign in again: a session does not last for long."""
        self.watch.forward(seconds)
        self.sessions.clear()
        for name, user in self.users.items():
            if (await self.people.get_user(OPERATOR, user)).active:
                await self.person(name)

    async def register(self, document: Mapping[str, Json], graph: Any, mark: str = "1") -> Workflow:
        """Register a version of a workflow, give its graph to the worker, and return it."""
        name = str(document["workflow"])
        parts: dict[str, Json] = {"policy": dict(document), "graph": {}, "code": {"mark": mark}, "packages": {}}
        digests: dict[str, Json] = {part: part_digest(parts[part]) for part in PARTS}
        workflow = Workflow(name, version_of(name, digests))
        draft = EntryDraft(
            SYSTEM_TRAIL,
            Kind.WORKFLOW_REGISTERED,
            OPERATOR,
            detail={"name": name, "version": workflow.version, "parts": digests},
            payload=parts,
        )
        async with self.pool.connection() as conn, conn.transaction():
            await self.people.appender.aappend(conn, draft)
        saver = self.engine.saver
        self.graphs[workflow] = govern(graph, saver, parse_policy(dict(document)), workflow.version)
        return workflow

    async def work(self, case: str) -> None:
        """Carry out what is outstanding of a case, as a worker does, and settle it, as the server does."""
        await self.engine.deliver(case)
        await self.desk.settle(case)

    async def started(self, caller: Caller, drug: str = "warfarin", workflow: str = ORDERS) -> str:
        """Return a case that was started and run to its first pause."""
        case = await self.desk.start(caller, workflow, dict(new_order("patient-1", drug)))
        await self.work(case)
        return case

    async def begun(self, workflow: str, given: dict[str, Any]) -> str:
        """Return a case of a workflow that `pat` started, run to its first pause."""
        case = await self.desk.start(self.sessions["pat"], workflow, given)
        await self.work(case)
        return case

    async def open_review(self, case: str) -> str:
        """Return the one open review of a case."""
        (review,) = (await self.desk.get_case(self.sessions["pat"], case)).reviews
        return review.id

    async def decide(self, name: str, review: str, decision: str, reason: str = "", **more: Any) -> SignedOff:
        """Read a review and decide it, as `name`."""
        caller = self.sessions[name]
        page = await self.desk.review(caller, review)
        asked = {"decision": decision, "reason": reason, "shown_digest": page.shown_digest, **more}
        return await self.desk.decide(caller, review, asked, credential(name))

    async def signed_remark(self, name: str, case: str, text: str, refers: int) -> int:
        """Annotate an entry with a signature, as `name`."""
        return await self.desk.annotate(self.sessions[name], case, text, refers, credential(name))

    def refusals(self, case: str) -> list[str]:
        """Return the causes for which attempts in a case were refused."""
        found = self.database.query(
            "SELECT convert_from(body, 'UTF8')::json #>> '{detail,cause}' FROM audit.entries "
            "WHERE trail = %s AND kind = 'review.refused' ORDER BY seq",
            (case,),
        )
        return [row[0] for row in found]

    def kinds(self, case: str) -> list[str]:
        """Return the kinds of a case's entries that people made or that follow from what they did."""
        return [kind for kind in self.database.kinds(case) if kind.startswith(("case.", "review."))]


def check_evidence(database: Database) -> None:
    """Verify a database, rules included, and hold every entry against the schema of its kind."""
    report = database.verify()
    assert report.verdict is Verdict.PASSED, [finding.message for finding in report.findings]
    schema = json.loads(resources.files("countersign.audit").joinpath("schemas/detail.json").read_text())
    validator = Draft202012Validator(schema)
    for (data,) in database.query("SELECT body FROM audit.entries WHERE kind !~ '^(checkpoint|writes)' "):
        body = parse(bytes(data))
        assert not [error.message for error in validator.iter_errors(body)], body


def credential(name: str, password: str = PASSWORD) -> dict[str, Json]:
    """Return all components of a person's credential."""
    return {"username": name, "password": password}


def orders() -> Any:
    """Return the order graph, compiled: it pauses where the policy says."""
    return order_workflow().compile()


@asynccontextmanager
async def deployed(database: Database) -> AsyncIterator[Deployment]:
    """Yield a governed deployment on a migrated database."""
    watch = Watch()
    async with AsyncExitStack() as stack:
        pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            database.service_url, min_size=2, max_size=24, open=False, close_returns=True
        )
        await stack.enter_async_context(pool)
        cheap = Passwords(Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1))
        people = await open_people(pool, database.home, passwords=cheap, clock=watch)
        saver = AsyncAuditedPostgresSaver(pool, home=database.home)
        await saver.setup()
        work: AsyncConnectionPool[Any] = AsyncConnectionPool(
            database.worker_url, min_size=1, max_size=8, open=False, kwargs={"autocommit": True}, close_returns=True
        )
        await stack.enter_async_context(work)
        graph_saver = AsyncAuditedPostgresSaver(work, home=database.home)
        await graph_saver.setup()
        locks = await stack.enter_async_context(Locks.connected(database.worker_url))
        graphs: dict[Workflow, Governed] = {}
        engine = Engine(graph_saver, locks, graphs, run_limit=60, attempts=3)
        desk = Desk(pool, people, saver, clock=watch)
        yield Deployment(database, pool, people, desk, saver, watch, engine, graphs)
