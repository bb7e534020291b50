"""The audited saver: LangGraph's AsyncPostgresSaver, with an entry in the transaction of everything it writes, and
nothing deserialized that an entry does not bind.

Reading, serialization and migrations stay LangGraph's; the SQL that writes, and the checks, are ours (binding, core).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection, AsyncPipeline
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from .call import Call, call_of
from .core import Core, MovedError
from .entry import Entry, EntryDraft
from .errors import AppendError, ConfigurationError, VerificationError
from .home import home_folder
from .kinds import Kind
from .load import Loaded
from .pending import Pending
from .save import Save, prepare_put, prepare_writes
from .serde import strict_serializer
from .steps import Statement, Steps, arun
from .trouble import explain

T = TypeVar("T")
Conn = AsyncConnection[Any] | AsyncConnectionPool[AsyncConnection[Any]]
_ATTEMPTS = 20
_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class AsyncAuditedPostgresSaver(AsyncPostgresSaver):
    """Saves checkpoints so that each lives and dies with the signed entry that binds its rows.

    Takes what AsyncPostgresSaver takes: a connection or a pool, in autocommit mode as LangGraph's documentation has it.
    A pool is better: transactions of different threads then run side by side. `home` is the folder of keys and trust
    (default: COUNTERSIGN_HOME). The database must have been prepared with `countersign migrate`.

    Raises ConfigurationError for options under which the promises could not hold, AppendError when nothing was written
    and the run must stop, VerificationError when what was to be loaded is not what was recorded.
    """

    conn: Any

    def __init__(
        self,
        conn: Conn,
        pipe: AsyncPipeline | None = None,
        serde: SerializerProtocol | None = None,
        *,
        home: Path | str | None = None,
    ) -> None:
        if pipe is not None:
            raise ConfigurationError(
                "An audited saver does not take a pipeline: entry and rows need a transaction of their own.",
                remedy="Pass a connection or a pool alone.",
            )
        super().__init__(conn, serde=strict_serializer(serde))
        self.core = Core(Path(home) if home is not None else home_folder())
        self.pending = Pending()
        self._opening = asyncio.Lock()

    @classmethod
    @asynccontextmanager
    async def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,
        serde: SerializerProtocol | None = None,
        home: Path | str | None = None,
    ) -> AsyncIterator[Self]:
        """Yield a saver on a connection of its own. Raises ConfigurationError when the database is out of reach."""
        if pipeline:
            raise ConfigurationError(
                "An audited saver does not use pipeline mode: entry and rows need a transaction of their own.",
                remedy="Leave `pipeline` out.",
            )
        try:
            conn = await AsyncConnection.connect(
                conn_string, autocommit=True, prepare_threshold=5, row_factory=dict_row, connect_timeout=10
            )
        except psycopg.Error as error:
            what, remedy = explain(error)
            raise ConfigurationError(what, remedy=remedy) from error
        async with conn:
            saver = cls(conn, serde=serde, home=home)
            await saver.open()
            yield saver

    async def open(self) -> None:
        """Check schema, keys and trust now rather than at the first use."""
        if self.core.is_open:
            return
        async with self._opening, self._connection() as conn:
            await self._guarded(arun(conn, self.core.open_steps()), ConfigurationError)

    async def setup(self) -> None:
        """Check that `countersign migrate` has prepared the database; an application does not migrate by itself."""
        await self.open()

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint and the entry that binds it in one transaction, after the thread's earlier writes."""
        configurable = config["configurable"]
        thread = str(configurable["thread_id"])
        await self.pending.settled(thread, _run_of(config))
        before = None
        if metadata.get("source") == "update" and configurable.get("checkpoint_id"):
            before = await self.aget_tuple(config)
        await self._save(prepare_put(self.serde, config, checkpoint, metadata, new_versions, before))
        return {
            "configurable": {
                "thread_id": configurable["thread_id"],
                "checkpoint_ns": configurable.get("checkpoint_ns", ""),
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save a task's writes and the entry that binds them in one transaction."""
        with self.pending.write(str(config["configurable"]["thread_id"]), _run_of(config)):
            await self._save(prepare_writes(self.serde, config, writes, task_id, task_path))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint whose rows equal what the trail binds. Raises VerificationError, recorded, otherwise."""
        configurable = config["configurable"]
        thread, ns = str(configurable["thread_id"]), configurable.get("checkpoint_ns", "")
        checkpoint_id = get_checkpoint_id(config)
        call = call_of(config)
        if not ns:
            if call is None:
                self.pending.forget(thread, None)
            if call is not None and call.loaded is not None:
                found, call.loaded = call.loaded, None
                if checkpoint_id in (None, found.config["configurable"]["checkpoint_id"]):
                    return found  # type: ignore[no-any-return]
        loaded = await self._load(config, thread, ns, checkpoint_id)
        return await self._load_checkpoint_tuple(loaded.value) if loaded is not None else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first, each checked like `aget_tuple`'s."""
        where, args = self._search_where(config, filter, before)
        sql = f"SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints {where} ORDER BY checkpoint_id DESC"
        if limit is not None:
            sql += " LIMIT %s"
            args = [*args, int(limit)]
        await self.open()
        async with self._connection() as conn:
            found = await self._guarded(arun(conn, _rows_steps(Statement(sql, args))), AppendError)
        for thread, ns, checkpoint_id in found:
            where_it_is: RunnableConfig = {
                "configurable": {"thread_id": thread, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}
            }
            loaded = await self._load(where_it_is, thread, ns, checkpoint_id)
            if loaded is not None:
                yield await self._load_checkpoint_tuple(loaded.value)

    # LangGraph's fast path reads rows past the checks; its general one goes through aget_tuple.
    aget_delta_channel_history = BaseCheckpointSaver.aget_delta_channel_history
    get_delta_channel_history = BaseCheckpointSaver.get_delta_channel_history

    async def arecord(self, *drafts: EntryDraft) -> list[Entry]:
        """Append entries that bind no rows, in a transaction of their own. Raises AppendError with nothing written."""
        if len({draft.trail for draft in drafts}) == 1:
            entries = await self._swiftly(self.core.swift_record_steps, drafts)
            if entries is not None:
                return entries
        return await self._commit(self.core.record_steps(drafts))

    def record(self, *drafts: EntryDraft) -> list[Entry]:
        """As `arecord`, from a thread other than the event loop's."""
        return self._from_thread(self.arecord(*drafts))

    async def asettle(self, call: Call) -> None:
        """Wait for the writes under way of the call's thread. Raises AppendError if one of the call's own failed."""
        await self.pending.settled(call.trail, call.run)

    def settle(self, call: Call) -> None:
        """As `asettle`, from a thread other than the event loop's."""
        self._from_thread(self.asettle(call))

    async def adelete_thread(self, thread_id: str) -> None:  # noqa: ARG002 - LangGraph's signature
        """Refuse: evidence is not deleted."""
        _refuse("delete_thread")

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:  # noqa: ARG002
        """Refuse: evidence is not pruned."""
        _refuse("prune")

    async def _save(self, save: Save) -> None:
        if not await self._swiftly(self.core.swift_steps, save):
            await self._commit(self.core.save_steps(save))

    async def _swiftly(self, steps: Callable[[Any], Steps[list[Entry] | None]], work: Any) -> list[Entry] | None:
        """Run `steps` as one statement that is its own transaction. None when nothing was written that way."""
        await self.open()
        try:
            async with self._connection() as conn:
                return await arun(conn, steps(work))
        except psycopg.errors.UniqueViolation:
            return None
        except psycopg.Error as error:
            if error.sqlstate == "CS001":
                return None
            what, remedy = explain(error)
            raise AppendError(what, remedy=remedy) from error

    async def _commit(self, steps: Steps[list[Entry]]) -> list[Entry]:
        await self.open()
        entries = await self._guarded(self._transaction(steps), AppendError)
        self.core.committed(entries)
        return entries

    async def _transaction(self, steps: Steps[T]) -> T:
        async with self._connection() as conn, conn.transaction():
            return await arun(conn, steps)

    async def _load(self, config: RunnableConfig, thread: str, ns: str, checkpoint_id: str | None) -> Loaded | None:
        await self.open()
        try:
            for _ in range(_ATTEMPTS):
                try:
                    return await self._guarded(self._read(thread, ns, checkpoint_id), AppendError)
                except MovedError:
                    continue
        except VerificationError as error:
            await self._refused(error, config, thread)
            raise
        raise AppendError(
            f"The thread {thread!r} went on too fast to be read.", remedy="Try again when its run has ended."
        )

    async def _read(self, thread: str, ns: str, checkpoint_id: str | None) -> Loaded | None:
        async with self._connection() as conn:
            try:
                return await arun(conn, self.core.load_steps(thread, ns, checkpoint_id, alone=True))
            except MovedError:
                async with conn.transaction():
                    await conn.execute(_SNAPSHOT)
                    return await arun(conn, self.core.load_steps(thread, ns, checkpoint_id, alone=False))

    async def _refused(self, error: VerificationError, config: RunnableConfig, thread: str) -> None:
        """Record that a load was refused: on the case's trail, or on @system where that trail cannot be extended."""
        call = call_of(config)
        draft = call.draft(Kind.RUN_REFUSED) if call else EntryDraft(thread, Kind.RUN_REFUSED)
        refusal = self.core.refusal(error, thread, call.run if call else None, draft)
        if call:
            call.refused = True
        if refusal is None:
            return
        try:
            await self.arecord(refusal)
        except AppendError:
            await self.arecord(self.core.elsewhere(refusal))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Yield a connection that nobody else uses meanwhile, and that is in no transaction."""
        if isinstance(self.conn, AsyncConnectionPool):
            async with self.conn.connection() as conn:
                yield conn
            return
        async with self.lock:
            if not self.conn.autocommit:
                raise ConfigurationError(
                    "The saver's connection is not in autocommit mode, so it would leave transactions open.",
                    remedy="Connect with autocommit=True, as LangGraph's documentation has it, or pass a pool.",
                )
            if self.conn.info.transaction_status == TransactionStatus.INTRANS:
                raise AppendError(
                    "The saver's connection is inside a transaction that is not the saver's.",
                    remedy="Give the saver a connection or a pool of its own, in autocommit mode.",
                )
            yield self.conn

    async def _guarded(self, work: Coroutine[Any, Any, T], kind: type[AppendError | ConfigurationError]) -> T:
        try:
            return await work
        except psycopg.Error as error:
            what, remedy = explain(error)
            raise kind(what, remedy=remedy) from error

    def _from_thread(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            inside = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            inside = False
        if inside:
            work.close()
            raise ConfigurationError(
                "A sync call reached the async saver on its own event loop, where waiting would never end.",
                remedy="Call the graph's async methods (ainvoke, astream, aupdate_state) there.",
            )
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


def _run_of(config: RunnableConfig) -> str | None:
    call = call_of(config)
    return call.run if call else None


def _rows_steps(statement: Statement) -> Steps[list[tuple[Any, ...]]]:
    return (yield statement)


def _refuse(what: str) -> NoReturn:
    raise AppendError(
        f"{what} is refused: evidence is only ever added to.",
        remedy="Keep the thread; lawful erasure of its content is an entry of its own.",
    )
