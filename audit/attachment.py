"""Attaching the audit to a graph: nobody's graph code changes.

`attach` returns the same graph on the audited saver, whose runs and edits are recorded before they are carried out: who
called, from which checkpoint, answering what. A lifecycle handler inside the run stops a resume that was not recorded.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, cast

from langchain_core.runnables.config import RunnableConfig, merge_configs, var_child_runnable_config
from langgraph._internal._serde import build_serde_allowlist  # LangGraph computes it only in its own strict mode
from langgraph.callbacks import GraphCallbackHandler
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.pregel import Pregel
from langgraph.types import Command, StateSnapshot

from .call import CONFIG_KEY, Call, calling, current_actor, known
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
_OF_A_WAITING_TASK = (INTERRUPT, "__resume__", "__error__", "__error_source_node__")
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
    names = frozenset(name for part in _parts(graph) for name in getattr(part, "channels", ()))
    workflow = Workflow(name or graph.get_name(), version)
    audited = type(
        type(graph).__name__,
        (_Audited, type(graph)),
        {"_saver": own, "_workflow": workflow, "_names": names, "__doc__": graph.__doc__},
    )
    attributes = {key: value for key, value in graph.__dict__.items() if key != "__orig_class__"}
    return cast("G", audited(**(attributes | {"checkpointer": own})))


class _Audited(Pregel[Any, Any, Any, Any]):
    """What an attached graph does besides being the graph: `invoke` and its like all come through these four."""

    _saver: ClassVar[AnySaver]
    _workflow: ClassVar[Workflow]
    _names: ClassVar[frozenset[str]]

    def __init__(self, **attributes: Any) -> None:
        """Build the graph from its attributes, as LangGraph's own copies do, without private keys in its config."""
        if config := attributes.get("config"):
            bound = {_DURABILITY: said} if (said := (config.get("configurable") or {}).get(_DURABILITY)) else {}
            attributes["config"] = {**config, "configurable": _public(config) | bound}
        super().__init__(**attributes)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:  # noqa: A002
        call = self._call(config)
        run_config = _run_config(config, call, AsyncHandler(self, self._saver, call))
        loaded = await self._aload(call)
        try:
            await self._saver.adrive(self._opening_plan(call, input, loaded, options))
            async with aclosing(
                cast("AsyncGenerator[Any]", super().astream(input, run_config, **_options(options)))
            ) as chunks:
                async for chunk in chunks:
                    if shown := questions(chunk):
                        await self._saver.adrive(settle_plan(call, shown))
                    yield chunk
        except BaseException as error:
            stopped = isinstance(error, GeneratorExit) and call.recorded
            snapshot = await self.aget_state(_bare(call)) if stopped else None
            await self._saver.adrive(self._failure_plan(call, error, snapshot))
            raise
        else:
            await self._saver.adrive(self._completion_plan(call))
        finally:
            self._saver.core.live.discard(call.run)

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:  # noqa: A002
        call = self._call(config)
        run_config = _run_config(config, call, Handler(self, self._saver, call))
        loaded = self._load(call)
        try:
            self._saver.drive(self._opening_plan(call, input, loaded, options))
            with closing(cast("Generator[Any]", super().stream(input, run_config, **_options(options)))) as chunks:
                for chunk in chunks:
                    if shown := questions(chunk):
                        self._saver.drive(settle_plan(call, shown))
                    yield chunk
        except BaseException as error:
            stopped = isinstance(error, GeneratorExit) and call.recorded
            self._saver.drive(self._failure_plan(call, error, self.get_state(_bare(call)) if stopped else None))
            raise
        else:
            self._saver.drive(self._completion_plan(call))
        finally:
            self._saver.core.live.discard(call.run)

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> RunnableConfig:
        call = self._call(config, editing=True)
        call.given = [list(updates) for updates in supersteps]
        loaded = await self._aload(call)
        call.handover = [(call.configurable.get("checkpoint_id"), loaded)]
        with calling(call):
            return await super().abulk_update_state({**config, "configurable": call.configurable}, supersteps)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[Any]]) -> RunnableConfig:
        call = self._call(config, editing=True)
        call.given = [list(updates) for updates in supersteps]
        loaded = self._load(call)
        call.handover = [(call.configurable.get("checkpoint_id"), loaded)]
        with calling(call):
            return super().bulk_update_state({**config, "configurable": call.configurable}, supersteps)

    def _call(self, config: RunnableConfig | None, *, editing: bool = False) -> Call:
        """Return a new call: who, which thread, and the configurable that LangGraph will get, resolved once for all."""
        ambient = var_child_runnable_config.get() or {}
        if _TASK in (ambient.get("configurable") or {}) or _TASK in ((config or {}).get("configurable") or {}):
            raise ConfigurationError(
                f"The attached graph {self._workflow.name!r} was called from inside a node of another graph.",
                remedy="Attach the outermost graph only; what it calls is recorded as part of its runs.",
            )
        merged = merge_configs(self.config, config)
        conf = merged.get("configurable") or {}
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
        call = Call(trail, current_actor(), self._workflow, str(_run_id((config or {}).get("run_id"))), editing=editing)
        call.channels = self._names
        public = _public(merged)
        if not editing and public.pop("checkpoint_ns", None):
            # As LangGraph: a run is of the root graph, and an id beside a namespace was one of the namespace's.
            public.pop("checkpoint_id", None)
        call.configurable = {**public, "thread_id": trail, _DURABILITY: "sync", CONFIG_KEY: call.token}
        return known(call)

    async def _aload(self, call: Call) -> CheckpointTuple | None:
        """Return the checkpoint a call starts from, having recovered the entry that the run before it lost."""
        address = _address(call)
        loaded = await self._saver.adrive(tuple_plan(self._saver, address))
        if not self._left_open(call):
            return loaded
        await self._saver.adrive(self._recovery_plan(call, await self.aget_state(_bare(call))))
        return await self._saver.adrive(tuple_plan(self._saver, address))

    def _load(self, call: Call) -> CheckpointTuple | None:
        """As `_aload`."""
        address = _address(call)
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
        draft = self._recovered(call, snapshot)
        if draft is not None:
            yield from record_plan(self._saver.core, [draft])

    def _recovered(self, call: Call, snapshot: StateSnapshot) -> EntryDraft | None:
        """Return the lost entry; None where none was: questions have theirs, and a run in mid-step may go on."""
        if any(task.interrupts for task in snapshot.tasks):
            return None
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
            return None
        detail = {**detail, "recovered": True}
        draft = call.draft(kind, actor=SYSTEM, checkpoint=checkpoint, detail=detail, payload=long or None)
        return replace(draft, run=self._saver.core.open_run(call.trail))

    def _opening_plan(
        self, call: Call, given: Any, loaded: CheckpointTuple | None, options: Mapping[str, Any]
    ) -> Plan[None]:
        """Record the run, and leave the checkpoint that was checked for that for LangGraph to take."""
        opening = self._opening(call, given, loaded, options)
        if opening is not None:
            self._saver.core.live.add(call.run)
            yield from record_plan(self._saver.core, [opening])
            call.recorded = True
        call.handover = [(call.configurable.get("checkpoint_id"), loaded)]

    def _completion_plan(self, call: Call) -> Plan[None]:
        if call.recorded and not call.paused:
            done = call.draft(Kind.RUN_COMPLETED, actor=SYSTEM, checkpoint=call.last)
            yield from record_plan(self._saver.core, [done])

    def _failure_plan(self, call: Call, error: BaseException, snapshot: StateSnapshot | None = None) -> Plan[None]:
        """Record `run.failed`, unless the run was never opened or an entry already says how it ended.

        With a `snapshot` the consumer stopped reading: a graph that was at its end or at a question has not failed.
        """
        if not call.recorded or (call.refused and isinstance(error, VerificationError)):
            return
        if snapshot is not None and (call.paused or any(task.interrupts for task in snapshot.tasks)):
            return
        if snapshot is not None and not snapshot.next:
            yield from self._completion_plan(call)
            return
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
                if unknown := {nodes} - {"*"} if isinstance(nodes, str) else set(nodes) - self.nodes.keys():
                    raise ConfigurationError(
                        f"{pause} names what is no node of this graph: {', '.join(sorted(map(str, unknown)))}.",
                        remedy=f"Its nodes are {', '.join(sorted(self.nodes))}.",
                    )
                short, long = ({pause: nodes}, {}) if isinstance(nodes, str) else listed(pause, sorted(nodes))
                detail |= short
                payload |= long
        if given is None and loaded is None:
            return None
        if isinstance(given, Command):
            answers = {
                name: tag(value, self._saver.serde, f"Command({name}=...)")
                for name in ("resume", "update", "goto")
                # A human "no" is an answer: False, 0 and the empty text count, only what was not given does not.
                if (value := getattr(given, name)) is not None and not (name == "goto" and not value)
            }
            detail["command"] = [*sorted(answers)]
            payload |= answers
        if loaded is not None and (given is None or isinstance(given, Command)):
            short, long = listed("interrupts", sorted(_unanswered(loaded)))
            return call.draft(Kind.RUN_RESUMED, checkpoint=call.last, detail=detail | short, payload=payload | long)
        detail["continues"] = loaded is not None
        if not isinstance(given, Command):
            payload["input"] = tag(given, self._saver.serde, "the input")
        return call.draft(Kind.RUN_STARTED, checkpoint=call.last, detail=detail, payload=payload)


