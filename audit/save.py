"""What a save writes and what is said of it: LangGraph's arguments become SQL values and drafts of entries. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.types import Interrupt

from .append import Also
from .binding import CheckpointWrite, TaskWrites, Written, put_steps, writes_steps
from .call import Call, call_of
from .canonical import Json
from .entry import SYSTEM, UNATTRIBUTED, Actor, CheckpointRef, EntryDraft
from .jsonb import jsonb_text
from .kinds import Kind
from .ledger import Ledger
from .rows import BLOBS, CHECKPOINTS, WRITES, BoundRow, RowKey, bind
from .steps import Steps
from .values import changes, dump, interrupts_in, listed, split, tag

INTERRUPT = "__interrupt__"
_EDIT_PATH = "~__interrupt__"  # the task path of LangGraph's update_state
_PUT: tuple[LiteralString, ...] = (*["text"] * 5, "text[]", "text[]", "text[]", "bytea[]")
_PUT_WRITES: tuple[LiteralString, ...] = (*["text"] * 4, "int[]", "text[]", "text[]", "bytea[]")


@dataclass(frozen=True, slots=True)
class Forecast:
    """The rows as they will stand in the tables, and what writes them or fails."""

    rows: tuple[BoundRow, ...]
    also: Also

    def written(self) -> Written:
        """Return what the statement will have done."""
        return Written(self.rows, (), {})


class Save(Protocol):
    """One call of the saver that writes rows."""

    @property
    def trail(self) -> str:
        """The thread it belongs to."""

    def write_steps(self, ledger: Callable[[], Steps[Ledger]]) -> Steps[Written]:
        """Write the rows and return what happened to them."""

    def drafts(self, written: Written) -> list[EntryDraft]:
        """Return the entries that bind the rows; none when no row was inserted or replaced."""

    @property
    def follows(self) -> bool:
        """Whether it asks what the trail says of the thread, so that this process must have read it to its end."""

    def forecast(self) -> Forecast | None:
        """Return how to do it in one statement if all rows are new, as they nearly always are; None if unsure."""


@dataclass(frozen=True, slots=True)
class PutSave:
    """A checkpoint."""

    write: CheckpointWrite
    call: Call | None
    actor: Actor
    detail: Mapping[str, Json]
    payload: Mapping[str, Json]
    kind: str
    forks: Callable[[], EntryDraft | None]
    """Asked when the end of the trail is known: the entry that stands before an edit of an older checkpoint. Raises
    AppendError when the thread went on since the edit began."""

    @property
    def trail(self) -> str:
        """The thread it belongs to."""
        return self.write.thread

    @property
    def follows(self) -> bool:
        """An edit looks whether the thread went on since it began."""
        return self.call is not None and self.call.editing

    def write_steps(self, ledger: Callable[[], Steps[Ledger]]) -> Steps[Written]:
        """Write the checkpoint and its blobs."""
        return put_steps(self.write, ledger)

    def forecast(self) -> Forecast | None:
        """Return the one statement for a new checkpoint, if its text in the database can be foretold."""
        write = self.write
        if self.forks() is not None:
            return None  # two entries, and the rows belong to the second
        checkpoint, metadata = jsonb_text(write.checkpoint), jsonb_text(write.metadata)
        if checkpoint is None or metadata is None:
            return None
        row = (write.thread, write.ns, write.id, write.parent, None, checkpoint, metadata)
        rows = [bind(CHECKPOINTS, row), *(bind(BLOBS, (write.thread, write.ns, *blob)) for blob in write.blobs)]
        channels, versions, types, blobs = zip(*write.blobs, strict=True) if write.blobs else ((),) * 4
        arrays = (_array(channels), _array(versions), _array(types), [*blobs])
        params = (write.ns, write.id, write.parent, checkpoint, metadata, *arrays)
        return Forecast(tuple(rows), Also("countersign.put", _PUT, params))

    def drafts(self, written: Written) -> list[EntryDraft]:
        """Return `checkpoint.saved`, or `state.updated` for a person's edit."""
        write = self.write
        fork = self.forks()
        return [
            *([fork] if fork else ()),
            EntryDraft(
                write.thread,
                self.kind,
                actor=self.actor,
                workflow=self.call.workflow if self.call else None,
                run=self.call.run if self.call else None,
                checkpoint=CheckpointRef(write.id, write.ns, write.parent),
                detail=self.detail,
                payload={**written.members(), **self.payload},
            ),
        ]


