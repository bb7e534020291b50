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

from .differences import Followed
from .entry import SYSTEM, UNATTRIBUTED, Actor, CheckpointRef, EntryDraft, Workflow
from .errors import AppendError, ConfigurationError
from .kinds import Kind

CONFIG_KEY = "__countersign_call"
_AUTH_USER = "langgraph_auth_user"
_RESERVED = frozenset({SYSTEM.id, UNATTRIBUTED.id})
_LONGEST = 255
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
    opened: bool = False
    """Whether the entry that says how the run begins was handed over."""
    recorded: bool = False
    """Whether it is committed."""
    paused: bool = False
    ended: bool = False
    """Whether an entry of this run says how it paused."""
    addressed: bool = False
    """Whether the caller named a checkpoint to start from, so that it may be another than the latest."""
    within: dict[str, str] = field(default_factory=dict)
    """The checkpoints that the caller named for subgraphs to start from, by namespace."""
    waiting: set[str] = field(default_factory=set)
    """Ids of the questions at which the run ended."""
    seen: int = 0
    """The newest entry that bound a row of the thread when the call's checkpoint was read."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    raised: set[str] = field(default_factory=set)
    """Ids of the questions that an entry tells of; only those are shown."""
    nodes: dict[str, str] = field(default_factory=dict)
    """The names of the nodes under way or done, by task id."""
    lost: str | None = None
    """A run before this that was lost behind a question of its own, in mid-step: it looks like one that paused."""
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
    followed: dict[str, Followed] = field(default_factory=dict)
    """The channels of which an edit's checkpoints hold only differences."""

    def draft(self, kind: str, *, actor: Actor | None = None, **fields: Any) -> EntryDraft:
        """Return a draft that carries this call's trail, actor, workflow and run."""
        return EntryDraft(self.trail, kind, actor=actor or self.actor, workflow=self.workflow, run=self.run, **fields)

    def fork(self, start: CheckpointRef | None, latest: str | None, *, copies: bool = False) -> EntryDraft | None:
        """Return the entry which says that the thread goes on from `start` and no longer from its `latest` checkpoint.

        Raises AppendError when no other checkpoint was asked for: then the thread went on since it was looked at.
        """
        if latest is None or (start is not None and start.id == latest):
            return None
        if start is not None and (self.addressed or copies):
            return self.draft(Kind.RUN_FORKED, checkpoint=start, detail={"latest": latest})
        was = f"at checkpoint {start.id}" if start else "empty"
        raise self._late(f"it was {was} and is now at {latest}")

    def check_seen(self, moved: int) -> None:
        """Raise AppendError when rows of the thread were bound, by entry `moved`, since its checkpoint was read.

        At one checkpoint a question is answered and the next one asked: the answer meant the one that was shown.
        """
        if moved > self.seen:
            raise self._late(f"entry {moved} tells what was saved meanwhile")

    def _late(self, how: str) -> AppendError:
        return AppendError(
            f"The thread {self.trail!r} went on while this call was made: {how}.",
            remedy="Look at its state again, then decide.",
            trail=self.trail,
        )


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
    proved; `application` means that the embedding program says so. Raises ConfigurationError for what names nobody: an
    empty text, or the names that stand for the system itself.
    """
    for name, text in (("actor_id", actor_id), ("via", via), ("role", role)):
        if text is not None or name != "role":
            _check_who(name, text)
    actor = Actor(actor_id, via, role)
    token = _actor.set(actor)
    try:
        yield actor
    finally:
        _actor.reset(token)


def _check_who(name: str, text: Any) -> None:
    plain = isinstance(text, str) and text.strip() and text.isprintable() and len(text) <= _LONGEST
    if not plain or text in _RESERVED:
        raise ConfigurationError(
            f"acting_as({name}={text!r}) names nobody: it takes a text of 1 to {_LONGEST} printable characters, and "
            f"neither {' nor '.join(sorted(_RESERVED))}.",
            remedy="Pass the opaque id under which your own sign-in knows the person.",
        )


def acting(configurable: Mapping[str, Any], *, auth_user: bool) -> Actor:
    """Return who acts: as `acting_as` says, else as the host says where it is believed, else nobody in particular."""
    if (actor := _actor.get()) is not None:
        return actor
    user = configurable.get(_AUTH_USER) if auth_user else None
    identity = user.get("identity") if isinstance(user, Mapping) else getattr(user, "identity", None)
    return Actor(str(identity), "langgraph-auth") if identity else UNATTRIBUTED
