"""Cases for the tests of the engine: mandates signed with the deployment key, an engine with the worker's rights."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from langgraph.pregel import Pregel
from psycopg_pool import AsyncConnectionPool

from conftest import DEPLOYMENT, Database
from countersign.audit.append import Appender
from countersign.audit.canonical import tagged
from countersign.audit.chain import START, Checked, check_entry
from countersign.audit.deployment import open_steps
from countersign.audit.entry import Actor, EntryDraft, Workflow
from countersign.audit.policy import parse_policy
from countersign.audit.read import entries_statement, entry_of
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.audit.shell import OPTIONS
from countersign.audit.steps import run
from countersign.service.engine.deliver import Engine
from countersign.service.engine.gates import Governed, governed
from countersign.service.engine.locks import Locks
from countersign.service.engine.worker_home import prepare_worker_home

WORKFLOW = Workflow("orders", "1")
PERSON = Actor("u-1", "session+password", "pharmacist")
PLACE = {"seq": 1, "leaf_hash": "00" * 32}
Graph = Pregel[Any, Any, Any, Any]


def policy(*gates: tuple[str, str], workflow: str = WORKFLOW.name) -> Any:
    """Return a policy with a gate for each `(when, node)`."""
    roles = ["pharmacist"]
    acts: dict[str, Any] = dict.fromkeys(("start", "correct", "stop", "move", "retry", "read"), roles)
    decision: dict[str, Any] = {
        "name": "approved",
        "meaning": "Right.",
        "releases": True,
        "reason": False,
        "write": None,
        "values": None,
    }
    document: dict[str, Any] = (
        {
            "spec": "countersign/policy/1", "workflow": workflow, "title": "Orders", "fallback": "pharmacist",
            "retention": {"class": "clinical", "days": 3650},
            "acts": {**acts, "redirect": {"roles": roles, "to": []}},
            "gates": [
                {
                    "name": f"{when}-{node}", "when": when, "node": node, "question": "May it?",
                    "stages": [{"role": "pharmacist", "count": 1}], "accept": "signed", "separation": [],
                    "decisions": [{**decision, "write": "$decision" if when == "interrupt" else None}], "edit": None,
                    "times": {"remind": None, "escalate": None, "expire": None}, "escalate_to": None, "on_expiry": None,
                }
                for when, node in gates
            ],
        }
    )  # fmt: skip
    return parse_policy(document)


@dataclass
class Case:
    """A case, to which the test appends what the server would."""

    database: Database
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    workflow: Workflow = WORKFLOW
    gate: str | None = None
    """The gate of its reviews, if a test names none."""
    reviews: int = 0

    @cached_property
    def _appender(self) -> Appender:
        with psycopg.connect(self.database.service_url, autocommit=True) as conn:
            return run(conn, open_steps(self.database.home, (DEPLOYMENT,)))

    def append(
        self, kind: str, detail: Mapping[str, Any], payload: Mapping[str, Any] | None = None, **more: Any
    ) -> int:
        draft = EntryDraft(self.id, kind, actor=PERSON, workflow=self.workflow, detail=detail, payload=payload, **more)
        with psycopg.connect(self.database.service_url) as conn:
            return self._appender.append(conn, draft)[0].seq

    def open(self, values: Any, config: Mapping[str, Any] | None = None) -> int:
        said = {"config": dict(config)} if config else {}
        return self.append("case.opened", {"registered": PLACE, "standing": PLACE}, {"input": _tag(values), **said})

    def correct(self, values: Any) -> int:
        return self.append("case.corrected", {"standing": PLACE}, {"values": _tag(values), "reason": "It was wrong."})

    def redirect(self, to: str) -> int:
        return self.append("case.redirected", {"standing": PLACE, "to": to}, {"reason": "Another way."})

    def retry(self) -> int:
        return self.append("case.retried", {"standing": PLACE}, {"reason": "Once more."})

    def stop(self) -> int:
        return self.append("case.stopped", {"standing": PLACE}, {"reason": "Enough."})

    def review(self, gate: str | None = None, raised: Checked | None = None) -> str:
        """Open a review of a pause, by default of the last one."""
        found = raised or next(entry for entry in reversed(self.entries()) if entry.body.kind == "interrupt.raised")
        when = str(found.body.detail["when"])
        self.reviews += 1
        name = f"r-{self.reviews}"
        dynamic = when == "dynamic"
        nodes: Any = [found.body.detail["node"]] if dynamic else found.body.detail["next"]
        asked = {"interrupt": found.body.detail["interrupt"]} if dynamic else {}
        detail = {
            "review": name,
            "gate": gate or self.gate,
            "when": "interrupt" if dynamic else when,
            "nodes": nodes,
            **asked,
        }
        self.append("review.opened", detail, checkpoint=found.body.checkpoint)
        return name

    def decide(self, write: Mapping[str, Any], gate: str | None = None, *, resume: bool = True) -> int:
        """Decide a review of the last pause, opened for it."""
        name = self.review(gate)
        detail = {"review": name, "outcome": "approved", "by": "signatures", "signed": [1], "resume": resume}
        return self.append("review.decided", detail, {"write": _tag(write)})

    def entries(self) -> list[Checked]:
        """Return the entries of the case, checked."""
        with psycopg.connect(self.database.service_url, autocommit=True) as conn:
            ring = self._appender.ring
            link, found = START, []
            for row in run(conn, _rows(self.id)):
                found.append(check_entry(entry_of(row), after=link, origin=self._appender.origin, ring=ring))
                link = found[-1].link
            return found

    def kinds(self, after: int = 0) -> list[str]:
        """Return the kinds behind entry `after`, without those of LangGraph's own rows."""
        dull = ("checkpoint.saved", "writes.saved")
        return [kind for kind in self.database.kinds(self.id)[after:] if kind not in dull]

    def last(self, kind: str) -> Checked:
        return next(entry for entry in reversed(self.entries()) if entry.body.kind == kind)

    def state(self) -> dict[str, Any]:
        """Return the channel values of the newest checkpoint that are stored inline: texts and numbers."""
        sql = """SELECT checkpoint -> 'channel_values' FROM checkpoints
        WHERE thread_id = %s AND checkpoint_ns = '' ORDER BY checkpoint_id DESC LIMIT 1"""
        return dict(self.database.query(sql, (self.id,))[0][0])


