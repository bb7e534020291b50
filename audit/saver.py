"""The audited savers: LangGraph's own, with an entry in the transaction of everything they write, and nothing
deserialized that an entry does not bind.

Reading of values, serialization and migrations stay LangGraph's. What happens, and in which order, stands in `plans`;
the two classes here only perform it, one with `await` and one without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from .core import Core
from .effects import Keep, Kept, Mode, Plan, Settle, Unit
from .errors import ConfigurationError
from .home import home_folder
from .pending import AsyncPending
from .plans import Audited, found_plan, matches, open_plan, put_plan, run_of, tuple_plan, writes_plan
from .serde import strict_serializer
from .shell import OPTIONS, SNAPSHOT, idle, no_pipeline, refuse, unreachable
from .steps import arun
from .together import Together

T = TypeVar("T")


class AsyncAuditedPostgresSaver(AsyncPostgresSaver, Audited):
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
        conn: AsyncConnection[Any] | AsyncConnectionPool[AsyncConnection[Any]],
        pipe: Any = None,
        serde: SerializerProtocol | None = None,
        *,
        home: Path | str | None = None,
    ) -> None:
        no_pipeline(pipe)
        super().__init__(conn, serde=strict_serializer(serde))
        self.core = Core(Path(home) if home is not None else home_folder())
        self.pending = AsyncPending()
        self.together = Together(self.core, self.pending, self.adrive)

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
        no_pipeline(pipeline)
        try:
            conn = await AsyncConnection.connect(conn_string, **OPTIONS)
        except psycopg.Error as error:
            raise unreachable(error) from error
        async with conn:
            saver = cls(conn, serde=serde, home=home)
            await saver.setup()
            yield saver

    async def setup(self) -> None:
        """Check schema, keys and trust now. It migrates nothing: that is `countersign migrate`'s."""
        await self.adrive(open_plan(self.core))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint and the entry that binds it in one transaction, after the thread's earlier writes."""
        return await self.adrive(put_plan(self, config, checkpoint, metadata, new_versions))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save a task's writes and the entry that binds them in one transaction."""
        with self.pending.write(str(config["configurable"]["thread_id"]), run_of(config)):
            await self.adrive(writes_plan(self, config, writes, task_id, task_path))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint whose rows equal what the trail binds. Raises VerificationError, recorded, otherwise."""
        self.pending.forget(config)
        return await self.adrive(tuple_plan(self, config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints, newest first, each checked like `aget_tuple`'s."""
        left = limit
        for place in await self.adrive(found_plan(self, config, before)):
            if left is not None and left <= 0:
                return
            found = await self.adrive(tuple_plan(self, place))
            # A filter in SQL would read metadata before it was checked.
            if found is not None and matches(found.metadata, filter):
                left = None if left is None else left - 1
                yield found

    # LangGraph's fast path reads rows past the checks; its general one goes through get_tuple.
    aget_delta_channel_history = BaseCheckpointSaver.aget_delta_channel_history
    get_delta_channel_history = BaseCheckpointSaver.get_delta_channel_history

    async def adelete_thread(self, thread_id: str) -> None:
        """Refuse: evidence is not deleted."""
        refuse("delete_thread", thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Refuse: evidence is not pruned."""
        refuse("prune", *thread_ids, strategy)

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Refuse: a copy would be rows without the entries that vouch for them."""
        refuse("copy_thread", source_thread_id, target_thread_id)

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Refuse: evidence is not deleted."""
        refuse("delete_for_runs", *run_ids)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Refuse: a copy would be rows without the entries that vouch for them."""
        refuse("copy_thread", source_thread_id, target_thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Refuse: evidence is not deleted."""
        refuse("delete_for_runs", *run_ids)

    async def adrive(self, plan: Plan[T]) -> T:
        """Perform a plan."""
        try:
            effect = next(plan)
            while True:
                try:
                    result = await self._perform(effect)
                except BaseException as error:  # noqa: BLE001 - the plan decides
                    effect = plan.throw(error)
                else:
                    effect = plan.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    def drive(self, plan: Plan[T]) -> T:
        """As `adrive`, from a thread other than the event loop's."""
        return self._from_thread(self.adrive(plan))

    async def _perform(self, effect: Unit | Settle | Keep | Kept) -> Any:
        if isinstance(effect, Keep):
            return await self.together.keep(effect)
        if isinstance(effect, Kept):
            return await self.together.kept(effect.thread)
        if isinstance(effect, Settle):
            if effect.submitted:
                await asyncio.sleep(0)  # what was submitted before this takes its first step now
            settled = self.pending.settled
            return await settled(effect.thread, effect.run, effect.done, effect.busy, self.together.kept)
        # A connection that nobody else uses meanwhile, and that is in no transaction.
        if isinstance(self.conn, AsyncConnectionPool):
            async with self.conn.connection() as conn:
                return await _arun_unit(conn, effect)
        async with self.lock:
            return await _arun_unit(idle(self.conn), effect)

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


async def _arun_unit(conn: AsyncConnection[Any], unit: Unit) -> Any:
    if unit.mode is Mode.ALONE:
        return await arun(conn, unit.steps)
    async with conn.transaction():
        if unit.mode is Mode.SNAPSHOT:
            await conn.execute(SNAPSHOT)
        return await arun(conn, unit.steps)
