"""The thinking of the audited savers: steps that a sync or an async shell runs, and what a saver remembers.

Shared by the clones that LangGraph makes of a saver. What is remembered (the ledgers) was checked. It spares a second
reading, and it is evidence: a trail that no longer reaches, or no longer passes through, what was remembered is refused
for as long as the process lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .append import OWN_TRAILS, Also, Appender, Part
from .chain import START, Checked, Link, check_entry
from .deployment import open_steps
from .entry import SYSTEM_TRAIL, Entry, EntryDraft
from .errors import AppendError, VerificationError
from .keyfolder import GRAPH
from .kinds import Kind
from .ledger import Ledger
from .load import Loaded, behind, check_known, check_loaded, head_of, load_statement, truncated
from .read import entries_statement, entry_of
from .recent import Recent
from .rows import CHECKPOINTS, BoundRow
from .save import Save
from .steps import Statement, Steps


class MovedError(Exception):
    """The trail went on while it was read; read again, in one snapshot. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Saved:
    """Entries that were committed, and the runs they are of.

    `rows` are what the first of them bound, all new; None where that must be read.
    """

    entries: Sequence[Entry]
    runs: Sequence[str | None]
    rows: Sequence[BoundRow] | None


class Swift(NamedTuple):
    """What one statement is to append: entries, and what writes the rows that the first of them binds, all new."""

    drafts: Sequence[EntryDraft]
    also: Also | None = None
    rows: Sequence[BoundRow] = ()


