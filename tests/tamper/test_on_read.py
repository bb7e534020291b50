"""Edits between pause and resume: whoever reads is refused, no node runs, and an entry says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from langgraph.types import Command

from conftest import Database
from countersign.audit import AsyncAuditedPostgresSaver
from countersign.audit.entry import SYSTEM_TRAIL
from countersign.audit.verify import Verdict
from tamper.cases import Case, config_of

LATEST = "thread_id = 'case' AND checkpoint_id = (SELECT max(checkpoint_id) FROM checkpoints WHERE thread_id = 'case')"
STEPS = (
    "thread_id = 'case' AND channel = 'steps' "
    "AND version = (SELECT max(version) FROM checkpoint_blobs WHERE channel = 'steps')"
)
LAST = "trail = 'case' AND seq = (SELECT max(seq) FROM audit.entries WHERE trail = 'case')"
NEWER = "'ffffffff-ffff-6fff-bfff-ffffffffffff'"
"""A checkpoint id that sorts behind all others."""
CUT = (
    "DELETE FROM audit.payloads WHERE trail = 'case' AND seq >= 6; "
    "DELETE FROM audit.entries WHERE trail = 'case' AND seq >= 6"
)
"""From the entry on that bound the latest checkpoint."""


@dataclass(frozen=True)
class Attack:
    """What the administrator runs, and whether the end of the trail is then unfit to be extended."""

    sql: str
    end_damaged: bool = False


def _document(expression: str) -> Attack:
    return Attack(f"UPDATE checkpoints SET checkpoint = {expression} WHERE {LATEST}")


ON_ROWS = {
    "dose edited": _document("jsonb_set(checkpoint, '{channel_values,dose}', '50')"),
    "drug edited": _document("jsonb_set(checkpoint, '{channel_values,drug}', '\"aspirin\"')"),
    "next node edited": _document("jsonb_set(checkpoint, '{versions_seen}', '{}')"),
    "blob versions edited": _document("jsonb_set(checkpoint, '{channel_versions,steps}', '\"0\"')"),
    "blob versions no object": _document("jsonb_set(checkpoint, '{channel_versions}', '7')"),
    "document a list": _document("'[]'"),
    "document too deep": _document("(repeat('[', 3000) || repeat(']', 3000))::jsonb"),
    "document emptied": Attack(
        "ALTER TABLE checkpoints ALTER COLUMN checkpoint DROP NOT NULL; "
        f"UPDATE checkpoints SET checkpoint = NULL WHERE {LATEST}"
    ),
    "metadata edited": Attack(f"""UPDATE checkpoints SET metadata = '{{"source": "update"}}' WHERE {LATEST}"""),
    "metadata emptied": Attack(
        "ALTER TABLE checkpoints ALTER COLUMN metadata DROP NOT NULL; "
        f"UPDATE checkpoints SET metadata = NULL WHERE {LATEST}"
    ),
    "parent edited": Attack(f"UPDATE checkpoints SET parent_checkpoint_id = NULL WHERE {LATEST}"),
    "type edited": Attack(f"UPDATE checkpoints SET type = 'x' WHERE {LATEST}"),
    "blob edited": Attack(f"UPDATE checkpoint_blobs SET blob = '\\x90' WHERE {STEPS}"),
    "blob a pickle": Attack(f"UPDATE checkpoint_blobs SET type = 'pickle' WHERE {STEPS}"),
    "blob deleted": Attack(f"DELETE FROM checkpoint_blobs WHERE {STEPS}"),
    "pending write edited": Attack(f"UPDATE checkpoint_writes SET blob = '\\x90' WHERE {LATEST} AND channel = 'steps'"),
    "pending write to another channel": Attack(
        f"UPDATE checkpoint_writes SET channel = 'flags' WHERE {LATEST} AND channel = 'steps'"
    ),
    "pending write deleted": Attack(f"DELETE FROM checkpoint_writes WHERE {LATEST} AND channel = 'steps'"),
    "all pending writes deleted": Attack(f"DELETE FROM checkpoint_writes WHERE {LATEST}"),
    "pending write added": Attack(
        "INSERT INTO checkpoint_writes SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, 9, 'dose', type, "
        f"'\\x32', task_path FROM checkpoint_writes WHERE {LATEST} AND channel = 'steps'"
    ),
    "pending write doubled": Attack(
        "ALTER TABLE checkpoint_writes DROP CONSTRAINT checkpoint_writes_pkey; "
        f"INSERT INTO checkpoint_writes SELECT * FROM checkpoint_writes WHERE {LATEST} AND channel = 'steps'"
    ),
    "an answer added": Attack(
        "INSERT INTO checkpoint_writes SELECT thread_id, checkpoint_ns, checkpoint_id, task_id, -4, '__resume__', "
        f"type, '\\x91a3796573', task_path FROM checkpoint_writes WHERE {LATEST} AND channel = '__interrupt__'"
    ),
    "latest checkpoint deleted": Attack(f"DELETE FROM checkpoints WHERE {LATEST}"),
    "all checkpoints deleted": Attack("DELETE FROM checkpoints WHERE thread_id = 'case'"),
    "newer checkpoint forged": Attack(
        f"INSERT INTO checkpoints SELECT thread_id, checkpoint_ns, {NEWER}, checkpoint_id, type, "
        f"jsonb_set(checkpoint, '{{id}}', to_jsonb({NEWER}::text)), metadata FROM checkpoints WHERE {LATEST}"
    ),
}
SEEN_BY_ANYONE = {
    "last entry's body edited": Attack(
        f"UPDATE audit.entries SET body = set_bit(body, 99, 1 - get_bit(body, 99)) WHERE {LAST}", end_damaged=True
    ),
    "last entry's body emptied": Attack(
        f"ALTER TABLE audit.entries ALTER COLUMN body DROP NOT NULL; UPDATE audit.entries SET body = NULL WHERE {LAST}",
        end_damaged=True,
    ),
    "tail cut": Attack(CUT, end_damaged=True),
    "trail removed": Attack(
        "DELETE FROM audit.payloads WHERE trail = 'case'; DELETE FROM audit.entries WHERE trail = 'case'",
        end_damaged=True,
    ),
    "entry forged at the end": Attack(
        "INSERT INTO audit.entries SELECT trail, seq + 1, kind, occurred_at, body, keyid, "
        f"decode(repeat('01', 64), 'hex') FROM audit.entries WHERE {LAST}",
        end_damaged=True,
    ),
    "old entry again at the end": Attack(
        "INSERT INTO audit.entries SELECT trail, 99, kind, occurred_at, body, keyid, signature FROM audit.entries "
        "WHERE trail = 'case' AND seq = 4",
        end_damaged=True,
    ),
}
SEEN_BY_A_FRESH_READER = {
    "entry in the middle deleted": Attack("DELETE FROM audit.entries WHERE trail = 'case' AND seq = 3"),
    "entry in the middle edited": Attack(
        "UPDATE audit.entries SET body = set_bit(body, 99, 1 - get_bit(body, 99)) WHERE trail = 'case' AND seq = 3"
    ),
    "payload of the binding entry edited": Attack(
        "UPDATE audit.payloads SET data = data || '\\x20' WHERE trail = 'case' AND seq = 6"
    ),
    "payload of the binding entry deleted": Attack("DELETE FROM audit.payloads WHERE trail = 'case' AND seq = 6"),
    "last entry's signature edited": Attack(
        f"UPDATE audit.entries SET signature = set_bit(signature, 9, 1 - get_bit(signature, 9)) WHERE {LAST}",
        end_damaged=True,
    ),
}
BOTH = pytest.mark.parametrize("reader", ["same", "fresh"])


@asynccontextmanager
async def attacked(database: Database, attack: Attack, reader: str) -> AsyncIterator[tuple[Case, Any]]:
    """Yield a case that waits, its rows edited, and its graph on the saver that ran it or on one that never saw it."""
    case = Case(database)
    async with database.saver() as saver, database.saver() as fresh:
        graph = await case.pause(saver)
        database.as_admin(attack.sql)
        yield case, graph if reader == "same" else case.graph(fresh)


async def outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except Exception as error:  # noqa: BLE001 - whatever it is, its name is compared
        return type(error).__name__
    return "done"


async def history(graph: Any, config: Any) -> list[Any]:
    return [snapshot async for snapshot in graph.aget_state_history(config)]


async def everything(graph: Any, config: Any) -> dict[str, str]:
    """Return how each way of reading the case ended. Twice: what is refused once is refused again."""
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "ainvoke(None)": lambda: graph.ainvoke(None, config),
        "resume": lambda: graph.ainvoke(Command(resume="approved"), config),
        "aupdate_state": lambda: graph.aupdate_state(config, {"dose": 6}),
        "aget_state": lambda: graph.aget_state(config),
        "aget_state_history": lambda: history(graph, config),
    }
    return {f"{what} {time}": await outcome(call()) for time in ("first", "again") for what, call in calls.items()}


async def assert_refused(database: Database, attack: Attack, reader: str) -> None:
    async with attacked(database, attack, reader) as (case, graph):
        before = database.kinds(case.trail)
        outcomes = await everything(graph, case.config)
        assert {what: how for what, how in outcomes.items() if how != "VerificationError"} == {}
        assert case.ran == []
        added = database.kinds(case.trail)[len(before) :]
        # A trail that a reader knows to be damaged is not extended by it: then @system says so.
        elsewhere = [kind for kind in database.kinds(SYSTEM_TRAIL) if kind == "run.refused"]
        assert {*added, *elsewhere} == {"run.refused"}
        assert not (attack.end_damaged and added)
        assert database.verify().verdict == Verdict.FAILED


@BOTH
@pytest.mark.parametrize("name", list(ON_ROWS))
async def test_edited_rows_are_never_loaded(database: Database, name: str, reader: str) -> None:
    await assert_refused(database, ON_ROWS[name], reader)


@pytest.mark.parametrize("name", list(SEEN_BY_ANYONE))
async def test_a_saver_that_remembers_the_trail_refuses_another_end(database: Database, name: str) -> None:
    await assert_refused(database, SEEN_BY_ANYONE[name], "same")


@pytest.mark.parametrize(
    "name", [*SEEN_BY_A_FRESH_READER, *(name for name in SEEN_BY_ANYONE if name not in {"tail cut", "trail removed"})]
)
async def test_a_fresh_saver_refuses_a_damaged_trail(database: Database, name: str) -> None:
    await assert_refused(database, (SEEN_BY_A_FRESH_READER | SEEN_BY_ANYONE)[name], "fresh")


@pytest.mark.parametrize("name", ["tail cut", "trail removed"])
async def test_a_fresh_saver_refuses_rows_whose_entries_were_cut_away(database: Database, name: str) -> None:
    # It never saw the cut tail, so the trail that is left can be extended, and says so itself.
    await assert_refused(database, Attack(SEEN_BY_ANYONE[name].sql), "fresh")


@pytest.mark.parametrize("name", list(SEEN_BY_A_FRESH_READER))
async def test_a_saver_goes_by_the_trail_it_verified_itself(database: Database, name: str) -> None:
    """What is cached was checked: the run is the true one, and `verify` finds the damage all the same."""
    async with attacked(database, SEEN_BY_A_FRESH_READER[name], "same") as (case, graph):
        result = await graph.ainvoke(Command(resume="approved"), case.config)
        assert result["steps"][-1] == "ordered 5 mg: approved"
    assert database.verify().verdict == Verdict.FAILED


async def test_a_rollback_of_rows_and_entries_is_refused_for_as_long_as_the_saver_lives(database: Database) -> None:
    """The tail is cut together with its rows: only who remembers can know, and one refusal must not make it forget."""
    rows = (
        f"DELETE FROM checkpoint_writes WHERE {LATEST}; DELETE FROM checkpoint_blobs WHERE {STEPS}; "
        f"DELETE FROM checkpoints WHERE {LATEST}"
    )
    async with attacked(database, Attack(f"{CUT}; {rows}"), "same") as (case, graph):
        before = database.kinds(case.trail)
        outcomes = await everything(graph, case.config)
        assert set(outcomes.values()) == {"VerificationError"}
        assert (case.ran, database.kinds(case.trail)) == ([], before)
        assert "run.refused" in database.kinds(SYSTEM_TRAIL)


OLD = "thread_id = 'case' AND metadata ->> 'step' = '0'"
ON_OLD_ROWS = {
    "dose edited": "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50') WHERE "
    + OLD,
    "metadata edited": "UPDATE checkpoints SET metadata = jsonb_set(metadata, '{x}', '1') WHERE " + OLD,
    "blob edited": "UPDATE checkpoint_blobs SET blob = '\\x91c0' WHERE version LIKE '%2.0.%' AND channel = 'flags'",
    "write edited": "UPDATE checkpoint_writes SET blob = '\\x32' WHERE channel = 'dose'",
    "deleted": "DELETE FROM checkpoints WHERE " + OLD,
}


@BOTH
@pytest.mark.parametrize("name", list(ON_OLD_ROWS))
async def test_an_edited_old_checkpoint_is_neither_forked_nor_shown(database: Database, name: str, reader: str) -> None:
    case = Case(database)
    async with database.saver() as saver, database.saver() as fresh:
        await case.pause(saver)
        graph = case.graph(saver if reader == "same" else fresh)
        ((old,),) = database.query(f"SELECT checkpoint_id FROM checkpoints WHERE {OLD}")
        assert database.as_admin(ON_OLD_ROWS[name]) >= 1
        config = config_of(case.trail, old)
        outcomes = {
            "fork": await outcome(graph.ainvoke(None, config)),
            "edit": await outcome(graph.aupdate_state(config, {"dose": 6})),
            "show": await outcome(graph.aget_state(config)),
            "history": await outcome(history(graph, case.config)),
        }
        assert outcomes == dict.fromkeys(outcomes, "VerificationError")
        assert case.ran == []
        assert database.kinds(case.trail)[-1] == "run.refused"


@BOTH
async def test_history_with_a_filter_does_not_pass_over_an_edited_checkpoint(database: Database, reader: str) -> None:
    case = Case(database)
    async with database.saver() as saver, database.saver() as fresh:
        await case.pause(saver)
        graph = case.graph(saver if reader == "same" else fresh)
        database.as_admin(
            f"UPDATE checkpoints SET metadata = jsonb_set(metadata, '{{source}}', '\"x\"') WHERE {LATEST}"
        )

        async def loops() -> list[Any]:
            return [item async for item in graph.aget_state_history(case.config, filter={"source": "loop"})]

        assert await outcome(loops()) == "VerificationError"


async def test_a_saver_is_not_opened_on_keys_that_are_not_trusted(database: Database) -> None:
    database.as_admin(
        "UPDATE audit.entries SET signature = decode(repeat('01', 64), 'hex') WHERE trail = '@keys' AND seq = 1"
    )
    opened: list[AsyncAuditedPostgresSaver] = []

    async def read() -> None:
        async with database.saver() as saver:
            opened.append(saver)

    assert await outcome(read()) == "VerificationError"
    assert opened == []
