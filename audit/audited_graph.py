"""The graph that `attach` returns: what it does besides being the graph it was made from."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

from langchain_core.runnables.config import RunnableConfig, merge_configs, var_child_runnable_config
from langgraph.callbacks import GraphCallbackHandler
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot

from .addressing import address, bare, public, resolve, run_id, trail_of
from .call import CONFIG_KEY, Call, acting, calling, known
from .differences import MISSING, Followed
from .effects import Keep, Kept, Plan, Record
from .entry import SYSTEM, UNATTRIBUTED, Entry, EntryDraft, Workflow
from .errors import AppendError, ConfigurationError, VerificationError
from .kinds import Kind
from .lifecycle import AnySaver, AsyncHandler, Handler, questions, settle_plan
from .opening import Opening, check_durability, chosen_pauses, durability_error, open_interrupts, ref
from .plans import record_plan, tuple_plan
from .recovery import recovery_plan
from .values import listed

_DURABILITY = "__pregel_durability"
_TASK = "__pregel_task_id"


_unseen: ContextVar[bool] = ContextVar("countersign_unseen", default=False)
"""Whether the chunks of the run that begins are gathered, and shown to nobody before it ends."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a graph was attached."""

    saver: AnySaver
    workflow: Workflow
    channels: frozenset[str]
    """The names of all channels of the graph and its subgraphs: what its author named."""
    pauses_within: bool
    """Whether a subgraph was compiled with static pauses."""
    nests: bool
    """Whether it has subgraphs at all."""
    refuses_input: bool
    requires_actor: bool
    auth_user: bool


