"""Remarks on a case or an entry, signed or not: what can still be said when a decision has had its effect."""

from __future__ import annotations

from countersign.audit.canonical import Json
from countersign.audit.kinds import Kind
from countersign.audit.statement import ANNOTATE, Statement, annotation_of, reason_digest, shown_digest
from countersign.service.errors import ForbiddenError, InvalidError
from countersign.service.identity.caller import Caller
from countersign.service.identity.once import note
from countersign.service.identity.records import Credential

from .acts import draft, reader
from .held import Held, Room
from .rights import Acting
from .signing import Verifies, check_session, prove
from .texts import check_text

MEANING = "I have added this remark."


async def annotate(
    room: Room,
    people: Verifies,
    caller: Caller,
    case: str,
    text: object,
    refers: int | None,
    credential: object,
) -> int:
    """Have something said about a case, or about the entry `refers` of it; return the entry's seq.

    With a credential it is signed: the statement then stands beside it.
    """
    said = check_text(text, "text")
    proved = await prove(people, caller, credential) if credential is not None else None
    async with room.holding(case) as held:
        who = reader(held, caller)
        detail: dict[str, Json] = {"standing": who.standing.place.as_json()}
        payload: dict[str, Json] = {"text": said}
        if refers is not None:
            _check_refers(held, refers)
            detail["refers"] = refers
        if proved is not None:
            await _signed(held, caller, who, proved, said, refers, detail, payload)
        seq = (await held.append(draft(held, Kind.CASE_ANNOTATED, who.actor, detail, payload)))[0].seq
        await held.tell()
        await note(held.conn, caller, seq)
        return seq


async def _signed(
    held: Held,
    caller: Caller,
    who: Acting,
    proved: Credential,
    text: str,
    refers: int | None,
    detail: dict[str, Json],
    payload: dict[str, Json],
) -> None:
    if who.actor.role is None:
        raise ForbiddenError("Who signs has a role in the workflow.", facts={"cause": "role"})
    await check_session(held, caller, proved, who.standing)
    shown, salt = held.room.random(32), held.room.random(32)
    statement = Statement(
        origin=held.room.appender.origin,
        trail=held.case,
        review=annotation_of(refers),
        shown_digest=shown_digest(shown, {"refers": refers, "text": text}),
        decision=ANNOTATE,
        meaning=MEANING,
        reason_digest=reason_digest(salt, text, {}),
        signer=caller.id,
        role=who.actor.role,
        nonce=held.room.random(32),
        issued_at=held.now,
    )
    detail |= {
        "signed": True,
        "credential": proved.id,
        "components": [*proved.components],
        "session": proved.session,
    }
    payload |= {
        "statement": statement.as_json(),
        "salts": {"shown": shown.hex(), "reason": salt.hex()},
        "reason": {"text": text, "values": {}},
    }


def _check_refers(held: Held, refers: int) -> None:
    if isinstance(refers, bool) or not 1 <= refers <= held.followed.link.seq:
        raise InvalidError(f"The trail has no entry {refers}.", facts={"place": "refers"})
