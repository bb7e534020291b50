"""Edits at the moment of writing: triggers, rows edited before they are sent again, entries forged before an append."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.types import Command

from conftest import GRAPH, Database
from countersign.audit import AppendError, AsyncAuditedPostgresSaver, AuditError, VerificationError
from countersign.audit.entry import EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.verify import Verdict
from graphs import NEW_ORDER
from tamper.cases import Case, config_of
from tamper.tools import append_forged, attacker_key, record

TRAIL = "case"


def add_trigger(database: Database, table: str, body: str, *, when: str = "BEFORE") -> None:
    database.as_admin(
        "CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ "
        f"BEGIN {body} RETURN NEW; END $$"
    )
    database.as_admin(f"CREATE TRIGGER meddle {when} INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION public.meddle()")


def rows_of(database: Database, table: str, trail: str = TRAIL) -> list[tuple[Any, ...]]:
    column = "trail" if table.startswith("audit.") else "thread_id"
    return sorted(database.query(f"SELECT t::text FROM {table} t WHERE {column} = %s", (trail,)))


def everything_stored(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    tables = ("audit.entries", "audit.payloads", "checkpoints", "checkpoint_blobs", "checkpoint_writes")
    return {table: rows_of(database, table) for table in tables}


async def put(saver: AsyncAuditedPostgresSaver, flags: list[str], checkpoint: Any = None) -> tuple[Any, Any]:
    """Put a checkpoint with one inline value and one blob; return it and the config that addresses it."""
    checkpoint = checkpoint or {
        **empty_checkpoint(),
        "channel_values": {"dose": 5, "flags": flags},
        "channel_versions": {"dose": "1", "flags": "1"},
    }
    config: Any = {"configurable": {"thread_id": TRAIL, "checkpoint_ns": ""}}
    metadata: Any = {"source": "input", "step": -1, "parents": {}}
    return checkpoint, await saver.aput(config, checkpoint, metadata, {"dose": "1", "flags": "1"})


@pytest.mark.parametrize(
    ("table", "body"),
    [
        ("checkpoints", "NEW.checkpoint := jsonb_set(NEW.checkpoint, '{channel_values,dose}', '50');"),
        ("checkpoints", "NEW.checkpoint := jsonb_set(NEW.checkpoint, '{channel_values,dose}', '5.00000000000000001');"),
        ("checkpoints", "NEW.metadata := NEW.metadata || '{\"x\": 1}';"),
        ("checkpoints", "NEW.parent_checkpoint_id := 'x';"),
        ("checkpoints", "NEW.type := 'x';"),
        ("checkpoints", "NEW.checkpoint_id := 'x';"),
        ("checkpoints", "NEW.thread_id := 'x';"),
        ("checkpoints", "RETURN NULL;"),
        ("checkpoint_blobs", "NEW.blob := NEW.blob || '\\x00';"),
        ("checkpoint_blobs", "NEW.blob := NULL;"),
        ("checkpoint_blobs", "NEW.type := 'pickle';"),
        ("checkpoint_blobs", "NEW.version := 'x';"),
        ("checkpoint_blobs", "RETURN NULL;"),
    ],
)
async def test_a_trigger_that_edits_a_checkpoint_is_not_signed(
    database: Database, saver: AsyncAuditedPostgresSaver, table: str, body: str
) -> None:
    add_trigger(database, table, body)
    before = everything_stored(database)
    with pytest.raises(AppendError):
        await put(saver, ["INR"])
    assert everything_stored(database) == before
    assert database.verify().findings == []


@pytest.mark.parametrize(
    "body",
    [
        "NEW.blob := NEW.blob || '\\x00';",
        "NEW.channel := 'dose';",
        "NEW.type := 'pickle';",
        "NEW.task_path := 'x';",
        "NEW.task_id := 'x';",
        "NEW.idx := NEW.idx + 1;",
        "RETURN NULL;",
        "IF NEW.idx = 1 THEN RETURN NULL; END IF;",
    ],
)
@pytest.mark.parametrize("channel", ["steps", "__interrupt__"])
async def test_a_trigger_that_edits_a_pending_write_is_not_signed(
    database: Database, saver: AsyncAuditedPostgresSaver, body: str, channel: str
) -> None:
    _, config = await put(saver, [])
    add_trigger(database, "checkpoint_writes", body.replace("idx = 1", "idx IN (1, -3)"))
    before = everything_stored(database)
    with pytest.raises(AppendError):
        await saver.aput_writes(
            config, [(channel, ["a"])] if channel != "steps" else [("x", 1), ("steps", ["a"])], "task"
        )
    assert everything_stored(database) == before
    assert database.verify().findings == []


@pytest.mark.parametrize("kind", ["run.started", "interrupt.raised", "run.resumed", "run.completed"])
@pytest.mark.parametrize(
    "change",
    ["RETURN NULL;", "NEW.occurred_at := NEW.occurred_at - interval '1 day';"],
    ids=["left out", "edited"],
)
async def test_no_run_goes_on_and_no_pause_is_reported_without_its_entry(
    database: Database, kind: str, change: str
) -> None:
    add_trigger(database, "audit.entries", f"IF NEW.kind = '{kind}' THEN {change} END IF;")
    case = Case(database)
    async with database.saver() as saver:
        graph = case.graph(saver)
        if kind in {"run.resumed", "run.completed"}:
            await case.pause(saver)
            with pytest.raises(AppendError):
                await graph.ainvoke(Command(resume="approved"), case.config)
        else:
            with pytest.raises(AppendError):
                await graph.ainvoke(NEW_ORDER, case.config)
    assert kind not in database.kinds(TRAIL)
    if kind in {"run.started", "run.resumed"}:
        assert case.ran == []


def replace_function(database: Database, name: str, body: str, *, decoy: bool) -> None:
    """Give one of the database's own functions another body; as a decoy, leave the original beside it."""
    ((original,),) = database.query("SELECT pg_get_functiondef(to_regproc(%s))", (f"countersign.{name}",))
    head, _, _ = original.partition("AS $function$")
    database.as_admin(f"{head} AS $function$ {body} $function$")
    if decoy:
        database.as_admin(original.replace(f"countersign.{name}(", f"countersign.{name}(decoy integer, ", 1))


