"""What the savers do, as plans: generators that yield units of database work and are sent their results.

A plan knows nothing of sync or async. A saver is a shell that performs units: opens the transaction a unit asks for and
runs its steps. So each rule about what happens when stands once, here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
)
from langgraph.checkpoint.postgres.base import BasePostgresSaver

from .call import Call, call_of
from .chain import Checked
from .core import Core, MovedError, Saved, Swift
from .effects import Keep, Kept, Mode, Plan, Record, Unit
from .entry import Entry, EntryDraft, check_trail
from .errors import AppendError, ConfigurationError, MalformedError, VerificationError
from .kinds import Kind
from .load import Loaded
from .save import Save, WritesSave, prepare_put, prepare_writes
from .steps import Statement, Steps
from .trouble import explain

T = TypeVar("T")
_ATTEMPTS = 20
_OTHERWISE = "CS001"


def open_plan(core: Core) -> Plan[None]:
    """Check schema, keys and trust, once."""
    if not core.is_open:
        with _explained(ConfigurationError):
            yield Unit(core.open_steps(), Mode.ALONE)


def put_plan(
    saver: Audited,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> Plan[RunnableConfig]:
    """Save a checkpoint and the entry that binds it, after the thread's earlier writes."""
    configurable = config["configurable"]
    thread_of(config)
    with _unbroken(call_of(config)):
        before = (yield from _before_plan(saver, config)) if metadata.get("source") == "update" else None
        save = prepare_put(saver.serde, config, checkpoint, metadata, new_versions, before, saver.core.latest)
        # LangGraph's word is that a checkpoint is saved before the next step starts: there a handler holds the nodes.
        yield Keep(save, call_of(config), later=True)
    return {
        "configurable": {
            "thread_id": configurable["thread_id"],
            "checkpoint_ns": configurable.get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint["id"],
        }
    }


def writes_plan(
    saver: Audited, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
) -> Plan[None]:
    """Save a task's writes and the entry that binds them."""
    thread_of(config)
    with _unbroken(call_of(config)):
        save = prepare_writes(saver.serde, config, writes, task_id, task_path)
        yield Keep(save, save.call, partial(_asked, save), behind=False, later=True)


def _asked(save: WritesSave, entries: Sequence[Entry]) -> None:
    """Note which questions are on record now: only those are shown."""
    if save.call and save.interrupts:
        save.call.raised.update(interrupt.id for interrupt in save.interrupts)
        save.call.ended = save.call.ended or any(entry.kind == Kind.INTERRUPT_RAISED for entry in entries)


def tuple_plan(saver: Audited, config: RunnableConfig) -> Plan[CheckpointTuple | None]:
    """Return a checkpoint whose rows equal what the trail binds; refuse it, and record that, otherwise."""
    configurable = config["configurable"]
    checkpoint_id = get_checkpoint_id(config)
    ns = configurable.get("checkpoint_ns", "")
    call = call_of(config)
    if call is not None and call.handover and not ns:
        asked, found = call.handover.pop()
        if asked == checkpoint_id:
            return found
    yield Kept(thread_of(config))
    with _unbroken(call):
        loaded = yield from _load_plan(saver.core, config, thread_of(config), ns, checkpoint_id)
    if loaded is None:
        return None
    if call is not None and not call.opened:
        call.seen = loaded.moved
    if call is not None and call.editing:
        call.edited = loaded.value
    return _tuple_of(saver, loaded.value)


def _before_plan(saver: Audited, config: RunnableConfig) -> Plan[CheckpointTuple | None]:
    """Return the checkpoint that a person's edit starts from, built anew: reducers may have changed the one in use."""
    checkpoint_id = config["configurable"].get("checkpoint_id")
    if not checkpoint_id:
        return None
    call = call_of(config)
    edited = call.edited if call else None
    if edited and (edited["checkpoint_ns"], edited["checkpoint_id"]) == (
        config["configurable"].get("checkpoint_ns", ""),
        checkpoint_id,
    ):
        return _tuple_of(saver, edited)
    return (yield from tuple_plan(saver, config))


