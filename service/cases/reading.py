"""Reading cases: where one stands, its state, and what happened in it. Everything shown was checked first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, format_time
from countersign.audit.chain import START, Checked, check_entry
from countersign.audit.entry import CheckpointRef
from countersign.audit.errors import VerificationError
from countersign.audit.read import entries_statement, entry_of
from countersign.audit.steps import arun
from countersign.reports.trail import trail_rows
from countersign.service.errors import AbsentError, ConflictError, InvalidError
from countersign.service.identity.caller import Caller

from .asking import load_state
from .following import DamagedError, Followed, read
from .held import Room
from .judging import review_of
from .lists import MOST, case_row, list_reviews, review_row
from .rights import check_may_read
from .rows import CaseRow, ReviewRow
from .story import signed_in
from .wording import worded


@dataclass(frozen=True, slots=True)
class CasePage:
    """A case: its row, its open reviews, and where its trail ends."""

    row: CaseRow
    reviews: tuple[ReviewRow, ...]
    seq: int

    def as_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        return {**self.row.as_json(), "reviews": [review.as_json() for review in self.reviews], "seq": self.seq}


@dataclass(frozen=True, slots=True)
class State:
    """The state of a case, tagged, as of entry `seq`; `checkpoint` is null before there is one."""

    seq: int
    checkpoint: str | None
    fields: Mapping[str, Json]

    def as_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        return {"seq": self.seq, "checkpoint": self.checkpoint, "state": dict(self.fields)}


async def get_case(room: Room, caller: Caller, case: str) -> CasePage:
    """Return a case to whoever may read it. Raises AbsentError for everybody else."""
    async with room.reading() as conn:
        return await _page(conn, await readable_case(conn, room, caller, case))


async def status(room: Room, caller: Caller, case: str) -> str:
    """Return the status of a case to whoever may read it now. Raises AbsentError for everybody else."""
    async with room.reading() as conn:
        await readable_case(conn, room, caller, case)
        return (await _row(conn, case)).status


async def found(room: Room, caller: Caller, case: str) -> tuple[CasePage, State | None]:
    """Return a case, and the state that it has come to by the same entry, to whoever may read it.

    No state where there is none yet, or where it does not verify: the row says so then. Raises AbsentError.
    """
    async with room.reading() as conn:
        followed = await readable_case(conn, room, caller, case)
        page = await _page(conn, followed)
        place = followed.story.place_at(page.seq) if followed.finding is None else None
    if place is None:
        return page, None
    try:
        loaded = await load_state(room, case, CheckpointRef(place))
    except ConflictError:
        return page, None
    return page, State(page.seq, place, loaded.shown.fields)


async def _row(conn: AsyncConnection[Any], case: str) -> CaseRow:
    row = await case_row(conn, case)
    if row is None:
        raise AbsentError(f"There is no case {case}.")
    return row


async def _page(conn: AsyncConnection[Any], followed: Followed) -> CasePage:
    row = await _row(conn, followed.case)
    reviews = await list_reviews(conn, None, status="open", case=followed.case, after=None, most=MOST)
    return CasePage(row, tuple(worded(followed.directory, review) for review in reviews), followed.link.seq)


async def state(room: Room, caller: Caller, case: str, seq: int | None) -> State:
    """Return the state of a case, now or as it was when entry `seq` was committed."""
    async with room.reading() as conn:
        followed = (await readable_case(conn, room, caller, case)).sound()
        end = followed.link.seq
        if seq is not None and not 1 <= seq <= end:
            raise InvalidError(f"The trail of this case has no entry {seq}.", facts={"place": "seq"})
        at = end if seq is None else seq
        place = followed.story.place_at(at)
    if place is None:
        return State(at, None, {})
    loaded = await load_state(room, case, CheckpointRef(place))
    return State(at, place, loaded.shown.fields)


async def trail(room: Room, caller: Caller, case: str) -> list[Checked]:
    """Return all entries of a case, each checked. Raises ConflictError at the first that does not verify."""
    async with room.reading() as conn:
        await readable_case(conn, room, caller, case)
        rows = await arun(conn, read(entries_statement(case)))
        found: list[Checked] = []
        link = START
        for entry in map(entry_of, rows):
            try:
                checked = check_entry(entry, after=link, origin=room.appender.origin, ring=room.appender.ring)
            except VerificationError as error:
                raise DamagedError(case, error.message) from error
            found.append(checked)
            link = checked.link
        return found


async def history(room: Room, caller: Caller, case: str) -> list[dict[str, Json]]:
    """Return what happened in a case, an object for each entry: who, in which role, when, and what, in words.

    `signed` is what a signature or an attestation says; null for every other entry, and where that was erased.
    """
    entries = await trail(room, caller, case)
    return [
        {
            "seq": row.seq,
            "of": row.of,
            "occurred_at": format_time(row.occurred_at),
            "kind": row.kind,
            "actor": row.actor,
            "role": row.role,
            "via": row.via,
            "what": row.what,
            "leaf_hash": row.leaf_hash,
            "signed": signed_in(checked),
        }
        for row, checked in zip(trail_rows(entries), entries, strict=True)
    ]


async def attachment(room: Room, caller: Caller, review: str, sha256: str) -> bytes:
    """Return bytes of the state that a review's view names by their digest. Raises AbsentError."""
    async with room.reading() as conn:
        row = await review_row(conn, review)
        if row is None:
            raise AbsentError(f"There is no review {review}.")
        followed = (await readable_case(conn, room, caller, row.case)).sound()
        checkpoint = review_of(followed, review).checkpoint
    loaded = await load_state(room, row.case, checkpoint)
    if sha256 not in loaded.shown.content:
        raise AbsentError(f"Review {review} has no attachment {sha256}.")
    return loaded.shown.content[sha256]


async def readable_case(conn: AsyncConnection[Any], room: Room, caller: Caller, case: str) -> Followed:
    """Return a case that the caller may read; one that is damaged by what was read before that. Raises AbsentError."""
    followed = await room.trails.case(conn, case)
    directory = room.trails.directory
    if followed.link == START:
        raise AbsentError(f"There is no case {case}, or none that you may read.")
    replay = followed
    check_may_read(directory, caller, replay.policy, replay.workflow.name, room.clock(), f"case {case}")
    return followed
