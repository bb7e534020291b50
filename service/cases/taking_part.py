"""What people do in a review besides signing: take back a signature, say that they are at it, comment; and what a
program may do there with its API key: attest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.kinds import Kind
from countersign.service.errors import ConflictError, ForbiddenError
from countersign.service.identity.caller import Caller
from countersign.service.identity.once import note

from .acts import draft, reader
from .asking import load_state
from .concluding import decided
from .held import Held, Room
from .judging import check_open, judge, read_wanted, review_of
from .refusing import attempting
from .rights import standing_of
from .settling import settle_held
from .signing import SignedOff, case_of, named
from .texts import check_text


async def withdraw(room: Room, caller: Caller, review: str, reason: object) -> int:
    """Take back one's own signature before anything came of it; return the entry's seq."""
    text = check_text(reason, "reason")
    case = await case_of(room, review)
    async with room.holding(case) as held:
        found = review_of(held.followed, review)
        check_open(held.followed, found, held.now)
        mine = [signature for signature in found.signatures if signature.signer == caller.id]
        if not mine:
            raise ConflictError("There is no signature of yours that counts here.", facts={"cause": "closed"})
        standing = standing_of(held.directory, caller)
        detail: dict[str, Json] = {
            "review": review,
            "signed": mine[-1].seq,
            "standing": standing.place.as_json(),
        }
        actor = caller.actor(mine[-1].role)
        seq = (await held.append(draft(held, Kind.REVIEW_WITHDRAWN, actor, detail, {"reason": text})))[0].seq
        await settle_held(held)
        await note(held.conn, caller, seq)
        return seq


async def claim(room: Room, caller: Caller, review: str) -> int:
    """Say that one is at it; return the entry's seq. It excludes nobody."""
    case = await case_of(room, review)
    async with room.holding(case) as held:
        return await _say(held, caller, review, Kind.REVIEW_CLAIMED, None)


async def comment(room: Room, caller: Caller, review: str, text: object) -> int:
    """Say something in a review; return the entry's seq."""
    said = check_text(text, "text")
    case = await case_of(room, review)
    async with room.holding(case) as held:
        return await _say(held, caller, review, Kind.REVIEW_COMMENTED, {"text": said})


async def _say(held: Held, caller: Caller, review: str, kind: Kind, payload: dict[str, Json] | None) -> int:
    who = reader(held, caller)
    found = review_of(held.followed, review)
    if kind is Kind.REVIEW_CLAIMED:
        check_open(held.followed, found, held.now)
    detail: dict[str, Json] = {"review": review, "standing": who.standing.place.as_json()}
    seq = (await held.append(draft(held, kind, who.actor, detail, payload)))[0].seq
    await settle_held(held)
    await note(held.conn, caller, seq)
    return seq


async def attest(room: Room, caller: Caller, review: str, asked: Mapping[str, Any]) -> SignedOff:
    """Have an API key vouch for a decision. It counts only where the gate says that such a word is accepted."""
    case = await case_of(room, review)
    async with attempting(room, caller, case, review, named(asked)):
        if not caller.is_api_key:
            raise ForbiddenError("A person signs, and does not attest.", facts={"cause": "credential"})
        wanted = read_wanted(review, asked)
        async with room.reading() as conn:
            followed = (await room.trails.case(conn, case)).sound()
            checkpoint = review_of(followed, review).checkpoint
        loaded = await load_state(room, case, checkpoint)
        async with room.holding(case) as held:
            judged = await judge(held.conn, room, held.followed, held.directory, caller, wanted, loaded, held.now)
            detail: dict[str, Json] = {
                "review": review,
                "decision": wanted.decision,
                "stage": judged.stage,
                "shown_digest": judged.served.digest.hex(),
                "standing": judged.standing.place.as_json(),
            }
            payload: dict[str, Json] = {"reason": {"text": wanted.reason, "values": wanted.tagged}}
            actor = caller.actor(judged.role)
            seq = (await held.append(draft(held, Kind.REVIEW_ATTESTED, actor, detail, payload)))[0].seq
            outcome = held.followed.reviews[review].tally().outcome
            last = await decided(held, review, by="signatures", actor=actor) if outcome is not None else None
            await settle_held(held)
            done = SignedOff(case, review, seq, wanted.decision, outcome, last)
            await note(held.conn, caller, done)
            return done
