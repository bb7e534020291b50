"""Who adopts, and when: twice, at once, beside writers, against the rules; and the command."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result

from conftest import DEPLOYMENT, GRAPH, Database
from countersign.audit import VerificationError, attach
from countersign.audit.adopt import Adoption, adopt, adoptable, open_adopter
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import AppendError, ConfigurationError, NotFoundError
from countersign.audit.kinds import Kind
from countersign.audit.rows import CHECKPOINTS, BoundRow, rows_member
from graphs import NEW_ORDER, thread
from integration.adopting import (
    PATIENCE,
    adopt_here,
    command,
    dynamic,
    entries_locked,
    static,
    uses,
    wait_until,
    waiting,
    write_before,
)
from integration.faults import assert_honest
from tamper.tools import append_forged


async def test_adopting_again_changes_nothing(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    first = adopt_here(database, name)
    assert adopt_here(database, name) == Adoption(name, {}, None, first.seq, already=True)
    async with database.saver() as saver:
        await attach(static(), saver).ainvoke(None, config)
    assert adopt_here(database, name).already
    assert database.kinds(name).count("trail.adopted") == 1


async def test_two_who_adopt_at_once_make_one_entry(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    with ThreadPoolExecutor() as pool, entries_locked(database):
        both = [pool.submit(adopt_here, database, name) for _ in range(2)]
        await asyncio.to_thread(wait_until, lambda: waiting(database) == 2)
    done = [await asyncio.to_thread(future.result, PATIENCE) for future in both]
    assert sorted(adoption.already for adoption in done) == [False, True]
    assert database.kinds(name) == ["trail.adopted"]
    assert_honest(database)


async def test_a_run_that_comes_during_an_adoption_is_refused_and_the_next_one_goes_on(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    async with database.saver() as saver:
        graph: Any = attach(static(), saver)
        with ThreadPoolExecutor() as pool, entries_locked(database):
            adopting = pool.submit(adopt_here, database, name)
            await asyncio.to_thread(wait_until, lambda: waiting(database) == 1)
            running = asyncio.create_task(graph.ainvoke(None, config))
            await asyncio.to_thread(wait_until, lambda: waiting(database) == 2)
        assert adopting.result().seq == 1
        with pytest.raises(VerificationError):
            await running
        assert database.kinds(name) == ["trail.adopted", "run.refused"]
        await graph.ainvoke(None, config)
    assert database.kinds(name)[-1] == "run.completed"
    assert_honest(database)


async def test_what_a_plain_saver_writes_meanwhile_waits_and_is_found(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    with ThreadPoolExecutor() as pool, entries_locked(database):
        adopting = pool.submit(adopt_here, database, name)
        await asyncio.to_thread(wait_until, lambda: waiting(database) == 1)
        writing = asyncio.create_task(write_before(database, static(), config, given=None))
        await asyncio.to_thread(wait_until, lambda: waiting(database) == 2)
    assert adopting.result().seq == 1
    await writing
    report = database.verify()
    assert {(finding.check, finding.trail) for finding in report.findings} == {("unbound", name)}
    assert not any("countersign adopt" in finding.message for finding in report.findings)
    with pytest.raises(AppendError, match="not as it was recorded"):
        adopt_here(database, name)


async def test_an_adoption_waits_for_writes_under_way(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    with ThreadPoolExecutor() as pool, psycopg.connect(database.app_url) as writer:
        writer.execute("UPDATE checkpoints SET metadata = metadata || '{\"late\": 1}'")
        adopting = pool.submit(adopt_here, database, name)
        await asyncio.to_thread(wait_until, lambda: waiting(database) == 1)
        writer.commit()
        assert adopting.result(PATIENCE).seq == 1
    assert_honest(database)


def test_one_who_is_killed_leaves_nothing_and_can_be_repeated(database: Database) -> None:
    name, config = thread()
    asyncio.run(write_before(database, static(), config))
    program = [str(Path(sys.executable).with_name("countersign")), "adopt", name]
    env = os.environ | {"COUNTERSIGN_DATABASE_URL": database.app_url, "COUNTERSIGN_HOME": str(database.home)}
    with entries_locked(database):
        process = subprocess.Popen(program, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: waiting(database) == 1)
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    assert adopt_here(database, name).seq == 1
    assert database.kinds(name) == ["trail.adopted"]
    assert_honest(database)


async def test_an_audited_thread_is_not_adopted_and_neither_is_damage_in_it(database: Database) -> None:
    name, config = thread()
    async with database.saver() as saver:
        await attach(static(), saver).ainvoke(NEW_ORDER, config)
    with pytest.raises(AppendError, match="audited already: its entries bind"):
        adopt_here(database, name)
    await write_before(database, static(), config, given=None)
    with pytest.raises(AppendError, match="not as it was recorded"):
        adopt_here(database, name)
    database.as_admin("DELETE FROM checkpoint_writes")
    with pytest.raises(AppendError, match="not as it was recorded"):
        adopt_here(database, name)
    assert "trail.adopted" not in database.kinds(name)
    async with database.saver() as saver:
        ended = await uses(attach(static(), saver), config)
    assert not any("countersign adopt" in str(error) for error in ended)


async def test_a_thread_whose_trail_is_damaged_is_not_adopted(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    async with database.saver() as saver:
        await uses(attach(static(), saver), config)
    database.as_admin("UPDATE audit.payloads SET data = data || ' ' WHERE trail = %s AND seq = 1", (name,))
    with pytest.raises(AppendError, match="trail is damaged"):
        adopt_here(database, name)


async def test_a_graph_key_cannot_adopt(database: Database) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    append_forged(database, draft_of(database, name), database.folder.key(GRAPH))
    first = database.verify().findings[0]
    assert (first.check, first.trail, first.seq) == ("authority", name, 1)
    async with database.saver() as saver:
        ended = await uses(attach(static(), saver), config)
    assert [type(error) for error in ended] == [VerificationError] * len(ended)


async def test_no_key_can_adopt_what_was_bound_before(database: Database) -> None:
    name, config = thread()
    async with database.saver() as saver:
        await attach(static(), saver).ainvoke(NEW_ORDER, config)
    append_forged(database, draft_of(database, name), database.folder.key(DEPLOYMENT))
    assert [finding.check for finding in database.verify().findings] == ["binding"]


def draft_of(database: Database, name: str) -> EntryDraft:
    """Return what an honest adoption would say of the thread's latest checkpoint alone."""
    row = database.query("SELECT checkpoint_ns, checkpoint_id FROM checkpoints ORDER BY checkpoint_id DESC LIMIT 1")[0]
    bound = [BoundRow((CHECKPOINTS.name, (name, *row)), "00" * 32)]
    detail = {"checkpoints": 1, "checkpoint_blobs": 0, "checkpoint_writes": 0, "newest": None}
    return EntryDraft(name, Kind.TRAIL_ADOPTED, detail=detail, payload={"rows": rows_member(bound)})


