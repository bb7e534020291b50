"""The desk: everything that people do with cases and reviews, and what time does, in one place.

A process has one. All methods raise service/errors.py; none may be called within a transaction of the caller's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from countersign.audit.canonical import Json
from countersign.audit.chain import Checked
from countersign.audit.saver import AsyncAuditedPostgresSaver
from countersign.service.clock import Clock, now
from countersign.service.identity.caller import Caller
from countersign.service.identity.people import People

from . import acts, annotating, finding, looking, reading, settling, signing, starting, taking_part, timers
from .following import Trails
from .held import Random, Room
from .lists import EntryFilter
from .looking import ReviewPage
from .rows import CaseRow, EntryRow, ReviewRow
from .signing import SignedOff, Signing

Pool = AsyncConnectionPool[AsyncConnection[Any]]


class Desk:
    """Cases and reviews of one deployment.

    `pool` are the server's connections; `people` checks credentials and brings the appender with the deployment key;
    `saver` reads state, checked. `offered` says which version of a workflow new cases get, by name; without, the one
    registered last. `clock` and `random` are the world's.
    """

    def __init__(
        self,
        pool: Pool,
        people: People,
        saver: AsyncAuditedPostgresSaver,
        *,
        offered: Mapping[str, str] | None = None,
        clock: Clock = now,
        random: Random = os.urandom,
    ) -> None:
        self._people = people
        self._offered = dict(offered or {})
        trails = Trails(people.appender, people.directory, saver.core)
        self._room = Room(pool, people.appender, saver, trails, clock, random)

    async def start(
        self,
        caller: Caller,
        workflow: str,
        given: object,
        case_number: object = None,
        config: object = None,
        *,
        name: bytes | None = None,
    ) -> str:
        """Begin a case and return its id: see starting.start."""
        return await starting.start(
            self._room,
            caller,
            workflow,
            given,
            case_number=case_number,
            config=config,
            offered=self._offered,
            name=name,
        )

    async def settle(self, case: str) -> bool:
        """Open, reopen and close the reviews that a case's trail asks for; return whether anything was new."""
        return await settling.settle(self._room, case)

    async def sweep(self, most: int = 200) -> int:
        """Settle the cases that a worker left unsettled; return how many had anything new."""
        return await settling.sweep(self._room, most)

    async def keep_time(self) -> int:
        """Remind of, escalate and expire what is due by the clock; return how many entries it took."""
        return await timers.keep_time(self._room)

    async def next_due(self) -> datetime | None:
        """Return the moment at which keep_time has something to do next."""
        return await timers.next_due(self._room)

    # Reading

    async def get_case(self, caller: Caller, case: str) -> reading.CasePage:
        """Return a case with its open reviews: see reading.get_case."""
        return await reading.get_case(self._room, caller, case)

    async def found(self, caller: Caller, case: str) -> tuple[reading.CasePage, reading.State | None]:
        """Return a case with the state that it has come to: see reading.found."""
        return await reading.found(self._room, caller, case)

    async def status(self, caller: Caller, case: str) -> str:
        """Return the status of a case: see reading.status."""
        return await reading.status(self._room, caller, case)

    async def state(self, caller: Caller, case: str, seq: int | None = None) -> reading.State:
        """Return a case's state, now or as of an entry: see reading.state."""
        return await reading.state(self._room, caller, case, seq)

    async def history(self, caller: Caller, case: str) -> list[dict[str, Json]]:
        """Return what happened in a case, a line for each entry."""
        return await reading.history(self._room, caller, case)

    async def trail(self, caller: Caller, case: str) -> list[Checked]:
        """Return all entries of a case, checked."""
        return await reading.trail(self._room, caller, case)

    async def attachment(self, caller: Caller, review: str, sha256: str) -> bytes:
        """Return an attachment of a review's view, by its digest."""
        return await reading.attachment(self._room, caller, review, sha256)

    async def list_cases(
        self, caller: Caller, *, after: tuple[datetime, str] | None = None, most: int = 50, **which: str | None
    ) -> list[CaseRow]:
        """Return cases, the newest first: see finding.list_cases."""
        return await finding.list_cases(self._room, caller, after=after, most=most, **which)

    async def list_reviews(
        self,
        caller: Caller,
        *,
        status: str | None = None,
        mine: bool = False,
        case: str | None = None,
        after: tuple[datetime, str] | None = None,
        most: int = 50,
    ) -> list[ReviewRow]:
        """Return reviews, the oldest first; `mine` are those that the caller may sign now."""
        return await finding.list_reviews(
            self._room, caller, status=status, mine=mine, case=case, after=after, most=most
        )

    async def entries(
        self,
        caller: Caller,
        which: EntryFilter,
        *,
        after: tuple[datetime, str, int] | None = None,
        most: int = 50,
    ) -> list[EntryRow]:
        """Return entries, the newest first, to an auditor; to others those of a case that they may read."""
        return await finding.entries(self._room, caller, which, after=after, most=most)

    async def review(self, caller: Caller, review: str) -> ReviewPage:
        """Return a review as it is signed: see looking.review."""
        return await looking.review(self._room, caller, review)

    # Deciding

    async def begin_signing(self, caller: Caller, review: str, asked: Mapping[str, Any]) -> Signing:
        """Fix a statement: `asked` has decision, reason, values or edits, and shown_digest."""
        return await signing.begin(self._room, caller, review, asked)

    async def complete_signing(self, caller: Caller, review: str, signing_id: str, credential: object) -> SignedOff:
        """Sign the statement with `credential`: password, and username for the first signature of a session."""
        return await signing.complete(self._room, self._people, caller, review, signing_id, credential)

    async def decide(self, caller: Caller, review: str, asked: Mapping[str, Any], credential: object) -> SignedOff:
        """Sign in one call."""
        return await signing.decide(self._room, self._people, caller, review, asked, credential)

    async def attest(self, caller: Caller, review: str, asked: Mapping[str, Any]) -> SignedOff:
        """Have an API key vouch for a decision."""
        return await taking_part.attest(self._room, caller, review, asked)

    async def withdraw(self, caller: Caller, review: str, reason: object) -> int:
        """Take back one's own signature before anything came of it."""
        return await taking_part.withdraw(self._room, caller, review, reason)

    async def claim(self, caller: Caller, review: str) -> int:
        """Say that one is at it."""
        return await taking_part.claim(self._room, caller, review)

    async def comment(self, caller: Caller, review: str, text: object) -> int:
        """Say something in a review."""
        return await taking_part.comment(self._room, caller, review, text)

    # Acting on a case

    async def correct(self, caller: Caller, case: str, values: object, reason: object) -> int:
        """Have the state edited; return the entry's seq."""
        return await acts.correct(self._room, caller, case, values, reason)

    async def redirect(self, caller: Caller, case: str, to: object, reason: object) -> int:
        """Have the case go on at another node; return the entry's seq."""
        return await acts.redirect(self._room, caller, case, to, reason)

    async def stop(self, caller: Caller, case: str, reason: object) -> int:
        """Have nothing more done of the case; return the entry's seq."""
        return await acts.stop(self._room, caller, case, reason)

    async def retry(self, caller: Caller, case: str, reason: object) -> int:
        """Have a run that failed tried again; return the entry's seq."""
        return await acts.retry(self._room, caller, case, reason)

    async def move(self, caller: Caller, case: str, version: str, reason: object) -> int:
        """Have the case go on with another version of its workflow; return the entry's seq."""
        return await acts.move(self._room, caller, case, version, reason)

    async def annotate(
        self, caller: Caller, case: str, text: object, refers: int | None = None, credential: object = None
    ) -> int:
        """Say something about a case or an entry, signed where a credential comes with it; return the entry's seq."""
        return await annotating.annotate(self._room, self._people, caller, case, text, refers, credential)


__all__ = ["CaseRow", "Desk", "EntryFilter", "EntryRow", "ReviewPage", "ReviewRow", "Sequence", "SignedOff", "Signing"]
