"""Routes of cases: start them, follow them, and what people may do to them beside deciding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import convert, structs

from ..cases.rows import CASE_STATUSES, CaseRow
from ..errors import RequestError
from ..identity.caller import Caller
from .answers import NAME, done_before
from .callers import CallerRequest
from .details import detail
from .forms import (
    Annotate,
    Because,
    CaseBegun,
    CaseFound,
    Cases,
    CaseTold,
    Correct,
    CredentialGiven,
    Done,
    History,
    Line,
    Move,
    Recorded,
    Redirect,
    ReviewTold,
    StartCase,
    StateTold,
    Trail,
)
from .models import told
from .openapi import ABSENT, CONFLICT, INVALID, route
from .paging import PRINTABLE, CursorText, Limit, cursor_of, moment_and_id, place_of
from .parts import Service
from .waiting import Prefer, at_rest, seconds_of
from .words import case_status, told_status, whole_entry

_CASES = ["Cases"]
CasePath = Annotated[UUID, PathParameter(description="A case's id.")]
_Text = Annotated[str | None, QueryParameter(max_length=200, pattern=PRINTABLE)]
_Status = Annotated[
    str | None, QueryParameter(pattern=f"^({'|'.join(map(told_status, CASE_STATUSES))})$", description="Only these.")
]


@post("/api/cases", tags=_CASES, **route("cases:start", ABSENT, CONFLICT, body=True, status=202))
async def start(
    request: CallerRequest, state: State, data: JSONBody[StartCase], prefer: Prefer = None
) -> Response[CaseFound | CaseBegun]:
    """Start a case.

    202 at once, with its Location; with `Prefer: wait=N` as soon as it waits for people, has ended or has failed, then
    with the reviews that are open and what its graph has found. Whoever may not read it any more is told its id alone.
    """
    service: Service = state.service
    name = request.scope["state"].get(NAME)
    case = await service.desk.start(request.user, data.workflow, data.input, data.case_number, data.config, name=name)
    found = await found_afterwards(service, request.user, case, prefer)
    return Response(found or CaseBegun(id=case), headers=waited(prefer, {"location": f"/api/cases/{case}"}))


@get("/api/cases", tags=_CASES, **route("cases:read", INVALID))
async def list_cases(
    request: CallerRequest,
    state: State,
    workflow: _Text = None,
    status: _Status = None,
    case_number: _Text = None,
    started_by: _Text = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Cases:
    """List the cases that the caller may read, the newest first."""
    service: Service = state.service
    which = {
        "workflow": workflow,
        "status": case_status(status),
        "case_number": case_number,
        "started_by": started_by,
    }
    question = {"list": "cases", **which}
    after = moment_and_id(place_of(cursor, question, str, str))
    found = await service.desk.list_cases(request.user, after=after, most=limit + 1, **which)
    items = [case_told(row) for row in found[:limit]]
    last = found[limit - 1] if len(found) > limit else None
    following = cursor_of([last.started_at.isoformat(), last.id], question) if last else None
    return Cases(items=items, next=following)


@get("/api/cases/{case:uuid}", tags=_CASES, **route("cases:read", ABSENT))
async def get_case(request: CallerRequest, state: State, case: CasePath, prefer: Prefer = None) -> Response[CaseFound]:
    """Tell how a case is, which of its reviews are open, and what its graph has found."""
    service: Service = state.service
    await at_rest(service, request.user, str(case), seconds_of(prefer))
    return detail(request, await found_of(service, request.user, str(case)))


@get("/api/cases/{case:uuid}/state", tags=_CASES, **route("cases:read", ABSENT, CONFLICT, INVALID))
async def get_state(
    request: CallerRequest,
    state: State,
    case: CasePath,
    seq: Annotated[
        int | None, QueryParameter(ge=1, le=2**53 - 1, description="As of this entry; left out: as it is now.")
    ] = None,
) -> Response[StateTold]:
    """Tell the state of a case: every row of it was checked against its entry."""
    service: Service = state.service
    found = await service.desk.state(request.user, str(case), seq)
    return detail(request, told(StateTold, found, state=dict(found.fields)))


@get("/api/cases/{case:uuid}/history", tags=_CASES, **route("cases:read", ABSENT, CONFLICT))
async def get_history(request: CallerRequest, state: State, case: CasePath) -> Response[History]:
    """Tell what happened in a case, a line for each entry."""
    service: Service = state.service
    lines = await service.desk.history(request.user, str(case))
    return detail(request, History(case=str(case), items=[convert(line, Line) for line in lines]))


@get("/api/cases/{case:uuid}/trail", tags=_CASES, **route("cases:read", ABSENT, CONFLICT))
async def get_trail(request: CallerRequest, state: State, case: CasePath) -> Response[Trail]:
    """Tell all entries of a case with their content, each checked: signature, place in the chain, and payload."""
    service: Service = state.service
    entries = await service.desk.trail(request.user, str(case))
    return detail(request, Trail(case=str(case), items=[whole_entry(checked) for checked in entries]))


@post("/api/cases/{case:uuid}/state", tags=_CASES, **route("cases:correct", ABSENT, CONFLICT, body=True, status=202))
async def correct(
    request: CallerRequest, state: State, case: CasePath, data: JSONBody[Correct], prefer: Prefer = None
) -> Response[Done]:
    """Correct fields of the state. Signatures that were given on what it was count no longer."""
    service: Service = state.service
    seq = done_before(request, int) or await service.desk.correct(request.user, str(case), data.values, data.reason)
    return await _done(service, request.user, str(case), prefer, seq)


@post("/api/cases/{case:uuid}/redirect", tags=_CASES, **route(None, ABSENT, CONFLICT, body=True, status=202))
async def redirect(
    request: CallerRequest, state: State, case: CasePath, data: JSONBody[Redirect], prefer: Prefer = None
) -> Response[Done]:
    """Let the case go on at another node than the one that is due, of those that the policy names."""
    service: Service = state.service
    seq = done_before(request, int) or await service.desk.redirect(request.user, str(case), data.to, data.reason)
    return await _done(service, request.user, str(case), prefer, seq)


@post("/api/cases/{case:uuid}/stop", tags=_CASES, **route("cases:stop", ABSENT, CONFLICT, body=True, status=200))
async def stop(request: CallerRequest, state: State, case: CasePath, data: JSONBody[Because]) -> Response[Done]:
    """Let nothing more be done of a case."""
    service: Service = state.service
    seq = done_before(request, int) or await service.desk.stop(request.user, str(case), data.reason)
    return await _done(service, request.user, str(case), None, seq)


@post("/api/cases/{case:uuid}/retry", tags=_CASES, **route("cases:retry", ABSENT, CONFLICT, body=True, status=202))
async def retry(
    request: CallerRequest, state: State, case: CasePath, data: JSONBody[Because], prefer: Prefer = None
) -> Response[Done]:
    """Try a run that failed once more."""
    service: Service = state.service
    seq = done_before(request, int) or await service.desk.retry(request.user, str(case), data.reason)
    return await _done(service, request.user, str(case), prefer, seq)


@post("/api/cases/{case:uuid}/move", tags=_CASES, **route(None, ABSENT, CONFLICT, body=True, status=200))
async def move(request: CallerRequest, state: State, case: CasePath, data: JSONBody[Move]) -> Response[Done]:
    """Let the case go on with another registered version of its workflow."""
    service: Service = state.service
    seq = done_before(request, int) or await service.desk.move(request.user, str(case), data.version, data.reason)
    return await _done(service, request.user, str(case), None, seq)


@post("/api/cases/{case:uuid}/annotations", tags=_CASES, **route(None, ABSENT, CONFLICT, body=True))
async def annotate(request: CallerRequest, state: State, case: CasePath, data: JSONBody[Annotate]) -> Recorded:
    """Say something about a case or one of its entries; with a credential it is signed."""
    service: Service = state.service
    credential = credential_of(data.credential)
    seq = done_before(request, int) or await service.desk.annotate(
        request.user, str(case), data.text, data.refers, credential
    )
    return Recorded(trail=str(case), seq=seq)


def credential_of(given: CredentialGiven | None) -> dict[str, Any] | None:
    """Return a credential as the desk takes it: without the username where none came."""
    if given is None:
        return None
    return {"password": given.password, **({} if given.username is None else {"username": given.username})}


async def found_of(service: Service, caller: Caller, case: str) -> CaseFound:
    """Return how a case is, with the state that its graph has come to."""
    page, came_to = await service.desk.found(caller, case)
    state = None if came_to is None else dict(came_to.fields)
    return CaseFound(
        **structs.asdict(case_told(page.row)),
        seq=page.seq,
        reviews=[told(ReviewTold, review) for review in page.reviews],
        state=state,
    )


def case_told(row: CaseRow) -> CaseTold:
    """Return a case as it is told."""
    return told(CaseTold, row, status=told_status(row.status))


def waited(prefer: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an answer that was waited for."""
    seconds = seconds_of(prefer)
    return {**headers, **({"preference-applied": f"wait={seconds}"} if seconds else {})}


async def found_afterwards(service: Service, caller: Caller, case: str, prefer: str | None) -> CaseFound | None:
    """Return how a case is when it rests, to somebody who did something that counts; None if they cannot be told.

    They may have lost the right to read it meanwhile. What they did is committed, and nothing denies it any more.
    """
    try:
        await at_rest(service, caller, case, seconds_of(prefer))
        return await found_of(service, caller, case)
    except RequestError:
        return None


async def _done(service: Service, caller: Caller, case: str, prefer: str | None, seq: int) -> Response[Done]:
    found = await found_afterwards(service, caller, case, prefer)
    headers = waited(prefer, {"location": f"/api/cases/{case}"})
    return Response(Done(case=found, seq=seq), headers=headers)


ROUTES = (
    start, list_cases, get_case, get_state, get_history, get_trail, correct, redirect, stop, retry, move, annotate,
)  # fmt: skip