@pytest.mark.parametrize("decoy", [False, True], ids=["replaced", "replaced beside a decoy"])
@pytest.mark.parametrize("name", ["append", "put", "put_writes"])
async def test_a_function_that_only_says_it_appended_is_found(database: Database, name: str, *, decoy: bool) -> None:
    """It answers what an honest one would answer, and writes nothing: only its source gives it away."""
    body = "BEGIN RETURN sha256('\\x00'::bytea || p_body[cardinality(p_body)]); END"
    replace_function(database, name, body, decoy=decoy)
    case = Case(database)
    with pytest.raises(AuditError):
        async with database.saver() as saver:
            await case.graph(saver).ainvoke(NEW_ORDER, case.config)
    assert database.verify().verdict == Verdict.FAILED


@pytest.mark.parametrize("setting", ["SET search_path = elsewhere, pg_catalog", "SECURITY DEFINER"])
async def test_a_function_with_settings_of_its_own_is_found(database: Database, setting: str) -> None:
    """The same source, but other tables, or the rights of another."""
    database.as_admin(f"ALTER FUNCTION countersign.put {setting}")
    with pytest.raises(AuditError):
        async with database.saver():
            pass
    assert database.verify().verdict == Verdict.FAILED


@pytest.mark.parametrize(
    ("table", "body"),
    [
        ("audit.entries", "NEW.occurred_at := NEW.occurred_at - interval '1 day';"),
        ("audit.entries", "NEW.kind := 'run.completed';"),
        ("audit.entries", "NEW.body := NEW.body || '\\x20';"),
        ("audit.entries", "NEW.signature := decode(repeat('01', 64), 'hex');"),
        ("audit.entries", "NEW.keyid := decode(repeat('01', 32), 'hex');"),
        ("audit.entries", "NEW.seq := NEW.seq + 1;"),
        ("audit.entries", "RETURN NULL;"),
        ("audit.payloads", "NEW.data := NEW.data || '\\x20';"),
        ("audit.payloads", "NEW.salt := decode(repeat('01', 32), 'hex');"),
        ("audit.payloads", "NEW.seq := NEW.seq + 1;"),
        ("audit.payloads", "RETURN NULL;"),
    ],
)
async def test_a_trigger_that_edits_evidence_stops_the_put(
    database: Database, saver: AsyncAuditedPostgresSaver, table: str, body: str
) -> None:
    add_trigger(database, table, body)
    before = everything_stored(database)
    with pytest.raises(AppendError):
        await put(saver, ["INR"])
    assert everything_stored(database) == before


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("checkpoints", "checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50')"),
        ("checkpoint_blobs", "blob = '\\x90'"),
        ("checkpoint_writes", "blob = '\\x90'"),
    ],
)
async def test_a_trigger_that_edits_after_the_insert_is_found_at_the_next_read(
    database: Database, table: str, change: str
) -> None:
    add_trigger(database, table, f"UPDATE {table} SET {change} WHERE thread_id = NEW.thread_id;", when="AFTER")
    case = Case(database)
    async with database.saver() as saver:
        graph = await case.pause(saver)
        with pytest.raises(VerificationError):
            await graph.ainvoke(Command(resume="approved"), case.config)
    assert case.ran == []
    assert database.verify().verdict == Verdict.FAILED


