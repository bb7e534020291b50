"""What people do to a case beside deciding: correct, redirect, retry, stop, move it, and say something about it.

Each is one transaction: an entry, the rows, and the job where a worker has something to do. Who may do it is asked of
the Directory under its lock.
"""

from __future__ import annotations

from countersign.audit.acts import ACTS, is_time_for, may_act
from countersign.audit.canonical import Json
from countersign.audit.entry import Actor, EntryDraft, Workflow
from countersign.audit.kinds import Kind
from countersign.service.engine.jobs import requeue
from countersign.service.errors import ConflictError, ForbiddenError, InvalidError
from countersign.service.identity.caller import Caller
from countersign.service.identity.once import note

from .concluding import hand_over
from .held import Held, Room
from .rights import Acting, acting, check_may_read, policy_of, registered_as
from .settling import settle_held
from .texts import check_known, check_object, check_text, names_of


async def correct(room: Room, caller: Caller, case: str, values: object, reason: object) -> int:
    """Have the state edited; return the entry's seq. Signatures on open reviews count no longer once it is."""
    fields, text = check_object(values, "values"), check_text(reason, "reason")
    if not fields:
        raise InvalidError("The member values names no field.", facts={"place": "values"})
    async with room.holding(case) as held:
        who = _may(held, caller, Kind.CASE_CORRECTED)
        check_known(names_of(values), room.trails.fields(held.followed.workflow), "values")
        seq = await mandate(held, Kind.CASE_CORRECTED, who, {}, {"values": fields, "reason": text})
        await note(held.conn, caller, seq)
        return seq


async def redirect(room: Room, caller: Caller, case: str, to: object, reason: object) -> int:
    """Have the case go on at another node than the one that is due; return the entry's seq."""
    text = check_text(reason, "reason")
    async with room.holding(case) as held:
        allowed = held.followed.policy.acts.to
        if not isinstance(to, str) or to not in allowed:
            raise InvalidError(
                f"A case of this workflow cannot be redirected to {to!r}.",
                remedy=f"The policy allows {', '.join(allowed) or 'no node'}.",
                facts={"place": "to"},
            )
        who = _may(held, caller, Kind.CASE_REDIRECTED, to)
        seq = await mandate(held, Kind.CASE_REDIRECTED, who, {"to": to}, {"reason": text})
        await note(held.conn, caller, seq)
        return seq


async def retry(room: Room, caller: Caller, case: str, reason: object) -> int:
    """Have a run that failed tried again; return the entry's seq."""
    text = check_text(reason, "reason")
    async with room.holding(case) as held:
        who = _may(held, caller, Kind.CASE_RETRIED)
        seq = await mandate(held, Kind.CASE_RETRIED, who, {}, {"reason": text})
        await note(held.conn, caller, seq)
        return seq


async def stop(room: Room, caller: Caller, case: str, reason: object) -> int:
    """Have nothing more done of the case; return the entry's seq. What is open is closed with it."""
    text = check_text(reason, "reason")
    async with room.holding(case) as held:
        who = _may(held, caller, Kind.CASE_STOPPED)
        entry = draft(held, Kind.CASE_STOPPED, who.actor, {"standing": who.standing.place.as_json()}, {"reason": text})
        seq = (await held.append(entry))[0].seq
        await settle_held(held)
        await note(held.conn, caller, seq)
        return seq


async def move(room: Room, caller: Caller, case: str, version: str, reason: object) -> int:
    """Have the case go on with another registered version of its workflow; return the entry's seq."""
    text = check_text(reason, "reason")
    async with room.holding(case) as held:
        replay = held.followed
        who = _may(held, caller, Kind.CASE_MOVED)
        if version == replay.workflow.version:
            raise ConflictError("The case is of this version already.", facts={"cause": "status"})
        target = registered_as(held.directory, replay.workflow.name, version)
        policy_of(target)
        detail: dict[str, Json] = {
            "registered": target.place.as_json(),
            "from": replay.workflow.version,
            "standing": who.standing.place.as_json(),
        }
        workflow = Workflow(replay.workflow.name, version)
        entry = EntryDraft(case, Kind.CASE_MOVED, who.actor, workflow, detail=detail, payload={"reason": text})
        seq = (await held.append(entry))[0].seq
        # What waits for a worker of the old version waits for one of the new.
        await requeue(held.conn, case=case, workflow=workflow.name, version=workflow.version)
        await settle_held(held)
        await note(held.conn, caller, seq)
        return seq


async def mandate(held: Held, kind: Kind, who: Acting, detail: dict[str, Json], payload: dict[str, Json]) -> int:
    """Append an entry on which a worker acts, with its job, and settle what follows from it; return its seq."""
    detail = {**detail, "standing": who.standing.place.as_json()}
    seq = (await held.append(draft(held, kind, who.actor, detail, payload)))[0].seq
    await hand_over(held, seq)
    await settle_held(held)
    return seq


def draft(held: Held, kind: Kind, actor: Actor, detail: dict[str, Json], payload: dict[str, Json] | None) -> EntryDraft:
    """Return an entry of the case, of the version that it is of now."""
    return EntryDraft(held.case, kind, actor, held.followed.workflow, detail=detail, payload=payload)


def reader(held: Held, caller: Caller) -> Acting:
    """Return who takes part by reading only. Raises AbsentError for whoever may not read the case."""
    replay = held.followed
    standing = check_may_read(
        held.directory, caller, replay.policy, replay.workflow.name, held.now, f"case {held.case}"
    )
    roles = sorted(standing.roles(replay.workflow.name, held.now))
    return Acting(caller.actor(roles[0] if roles else None), standing)


def _may(held: Held, caller: Caller, kind: Kind, to: str = "") -> Acting:
    """Return who makes an entry of this kind. Raises ForbiddenError, or ConflictError where the case is not at that."""
    replay, act = held.followed, ACTS[kind]
    roles: tuple[str, ...] = getattr(replay.policy.acts, act)
    who = acting(held.directory, caller, roles, replay.workflow.name, held.now, f"{act} a case")
    refused = may_act(replay.policy, kind, who.actor.role, who.standing, held.now)
    if refused is not None:
        raise ForbiddenError(f"This is not allowed: {refused.sentence}.", facts={"cause": refused.cause})
    refused = is_time_for(kind, replay.runs, replay.policy, to)
    if refused is not None:
        raise ConflictError(
            f"This is not the time for it: {refused.sentence}.",
            remedy="Look at the case.",
            facts={"cause": refused.cause, "status": str(replay.runs.status)},
        )
    return who