@dataclass(frozen=True, slots=True)
class WritesSave:
    """A task's pending writes."""

    writes: TaskWrites
    serde: SerializerProtocol
    call: Call | None
    interrupts: Sequence[Interrupt]

    @property
    def trail(self) -> str:
        """The thread it belongs to."""
        return self.writes.thread

    @property
    def follows(self) -> bool:
        """Nothing is asked."""
        return False

    def write_steps(self, ledger: Callable[[], Steps[Ledger]]) -> Steps[Written]:
        """Write the rows."""
        return writes_steps(self.writes, ledger)

    def forecast(self) -> Forecast | None:
        """Return the one statement for writes of which none is there yet."""
        writes = self.writes
        if not writes.rows:
            return None
        place = (writes.thread, writes.ns, writes.checkpoint, writes.task)
        rows = tuple(bind(WRITES, (*place, *row, writes.path)) for row in writes.rows)
        idxs, channels, types, blobs = zip(*writes.rows, strict=True)
        params = (*place[1:], writes.path, _array(map(str, idxs)), _array(channels), _array(types), [*blobs])
        return Forecast(rows, Also("countersign.put_writes", _PUT_WRITES, params))

    def drafts(self, written: Written) -> list[EntryDraft]:
        """Return `writes.saved`, and `interrupt.raised` for each question that was not open already."""
        if not written.rows:
            return []
        writes = self.writes
        channels, beyond = self._channels(sorted({row[1] for row in writes.rows}))
        asked = self._asked(written)
        return [
            self._draft(
                Kind.WRITES_SAVED,
                detail={**self._task(), **channels},
                payload={**written.members(), **beyond},
            ),
            *(
                self._draft(
                    Kind.INTERRUPT_RAISED,
                    detail={"when": "dynamic", "interrupt": interrupt.id, **self._task()},
                    payload={"value": tag(interrupt.value, self.serde, "the value of an interrupt")},
                )
                for interrupt in self.interrupts
                if interrupt.id not in asked
            ),
        ]

    def _task(self) -> dict[str, Json]:
        """Return how an entry names the task: `node` where it is known, since not every path of LangGraph's tells."""
        node = self.call.nodes.get(self.writes.task) if self.call else None
        return {"task": self.writes.task, "path": self.writes.path, **({"node": node} if node else {})}

    def _is_edit(self) -> bool:
        return self.writes.path.startswith(_EDIT_PATH) or (self.call is not None and self.call.editing)

    def _channels(self, names: list[str]) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return how channels are named: in the body only if the graph's author named them all, as bodies stay."""
        own = self.call.channels if self.call else frozenset(names)
        if all(name in own or name.startswith("__") for name in names):
            return listed("channels", names)
        return {"channels_count": len(names)}, {"channels": list(names)}

    def _draft(self, kind: str, **fields: Any) -> EntryDraft:
        return EntryDraft(
            self.writes.thread,
            kind,
            actor=_editor(self.call) if self._is_edit() else SYSTEM,
            workflow=self.call.workflow if self.call else None,
            run=self.call.run if self.call else None,
            checkpoint=CheckpointRef(self.writes.checkpoint, self.writes.ns),
            **fields,
        )

    def _asked(self, written: Written) -> set[str]:
        """Return the ids of the questions that are on record already: a graph hands on what its subgraph asked.

        So are those that this task had open before. That row was checked, so it may be read.
        """
        writes = self.writes
        known = self.call.raised if self.call else set()
        idx = str(WRITES_IDX_MAP[INTERRUPT])
        key: RowKey = (WRITES.name, (writes.thread, writes.ns, writes.checkpoint, writes.task, idx))
        row = written.before.get(key)
        if row is None:
            return known
        return known | {item.id for item in interrupts_in(self.serde.loads_typed((str(row[6]), row[7])))}  # type: ignore[arg-type]