@pytest.mark.parametrize("writes", [[("steps", ["a"])], [("__interrupt__", ["a"])]], ids=["kept", "replaced"])
async def test_a_pending_write_edited_and_sent_again_is_never_bound(
    database: Database, saver: AsyncAuditedPostgresSaver, writes: list[tuple[str, Any]]
) -> None:
    _, config = await put(saver, [])
    await saver.aput_writes(config, writes, "task")
    database.as_admin("UPDATE checkpoint_writes SET blob = '\\x91a162'")
    before = everything_stored(database)
    with pytest.raises(AppendError, match="not what entry 2 bound"):
        await saver.aput_writes(config, writes, "task")
    async with database.saver() as fresh:
        with pytest.raises(AppendError, match="not what entry 2 bound"):
            await fresh.aput_writes(config, writes, "task")
    assert everything_stored(database) == before
    assert [finding.check for finding in database.verify().findings] == ["row"]


@pytest.mark.parametrize("idx", [0, -3])
async def test_a_pending_write_put_there_first_is_never_bound(
    database: Database, saver: AsyncAuditedPostgresSaver, idx: int
) -> None:
    _, config = await put(saver, [])
    database.as_admin(
        "INSERT INTO checkpoint_writes VALUES (%s, '', %s, 'task', %s, 'steps', 'msgpack', '\\x91a161', '')",
        (TRAIL, config["configurable"]["checkpoint_id"], idx),
    )
    before = everything_stored(database)
    with pytest.raises(AppendError, match="no entry binds it"):
        await saver.aput_writes(config, [("steps" if idx == 0 else "__interrupt__", ["a"])], "task")
    assert everything_stored(database) == before


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose}', '50')",
        "UPDATE checkpoints SET parent_checkpoint_id = 'x'",
        "UPDATE checkpoint_blobs SET blob = '\\x90'",
    ],
    ids=["document", "parent", "blob"],
)
async def test_a_checkpoint_edited_and_sent_again_is_never_bound(
    database: Database, saver: AsyncAuditedPostgresSaver, edit: str
) -> None:
    checkpoint, _ = await put(saver, ["INR"])
    database.as_admin(edit)
    before = everything_stored(database)
    with pytest.raises(AppendError, match="not what entry 1 bound"):
        await put(saver, ["INR"], checkpoint)
    async with database.saver() as fresh:
        with pytest.raises(AppendError, match="not what entry 1 bound"):
            await put(fresh, ["INR"], checkpoint)
    assert everything_stored(database) == before


@pytest.mark.parametrize("reader", ["same", "fresh"])
@pytest.mark.parametrize("forgery", ["garbage", "another key", "another log", "an old entry again", "a decision"])
async def test_nothing_is_appended_behind_a_forged_last_entry(database: Database, forgery: str, reader: str) -> None:
    """The forged entry binds an edited row; an honest entry behind it would vouch for both."""
    async with database.saver() as saver, database.saver() as fresh:
        checkpoint, _ = await put(saver, ["INR"])
        _forge(database, forgery)
        before = everything_stored(database)
        writer = saver if reader == "same" else fresh
        with pytest.raises(AppendError, match="Nothing may be appended"):
            await record(writer, EntryDraft(TRAIL, Kind.RUN_COMPLETED))
        with pytest.raises(AppendError, match="Nothing may be appended"):
            await put(writer, ["INR"], {**checkpoint, "id": "ffff"})
        assert everything_stored(database) == before


def _forge(database: Database, forgery: str) -> None:
    graph_key = database.folder.key(GRAPH)
    draft = EntryDraft(TRAIL, Kind.RUN_COMPLETED)
    if forgery == "garbage":
        append_forged(database, draft, graph_key, signature=b"\x01" * 64)
    elif forgery == "another key":
        append_forged(database, draft, attacker_key())
    elif forgery == "another log":
        append_forged(database, draft, graph_key, origin="other.invalid/log")
    elif forgery == "a decision":
        append_forged(database, EntryDraft(TRAIL, "review.signed"), graph_key)
    else:
        database.as_admin(
            "INSERT INTO audit.entries SELECT trail, 2, kind, occurred_at, body, keyid, signature FROM audit.entries "
            "WHERE trail = %s",
            (TRAIL,),
        )


@pytest.mark.parametrize("further", [0, 1, 2])
async def test_a_saver_writes_nothing_behind_a_tail_other_than_its_own(database: Database, further: int) -> None:
    """Its last entry was cut off, and another process, which could not know, went on by `further` entries."""
    async with database.saver() as saver, database.saver() as fresh:
        checkpoint, config = await put(saver, ["INR"])
        await record(saver, EntryDraft(TRAIL, Kind.RUN_RESUMED))
        assert await saver.aget_tuple(config_of(TRAIL)) is not None
        database.as_admin("DELETE FROM audit.entries WHERE trail = %s AND seq = 2", (TRAIL,))
        for _ in range(further):
            await record(fresh, EntryDraft(TRAIL, Kind.RUN_COMPLETED))
        before = everything_stored(database)
        with pytest.raises(AppendError):
            await saver.aput_writes(config, [("steps", ["a"])], "task")
        with pytest.raises(AppendError):
            await put(saver, ["INR"], {**checkpoint, "id": "ffff"})
        assert everything_stored(database) == before