def _parts(graph: Pregel[Any, Any, Any, Any]) -> list[Any]:
    return [graph, *(subgraph for _, subgraph in graph.get_subgraphs(recurse=True))]


def _state_types(graph: Pregel[Any, Any, Any, Any]) -> set[tuple[str, ...]]:
    """Return the types that the state of the graph and its subgraphs declares: what may be rebuilt on reading."""
    allowed: set[tuple[str, ...]] = set()
    for part in _parts(graph):
        schemas = list(getattr(getattr(part, "builder", None), "schemas", ()))
        allowed |= build_serde_allowlist(schemas=schemas, channels=getattr(part, "channels", None))
    return allowed


def _run_config(config: RunnableConfig | None, call: Call, handler: GraphCallbackHandler) -> RunnableConfig:
    merged = merge_configs(config, {"callbacks": [handler]})
    # Last of all: merging folds the ambient config back in, private keys and all.
    merged["configurable"] = dict(call.configurable)
    merged["run_id"] = uuid.UUID(call.run)
    return merged


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (config.get("configurable") or {}).items() if not key.startswith(_PRIVATE)}


def _address(call: Call) -> RunnableConfig:
    """Return the address of the root graph's checkpoint that the call starts from."""
    where = {"thread_id": call.trail, "checkpoint_ns": "", CONFIG_KEY: call.token}
    checkpoint_id = None if call.configurable.get("checkpoint_ns") else call.configurable.get("checkpoint_id")
    return {"configurable": where | ({"checkpoint_id": checkpoint_id} if checkpoint_id else {})}


def _run_id(given: Any) -> uuid.UUID:
    """Return the caller's run id, or a new one. It stands in every body, so it must be a UUID and nothing else."""
    if given is None:
        return uuid.uuid4()
    try:
        return given if isinstance(given, uuid.UUID) else uuid.UUID(str(given))
    except ValueError as error:
        raise ConfigurationError("A run_id that is not a UUID.", remedy="Pass a UUID, or leave it out.") from error


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


def _unanswered(loaded: CheckpointTuple) -> set[str]:
    """Return the questions still open: a task that wrote anything but questions, answers or errors has its answer."""
    writes = loaded.pending_writes or ()
    done = {task for task, channel, _ in writes if channel not in _OF_A_WAITING_TASK}
    return {
        item.id
        for task, channel, value in writes
        if channel == INTERRUPT and task not in done
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
