"""What this process has read of trails: each entry checked, in order, once; kept, and read on from there.

What is kept is evidence as well: a trail that no longer passes through it is refused. Nothing that is not committed
comes in here: an open transaction works on a copy (`held.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Sequence
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.append import Appender
from countersign.audit.caseruns import CaseRuns
from countersign.audit.casestate import Case
from countersign.audit.chain import START, Checked, Link, check_entry
from countersign.audit.core import Core
from countersign.audit.entry import SYSTEM_TRAIL, Entry, Workflow
from countersign.audit.errors import VerificationError
from countersign.audit.gates import Policy
from countersign.audit.governed import CaseReplay
from countersign.audit.read import entry_of, several_statement
from countersign.audit.recent import Recent
from countersign.audit.reviews import Review
from countersign.audit.standing import Directory
from countersign.audit.steps import Rows, Statement, Steps, arun
from countersign.service.errors import AbsentError, ConflictError
from countersign.service.identity.directory import DirectoryReader, behind

from .story import Story

_CASES = 4_096


class Followed:
    """One case as its trail tells it, up to `link`. After `finding` nothing is taken from it any more."""

    def __init__(self, case: str, origin: str, directory: Directory) -> None:
        self.case = case
        self.link: Link = START
        self.directory = directory
        self.replay = CaseReplay(origin, case, directory)
        self.story = Story()
        self.finding: str | None = None

    @property
    def state(self) -> Case:
        """Where the case stands, by its entries."""
        return self.replay.case

    @property
    def runs(self) -> CaseRuns:
        """What the worker did and has to do."""
        return self.replay.runs

    @property
    def policy(self) -> Policy:
        """The policy that holds. Raises ConflictError where it was erased: nothing is decided without one."""
        if self.state.policy is None:
            raise ConflictError(
                f"The policy of case {self.case} was erased: nothing can be decided in it.", facts={"cause": "erased"}
            )
        return self.state.policy

    @property
    def workflow(self) -> Workflow:
        """The version that the case is of."""
        if self.state.workflow is None:
            raise AbsentError(f"There is no case {self.case}.")
        return self.state.workflow

    @property
    def reviews(self) -> dict[str, Review]:
        """All reviews, open or not, by id."""
        return self.state.reviews

    def fork(self) -> Followed:
        """Return a copy that can be fed what is not committed yet."""
        other = copy.copy(self)
        # What never changes is not copied: who may do what, and the policy with its gates.
        policy = self.state.policy
        fixed: list[object] = [self.directory, policy, *(policy.gates if policy is not None else ())]
        fixed += [review.gate for review in self.reviews.values()]
        memo = {id(one): one for one in fixed}
        other.replay = copy.deepcopy(self.replay, memo)
        other.story = self.story.fork()
        return other

    def feed(self, entries: Sequence[Entry], appender: Appender) -> list[Checked]:
        """Check entries of the trail, take over what is new in them, and return that.

        They begin with the one that was taken over last, if any was: were that gone, what nobody committed would go on
        deciding.
        """
        if self.link != START:
            kept = [entry for entry in entries if entry.seq == self.link.seq]
            if not kept or kept[0].leaf_hash != self.link.leaf_hash:
                self.finding = f"entry {self.link.seq} is not what it was a moment ago, or is gone"
        return self.extend([entry for entry in entries if entry.seq > self.link.seq], appender)

    def extend(self, entries: Sequence[Entry], appender: Appender) -> list[Checked]:
        """Check entries that follow, take over what they say, and return them up to the first that is not sound."""
        taken: list[Checked] = []
        for entry in entries:
            if self.finding is not None:
                break
            try:
                checked = check_entry(entry, after=self.link, origin=appender.origin, ring=appender.ring)
                errors = self.replay.feed(checked)
            except VerificationError as error:
                errors = [error]
            if errors:
                self.finding = errors[0].message
                break
            self.story.feed(checked)
            self.link = checked.link
            taken.append(checked)
        return taken

    def sound(self) -> Followed:
        """Return this, or raise: nothing is decided on a trail that does not verify."""
        if self.finding is not None:
            raise DamagedError(self.case, self.finding)
        if self.link == START:
            raise AbsentError(f"There is no case {self.case}.")
        return self


class Trails:
    """What this process knows of `@system` and of cases."""

    def __init__(self, appender: Appender, reader: DirectoryReader, rows: Core) -> None:
        self._appender = appender
        self._reader = reader
        self._rows = rows
        self.directory = Directory()
        """Who may do what, as far as it was read last."""
        self._cases: Recent[str, Followed] = Recent(_CASES)

    async def standing(self, conn: AsyncConnection[Any]) -> Directory:
        """Return who may do what, read up to the end of `@system`. Raises ConflictError where that does not verify."""
        return await self._take(self._reader.current(conn))

    async def _take(self, reading: Awaitable[Directory]) -> Directory:
        try:
            self.directory = await reading
        except VerificationError as error:
            raise ConflictError(
                f"The trail @system does not verify: {error.message}",
                remedy="Run: countersign verify --trail @system",
                facts={"cause": "damaged"},
            ) from error
        return self.directory

    def fields(self, workflow: Workflow) -> frozenset[str] | None:
        """Return the fields that the state of a version's graph has; None where its registration does not tell."""
        return self._reader.fields.get((workflow.name, workflow.version))

    async def case(self, conn: AsyncConnection[Any], case: str) -> Followed:
        """Return a case, read up to the end of its trail as `conn` sees it; its `finding` is not raised yet.

        Both of one moment: whatever an entry relies on was committed before it.
        """
        followed = self._cases.get(case)
        known = followed.link if followed is not None else START
        end = self._reader.end
        places = [(case, behind(known)), (SYSTEM_TRAIL, behind(end))]
        found = [entry_of(row) for row in await arun(conn, read(several_statement(places)))]
        entries = [entry for entry in found if entry.trail == case]
        await self._take(self._reader.take(conn, end, [entry for entry in found if entry.trail == SYSTEM_TRAIL]))
        if any(entry.keyid not in self._appender.ring for entry in entries):
            await arun(conn, self._appender.ring_steps())
        if followed is not None and followed.directory is not self.directory:
            self._cases.discard(case)
            return await self.case(conn, case)
        if followed is not None and followed.link != known:
            return await self.case(conn, case)  # somebody else read on meanwhile
        followed = followed or Followed(case, self._appender.origin, self.directory)
        self._rows.follow(followed.feed(entries, self._appender))
        if followed.finding is not None:
            self._cases[case] = followed
        else:
            self.keep(followed)
        return followed

    def keep(self, followed: Followed, new: Sequence[Checked] = ()) -> None:
        """Take over a copy that was fed entries which are committed now: `new` are those."""
        known = self._cases.get(followed.case)
        if followed.link != START and (known is None or known.link.seq < followed.link.seq):
            self._cases[followed.case] = followed
        self._rows.follow(new)


class DamagedError(ConflictError):
    """The trail of a case does not verify: nothing is decided or done on it."""

    def __init__(self, case: str, sentence: str) -> None:
        super().__init__(
            f"Case {case} is damaged: {sentence}",
            remedy=f"Run: countersign verify --trail {case}",
            facts={"cause": "damaged", "case": case},
        )
        self.case = case


def read(statement: Statement) -> Steps[Rows]:
    """Return the rows of a statement."""
    return (yield statement)
