"""The audited saver for graphs that are called without `await`; see `saver`, whose twin it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import Connection
from psycopg_pool import ConnectionPool

from .core import Core
from .effects import Keep, Kept, Mode, Plan, Settle, Unit
from .errors import ConfigurationError
from .home import home_folder
from .pending import Pending
from .plans import Audited, found_plan, keep_plan, matches, open_plan, put_plan, run_of, tuple_plan, writes_plan
from .serde import strict_serializer
from .shell import OPTIONS, SNAPSHOT, idle, no_pipeline, refuse, unreachable
from .steps import run

T = TypeVar("T")


class AuditedPostgresSaver(PostgresSaver, Audited):
    """As AsyncAuditedPostgresSaver, for graphs that are called without `await`. May be used from several threads."""

    conn: Any

    def __init__(
        self,
        conn: Connection[Any] | ConnectionPool[Connection[Any]],
        pipe: Any = None,
        serde: SerializerProtocol | None = None,
        *,
        home: Path | str | None = None,
    ) -> None:
        no_pipeline(pipe)
        super().__init__(conn, serde=strict_serializer(serde))
        self.core = Core(Path(home) if home is not None else home_folder())
        self.pending = Pending()

    @classmethod
    @contextmanager
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,
        serde: SerializerProtocol | None = None,
        home: Path | str | None = None,
    ) -> Iterator[Self]:
        """Yield a saver on a connection of its own. Raises ConfigurationError when the database is out of reach."""
        no_pipeline(pipeline)
        try:
            conn = Connection.connect(conn_string, **OPTIONS)
        except psycopg.Error as error:
            raise unreachable(error) from error
        with conn:
            saver = cls(conn, serde=serde, home=home)
            saver.setup()
            yield saver

    def setup(self) -> None:
        """Check schema, keys and trust now. It migrates nothing: that is `countersign migrate`'s."""
        self.drive(open_plan(self.core))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Save a checkpoint and the entry that binds it in one transaction, after the thread's earlier writes."""
        return self.drive(put_plan(self, config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save a task's writes and the entry that binds them in one transaction."""
        with self.pending.write(str(config["configurable"]["thread_id"]), run_of(config)):
            self.drive(writes_plan(self, config, writes, task_id, task_path))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint whose rows equal what the trail binds. Raises VerificationError, recorded, otherwise."""
        self.pending.forget(config)
        return self.drive(tuple_plan(self, config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first, each checked like `get_tuple`'s."""
        left = limit
        for place in self.drive(found_plan(self, config, before)):
            if left is not None and left <= 0:
                return
            found = self.drive(tuple_plan(self, place))
            # A filter in SQL would read metadata before it was checked.
            if found is not None and matches(found.metadata, filter):
                left = None if left is None else left - 1
                yield found

    # LangGraph's fast path reads rows past the checks; its general one goes through get_tuple.
    get_delta_channel_history = BaseCheckpointSaver.get_delta_channel_history

    def delete_thread(self, thread_id: str) -> None:
        """Refuse: evidence is not deleted."""
        refuse("delete_thread", thread_id)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Refuse: evidence is not pruned."""
        refuse("prune", *thread_ids, strategy)

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Refuse: a copy would be rows without the entries that vouch for them."""
        refuse("copy_thread", source_thread_id, target_thread_id)

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Refuse: evidence is not deleted."""
        refuse("delete_for_runs", *run_ids)

    def drive(self, plan: Plan[T]) -> T:
        """Perform a plan."""
        try:
            effect = next(plan)
            while True:
                try:
                    result = self._perform(effect)
                except BaseException as error:  # noqa: BLE001 - the plan decides
                    effect = plan.throw(error)
                else:
                    effect = plan.send(result)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]

    async def adrive(self, plan: Plan[T]) -> T:
        """Refuse: waiting for the database would stop the event loop, and with it every other case."""
        plan.close()
        raise ConfigurationError(
            "An async call reached the sync saver.", remedy="Use AsyncAuditedPostgresSaver for ainvoke and its like."
        )

    def _perform(self, effect: Unit | Settle | Keep | Kept) -> Any:
        if isinstance(effect, Keep):
            return self._keep(effect)
        if isinstance(effect, Kept):
            return None  # whoever handed something over has waited for it
        if isinstance(effect, Settle):
            return self.pending.settled(effect.thread, effect.run, effect.done, effect.busy)
        with self._connection() as conn:
            if effect.mode is Mode.ALONE:
                return run(conn, effect.steps)
            with conn.transaction():
                if effect.mode is Mode.SNAPSHOT:
                    conn.execute(SNAPSHOT)
                return run(conn, effect.steps)

    def _keep(self, keep: Keep) -> Any:
        trail, run = keep.what.trail, keep.call.token if keep.call else None
        if keep.behind:
            self.pending.settled(trail, run)
        entries = self.drive(keep_plan(self.core, keep.what))
        keep.then(entries)
        if keep.behind:
            # LangGraph writes from threads: what was submitted before this may have begun only now.
            self.pending.settled(trail, run)
        return entries

    @contextmanager
    def _connection(self) -> Iterator[Connection[Any]]:
        """Yield a connection that nobody else uses meanwhile, and that is in no transaction."""
        if isinstance(self.conn, ConnectionPool):
            with self.conn.connection() as conn:
                yield conn
        else:
            with self.lock:
                yield idle(self.conn)