def _rows(trail: str) -> Any:
    return (yield entries_statement(trail))


def _tag(value: Any) -> Any:
    return tagged(value, lambda _: ("", b""))


@asynccontextmanager
async def worker_saver(url: str, home: Path) -> AsyncIterator[AsyncAuditedPostgresSaver]:
    """Yield a saver as a worker has it: a pool of the worker's role, and a home with the graph key alone."""
    async with AsyncConnectionPool(url, min_size=1, max_size=4, kwargs=OPTIONS, open=False) as pool:
        saver = AsyncAuditedPostgresSaver(pool, home=home)
        await saver.setup()
        yield saver


@asynccontextmanager
async def engine(
    database: Database, home: Path, graphs: Mapping[Workflow, tuple[Graph, Any]], **options: Any
) -> AsyncIterator[Engine]:
    """Yield an engine that knows graphs with their policies."""
    async with worker_saver(database.worker_url, home) as saver, Locks.connected(database.worker_url) as locks:
        loaded: dict[Workflow, Governed] = {
            workflow: governed(graph, saver, rules, workflow.version) for workflow, (graph, rules) in graphs.items()
        }
        yield Engine(saver, locks, loaded, **({"run_limit": 30.0, "attempts": 3} | options))


def worker_home(database: Database, folder: Path) -> Path:
    return prepare_worker_home(database.folder, folder / "worker")
