"""A governed deployment for tests: people, a workflow with its policy, a desk, and a worker that does what it may.

Everything real but the clock, which a test sets, and the passwords, which are cheap to hash.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from conftest import Database
from langgraph.graph import StateGraph
from psycopg_pool import AsyncConnectionPool
from pwdlib.hashers.argon2 import Argon2Hasher

from countersign.audit.canonical import Json
from countersign.audit.entry import SYSTEM_TRAIL, Actor, EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.standing import PARTS, part_digest, version_of
from countersign.service.cases.desk import Desk
from countersign.service.identity.caller import SESSION, Caller
from countersign.service.identity.passwords import Passwords
from countersign.service.identity.people import People, open_people
from countersign.service.identity.records import GrantWanted
from countersign.service.order_workflow import order_workflow

OPERATOR = Actor("uid:0", "os-user")
ORDERS = "medication-order"
PASSWORD = "correct horse battery"
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


def policy(workflow: str = ORDERS, gates: Sequence[Mapping[str, Json]] | None = None, **changes: Any) -> dict[str, Json]:
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
class Governed:
    """One deployment under test."""

    database: Database
    pool: AsyncConnectionPool[Any]
    people: People
    desk: Desk
    watch: Watch
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
            token, session = await self.people.sign_in(name, PASSWORD)
            self.sessions[name] = await self.people.session(token)
            assert self.sessions[name].session == session.id
            assert self.sessions[name].via == SESSION
        return self.sessions[name]

    def credential(self, name: str, password: str = PASSWORD) -> dict[str, Json]:
        """Return all components of a person's credential."""
        return {"username": name, "password": password}

    async def register(self, document: Mapping[str, Json], mark: str = "1") -> str:
        """Register a version of a workflow, and return it."""
        name = str(document["workflow"])
        parts: dict[str, Json] = {
            "policy": dict(document),
            "graph": {"mark": mark},
            "code": {"mark": mark},
            "packages": {},
        }
        digests: dict[str, Json] = {part: part_digest(parts[part]) for part in PARTS}
        version = version_of(name, digests)
        draft = EntryDraft(
            SYSTEM_TRAIL,
            Kind.WORKFLOW_REGISTERED,
            OPERATOR,
            detail={"name": name, "version": version, "parts": digests},
            payload=parts,
        )
        async with self.pool.connection() as conn, conn.transaction():
            await self.people.appender.aappend(conn, draft)
        return version


@asynccontextmanager
async def governed(database: Database) -> AsyncIterator[Governed]:
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
        desk = Desk(pool, people, saver, clock=watch)
        yield Governed(database, pool, people, desk, watch)


def orders() -> StateGraph[Any]:
    """Return the order graph's builder; compile it with `interrupt_before=["review"]`."""
    return order_workflow()