class Core:
    """What one saver, and LangGraph's clones of it, share."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._appender: Appender | None = None
        self.live: set[str] = set()
        """The runs of this process that go on: what they have not said yet was not lost."""
        self._ledgers: Recent[str, Ledger] = Recent(512)
        self._refused: Recent[tuple[str, str | None, str], bool] = Recent(1024)
        # Guards the ledgers' contents, for savers used from several threads. Never held across I/O.
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether schema, keys and trust were checked."""
        return self._appender is not None

    @property
    def appender(self) -> Appender:
        """The open appender. Asking before `open_steps` ran is a mistake of ours."""
        if self._appender is None:
            raise AssertionError("the saver was used before it was opened")
        return self._appender

    def open_steps(self) -> Steps[None]:
        """Check schema, keys and trust, once."""
        if self._appender is None:
            self._appender = yield from open_steps(self.home, (GRAPH,))

    def swift_steps(self, trail: str, works: Sequence[Swift]) -> Steps[list[Saved] | None]:
        """Do all of it, in one trail, without reading anything first, which is the usual case: one statement.

        None when nothing was written that way. A row that is there already fails the statement with UniqueViolation,
        one that the database stored otherwise than was sent with SQLSTATE CS001.
        """
        parts: list[Part] = []
        for work in works:
            if work.drafts:
                first, *others = work.drafts
                parts += (Part(first, work.also) if work.also else Part(first), *map(Part, others))
        entries = (yield from self.appender.swift_steps(self._known(trail), parts)) if parts else []
        if entries is None:
            return None
        left = iter(entries)
        return [Saved([next(left) for _ in work.drafts], _runs(work.drafts), work.rows) for work in works]

    def save_steps(self, save: Save) -> Steps[Saved]:
        """Write rows and append the entries that bind them. To be run inside one transaction of its own."""
        heads = yield from self._lock_steps(save.trail)
        written = yield from save.write_steps(lambda: self._ledger_steps(save.trail))
        drafts = save.drafts(written)
        entries = (yield from self.appender.insert_steps(heads, drafts)) if drafts else []
        return Saved(entries, _runs(drafts), None)

    def record_steps(self, trail: str, make: Callable[[], Sequence[EntryDraft]]) -> Steps[Saved]:
        """Append entries of one trail that bind no rows. To be run inside one transaction of its own.

        `make` is asked for them when the trail is locked and known to its end.
        """
        heads = yield from self._lock_steps(trail)
        drafts = make()
        entries = (yield from self.appender.insert_steps(heads, drafts)) if drafts else []
        return Saved(entries, _runs(drafts), None)

    def load_steps(self, thread: str, ns: str, checkpoint_id: str | None, *, alone: bool) -> Steps[Loaded | None]:
        """Return a checkpoint whose rows were checked against its trail, or None when there is none.

        `alone` runs one statement, which suffices when this process has already checked the trail to its end, and
        raises MovedError otherwise; run it again without, in a REPEATABLE READ transaction. Raises VerificationError.
        """
        ledger = self._ledger(thread)
        known = ledger.link
        row = (yield load_statement(thread, ns, checkpoint_id))[0]
        head = head_of(row)
        if behind(head, known):
            raise truncated(ledger, head)
        if head != ledger.link:
            if alone:
                raise MovedError
            yield from self._advance_steps(ledger)
        with self._lock:
            if head != ledger.link:
                raise MovedError
            return check_loaded(row, ledger, ns, checkpoint_id)

    def places_steps(self, thread: str) -> Steps[None]:
        """Check that no checkpoint bound in `thread` is gone: what is gone would be missing from a history silently.

        To be run in a REPEATABLE READ transaction. Raises VerificationError, and MovedError when this process
        saved more meanwhile than the transaction sees.
        """
        ledger = self._ledger(thread)
        known = ledger.link
        row = (yield load_statement(thread, "", None))[0]
        head = head_of(row)
        if behind(head, known):
            raise truncated(ledger, head)
        yield from self._advance_steps(ledger)
        rows = yield Statement(
            "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints WHERE thread_id = %s", (thread,)
        )
        found = {(CHECKPOINTS.name, row) for row in rows}
        with self._lock:
            if head != ledger.link:
                raise MovedError
            if gone := ledger.checkpoints() - found:
                raise ledger.missing(min(gone))
            check_known(row, ledger)

    def trail_steps(self, trail: str, before: Sequence[Checked] = ()) -> Steps[list[Checked]]:
        """Return all entries of `trail`, checked; what they bind is known to this process from then on.

        `before` are those that an earlier call returned, and are not read again. To be run as one statement. Raises
        VerificationError, and MovedError when this process appended more meanwhile than was read.
        """
        ledger = self._ledger(trail)
        known = ledger.link
        checked = [*before]
        link = checked[-1].link if checked else START
        rows = yield entries_statement(trail, *([link.seq] if checked else []))
        entries = [entry_of(row) for row in rows]
        if any(entry.keyid not in self.appender.ring for entry in entries):
            yield from self.appender.ring_steps()
        for entry in entries:
            checked.append(check_entry(entry, after=link, origin=self.appender.origin, ring=self.appender.ring))
            link = checked[-1].link
        if behind(link, known):
            raise truncated(ledger, link)
        with self._lock:
            for found in checked:
                if found.link.seq > ledger.link.seq:
                    ledger.apply(found)
            if ledger.link != link:
                raise MovedError
        return checked

    def committed(self, together: Sequence[Saved]) -> None:
        """Take over, after the commit, what the entries bind, where this process already follows their trail."""
        for saved in together:
            self._committed(saved)

    def _committed(self, saved: Saved) -> None:
        self.appender.committed(saved.entries)
        for position, entry in enumerate(saved.entries):
            ledger = self._ledger(entry.trail) if entry.seq == 1 else self._ledgers.get(entry.trail)
            if ledger is None:
                continue
            if saved.rows is None:
                if ledger.link.seq == entry.seq - 1:
                    self._apply(ledger, [entry])
                continue
            with self._lock:
                if ledger.link.seq == entry.seq - 1:
                    ledger.extend(
                        Link(entry.seq, entry.leaf_hash),
                        entry.kind,
                        saved.runs[position],
                        saved.rows if position == 0 else (),
                    )

    def follow(self, entries: Iterable[Checked]) -> None:
        """Take over what committed entries bind that somebody else in this process has read and checked.

        What does not go on from where this process followed a trail to is left aside: it is read when it is needed.
        """
        for checked in entries:
            ledger = self._ledger(checked.entry.trail)
            with self._lock:
                if ledger.link == Link(checked.link.seq - 1, checked.body.prev):
                    ledger.apply(checked)

    def open_run(self, trail: str) -> str | None:
        """Return the run of `trail` of which no entry says how it ended, as far as this process has read it."""
        ledger = self._ledgers.get(trail)
        return ledger.open_run if ledger and ledger.open_run not in self.live else None

    def unended_run(self, trail: str) -> str | None:
        """Return the run of `trail` of which no entry says how it ended, be it lost or still at it, even here."""
        ledger = self._ledgers.get(trail)
        return ledger.open_run if ledger else None

    def latest(self, trail: str, ns: str) -> str | None:
        """Return the newest checkpoint that `trail` binds in a namespace, as far as this process has read it."""
        ledger = self._ledgers.get(trail)
        return ledger.latest(ns) if ledger else None

    def follows(self, trail: str) -> bool:
        """Tell whether this process remembers what `trail` says, up to the end it knows of. What falls out of memory
        is not "nothing": it has to be read again, under the trail's lock, before anything is concluded from it.
        """
        ledger = self._ledgers.get(trail)
        return ledger is not None and ledger.link.seq >= self.appender.known(trail).seq

    def moved(self, trail: str) -> int:
        """Return the newest entry of `trail` that binds a row, as far as this process has read it."""
        ledger = self._ledgers.get(trail)
        return ledger.moved if ledger else 0

    def _known(self, trail: str) -> Link:
        ledger = self._ledgers.get(trail)
        known = self.appender.known(trail)
        return ledger.link if ledger is not None and ledger.link.seq > known.seq else known

    def refusal(self, error: VerificationError, trail: str, run: str | None, draft: EntryDraft) -> EntryDraft | None:
        """Return the entry that says that a load was refused, or None if it was said already for this run."""
        key = (trail, run, error.message)
        if self._refused.get(key):
            return None
        self._refused[key] = True
        return EntryDraft(
            trail,
            Kind.RUN_REFUSED,
            actor=draft.actor,
            workflow=draft.workflow,
            run=run,
            detail={"check": error.check, "trail": draft.trail, "table": error.table, "seq": error.seq},
            payload={"message": error.message},
        )

    def elsewhere(self, draft: EntryDraft) -> EntryDraft:
        """Return the refusal for `@system`, where it goes when the case's own trail can no longer be extended."""
        return EntryDraft(
            SYSTEM_TRAIL, draft.kind, draft.actor, draft.workflow, draft.run, None, draft.detail, draft.payload
        )

    def _lock_steps(self, trail: str) -> Steps[dict[str, Link]]:
        heads = yield from self.appender.lock_steps([trail])
        head = heads[trail]
        known = self._ledgers.get(trail) if trail in OWN_TRAILS else self._ledger(trail)
        if known is None or head == known.link:
            return heads
        try:
            if behind(head, known.link):
                raise truncated(known, head)
            # Somebody else went on: from where this process knows the trail to be, or from another place?
            yield from self._advance_steps(known)
        except VerificationError as error:
            raise AppendError(
                f"Nothing may be appended. {error.message}", remedy="Run: countersign verify", trail=trail
            ) from error
        return heads

    def _ledger(self, trail: str) -> Ledger:
        ledger = self._ledgers.get(trail)
        if ledger is None:
            ledger = self._ledgers[trail] = Ledger(trail)
        return ledger

    def _ledger_steps(self, trail: str) -> Steps[Ledger]:
        ledger = self._ledger(trail)
        yield from self._advance_steps(ledger)
        return ledger

    def _advance_steps(self, ledger: Ledger) -> Steps[None]:
        """Check the entries behind the ledger's end, as this transaction sees them, and take over what they bind."""
        rows = yield entries_statement(ledger.trail, ledger.link.seq)
        entries = [entry_of(row) for row in rows]
        if any(entry.keyid not in self.appender.ring for entry in entries):
            yield from self.appender.ring_steps()
        self._apply(ledger, entries)

    def _apply(self, ledger: Ledger, entries: Sequence[Entry]) -> None:
        appender = self.appender
        with self._lock:
            for entry in entries:
                # Another task of this process may have come here first; what it checked need not be checked again.
                if entry.seq > ledger.link.seq:
                    ledger.apply(check_entry(entry, after=ledger.link, origin=appender.origin, ring=appender.ring))


def _runs(drafts: Sequence[EntryDraft]) -> list[str | None]:
    return [draft.run for draft in drafts]
