"""Attaching the audit to a graph: nobody's graph code changes.

`attach` returns the same graph on the audited saver, whose runs and edits are recorded before they are carried out: who
called, from which checkpoint, answering what. A lifecycle handler inside the run stops a resume that was not recorded.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

from langchain_core.runnables.config import RunnableConfig, merge_configs, var_child_runnable_config
from langgraph._internal._serde import build_serde_allowlist  # LangGraph computes it only in its own strict mode
from langgraph.callbacks import GraphCallbackHandler
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import Command, StateSnapshot

from .call import CONFIG_KEY, Call, calling, current_actor
from .canonical import Json
from .entry import SYSTEM, CheckpointRef, EntryDraft, Workflow, check_trail
from .errors import AppendError, ConfigurationError, MalformedError, VerificationError
from .kinds import Kind
from .lifecycle import AnySaver, AsyncHandler, Handler, questions, settle_plan
from .plans import Plan, record_plan, tuple_plan
from .save import INTERRUPT, interrupts_in, listed, tag
from .saver import AsyncAuditedPostgresSaver
from .sync_saver import AuditedPostgresSaver

G = TypeVar("G", bound=Pregel[Any, Any, Any, Any])
_DURABILITY = "__pregel_durability"
_TASK = "__pregel_task_id"
_PRIVATE = ("__pregel_", "__countersign")


def attach(graph: G, saver: AnySaver, *, name: str | None = None, version: str = "unversioned") -> G:
    """Return `graph` with every run, resume and edit recorded by `saver`. The graph itself is left as it was.

    `name` and `version` say in each entry which workflow it was (default: the graph's own name). Types that the graph's
    state declares are rebuilt on reading; everything else stays data. Raises ConfigurationError when `graph` is not a
    compiled LangGraph graph, or is attached already.
    """
    if not isinstance(graph, Pregel):
        raise ConfigurationError(
            f"attach takes a compiled graph, not a {type(graph).__name__}.",
            remedy="Call .compile() on the builder first.",
        )
    if isinstance(graph, _Audited):
        raise ConfigurationError("This graph is attached already.", remedy="Attach the graph that .compile() returned.")
    if not isinstance(saver, AsyncAuditedPostgresSaver | AuditedPostgresSaver):
        raise ConfigurationError(
            f"attach takes an audited saver, not a {type(saver).__name__}.",
            remedy="Use AuditedPostgresSaver in place of PostgresSaver, AsyncAuditedPostgresSaver of its twin.",
        )
    own = saver.with_allowlist(_state_types(graph))
    workflow = Workflow(name or graph.get_name(), version)
    audited = type(
        type(graph).__name__, (_Audited, type(graph)), {"_saver": own, "_workflow": workflow, "__doc__": graph.__doc__}
    )
    attributes = {key: value for key, value in graph.__dict__.items() if key != "__orig_class__"}
    return cast("G", audited(**(attributes | {"checkpointer": own})))


class _Audited(Pregel[Any, Any, Any, Any]):
    """What an attached graph does besides being the graph: `invoke` and its like all come through these four."""

    _saver: ClassVar[AnySaver]
    _workflow: ClassVar[Workflow]

    def __init__(self, **attributes: Any) -> None:
        """Build the graph from its attributes, as LangGraph's own copies do, without private keys in its config."""
        if config := attributes.get("config"):
            bound = {_DURABILITY: said} if (said := (config.get("configurable") or {}).get(_DURABILITY)) else {}
            attributes["config"] = {**config, "configurable": _public(config) | bound}
        super().__init__(**attributes)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        call = self._call(config)
        loaded = await self._aload(call, config)
        await self._saver.adrive(self._opening_plan(call, input, loaded, options))
        run_config = _run_config(config, call, AsyncHandler(self, self._saver, call))
        try:
            async for chunk in super().astream(input, run_config, **_options(options)):
                if shown := questions(chunk):
                    await self._saver.adrive(settle_plan(call, shown))
                yield chunk
        except BaseException as error:
            await self._saver.adrive(self._failure_plan(call, error))
            raise
        await self._saver.adrive(self._completion_plan(call))

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002
        call = self._call(config)
        loaded = self._load(call, config)
        self._saver.drive(self._opening_plan(call, input, loaded, options))
        run_config = _run_config(config, call, Handler(self, self._saver, call))
        try:
            for chunk in super().stream(input, run_config, **_options(options)):
                if shown := questions(chunk):
                    self._saver.drive(settle_plan(call, shown))
                yield chunk
        except BaseException as error:
            self._saver.drive(self._failure_plan(call, error))
            raise
        self._saver.drive(self._completion_plan(call))

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> RunnableConfig:
        call = self._call(config)
        call.editing, call.given = True, [list(updates) for updates in supersteps]
        loaded = await self._aload(call, config)
        call.handover = [loaded]
        with calling(call):
            return await super().abulk_update_state(_with_call(config, call), supersteps)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> RunnableConfig:
        call = self._call(config)
        call.editing, call.given = True, [list(updates) for updates in supersteps]
        loaded = self._load(call, config)
        call.handover = [loaded]
        with calling(call):
            return super().bulk_update_state(_with_call(config, call), supersteps)

    def _call(self, config: RunnableConfig | None) -> Call:
        ambient = var_child_runnable_config.get() or {}
        if _TASK in (ambient.get("configurable") or {}) or _TASK in ((config or {}).get("configurable") or {}):
            raise ConfigurationError(
                f"The attached graph {self._workflow.name!r} was called from inside a node of another graph.",
                remedy="Attach the outermost graph only; what it calls is recorded as part of its runs.",
            )
        conf = merge_configs(self.config, config).get("configurable") or {}
        if conf.get(_DURABILITY, "sync") != "sync":
            raise _durability_error(str(conf[_DURABILITY]))
        thread = conf.get("thread_id")
        if thread is None:
            raise ConfigurationError(
                "An audited run needs a thread.", remedy='Pass config={"configurable": {"thread_id": ...}}.'
            )
        try:
            trail = check_trail(str(thread))
        except MalformedError as error:
            raise AppendError(error.message, remedy="Choose another thread id; a UUID always works.") from error
        run = (config or {}).get("run_id") or uuid.uuid4()
        return Call(trail, current_actor(), self._workflow, str(run))

    async def _aload(self, call: Call, config: RunnableConfig | None) -> CheckpointTuple | None:
        """Return the checkpoint a call starts from, having recovered the entry that the run before it lost."""
        address = _address(config, call)
        loaded = await self._saver.adrive(tuple_plan(self._saver, address))
        if not self._left_open(call):
            return loaded
        await self._saver.adrive(self._recovery_plan(call, await self.aget_state(_bare(call))))
        return await self._saver.adrive(tuple_plan(self._saver, address))

    def _load(self, call: Call, config: RunnableConfig | None) -> CheckpointTuple | None:
        """As `_aload`."""
        address = _address(config, call)
        loaded = self._saver.drive(tuple_plan(self._saver, address))
        if not self._left_open(call):
            return loaded
        self._saver.drive(self._recovery_plan(call, self.get_state(_bare(call))))
        return self._saver.drive(tuple_plan(self._saver, address))

    def _left_open(self, call: Call) -> bool:
        """Tell whether the run before was lost: it began, and no entry says how it ended."""
        return self._saver.core.open_run(call.trail) is not None

    def _recovery_plan(self, call: Call, snapshot: StateSnapshot) -> Plan[None]:
        """Append the entry that the run before lost to a crash, marked `recovered`, before the thread goes on."""
        # A run that ended on questions asked before has nothing to add: their entries are there.
        if not any(task.interrupts for task in snapshot.tasks):
            yield from record_plan(self._saver.core, [self._recovered(call, snapshot)])

    def _recovered(self, call: Call, snapshot: StateSnapshot) -> EntryDraft:
        short, long = listed("next", sorted(snapshot.next))
        before = self.interrupt_before_nodes
        checkpoint = _ref_of(snapshot)
        if not snapshot.next and checkpoint:
            kind, detail, long = Kind.RUN_COMPLETED, {}, {}
        elif snapshot.next and (before == "*" or set(before) & set(snapshot.next)):
            kind, detail = Kind.INTERRUPT_RAISED, {"when": "before", **short}
        elif snapshot.next and self.interrupt_after_nodes:
            kind, detail = Kind.INTERRUPT_RAISED, {"when": "after", **short}
        else:
            kind, detail, long = Kind.RUN_FAILED, {"error": "unknown"}, {}
        detail = {**detail, "recovered": True}
        draft = call.draft(kind, actor=SYSTEM, checkpoint=checkpoint, detail=detail, payload=long or None)
        return replace(draft, run=self._saver.core.open_run(call.trail))

    def _opening_plan(
        self, call: Call, given: Any, loaded: CheckpointTuple | None, options: Mapping[str, Any]
    ) -> Plan[None]:
        """Record the run, and leave the checkpoint that was checked for that for LangGraph to take."""
        opening = self._opening(call, given, loaded, options)
        if opening is not None:
            yield from record_plan(self._saver.core, [opening])
            call.recorded = True
        call.handover = [loaded]

    def _completion_plan(self, call: Call) -> Plan[None]:
        if call.recorded and not call.paused:
            done = call.draft(Kind.RUN_COMPLETED, actor=SYSTEM, checkpoint=call.last)
            yield from record_plan(self._saver.core, [done])

    def _failure_plan(self, call: Call, error: BaseException) -> Plan[None]:
        """Record `run.failed`, unless the run was never opened or an entry already says that it was refused."""
        if call.recorded and not (call.refused and isinstance(error, VerificationError)):
            yield from record_plan(self._saver.core, [_failure(call, error)])

    def _opening(
        self, call: Call, given: Any, loaded: CheckpointTuple | None, options: Mapping[str, Any]
    ) -> EntryDraft | None:
        """Return the entry that a run is opened with, or None when LangGraph will refuse the call by itself."""
        durability = options.get("durability")
        if durability not in (None, "sync") or options.get("checkpoint_during") is not None:
            raise _durability_error(str(durability or "checkpoint_during"))
        call.last = _ref(loaded)
        call.raised = _open_interrupts(loaded) if loaded else set()
        detail: dict[str, Json] = {}
        payload: dict[str, Json] = {}
        for pause in ("interrupt_before", "interrupt_after"):
            # A caller may replace the pauses the graph was compiled with; the trail says so.
            if nodes := options.get(pause):
                short, long = ({pause: nodes}, {}) if isinstance(nodes, str) else listed(pause, sorted(nodes))
                detail |= short
                payload |= long
        if given is None or isinstance(given, Command):
            if loaded is None:
                return None
            short, long = listed("interrupts", sorted(call.raised))
            detail |= short
            payload |= long
            if isinstance(given, Command):
                answers = {
                    name: tag(value, self._saver.serde, f"Command({name}=...)")
                    for name in ("resume", "update", "goto")
                    if (value := getattr(given, name))
                }
                detail["command"] = [*sorted(answers)]
                payload |= answers
            return call.draft(Kind.RUN_RESUMED, checkpoint=call.last, detail=detail, payload=payload)
        detail["continues"] = loaded is not None
        value = tag(given, self._saver.serde, "the input")
        return call.draft(Kind.RUN_STARTED, checkpoint=call.last, detail=detail, payload=payload | {"input": value})


def _state_types(graph: Pregel[Any, Any, Any, Any]) -> set[tuple[str, ...]]:
    """Return the types that the state of the graph and its subgraphs declares: what may be rebuilt on reading."""
    allowed: set[tuple[str, ...]] = set()
    for part in (graph, *(subgraph for _, subgraph in graph.get_subgraphs(recurse=True))):
        schemas = list(getattr(getattr(part, "builder", None), "schemas", ()))
        allowed |= build_serde_allowlist(schemas=schemas, channels=getattr(part, "channels", None))
    return allowed


def _run_config(config: RunnableConfig | None, call: Call, handler: GraphCallbackHandler) -> RunnableConfig:
    merged = merge_configs(_with_call(config, call), {"callbacks": [handler]})
    merged["run_id"] = uuid.UUID(call.run)
    return merged


def _with_call(config: RunnableConfig | None, call: Call) -> RunnableConfig:
    """Return the caller's config with the call in it, and without LangGraph's private keys: one swaps the saver."""
    config = config or {}
    return {**config, "configurable": {**_public(config), _DURABILITY: "sync", CONFIG_KEY: call}}


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (config.get("configurable") or {}).items() if not key.startswith(_PRIVATE)}


