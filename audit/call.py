"""One call of an attached graph: who called, what was recorded of it, and how far it came.

It travels in the config LangGraph hands to the saver, under a key that LangGraph keeps out of stored metadata. State
edits go through LangGraph functions that drop foreign keys half-way, so those find it in a context variable as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from langgraph.checkpoint.base import CheckpointTuple

from .entry import UNATTRIBUTED, Actor, CheckpointRef, EntryDraft, Workflow

CONFIG_KEY = "__countersign_call"
_call: ContextVar[Call | None] = ContextVar("countersign_call", default=None)
_actor: ContextVar[Actor | None] = ContextVar("countersign_actor", default=None)


_calls: WeakValueDictionary[str, Call] = WeakValueDictionary()


@dataclass(slots=True, weakref_slot=True)
class Call:
    """Mutable on purpose: the saver and the lifecycle handler note here what happened.

    Only its `token` travels in the config, since node code can read that.
    """

    trail: str
    actor: Actor
    workflow: Workflow
    run: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    configurable: dict[str, Any] = field(default_factory=dict)
    """What LangGraph gets for `configurable`: the caller's, resolved once, without private keys, and the token."""
    channels: frozenset[str] = frozenset()
    """The names that the graph's author gave; others come from a caller and stay out of bodies."""
    active: set[Any] = field(default_factory=set)
    """The nodes under way."""
    broken: BaseException | None = None
    """The first failure to record or to verify: nothing of this run goes on after it, whoever catches it."""
    recorded: bool = False
    paused: bool = False
    raised: set[str] = field(default_factory=set)
    """Ids of the questions that an entry tells of; only those are shown."""
    refused: bool = False
    last: CheckpointRef | None = None
    handover: list[tuple[str | None, CheckpointTuple | None]] = field(default_factory=list)
    """What LangGraph's next read of the root graph takes instead of reading, if it asks for the same id (None: the
    latest): the checkpoint that was checked for the entry, so that what was recorded is what runs."""
    latest: CheckpointTuple | None = None
    """The root graph's last checkpoint of this run, as it was saved."""
    edited: dict[str, Any] | None = None
    """The checked rows that a state edit starts from."""
    editing: bool = False
    given: list[Sequence[Any]] = field(default_factory=list)
    """What a caller passed to update_state, one item per superstep still to be saved."""

    def draft(self, kind: str, *, actor: Actor | None = None, **fields: Any) -> EntryDraft:
        """Return a draft that carries this call's trail, actor, workflow and run."""
        return EntryDraft(self.trail, kind, actor=actor or self.actor, workflow=self.workflow, run=self.run, **fields)


def call_of(config: Mapping[str, Any]) -> Call | None:
    """Return the call that a config belongs to, or None when the saver is used without `attach`."""
    token = (config.get("configurable") or {}).get(CONFIG_KEY)
    return _calls.get(token) if isinstance(token, str) else _call.get()


def known(call: Call) -> Call:
    """Return `call`, findable by its token for as long as it lives."""
    _calls[call.token] = call
    return call


@contextmanager
def calling(call: Call) -> Iterator[None]:
    """Make `call` the one that saves in this context belong to."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


@contextmanager
def acting_as(actor_id: str, *, role: str | None = None, via: str = "application") -> Iterator[Actor]:
    """Attribute every run and edit started inside the block to this person.

    `actor_id` is an opaque id, never a name or address: it stays in the trail for ever. `via` says how identity was
    proved; `application` means that the embedding program says so.
    """
    actor = Actor(actor_id, via, role)
    token = _actor.set(actor)
    try:
        yield actor
    finally:
        _actor.reset(token)


def current_actor() -> Actor:
    """Return who acts in this context, or the unattributed actor."""
    return _actor.get() or UNATTRIBUTED
