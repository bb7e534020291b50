"""Signing: what a person decides is fixed as a statement, completed with their credential, and counts at most once.

The password is checked outside any transaction, since that takes long. Everything else is asked again under the lock of
the case, and the lock that keeps everybody's standing as it is: only then is the signature appended, and with it, if it
was the last one needed, the decision and its job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, Protocol

from countersign.audit.canonical import Json, canonical, parse
from countersign.audit.entry import EntryDraft
from countersign.audit.gates import EDIT, STOP
from countersign.audit.kinds import Kind
from countersign.audit.standing import Standing
from countersign.audit.statement import VALID, Statement, parse_statement, reason_digest
from countersign.service.engine.values import untagged
from countersign.service.errors import AbsentError, ConflictError, ForbiddenError, InvalidError, UnauthenticatedError
from countersign.service.identity.bound import is_bound, keyed_id
from countersign.service.identity.caller import Caller
from countersign.service.identity.once import note
from countersign.service.identity.records import Credential

from .asking import Loaded, load_state
from .concluding import decided, hand_over
from .held import Held, Room
from .judging import Judged, Wanted, judge, read_wanted, review_of
from .lists import review_row
from .refusing import attempting
from .settling import settle_held

_SESSION: LiteralString = """
SELECT 1 FROM countersign.sessions WHERE id = %s AND user_id = %s AND closed_at IS NULL AND expires_at > %s
"""
_FIX: LiteralString = """
INSERT INTO countersign.signings (id, review_id, session_id, nonce, statement, content, issued_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""
_FIXED: LiteralString = """
SELECT review_id, session_id, statement, content, expires_at, used_at FROM countersign.signings WHERE id = %s
"""
_USE: LiteralString = """
UPDATE countersign.signings SET used_at = %s WHERE id = %s AND used_at IS NULL AND expires_at > %s RETURNING 1
"""


class Verifies(Protocol):
    """Who checks credentials: `service.identity.people.People`."""

    async def verify_password(self, session: str, username: str | None, password: str) -> Credential:
        """Return the credential that was proved, or raise."""


@dataclass(frozen=True, slots=True)
class Signing:
    """A statement that waits for its credential."""

    id: str
    statement: dict[str, Json]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedOff:
    """A signature that was appended, and what came of it."""

    case: str
    review: str
    seq: int
    decision: str
    outcome: str | None
    """What the review was decided as with it; None while others have to sign."""
    decided: int | None
    """The entry on which the worker acts now: the decision, or the correction."""


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A statement as it was made, and what of it is not in itself."""

    statement: Statement
    reason_salt: bytes


async def begin(room: Room, caller: Caller, review: str, asked: Mapping[str, Any]) -> Signing:
    """Fix what `caller` is about to sign, for five minutes and one use, bound to their session and to what they saw."""
    case = await case_of(room, review)
    async with attempting(room, caller, case, review, named(asked)):
        check_person(caller)
        wanted = read_wanted(review, asked)
        judged, _ = await _look(room, caller, case, wanted)
        fixed = _fix(room, case, caller, wanted, judged)
        said = fixed.statement
        content = canonical({"text": wanted.reason, "values": wanted.tagged, "salt": fixed.reason_salt.hex()})
        made = _signing_id(room, review, str(caller.session), said.encode(), content)
        signing = Signing(made, said.as_json(), said.issued_at + VALID)
        values = (signing.id, review, caller.session, said.nonce, said.encode(), content, said.issued_at)
        async with room.pool.connection() as conn, conn.transaction():
            await conn.execute(_FIX, (*values, signing.expires_at))
            await note(conn, caller, signing)
        return signing


async def complete(
    room: Room, people: Verifies, caller: Caller, review: str, signing: str, credential: object
) -> SignedOff:
    """Sign the statement that was fixed before. Raises what keeps it from counting; that is then an entry."""
    case = await case_of(room, review)
    fixed, wanted = await _fixed(room, caller, case, review, signing)
    async with attempting(room, caller, case, review, wanted.decision):
        loaded = await _loaded(room, case, review)
        proved = await prove(people, caller, credential)
        async with room.holding(case) as held:
            cursor = await held.conn.execute(_USE, (held.now, signing, held.now))
            if await cursor.fetchone() is None:
                raise _used()
            return await _sign(held, caller, wanted, loaded, proved, fixed)


async def decide(
    room: Room, people: Verifies, caller: Caller, review: str, asked: Mapping[str, Any], credential: object
) -> SignedOff:
    """Sign in one call: the statement is fixed and completed at once."""
    case = await case_of(room, review)
    async with attempting(room, caller, case, review, named(asked)):
        check_person(caller)
        wanted = read_wanted(review, asked)
        # Asked before the password is, so that a stale page costs nobody a sixth of a second; and again below.
        _, loaded = await _look(room, caller, case, wanted)
        proved = await prove(people, caller, credential)
        async with room.holding(case) as held:
            return await _sign(held, caller, wanted, loaded, proved, None)


async def case_of(room: Room, review: str) -> str:
    """Return the case of a review. Raises AbsentError."""
    async with room.reading() as conn:
        row = await review_row(conn, review)
    if row is None:
        raise AbsentError(f"There is no review {review}.")
    return row.case


def named(asked: Mapping[str, Any]) -> str | None:
    """Return the decision that a request names, if it does."""
    decision = asked.get("decision")
    return decision if isinstance(decision, str) else None


async def _look(room: Room, caller: Caller, case: str, wanted: Wanted) -> tuple[Judged, Loaded]:
    """Return how `caller` may decide that, as things are at this moment, and the state that was looked at."""
    loaded = await _loaded(room, case, wanted.review)
    async with room.reading() as conn:
        followed = (await room.trails.case(conn, case)).sound()
        directory = room.trails.directory
        return await judge(conn, room, followed, directory, caller, wanted, loaded, room.clock()), loaded


async def _loaded(room: Room, case: str, review: str) -> Loaded:
    async with room.reading() as conn:
        followed = (await room.trails.case(conn, case)).sound()
        checkpoint = review_of(followed, review).checkpoint
    return await load_state(room, case, checkpoint)


def check_person(caller: Caller) -> str:
    """Return the session of a caller who may sign at all. Raises ForbiddenError for an API key."""
    if caller.session is None or caller.is_api_key:
        raise ForbiddenError("An API key never signs.", remedy="It may attest.", facts={"cause": "credential"})
    return caller.session


async def prove(people: Verifies, caller: Caller, credential: object) -> Credential:
    """Return the credential that came with a request, proved. Takes long; not to be called within a transaction."""
    check_person(caller)
    if not isinstance(credential, Mapping) or not isinstance(credential.get("password"), str):
        raise InvalidError(
            "The member credential has no password.",
            remedy="The first signature of a session takes username and password, each later one the password.",
            facts={"place": "credential", "cause": "credential"},
        )
    username = credential.get("username")
    if username is not None and not isinstance(username, str):
        raise InvalidError(
            "The member credential.username is not a text.",
            facts={"place": "credential.username", "cause": "credential"},
        )
    proved = await people.verify_password(check_person(caller), username, credential["password"])
    if proved.user != caller.id:
        raise ForbiddenError("This is somebody else's credential.", facts={"cause": "credential"})
    return proved


async def _fixed(room: Room, caller: Caller, case: str, review: str, signing: str) -> tuple[_Fixed, Wanted]:
    """Return a statement that waits, and what it says. Raises ConflictError where it cannot be completed any more."""
    async with room.pool.connection() as conn, conn.transaction():
        row = await (await conn.execute(_FIXED, (signing,))).fetchone()
    if row is None or row[0] != review:
        raise AbsentError(f"There is no statement {signing} of this review.")
    _, session, encoded, content, expires_at, used_at = row
    if not is_bound(signing, _signing_id(room, review, session, encoded, content)):
        raise ConflictError(
            "This statement is not what it was when it was made: it was changed in the database.",
            remedy="Begin the signing again, and have an administrator find out who writes to the tables.",
            facts={"cause": "damaged"},
        )
    said = parse_statement(parse(encoded))
    more: Any = parse(content)
    values = untagged(more["values"])
    wanted = Wanted(review, said.decision, more["text"], values, more["values"], said.shown_digest)
    async with attempting(room, caller, case, review, said.decision):
        if session != caller.session or said.signer != caller.id:
            raise ForbiddenError("This statement was made in another session.", facts={"cause": "session"})
        if used_at is not None:
            raise _used()
        if expires_at <= room.clock():
            raise ConflictError(
                "This statement is more than five minutes old.",
                remedy="Begin the signing again.",
                facts={"cause": "statement-expired"},
            )
    return _Fixed(said, bytes.fromhex(more["salt"])), wanted


def _signing_id(room: Room, review: str, session: str, statement: bytes, content: bytes) -> str:
    """Return the id of a statement that waits, which only this service can make: what is signed is what was fixed."""
    secret = room.appender.secret("signings")
    return keyed_id("g", secret, review, session, statement, content, digits=32)


def _used() -> ConflictError:
    return ConflictError(
        "This statement was completed already, or is over.",
        remedy="Look at the review; begin the signing again if it is still open.",
        facts={"cause": "statement-used"},
    )


def _fix(room: Room, case: str, caller: Caller, wanted: Wanted, judged: Judged) -> _Fixed:
    salt = room.random(32)
    statement = Statement(
        origin=room.appender.origin,
        trail=case,
        review=wanted.review,
        shown_digest=judged.served.digest,
        decision=wanted.decision,
        meaning=judged.meaning,
        reason_digest=reason_digest(salt, wanted.reason, wanted.tagged),
        signer=caller.id,
        role=judged.role,
        nonce=room.random(32),
        issued_at=room.clock(),
    )
    return _Fixed(statement, salt)


async def _sign(
    held: Held, caller: Caller, wanted: Wanted, loaded: Loaded, proved: Credential, fixed: _Fixed | None
) -> SignedOff:
    """Append the signature, and what it concludes. Everything is asked again here: nobody else acts meanwhile."""
    judged = await judge(held.conn, held.room, held.followed, held.directory, caller, wanted, loaded, held.now)
    await check_session(held, caller, proved, judged.standing)
    made = fixed or _fix(held.room, held.case, caller, wanted, judged)
    if (made.statement.role, made.statement.meaning) != (judged.role, judged.meaning):
        raise ConflictError(
            "What you would sign, or as what, has changed since the statement was made.",
            remedy="Begin the signing again.",
            facts={"cause": "stage"},
        )
    signed = (await held.append(_draft(held, caller, wanted, proved, judged, made)))[0].seq
    if wanted.decision == EDIT:
        edited = await _edit(held, caller, wanted, judged, signed)
        await settle_held(held)
        return await _noted(held, caller, SignedOff(held.case, wanted.review, signed, EDIT, None, edited))
    review = held.followed.reviews[wanted.review]
    outcome = review.tally().outcome
    last = None
    if outcome == STOP and judged.review.gate.name is None:
        await _stop(held, caller, wanted, judged, signed)
    elif outcome is not None:
        last = await decided(held, wanted.review, by="signatures", actor=caller.actor(judged.role))
    await settle_held(held)
    return await _noted(held, caller, SignedOff(held.case, wanted.review, signed, wanted.decision, outcome, last))


async def _noted(held: Held, caller: Caller, done: SignedOff) -> SignedOff:
    await note(held.conn, caller, done)
    return done


async def check_session(held: Held, caller: Caller, proved: Credential, standing: Standing) -> None:
    """Raise unless the session is open and the credential counts, under the lock that keeps both as they are."""
    if not standing.may_sign_with(proved.id):
        raise ForbiddenError("This credential counts no longer.", facts={"cause": "credential"})
    row = await (await held.conn.execute(_SESSION, (caller.session, caller.id, held.now))).fetchone()
    if row is None:
        raise UnauthenticatedError("The session is over.", remedy="Sign in again.", facts={"cause": "session"})


def _draft(held: Held, caller: Caller, wanted: Wanted, proved: Credential, judged: Judged, made: _Fixed) -> EntryDraft:
    detail: dict[str, Json] = {
        "review": wanted.review,
        "decision": wanted.decision,
        "stage": judged.stage,
        "shown_digest": judged.served.digest.hex(),
        "credential": proved.id,
        "components": [*proved.components],
        "session": proved.session,
        "standing": judged.standing.place.as_json(),
    }
    payload: dict[str, Json] = {
        "statement": made.statement.as_json(),
        "salts": {"shown": judged.served.salt.hex(), "reason": made.reason_salt.hex()},
        "reason": {"text": wanted.reason, "values": wanted.tagged},
        "printed_name": judged.standing.printed_name or caller.id,
    }
    workflow = held.followed.workflow
    actor = caller.actor(judged.role)
    return EntryDraft(held.case, Kind.REVIEW_SIGNED, actor, workflow, detail=detail, payload=payload)


async def _edit(held: Held, caller: Caller, wanted: Wanted, judged: Judged, signed: int) -> int:
    detail: dict[str, Json] = {"signed": signed, "standing": judged.standing.place.as_json()}
    payload: dict[str, Json] = {"values": wanted.tagged, "reason": wanted.reason}
    actor, workflow = caller.actor(judged.role), held.followed.workflow
    draft = EntryDraft(held.case, Kind.CASE_CORRECTED, actor, workflow, detail=detail, payload=payload)
    seq = (await held.append(draft))[0].seq
    await hand_over(held, seq)
    return seq


async def _stop(held: Held, caller: Caller, wanted: Wanted, judged: Judged, signed: int) -> None:
    detail: dict[str, Json] = {"cause": signed, "standing": judged.standing.place.as_json()}
    actor, workflow = caller.actor(judged.role), held.followed.workflow
    payload: dict[str, Json] = {"reason": wanted.reason}
    await held.append(EntryDraft(held.case, Kind.CASE_STOPPED, actor, workflow, detail=detail, payload=payload))