def found_plan(
    saver: Audited, config: RunnableConfig | None, before: RunnableConfig | None
) -> Plan[list[RunnableConfig]]:
    """Return the addresses of the checkpoints of `config` (all threads without) older than `before`, newest first.

    A thread's own must be complete: raises VerificationError, recorded, when one that was bound is gone.
    """
    yield from open_plan(saver.core)
    yield Kept(thread_of(config) if config is not None else None)
    where, args = saver._search_where(config, None, before)  # noqa: SLF001 - LangGraph's own clause
    sql = f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints {where} ORDER BY checkpoint_id DESC"
    with _explained(AppendError):
        found = yield Unit(_rows_steps(Statement(sql, args)), Mode.ALONE)
    if config is not None:
        thread = thread_of(config)
        try:
            yield from _complete_plan(saver.core, thread)
        except VerificationError as error:
            yield from _refused_plan(saver.core, error, config, thread)
            raise
    return [
        {"configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}
        for thread, ns, checkpoint_id in found
    ]


def trail_plan(core: Core, trail: str, before: Sequence[Checked] = ()) -> Plan[list[Checked]]:
    """Return all entries of a trail, checked. Raises VerificationError; see `Core.trail_steps` for `before`."""
    yield from open_plan(core)
    yield Kept(trail)
    for _ in range(_ATTEMPTS):
        try:
            with _explained(AppendError):
                return (yield Unit(core.trail_steps(trail, before), Mode.ALONE))  # type: ignore[no-any-return]
        except MovedError:
            continue
    raise _too_fast(trail)


def _complete_plan(core: Core, thread: str) -> Plan[None]:
    for _ in range(_ATTEMPTS):
        try:
            with _explained(AppendError):
                yield Unit(core.places_steps(thread), Mode.SNAPSHOT)
        except MovedError:
            continue
        return
    raise _too_fast(thread)


def _too_fast(thread: str) -> AppendError:
    return AppendError(
        f"The thread {thread!r} went on too fast to be read.", remedy="Try again when its run has ended."
    )


def matches(metadata: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Tell whether checked metadata contains `wanted`, as jsonb's `@>` would say of it."""
    return _contains(metadata, wanted or {})


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(value, Mapping) and all(k in value and _contains(value[k], w) for k, w in wanted.items())
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(_contains(v, w) for v in value) for w in wanted)
    return type(value) is type(wanted) and bool(value == wanted)


def record_plan(
    drafts: Sequence[EntryDraft], call: Call | None = None, *, behind: bool = False
) -> Plan[Sequence[Entry]]:
    """Append entries of one trail that bind no rows, in a transaction with nothing that comes behind them."""
    if not drafts:
        return ()
    return (yield Keep(Record(drafts[0].trail, lambda: drafts), call, behind=behind))  # type: ignore[no-any-return]


def keep_plan(core: Core, what: Save | Record) -> Plan[Sequence[Entry]]:
    """Append entries, and write the rows they bind, in one transaction of their own."""
    if (together := (yield from together_plan(core, [what]))) is not None:
        return together[0]
    with _explained(AppendError):
        steps = core.record_steps(what.trail, what.make) if isinstance(what, Record) else core.save_steps(what)
        saved: Saved = yield Unit(steps, Mode.TRANSACTION)
    core.committed([saved])
    return saved.entries


def together_plan(core: Core, works: Sequence[Save | Record]) -> Plan[list[Sequence[Entry]] | None]:
    """Do all of it, of one trail, in one statement; None, with nothing written, where that cannot be.

    Then rows were there before, the trail went on elsewhere, or what the database would print was not foreseen.
    """
    yield from open_plan(core)
    found = [swift for work in works if (swift := _swift(core, work)) is not None]
    if len(found) < len(works):
        return None
    saved: list[Saved] | None = None
    with _explained(AppendError):
        try:
            saved = yield Unit(core.swift_steps(works[0].trail, found), Mode.ALONE)
        except psycopg.Error as error:
            if not (isinstance(error, psycopg.errors.UniqueViolation) or error.sqlstate == _OTHERWISE):
                raise
    if saved is None:
        return None
    core.committed(saved)
    return [one.entries for one in saved]


def _swift(core: Core, work: Save | Record) -> Swift | None:
    if work.follows and not core.follows(work.trail):
        return None
    if isinstance(work, Record):
        return Swift(work.make())
    if (forecast := work.forecast()) is None:
        return None
    return Swift(work.drafts(forecast.written()), forecast.also, forecast.rows)


def _load_plan(
    core: Core, config: RunnableConfig, thread: str, ns: str, checkpoint_id: str | None
) -> Plan[Loaded | None]:
    yield from open_plan(core)
    try:
        for _ in range(_ATTEMPTS):
            for mode in (Mode.ALONE, Mode.SNAPSHOT):
                steps = core.load_steps(thread, ns, checkpoint_id, alone=mode is Mode.ALONE)
                try:
                    with _explained(AppendError):
                        return (yield Unit(steps, mode))  # type: ignore[no-any-return]
                except MovedError:
                    continue
    except VerificationError as error:
        yield from _refused_plan(core, error, config, thread)
        raise
    raise _too_fast(thread)


def _refused_plan(core: Core, error: VerificationError, config: RunnableConfig, thread: str) -> Plan[None]:
    """Record that a load was refused: on the case's trail, or on @system where that trail cannot be extended."""
    call = call_of(config)
    draft = call.draft(Kind.RUN_REFUSED) if call else EntryDraft(thread, Kind.RUN_REFUSED)
    refusal = core.refusal(error, thread, call.run if call else None, draft)
    if call:
        call.refused = True
    if refusal is None:
        return
    try:
        yield from record_plan([refusal])
    except AppendError:
        yield from record_plan([core.elsewhere(refusal)])


class Audited(BasePostgresSaver):
    """What both savers are to a plan: LangGraph's loading functions, and the shared core."""

    core: Core


def thread_of(config: RunnableConfig) -> str:
    """Return the thread that a config addresses. Raises AppendError for a name that no case may have."""
    try:
        return check_trail(str(config["configurable"]["thread_id"]))
    except MalformedError as error:
        raise AppendError(error.message, remedy="Choose another thread id; a UUID always works.") from error


def run_of(config: RunnableConfig) -> str | None:
    """Return what tells the runs of this process apart, or None without `attach`. A caller may use a run id twice."""
    call = call_of(config)
    return call.token if call else None


def check_unbroken(call: Call | None) -> None:
    """Raise AppendError if something of this run could not be recorded or did not verify, whoever caught that."""
    if call is not None and call.broken is not None:
        raise AppendError(
            f"The run stops, since something of it could not be recorded or did not verify: {call.broken}",
            remedy="Resume it when that is mended.",
            trail=call.trail,
        ) from call.broken


@contextmanager
def _unbroken(call: Call | None) -> Iterator[None]:
    check_unbroken(call)
    try:
        yield
    except (AppendError, VerificationError) as error:
        if call is not None:
            call.broken = error
        raise


def _tuple_of(saver: Audited, value: dict[str, Any]) -> CheckpointTuple:
    """Return the checkpoint as LangGraph's own loaders build it, from rows that were checked."""
    document = value["checkpoint"]
    where = {"thread_id": value["thread_id"], "checkpoint_ns": value["checkpoint_ns"]}
    parent = value["parent_checkpoint_id"]
    blobs = [*value["channel_values"]]
    if value["pending_sends"]:
        document = {**document, "channel_versions": dict(document["channel_versions"])}
        saver._migrate_pending_sends(value["pending_sends"], document, blobs)  # noqa: SLF001 - of older checkpoints
    values = {**(document.get("channel_values") or {}), **saver._load_blobs(blobs)}  # noqa: SLF001
    return CheckpointTuple(
        {"configurable": {**where, "checkpoint_id": value["checkpoint_id"]}},
        cast("Checkpoint", {**document, "channel_values": values}),
        value["metadata"],
        {"configurable": {**where, "checkpoint_id": parent}} if parent else None,
        saver._load_writes(value["pending_writes"]),  # noqa: SLF001 - LangGraph's own reading of the rows
    )


def _rows_steps(statement: Statement) -> Steps[list[tuple[Any, ...]]]:
    return (yield statement)


@contextmanager
def _explained(kind: type[AppendError | ConfigurationError]) -> Iterator[None]:
    """Turn the driver's errors into ours, with what to do."""
    try:
        yield
    except psycopg.Error as error:
        what, remedy = explain(error)
        raise kind(what, remedy=remedy) from error
