"""Reading a review: exactly what is signed, with the digest to sign on; each signer's first look is an entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.canonical import Json, canonical, format_time
from countersign.audit.entry import EntryDraft
from countersign.audit.kinds import Kind
from countersign.audit.reviews import Review
from countersign.audit.standing import Standing
from countersign.audit.tally import roles_at
from countersign.service.errors import AbsentError
from countersign.service.identity.caller import Caller

from .asking import Loaded, load_state, view_now
from .following import Followed
from .held import Held, Room
from .judging import review_of
from .lists import review_row
from .rights import check_may_read
from .rows import ReviewRow
from .views import Served, last_served, serve
from .wording import worded


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """A review as it is served: its row, the view byte for byte, and the digest that a decision on it names."""

    row: ReviewRow
    shown_digest: str
    view: dict[str, Json]
    comments: tuple[dict[str, Json], ...]

    @property
    def state(self) -> dict[str, Any]:
        """The fields of the state that is shown, tagged."""
        return dict(self._view["state"])

    @property
    def changes(self) -> list[dict[str, Any]]:
        """What changed since the last sign-off."""
        return list(self._view["changes"])

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """The decisions that were made before."""
        return list(self._view["decisions"])

    @property
    def _view(self) -> dict[str, Any]:
        return self.view

    def as_json(self) -> dict[str, Json]:
        """Return it as a JSON object."""
        comments: list[Json] = [dict(comment) for comment in self.comments]
        return {**self.row.as_json(), "shown_digest": self.shown_digest, "view": self.view, "comments": comments}


async def review(room: Room, caller: Caller, review_id: str) -> ReviewPage:
    """Return a review to whoever may read its case. Raises AbsentError for everybody else.

    For whoever may sign it in one of its stages the first look at each view is an entry, committed before this returns.
    """
    for _ in range(3):
        async with room.reading() as conn:
            row = await review_row(conn, review_id)
            if row is None:
                raise AbsentError(f"There is no review {review_id}, or none that you may read.")
            followed = await room.trails.case(conn, row.case)
            found, _ = _seen(room, followed.sound(), caller, review_id)
            checkpoint, is_open = found.checkpoint, found.is_open
            served = await last_served(conn, review_id)
        if not is_open and served is not None:
            return await _page(room, review_id, served, followed)
        loaded = await load_state(room, row.case, checkpoint)
        if (page := await _look(room, caller, row.case, review_id, loaded)) is not None:
            return page
    raise AbsentError(f"The case of review {review_id} moves on faster than it can be shown.", remedy="Try again.")


async def _look(room: Room, caller: Caller, case: str, review_id: str, loaded: Loaded) -> ReviewPage | None:
    """Return the page of what is served now; None if the case moved on since the state was read."""
    async with room.reading() as conn:
        followed = (await room.trails.case(conn, case)).sound()
        found, standing = _seen(room, followed, caller, review_id)
        if found.checkpoint != loaded.checkpoint:
            return None
        served = await last_served(conn, review_id)
        view = await view_now(conn, room, followed, found, loaded)
        if (
            served is not None
            and served.data == canonical(view)
            and not _first_look(room, followed, found, standing, caller, served)
        ):
            return await _page(room, review_id, served, followed, conn)
    async with room.holding(case) as held:
        found, standing = _seen(room, held.followed, caller, review_id, held)
        if found.checkpoint != loaded.checkpoint:
            return None
        view = await view_now(held.conn, room, held.followed, found, loaded)
        served = await serve(held.conn, review_id, view, room.random)
        if _first_look(room, held.followed, found, standing, caller, served):
            await held.append(_viewed(held, caller, found, standing, served))
            await held.tell()
        return await _page(room, review_id, served, held.followed, held.conn)


def _seen(
    room: Room, followed: Followed, caller: Caller, review_id: str, held: Held | None = None
) -> tuple[Review, Standing]:
    replay = followed
    found = review_of(followed, review_id)
    now = held.now if held else room.clock()
    standing = check_may_read(
        room.trails.directory, caller, replay.policy, replay.workflow.name, now, f"review {review_id}"
    )
    return found, standing


def _first_look(
    room: Room, followed: Followed, found: Review, standing: Standing, caller: Caller, served: Served
) -> bool:
    if not found.is_open or (caller.id, served.digest.hex()) in found.viewed:
        return False
    return bool(_signing_roles(followed, found, standing, room))


def _signing_roles(followed: Followed, found: Review, standing: Standing, room: Room) -> list[str]:
    held = standing.roles(followed.workflow.name, room.clock())
    return [
        role
        for stage in found.gate.stages
        for role in roles_at(found.gate, stage, escalated=found.escalated)
        if role in held
    ]


def _viewed(held: Held, caller: Caller, found: Review, standing: Standing, served: Served) -> EntryDraft:
    role = _signing_roles(held.followed, found, standing, held.room)[0]
    detail: dict[str, Json] = {
        "review": found.id,
        "shown_digest": served.digest.hex(),
        "standing": standing.place.as_json(),
    }
    payload: dict[str, Json] = {"salt": served.salt.hex(), "view": served.view}
    workflow = held.followed.workflow
    return EntryDraft(held.case, Kind.REVIEW_VIEWED, caller.actor(role), workflow, detail=detail, payload=payload)


async def _page(
    room: Room, review_id: str, served: Served, followed: Followed, conn: AsyncConnection[Any] | None = None
) -> ReviewPage:
    if conn is None:
        async with room.reading() as other:
            row = await review_row(other, review_id)
    else:
        row = await review_row(conn, review_id)
    if row is None:
        raise AbsentError(f"There is no review {review_id}.")
    remarks: tuple[dict[str, Json], ...] = tuple(
        {"seq": one.seq, "by": one.by, "at": format_time(one.at), "text": one.text}
        for one in followed.story.remarks.get(review_id, ())
    )
    return ReviewPage(worded(followed.directory, row), served.digest.hex(), served.view, remarks)
