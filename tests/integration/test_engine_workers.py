"""Worker processes as the server starts them: what they are given, and what a node can do to other cases: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from conftest import Database
from countersign.service.engine.repair import Outstanding, defer_missing, repair
from integration.delivering import worker_home
from integration.engine_project import Project, repairing, said, settled, settling

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def project(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("engine")
    return Project.make(shared_database, folder / "project", worker_home(shared_database, folder))


@pytest.fixture
async def conn(shared_database: Database) -> AsyncIterator[AsyncConnection[Any]]:
    async with settling(shared_database) as conn:
        yield conn


BAD = {
    "raise": "builtins.RuntimeError",
    "rubbish": "langgraph.errors.InvalidUpdateError",
    "hang": "asyncio.exceptions.CancelledError",
    "block": "asyncio.exceptions.CancelledError",
    "exit": "countersign.service.engine.deliver.LostRunError",
}


async def test_what_a_node_does_harms_its_own_case_only(project: Project, conn: AsyncConnection[Any]) -> None:
    """One that raises, returns rubbish, waits for ever, blocks its thread or ends the process; and good ones beside."""
    bad = {deed: project.case() for deed in BAD}
    good = [project.case() for _ in range(4)]
    async with project.workers(2), repairing(project.database):
        for deed, case in bad.items():
            await project.begin(conn, case, do=deed)
        for case in good:
            await project.begin(conn, case, do="good")
        for case in good:
            await settled(conn, case, "interrupt.raised")
        for case in bad.values():
            await settled(conn, case, "run.failed")

    assert {deed: case.last("run.failed").body.detail["error"] for deed, case in bad.items()} == BAD
    assert jobs(project.database) == []


async def test_a_worker_has_nothing_but_what_it_needs(project: Project, conn: AsyncConnection[Any]) -> None:
    secrets = {
        "COUNTERSIGN_DATABASE_URL": "postgresql://secret", "COUNTERSIGN_HOME": "/secret", "PGPASSWORD": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret", "LANGSMITH_TRACING": "true", "MODEL_KEY": "given",
        "COUNTERSIGN_WORKER_ENV": "MODEL_KEY, COUNTERSIGN_HOME",
    }  # fmt: skip
    looking, stealing = project.case(), project.case()
    thefts = {
        "a decision": "INSERT INTO audit.entries VALUES ('x', 1, 'review.decided', now(), '{}', '', '')",
        "@system": "INSERT INTO audit.entries VALUES ('@system', 1, 'run.failed', now(), '{}', '', '')",
        "people": "SELECT * FROM countersign.users",
        "another's session": "SET ROLE countersign_service",
        "a job": "INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')",
    }
    async with project.workers(1, secrets):
        await project.begin(conn, looking, do="look")
        await project.begin(conn, stealing, do="steal", folder=json.dumps(thefts))
        await settled(conn, looking, "interrupt.raised")
        await settled(conn, stealing, "interrupt.raised")

    found = said(looking)
    assert [
        name for name in found["environ"] if name.startswith("COUNTERSIGN") or "secret" in found["environ"][name]
    ] == []
    assert (found["environ"]["MODEL_KEY"], found["environ"]["LANGSMITH_TRACING"]) == ("given", "false")
    folder = project.database.folder.path.name
    assert found["home"] == [folder, f"{folder}/graph.pem", f"{folder}/trust.json"]
    assert [name for name in found["descriptors"] if "postgres.lock" in name or name.endswith(".pem")] == []
    assert said(stealing) == {
        **dict.fromkeys(thefts, "InsufficientPrivilege"), "review.decided": "AppendError", "case.opened": "AppendError",
    }  # fmt: skip


async def test_a_killed_worker_is_repaired_at_once(
    project: Project, conn: AsyncConnection[Any], tmp_path: Path
) -> None:
    """Its job goes to another, the node finds the key it had, and a decision that was deleted with its job is done."""
    case = project.case()
    async with project.workers(1) as workers:
        await project.begin(conn, case, do="hold", folder=str(tmp_path))
        await _there(tmp_path, 1)
        assert await repair(conn) == 0
        (pid,) = workers.pids
        os.kill(pid, signal.SIGKILL)
        while await repair(conn) == 0:
            await conn.execute("SELECT pg_sleep(0.01)")
        await _there(tmp_path, 2)
        (tmp_path / "go").touch()
        await settled(conn, case, "interrupt.raised")

        assert {name.split(".")[0] for name in came(tmp_path)} == {case.state()["result"]}
        mandate = case.decide({"update": None})
        wanted = Outstanding(case.id, mandate, project.workflow.name, project.workflow.version)
        async with conn.transaction():
            assert await defer_missing(conn, [wanted]) == 1
            assert await defer_missing(conn, [wanted]) == 0
        await settled(conn, case, "run.completed")

    assert case.state()["result"] == "last"


async def test_a_worker_that_is_told_to_stop_finishes(
    project: Project, conn: AsyncConnection[Any], tmp_path: Path
) -> None:
    case, other = project.case(), project.case()
    async with project.workers(1) as workers:
        await project.begin(conn, case, do="hold", folder=str(tmp_path))
        await _there(tmp_path, 1)
        workers.stop()
        await project.begin(conn, other, do="good")
        (tmp_path / "go").touch()

    assert case.kinds()[-1] == "interrupt.raised"
    assert other.kinds() == ["case.opened"]
    assert jobs(project.database) == [("todo", other.id)]
    project.database.as_admin("DELETE FROM procrastinate_jobs")


async def test_the_command_works_until_it_is_told_to_stop(project: Project, conn: AsyncConnection[Any]) -> None:
    database, case = project.database, project.case()
    command = [str(Path(sys.executable).with_name("countersign")), "worker", "--config", str(project.config.file)]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={
            **os.environ,
            "COUNTERSIGN_DATABASE_URL": database.service_url,
            "COUNTERSIGN_WORKER_DATABASE_URL": database.worker_url,
            "COUNTERSIGN_HOME": str(database.home),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    await project.begin(conn, case, do="look")
    await settled(conn, case, "interrupt.raised")
    process.send_signal(signal.SIGTERM)
    output, _ = await process.communicate()

    assert process.returncode == 0
    assert output.startswith(b"Working on flow in 1 processes")
    assert said(case)["environ"].get("COUNTERSIGN_HOME") is None


def jobs(database: Database) -> list[tuple[Any, ...]]:
    return database.query("SELECT status::text, lock FROM procrastinate_jobs")


def came(folder: Path) -> list[str]:
    """Return the key and process of each node that came to hold."""
    return [path.name for path in folder.iterdir() if path.name != "go"]


async def _there(folder: Path, number: int) -> None:
    """Wait until so many processes came to the node that holds."""
    async with asyncio.timeout(60):
        while len(came(folder)) < number:  # noqa: ASYNC110 - it is another process that comes
            await asyncio.sleep(0.02)
