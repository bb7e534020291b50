"""How a call of an attached graph begins: the entries that say so before anything is done. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.types import Command

from .call import Call
from .canonical import Json
from .entry import CheckpointRef, EntryDraft
from .errors import ConfigurationError
from .kinds import Kind
from .save import INTERRUPT
from .values import interrupts_in, listed, tag

_PAUSES = ("interrupt_before", "interrupt_after")
_RESUME = "__resume__"
_NULL_TASK = "00000000-0000-0000-0000-000000000000"  # whose writes are what a caller's Command delivers
_OF_A_WAITING_TASK = (INTERRUPT, _RESUME, "__error__", "__error_source_node__")
_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of a run before it begins: what was passed, and the checkpoint it starts from, checked."""

    given: Any
    loaded: CheckpointTuple | None
    pauses: Mapping[str, Any]
    """The static pauses that the caller chose in place of the graph's own: see `chosen_pauses`."""
    reenters: bool = False
    """Whether LangGraph will take an input for the same run going on, since the metadata's `run_id` is the same."""

    @property
    def resumes(self) -> bool:
        """Whether the run goes on from where the thread stands, rather than with a new input."""
        return self.loaded is not None and (self.given is None or isinstance(self.given, Command) or self.reenters)

    @property
    def start(self) -> CheckpointTuple | None:
        """The checkpoint as LangGraph is to find it: without an answer that was delivered, and never acted on.

        Who answers now answers in its place. LangGraph would keep it for the next question, whatever that asks.
        """
        if self.loaded is None or not isinstance(self.given, Command) or self.given.resume is None:
            return self.loaded
        writes = [write for write in self.loaded.pending_writes or () if write[:2] != (_NULL_TASK, _RESUME)]
        return self.loaded._replace(pending_writes=writes)

    def drafts(
        self, call: Call, serde: SerializerProtocol, latest: Callable[[str], str | None], unfinished: str | None
    ) -> list[EntryDraft]:
        """Return `run.forked`, where the run leaves the latest checkpoint aside, and `run.started` or `run.resumed`.

        `latest` tells the newest checkpoint of a namespace as the trail has it, `unfinished` a run that no entry ended.
        Raises AppendError when the thread went on since `loaded` was read: what is done would not be what was seen.
        """
        kind = Kind.RUN_RESUMED if self.resumes else Kind.RUN_STARTED
        detail, payload = self._given(serde)
        if self.loaded is not None:
            short, long = listed("interrupts", sorted(unanswered(self.loaded)))
            detail |= short
            payload |= long
        if not self.resumes:
            detail["continues"] = self.loaded is not None
        if unfinished is not None:
            detail["unfinished"] = unfinished
        starts = [ref(self.loaded), *(CheckpointRef(found, ns) for ns, found in sorted(call.within.items()))]
        forks = [call.fork(start, latest(start.ns if start else "")) for start in starts]
        opening = call.draft(kind, checkpoint=call.last, detail=detail, payload=payload)
        return [*(fork for fork in forks if fork), opening]

    def _given(self, serde: SerializerProtocol) -> tuple[dict[str, Json], dict[str, Json]]:
        """Return what the caller passed, as members of detail and payload."""
        detail: dict[str, Json] = {}
        payload: dict[str, Json] = {}
        for name, nodes in self.pauses.items():
            short, long = ({name: nodes}, {}) if isinstance(nodes, str) else listed(name, sorted(nodes))
            detail |= short
            payload |= long
        if isinstance(self.given, Command):
            answers = {
                name: tag(value, serde, f"Command({name}=...)")
                for name in ("resume", "update", "goto")
                # A human "no" is an answer: False, 0 and the empty text count, only what was not given does not.
                if (value := getattr(self.given, name)) is not None and not (name == "goto" and not value)
            }
            detail["command"] = [*sorted(answers)]
            payload |= answers
            if self.loaded is not None and "resume" in answers:
                short, long = listed("answers", sorted(_answered(self.given.resume, unanswered(self.loaded))))
                detail |= short
                payload |= long
        elif self.given is not None:
            payload["input"] = tag(self.given, serde, "the input")
        return detail, payload


def chosen_pauses(options: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pauses that a caller passed to a run. Raises ConfigurationError for what is no node of the graph."""
    chosen: dict[str, Any] = {}
    for name in _PAUSES:
        if not (given := options.get(name)):
            continue
        if unknown := {given} - {"*"} if isinstance(given, str) else set(given) - nodes.keys():
            raise ConfigurationError(
                f"{name} names what is no node of this graph: {', '.join(sorted(map(str, unknown)))}.",
                remedy=f"Its nodes are {', '.join(sorted(nodes))}.",
            )
        chosen[name] = given
    return chosen


def check_durability(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless a run's options leave durability at `sync`."""
    durability = options.get("durability")
    if durability not in (None, "sync") or options.get("checkpoint_during") is not None:
        raise durability_error(str(durability or "checkpoint_during"))


def durability_error(asked: str) -> ConfigurationError:
    """Return the refusal of another durability than `sync`."""
    return ConfigurationError(
        f"An audited run cannot use durability {asked!r}: entries would arrive out of order, or never.",
        remedy='Leave it out, or say durability="sync".',
    )


def ref(loaded: CheckpointTuple | None) -> CheckpointRef | None:
    """Return how an entry names a loaded checkpoint."""
    if loaded is None:
        return None
    place = loaded.config["configurable"]
    parent = loaded.parent_config["configurable"]["checkpoint_id"] if loaded.parent_config else None
    return CheckpointRef(place["checkpoint_id"], place.get("checkpoint_ns", ""), parent)


def open_interrupts(loaded: CheckpointTuple) -> set[str]:
    """Return the ids of all questions that were asked at a checkpoint."""
    return {
        item.id
        for _, channel, value in loaded.pending_writes or ()
        if channel == INTERRUPT
        for item in interrupts_in(value)
    }


def unanswered(loaded: CheckpointTuple) -> set[str]:
    """Return the questions still open: a task that wrote anything but questions, answers or errors has its answer."""
    writes = loaded.pending_writes or ()
    done = {task for task, channel, _ in writes if channel not in _OF_A_WAITING_TASK}
    return {
        item.id
        for task, channel, value in writes
        if channel == INTERRUPT and task not in done
        for item in interrupts_in(value)
    }


def _answered(resume: Any, questions: set[str]) -> Sequence[str]:
    """Return which open questions a resume value answers, as LangGraph reads it: a map by id, or the only one."""
    if isinstance(resume, dict) and resume and all(isinstance(k, str) and _ID.fullmatch(k) for k in resume):
        return [*(resume.keys() & questions)]
    return [*questions] if len(questions) == 1 else []
