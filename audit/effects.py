"""What plans ask of the shell that performs them: units of database work, waiting, and things to be committed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from .call import Call
from .entry import Entry, EntryDraft
from .save import Save
from .steps import Steps

T = TypeVar("T")


class Mode(Enum):
    """The transaction that a unit of work is run in."""

    ALONE = auto()
    """Outside any: the unit is one statement, or reads only."""
    TRANSACTION = auto()
    """One of its own, committed when the unit ends."""
    SNAPSHOT = auto()
    """One of its own, REPEATABLE READ and read-only."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit of database work: `steps`, and the transaction they need."""

    steps: Steps[Any]
    mode: Mode


@dataclass(frozen=True, slots=True)
class Settle:
    """Wait for the writes under way of a thread, and until `done`; fail if one of this run's writes failed."""

    thread: str
    run: str | None
    done: Callable[[], bool] = lambda: True
    busy: Callable[[], bool] = lambda: False
    """Whether the run's own nodes are at work: LangGraph may queue a write behind them, for however long they take."""
    submitted: bool = False
    """Count writes that were handed to the event loop just now, and have not begun."""


@dataclass(frozen=True, slots=True)
class Record:
    """Entries of one trail that bind no rows.

    `make` is asked for them, and once more when the trail turned out to have gone on: then under its lock.
    """

    trail: str
    make: Callable[[], Sequence[EntryDraft]]
    follows: bool = False
    """Whether `make` asks what the trail says of its thread, so that this process must have read it to its end."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Commit `what`, behind everything of its thread that was handed over before; sent the entries.

    What is handed over at the same moment may be committed in the same transaction, in order.
    """

    what: Save | Record
    call: Call | None
    then: Callable[[Sequence[Entry]], None] = lambda _: None
    """Called with the entries when they are committed."""
    behind: bool = True
    """Whether it must not be committed when something of the same run failed that was handed over before."""
    later: bool = False
    """Whether the caller may go on before it is committed. It is committed when a Settle of the thread is over."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Wait until all is committed, or has failed, that was handed over of a thread (None: of every thread)."""

    thread: str | None


Plan = Generator[Unit | Settle | Keep | Kept, Any, T]
