"""A project with one workflow, whose graph does to its worker whatever the case says."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from conftest import Database
from countersign.audit.entry import Workflow
from countersign.service.config.load import load_config
from countersign.service.config.look import describe_in_child
from countersign.service.config.model import Config
from countersign.service.engine.children import Workers
from countersign.service.engine.jobs import defer_mandate
from countersign.service.engine.repair import repair
from countersign.service.engine.settings import WorkerSettings, worker_environment
from integration.delivering import Case

TOML = """
[service]
listen = "127.0.0.1:8321"
[service.engine]
run_limit = "3s"
attempts = 2
first_wait = "1s"
grace = "20s"
[retention.clinical]
days = 3650
[workflows.flow]
graph = "./flow.py:graph"
retention = "clinical"
[workflows.flow.roles]
start = ["pharmacist"]
fallback = "pharmacist"
[[workflows.flow.gates]]
name = "gate"
before = "last"
question = "May it?"
role = "pharmacist"
[workflows.flow.gates.decisions.approved]
meaning = "Right."
releases = true
"""

FLOW = '''
import asyncio, json, os, time
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    do: str
    folder: str
    result: str


async def first(state: State, config):
    return await DEEDS[state["do"]](state, config)


async def _good(state, config):
    return {"result": "done"}


async def _raise(state, config):
    raise RuntimeError("no")


async def _rubbish(state, config):
    return 7


async def _hang(state, config):
    await asyncio.Event().wait()


async def _exit(state, config):
    os._exit(9)


async def _hold(state, config):
    folder = Path(state["folder"])
    key = config["configurable"]["countersign_effect_key"]
    (folder / f"{key}.{os.getpid()}").touch()
    while not (folder / "go").exists():
        await asyncio.sleep(0.02)
    return {"result": key}


async def _look(state, config):
    home = Path(config["configurable"]["__pregel_checkpointer"].core.home)
    found = {
        "environ": dict(os.environ),
        "home": sorted(str(path.relative_to(home)) for path in home.rglob("*")),
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")
                              if os.path.exists(f"/proc/self/fd/{name}")),
    }
    return {"result": json.dumps(found)}


async def _steal(state, config):
    """Try with the worker's own pool and saver what only the server may do."""
    saver = config["configurable"]["__pregel_checkpointer"]
    from countersign.audit.entry import EntryDraft
    from countersign.audit.plans import record_plan

    said = {}
    for name, sql in json.loads(state["folder"]).items():
        try:
            async with saver.conn.connection() as conn:
                await conn.execute(sql)
            said[name] = "done"
        except Exception as error:
            said[name] = type(error).__name__
    for kind in ("review.decided", "case.opened"):
        try:
            await saver.adrive(record_plan([EntryDraft(config["configurable"]["thread_id"], kind)]))
            said[kind] = "done"
        except Exception as error:
            said[kind] = type(error).__name__
    return {"result": json.dumps(said)}


def last(state: State):
    return {"result": "last"}


def blocking(state: State):
    time.sleep(3600)


DEEDS = {"good": _good, "raise": _raise, "rubbish": _rubbish, "hang": _hang, "exit": _exit, "hold": _hold,
         "look": _look, "steal": _steal}
builder = StateGraph(State)
builder.add_node("first", first)
builder.add_node("blocking", blocking)
builder.add_node("last", last)
builder.add_conditional_edges(START, lambda state: "blocking" if state["do"] == "block" else "first",
                              ["blocking", "first"])
builder.add_edge("first", "last")
builder.add_edge("blocking", "last")
builder.add_edge("last", END)
graph = builder.compile()
'''


@dataclass(frozen=True)
class Project:
    """The project in its folder, its workflow as it is registered, and a home for its workers."""

    database: Database
    config: Config
    home: Path
    workflow: Workflow

    @classmethod
    def make(cls, database: Database, folder: Path, home: Path) -> Project:
        folder.mkdir()
        (folder / "countersign.toml").write_text(TOML)
        (folder / "flow.py").write_text(FLOW)
        config = load_config(folder)
        version = describe_in_child(config, config.workflow("flow"), os.environ).version
        return cls(database, config, home, Workflow("flow", version))

    def case(self) -> Case:
        return Case(self.database, str(uuid.uuid4()), self.workflow, "gate")

    @asynccontextmanager
    async def workers(self, number: int, environ: Mapping[str, str] | None = None) -> AsyncIterator[Workers]:
        """Have workers run inside the block."""
        settings = WorkerSettings(self.database.worker_url, str(self.home), str(self.config.file))
        told = worker_environment(self.config, {**os.environ, **(environ or {})})
        workers = Workers(settings, told, number=number, grace=20)
        running = asyncio.create_task(workers.run())
        try:
            yield workers
        finally:
            workers.stop()
            await running

    async def begin(self, conn: AsyncConnection[Any], case: Case, **values: Any) -> None:
        """Open a case, and have it run."""
        await self.defer(conn, case, case.open(values))

    async def defer(self, conn: AsyncConnection[Any], case: Case, mandate: int) -> None:
        async with conn.transaction():
            await defer_mandate(
                conn, case=case.id, mandate=mandate, workflow=self.workflow.name, version=self.workflow.version
            )


@asynccontextmanager
async def repairing(database: Database) -> AsyncIterator[None]:
    """Repair jobs again and again inside the block, as the server does."""

    async def go_on() -> None:
        async with await AsyncConnection.connect(database.service_url, autocommit=True) as conn:
            while True:
                await repair(conn)
                await asyncio.sleep(0.1)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


@asynccontextmanager
async def settling(database: Database) -> AsyncIterator[AsyncConnection[Any]]:
    """Yield a connection that hears when there is something to settle."""
    async with await AsyncConnection.connect(database.service_url, autocommit=True) as conn:
        await conn.execute("LISTEN countersign_settle")
        yield conn


async def settled(conn: AsyncConnection[Any], case: Case, kind: str) -> None:
    """Wait until the newest entry of a case, but for LangGraph's rows, is of a kind."""
    if case.kinds()[-1] == kind:
        return
    async for heard in conn.notifies(timeout=90):
        if heard.payload == case.id and case.kinds()[-1] == kind:
            return
    failed = [(entry.body.detail, entry.payload) for entry in case.entries() if entry.body.kind == "run.failed"]
    raise AssertionError(f"nothing of case {case.id} was settled but {case.kinds()} {failed}")


def said(case: Case) -> dict[str, Any]:
    """Return what a node wrote as its result."""
    found: dict[str, Any] = json.loads(case.state()["result"])
    return found