def prepare_put(
    serde: SerializerProtocol,
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
    before: CheckpointTuple | None,
    latest: Callable[[str, str], str | None],
) -> PutSave:
    """Return what to write for a `put`. `before` is the checkpoint that a person's edit started from, else None.

    `latest` tells the newest checkpoint that is bound in a thread's namespace.

    Raises AppendError naming the channel when a value cannot be serialized.
    """
    configurable = config["configurable"]
    call = call_of(config)
    inline, blobs = split(checkpoint, new_versions, serde)
    write = CheckpointWrite(
        thread=str(configurable["thread_id"]),
        ns=configurable.get("checkpoint_ns", ""),
        id=checkpoint["id"],
        parent=configurable.get("checkpoint_id") or None,
        checkpoint={**checkpoint, "channel_values": inline},
        metadata=get_serializable_checkpoint_metadata(config, metadata),
        blobs=blobs,
    )
    source = str(metadata.get("source", "unknown"))
    detail: dict[str, Json] = {"source": source, "step": metadata.get("step")}
    payload: dict[str, Json] = {}
    kind = Kind.CHECKPOINT_SAVED
    editing = call is not None and call.editing
    if source == "update" or editing:
        kind = Kind.STATE_UPDATED
        edits = changes(before, checkpoint, new_versions, serde, call)
        # Beyond 100 the names stand in the payload anyhow, with the changes.
        detail |= listed("channels", [str(change["channel"]) for change in edits])[0]
        payload["changes"] = list(edits)
        if call and call.given:
            given = call.given.pop(0)
            payload["given"] = [
                {"values": tag(update[0], serde, "an update"), "as_node": update[1]} for update in given
            ]
            # LangGraph has refused what is no node of the graph, so these are its author's names, not the caller's.
            if nodes := sorted({update[1] for update in given if update[1] is not None}):
                detail |= listed("as_node", nodes)[0]
    if call and not write.ns:
        call.last = CheckpointRef(write.id, write.ns, write.parent)
        call.latest = _as_saved(write, checkpoint, metadata)
    actor = SYSTEM if kind is Kind.CHECKPOINT_SAVED else _editor(call)

    def forks() -> EntryDraft | None:
        if not call or not call.editing:
            return None
        start = CheckpointRef(write.parent, write.ns) if write.parent else None
        # LangGraph's copy of a checkpoint stands beside it, not behind it.
        return call.fork(start, latest(write.thread, write.ns), copies=source == "fork")

    return PutSave(write, call, actor, detail, payload, kind, forks)


def prepare_writes(
    serde: SerializerProtocol,
    config: RunnableConfig,
    writes: Sequence[tuple[str, Any]],
    task_id: str,
    task_path: str,
) -> WritesSave:
    """Return what to write for a `put_writes`. Raises AppendError naming a channel that cannot be serialized."""
    configurable = config["configurable"]
    call = call_of(config)
    if call and call.editing:
        for channel, value in writes:
            if channel in call.followed:
                call.followed[channel].write(value)
    replace = all(channel in WRITES_IDX_MAP for channel, _ in writes)
    rows: dict[int, tuple[int, str, str, bytes]] = {}
    for position, (channel, value) in enumerate(writes):
        idx = WRITES_IDX_MAP.get(channel, position)
        if replace or idx not in rows:
            kind, blob = dump(value, serde, f"a write to channel {channel!r}")
            rows[idx] = (idx, channel, kind, blob)
    return WritesSave(
        TaskWrites(
            thread=str(configurable["thread_id"]),
            ns=configurable.get("checkpoint_ns", ""),
            checkpoint=str(configurable["checkpoint_id"]),
            task=task_id,
            path=task_path,
            replace=replace,
            rows=list(rows.values()),
        ),
        serde,
        call,
        [item for channel, value in writes if channel == INTERRUPT for item in interrupts_in(value)],
    )


def _editor(call: Call | None) -> Actor:
    return call.actor if call else UNATTRIBUTED


def _as_saved(write: CheckpointWrite, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> CheckpointTuple:
    place = {"thread_id": write.thread, "checkpoint_ns": write.ns}
    parent: RunnableConfig | None = None
    if write.parent:
        parent = {"configurable": {**place, "checkpoint_id": write.parent}}
    return CheckpointTuple(
        {"configurable": {**place, "checkpoint_id": write.id}}, checkpoint, metadata, parent, pending_writes=[]
    )


def _array(texts: Iterable[str]) -> str:
    """Return a list of texts as PostgreSQL writes arrays: to send one text costs a third of sending a list."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"