def _address(config: RunnableConfig | None, call: Call) -> RunnableConfig:
    checkpoint_id = ((config or {}).get("configurable") or {}).get("checkpoint_id")
    where = {"thread_id": call.trail, "checkpoint_ns": "", CONFIG_KEY: call}
    return {"configurable": where | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {**options, "durability": "sync"}


def _bare(call: Call) -> RunnableConfig:
    return {"configurable": {"thread_id": call.trail}}


def _ref_of(snapshot: StateSnapshot) -> CheckpointRef | None:
    found = snapshot.config["configurable"].get("checkpoint_id")
    parent = (snapshot.parent_config or {}).get("configurable", {}).get("checkpoint_id")
    return CheckpointRef(found, "", parent) if found else None


def _ref(loaded: CheckpointTuple | None) -> CheckpointRef | None:
    if loaded is None:
        return None
    parent = loaded.parent_config["configurable"]["checkpoint_id"] if loaded.parent_config else None
    return CheckpointRef(loaded.config["configurable"]["checkpoint_id"], "", parent)


def _open_interrupts(loaded: CheckpointTuple) -> set[str]:
    return {
        item.id
        for _, channel, value in loaded.pending_writes or ()
        if channel == INTERRUPT
        for item in interrupts_in(value)
    }


def _failure(call: Call, error: BaseException) -> EntryDraft:
    kind = type(error)
    return call.draft(
        Kind.RUN_FAILED,
        actor=SYSTEM,
        checkpoint=call.last,
        detail={"error": f"{kind.__module__}.{kind.__qualname__}"},
        payload={"message": str(error).encode("utf-8", "backslashreplace").decode()},
    )


def _durability_error(asked: str) -> ConfigurationError:
    return ConfigurationError(
        f"An audited run cannot use durability {asked!r}: entries would arrive out of order, or never.",
        remedy='Leave it out, or say durability="sync".',
    )