EDITS = {
    "dose": "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50') "
    "WHERE metadata ->> 'step' = '1'",
    "metadata": "UPDATE checkpoints SET metadata = metadata || '{\"x\": 1}' WHERE metadata ->> 'step' = '1'",
    "type": "UPDATE checkpoints SET type = 'x'",
    "blob": "UPDATE checkpoint_blobs SET blob = '\\x90' WHERE channel = 'flags' AND type <> 'empty'",
    "write": "UPDATE checkpoint_writes SET blob = '\\x32' WHERE channel = 'dose'",
    "path": "UPDATE checkpoint_writes SET task_path = 'x'",
    "gone": "DELETE FROM checkpoints WHERE metadata ->> 'step' = '0'",
    "added": "INSERT INTO checkpoints SELECT thread_id, checkpoint_ns, 'ffffffff-ffff-6fff-bfff-ffffffffffff', "
    "checkpoint_id, type, checkpoint, metadata FROM checkpoints WHERE metadata ->> 'step' = '1'",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
async def test_what_is_edited_after_the_adoption_is_found(database: Database, edit: str) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    adopt_here(database, name)
    assert database.as_admin(edit) > 0
    assert database.verify().verdict == "failed"
    async with database.saver() as saver:
        graph: Any = attach(static(), saver)
        with pytest.raises(VerificationError):
            assert [snapshot async for snapshot in graph.aget_state_history(config)]
    with pytest.raises(AppendError, match="not as it was recorded"):
        adopt_here(database, name)


async def test_verify_names_the_remedy_where_a_thread_was_never_bound(database: Database) -> None:
    silent, config = thread()
    await write_before(database, static(), config)
    refused, config = thread()
    await write_before(database, static(), config)
    async with database.saver() as saver:
        await uses(attach(static(), saver), config)
    findings = database.verify().findings
    assert {finding.trail for finding in findings} == {silent, refused}
    assert {finding.check for finding in findings} == {"unbound"}
    assert all(f"`countersign adopt {finding.trail}`" in finding.message for finding in findings)
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        assert adoptable(conn) == sorted([silent, refused])


async def test_a_name_is_quoted_for_the_shell(database: Database) -> None:
    config = {"configurable": {"thread_id": "-x; rm 1"}}
    await write_before(database, static(), config)
    assert "`countersign adopt -- '-x; rm 1'`" in database.verify().findings[0].message
    result = command("adopt", "--", "-x; rm 1", url=database.app_url, home=database.home)
    assert result.exit_code == 0, result.stderr
    assert_honest(database)


async def test_all_threads_at_once(database: Database) -> None:
    names = []
    for graph in (static, dynamic):
        name, config = thread()
        await write_before(database, graph(), config)
        names.append(name)
    audited, config = thread()
    async with database.saver() as saver:
        await attach(static(), saver).ainvoke(NEW_ORDER, config)

    def run(*words: str) -> Result:
        return command("adopt", "--all", *words, url=database.app_url, home=database.home)

    listed = run("--dry-run")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == sorted(names)
    assert all(f"would be adopted: {3} in checkpoints" in line for line in listed.stdout.splitlines())
    assert [database.kinds(name) for name in names] == [[], []]
    done = run()
    assert (done.exit_code, done.stderr) == (0, "")
    assert all("adopted in entry 1: 3 in checkpoints" in line for line in done.stdout.splitlines())
    assert run().stdout == "No thread is without entries: there is nothing to adopt.\n"
    assert "trail.adopted" not in database.kinds(audited)
    assert_honest(database)


async def test_one_that_cannot_be_adopted_does_not_keep_the_others_out(database: Database) -> None:
    names = ["@keys", "x" * 256, "good"]
    for name in names:
        await write_before(database, static(), {"configurable": {"thread_id": name}})
    result = command("adopt", "--all", url=database.app_url, home=database.home)
    assert result.exit_code == 2
    assert result.stdout.startswith("good: adopted in entry 1")
    assert "must not begin with @" in result.stderr
    assert "1 to 255 characters" in result.stderr
    assert "adopt" not in str([f.message for f in database.verify().findings if f.trail != "good"])


@pytest.mark.parametrize("words", [[], ["--all", "case-7"]])
def test_names_or_all_of_them(database: Database, words: list[str]) -> None:
    result = command("adopt", *words, url=database.app_url, home=database.home)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--all" in result.stderr


def test_a_thread_that_is_not_there(database: Database) -> None:
    with pytest.raises(NotFoundError, match="no rows"):
        adopt_here(database, "nobody")
    result = command("adopt", "nobody", url=database.app_url, home=database.home)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "countersign: Thread 'nobody' has no rows in LangGraph's tables."


async def test_without_the_deployment_key_nothing_is_adopted(database: Database, tmp_path: Path) -> None:
    name, config = thread()
    await write_before(database, static(), config)
    folder = tmp_path / database.folder.path.name
    shutil.copytree(database.folder.path, folder)
    (folder / "deployment.pem").unlink()
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        with pytest.raises(ConfigurationError, match="deployment key is not on this machine"):
            open_adopter(conn, tmp_path)
        assert adopt(conn, open_adopter(conn, tmp_path, dry_run=True), name, dry_run=True).seq is None
    assert command("adopt", name, url=database.app_url, home=tmp_path).exit_code == 2
    assert database.kinds(name) == []


def test_a_database_that_was_never_prepared(database: Database) -> None:
    database.as_admin("DROP SCHEMA audit CASCADE; DROP SCHEMA countersign CASCADE")
    result = command("adopt", "--all", url=database.app_url, home=database.home)
    assert result.exit_code == 2
    assert "countersign migrate" in result.stderr