class AuditedGraph(Pregel[Any, Any, Any, Any]):
    """A graph whose runs and edits are recorded: whatever LangGraph offers comes through `stream`, `bulk_update_state`
    and their twins here.
    """

    _rules: ClassVar[Rules]

    def __init__(self, **attributes: Any) -> None:
        """Build the graph from its attributes, as LangGraph's own copies do, without private keys in its config."""
        if config := attributes.get("config"):
            bound = {_DURABILITY: said} if (said := (config.get("configurable") or {}).get(_DURABILITY)) else {}
            attributes["config"] = {**config, "configurable": public(config) | bound}
        super().__init__(**attributes)

    @property
    def _saver(self) -> AnySaver:
        return self._rules.saver

    async def ainvoke(self, *args: Any, **options: Any) -> Any:
        """As LangGraph's. Nobody sees the chunks it gathers, so only its return waits until all is committed."""
        with _gathering():
            return await super().ainvoke(*args, **options)

    def invoke(self, *args: Any, **options: Any) -> Any:
        """As `ainvoke`."""
        with _gathering():
            return super().invoke(*args, **options)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        """Run the graph as LangGraph does, between an entry that it begins and one that says how it ended.

        A chunk is handed out when all that was saved before it is committed.
        """
        unseen = _unseen.get()
        call = self._call(config)
        run_config = _run_config(config, call, AsyncHandler(self, self._rules.pauses_within, self._saver, call))
        loaded = await self._aload(call)
        try:
            opening = self._opening(call, input, loaded, options)
            if opening and self._asks_first(opening):
                _check_not_waiting(call, await self.aget_state(bare(call)))
            await self._saver.adrive(self._opening_plan(call, opening, loaded))
            async with aclosing(
                cast("AsyncGenerator[Any]", super().astream(input, run_config, **_options(options)))
            ) as chunks:
                async for chunk in chunks:
                    if (shown := questions(chunk)) or not unseen:
                        await self._saver.adrive(settle_plan(call, shown))
                    yield chunk
            await self._saver.adrive(self._end_plan(call))
        except BaseException as error:
            stopped = isinstance(error, GeneratorExit) and call.recorded
            snapshot = await self.aget_state(bare(call)) if stopped else None
            await self._saver.adrive(self._failure_plan(call, error, snapshot))
            raise
        finally:
            self._saver.core.live.discard(call.run)

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002
        """As `astream`."""
        unseen = _unseen.get()
        call = self._call(config)
        run_config = _run_config(config, call, Handler(self, self._rules.pauses_within, self._saver, call))
        loaded = self._load(call)
        try:
            opening = self._opening(call, input, loaded, options)
            if opening and self._asks_first(opening):
                _check_not_waiting(call, self.get_state(bare(call)))
            self._saver.drive(self._opening_plan(call, opening, loaded))
            with closing(cast("Generator[Any]", super().stream(input, run_config, **_options(options)))) as chunks:
                for chunk in chunks:
                    if (shown := questions(chunk)) or not unseen:
                        self._saver.drive(settle_plan(call, shown))
                    yield chunk
            self._saver.drive(self._end_plan(call))
        except BaseException as error:
            stopped = isinstance(error, GeneratorExit) and call.recorded
            self._saver.drive(self._failure_plan(call, error, self.get_state(bare(call)) if stopped else None))
            raise
        finally:
            self._saver.core.live.discard(call.run)

    async def arecover(self, config: RunnableConfig) -> None:
        """Append the entry that the thread's last run lost to a crash, if it provably got there; nothing is run.

        Raises VerificationError when the state is not what was recorded.
        """
        await self._aload(self._call(config))

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> RunnableConfig:
        """Edit the state as LangGraph does, with the entry of who did it, and old and new values."""
        call = self._edit(config, supersteps)
        loaded = await self._aload(call)
        edited: RunnableConfig = {**config, "configurable": call.configurable}
        if channels := self._differences(call):
            call.followed = _followed(channels, (await self.aget_state(edited)).values)
        call.handover = [(call.configurable.get("checkpoint_id"), loaded)]
        with calling(call):
            done = await super().abulk_update_state(edited, supersteps)
            await self._saver.adrive(settle_plan(call, set()))
        return done

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> RunnableConfig:
        """As `abulk_update_state`."""
        call = self._edit(config, supersteps)
        loaded = self._load(call)
        edited: RunnableConfig = {**config, "configurable": call.configurable}
        if channels := self._differences(call):
            call.followed = _followed(channels, self.get_state(edited).values)
        call.handover = [(call.configurable.get("checkpoint_id"), loaded)]
        with calling(call):
            done = super().bulk_update_state(edited, supersteps)
            self._saver.drive(settle_plan(call, set()))
        return done

    def _edit(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> Call:
        call = self._call(config, editing=True)
        self._check_actor(call, "an edit")
        call.given = [list(updates) for updates in supersteps]
        return call

    def _call(self, config: RunnableConfig | None, *, editing: bool = False) -> Call:
        """Return a new call: who, which thread, and the configurable that LangGraph will get, resolved once for all."""
        rules = self._rules
        ambient = var_child_runnable_config.get() or {}
        if _TASK in (ambient.get("configurable") or {}) or _TASK in ((config or {}).get("configurable") or {}):
            raise ConfigurationError(
                f"The attached graph {rules.workflow.name!r} was called from inside a node of another graph.",
                remedy="Attach the outermost graph only; what it calls is recorded as part of its runs.",
            )
        merged = merge_configs(self.config, config)
        shown = public(merged)
        said = (merged.get("configurable") or {}).get(_DURABILITY, "sync")
        if said != "sync":
            raise durability_error(str(said))
        trail = trail_of(shown)
        actor = acting(shown, auth_user=rules.auth_user)
        call = Call(trail, actor, rules.workflow, str(run_id((config or {}).get("run_id"))), editing=editing)
        call.channels = rules.channels
        call.metadata = merged.get("metadata") or {}
        resolve(call, shown)
        call.configurable = {**shown, "thread_id": trail, _DURABILITY: "sync", CONFIG_KEY: call.token}
        return known(call)

    def _differences(self, call: Call) -> Mapping[str, DeltaChannel[Any]]:
        """Return the channels of the graph that is edited, of which checkpoints hold only differences."""
        ns = call.configurable.get("checkpoint_ns") or ""
        name = "|".join(part.split(":")[0] for part in ns.split("|") if not part.isdigit())
        inner = (found for _, found in self.get_subgraphs(namespace=name, recurse=True)) if name else iter([self])
        channels = getattr(next(inner, None), "channels", {})
        return {name: channel for name, channel in channels.items() if isinstance(channel, DeltaChannel)}

    async def _aload(self, call: Call) -> CheckpointTuple | None:
        """Return the checkpoint a call starts from, having recovered the entry that the run before it lost."""
        start = address(call)
        loaded = await self._saver.adrive(tuple_plan(self._saver, start))
        if not self._may_have_lost(call, loaded):
            return loaded
        snapshot = await self.aget_state(bare(call), subgraphs=True)
        await self._saver.adrive(recovery_plan(self._saver.core, self, call, snapshot))
        return await self._saver.adrive(tuple_plan(self._saver, start))

    def _load(self, call: Call) -> CheckpointTuple | None:
        """As `_aload`."""
        start = address(call)
        loaded = self._saver.drive(tuple_plan(self._saver, start))
        if not self._may_have_lost(call, loaded):
            return loaded
        snapshot = self.get_state(bare(call), subgraphs=True)
        self._saver.drive(recovery_plan(self._saver.core, self, call, snapshot))
        return self._saver.drive(tuple_plan(self._saver, start))

    def _may_have_lost(self, call: Call, loaded: CheckpointTuple | None) -> bool:
        """Tell whether a run before may have been lost: no entry says how it ended, or only a question does."""
        if self._saver.core.open_run(call.trail) is not None:
            return True
        return loaded is not None and (call.addressed or self._rules.nests or bool(open_interrupts(loaded)))

    def _opening(
        self, call: Call, given: Any, loaded: CheckpointTuple | None, options: Mapping[str, Any]
    ) -> Opening | None:
        """Return how a run begins, or None when LangGraph will refuse the call by itself."""
        check_durability(options)
        pauses = chosen_pauses(options, self.nodes)
        if given is None and loaded is None:
            return None
        if loaded is not None:
            self._check_actor(call, "a run of a thread that exists")
        call.last = ref(loaded)
        call.raised = open_interrupts(loaded) if loaded else set()
        return Opening(given, loaded, pauses, reenters=_reenters(call, loaded))

    def _asks_first(self, opening: Opening) -> bool:
        return self._rules.refuses_input and opening.loaded is not None and not opening.resumes

    def _opening_plan(self, call: Call, opening: Opening | None, loaded: CheckpointTuple | None) -> Plan[None]:
        """Record the run, and leave the checkpoint that was checked for that for LangGraph to take."""
        core = self._saver.core

        def recorded(_: Sequence[Entry]) -> None:
            call.recorded = True

        def drafts() -> list[EntryDraft]:
            if opening is None:
                return []
            known, unfinished = partial(core.latest, call.trail), core.unended_run(call.trail) or call.lost
            if call.last is not None and call.last.id == known(""):
                call.check_seen(core.moved(call.trail))
            return opening.drafts(call, self._saver.serde, known, unfinished)

        if opening is not None:
            core.live.add(call.run)
            yield Keep(Record(call.trail, drafts, follows=True), call, recorded, behind=False, later=True)
            call.opened = True
        call.handover = [(call.configurable.get("checkpoint_id"), opening.start if opening else loaded)]

    def _end_plan(self, call: Call) -> Plan[None]:
        """Record how a run ended, where its pause did not say so, and wait until all of it is committed."""
        if not call.opened or (call.paused and call.ended):
            yield from settle_plan(call, set())
            return
        if call.paused:
            short, long = listed("interrupts", sorted(call.waiting))
            draft = call.draft(Kind.RUN_PAUSED, actor=SYSTEM, checkpoint=call.last, detail=short, payload=long or None)
        else:
            draft = call.draft(Kind.RUN_COMPLETED, actor=SYSTEM, checkpoint=call.last)
        yield Keep(Record(call.trail, lambda: [draft]), call, later=True)
        yield from settle_plan(call, set())

    def _failure_plan(self, call: Call, error: BaseException, snapshot: StateSnapshot | None) -> Plan[None]:
        """Record `run.failed`, unless the run was never opened or an entry already says how it ended.

        With a `snapshot` the consumer stopped reading: a graph that was at its end or at a question has not failed.
        """
        yield Kept(call.trail)
        if not call.recorded or (call.refused and isinstance(error, VerificationError)):
            return
        if snapshot is not None and (waiting := {item.id for item in snapshot.interrupts}):
            call.paused = True
            call.waiting |= waiting
        if snapshot is not None and (call.paused or not snapshot.tasks):
            yield from self._end_plan(call)
            return
        yield from record_plan([_failure(call, error)], call)

    def _check_actor(self, call: Call, what: str) -> None:
        if self._rules.requires_actor and call.actor == UNATTRIBUTED:
            raise AppendError(
                f"Nobody answers for {what}: this graph demands an actor, and nothing was run.",
                remedy="Call it inside `with acting_as(...)`.",
                trail=call.trail,
            )


@contextmanager
def _gathering() -> Iterator[None]:
    token = _unseen.set(True)
    try:
        yield
    finally:
        _unseen.reset(token)


def _followed(channels: Mapping[str, DeltaChannel[Any]], values: Any) -> dict[str, Followed]:
    shown = values if isinstance(values, dict) else {}
    return {name: Followed(channel, shown.get(name, MISSING)) for name, channel in channels.items()}


def _run_config(config: RunnableConfig | None, call: Call, handler: GraphCallbackHandler) -> RunnableConfig:
    # Ours first: a callback of the application's own tells of a pause only when it is recorded.
    merged = merge_configs({"callbacks": [handler]}, config)
    # Last of all: merging folds the ambient config back in, private keys and all.
    merged["configurable"] = dict(call.configurable)
    merged["run_id"] = uuid.UUID(call.run)
    return merged


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "durability": "sync"}


def _reenters(call: Call, loaded: CheckpointTuple | None) -> bool:
    given = call.metadata.get("run_id")
    return loaded is not None and given is not None and given == loaded.metadata.get("run_id")


def _check_not_waiting(call: Call, snapshot: StateSnapshot) -> None:
    if snapshot.next:
        raise AppendError(
            f"The thread {call.trail!r} waits at {', '.join(sorted(set(snapshot.next)))}: a new input would put aside "
            "what is asked there.",
            remedy="Resume it with None or a Command, or start a thread of its own.",
            trail=call.trail,
        )


def _failure(call: Call, error: BaseException) -> EntryDraft:
    kind = type(error)
    return call.draft(
        Kind.RUN_FAILED,
        actor=SYSTEM,
        checkpoint=call.last,
        detail={"error": f"{kind.__module__}.{kind.__qualname__}"},
        payload={"message": str(error).encode("utf-8", "backslashreplace").decode()},
    )
