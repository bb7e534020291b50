"""Routes of reviews: what waits, exactly what is signed, and signing it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import convert, structs

from ..cases import rights, signing
from ..cases.lists import review_row
from ..cases.rows import REVIEW_STATUSES
from ..errors import AbsentError, ConflictError, ForbiddenError, InvalidError
from ..identity.caller import Caller
from .answers import done_before
from .callers import CallerRequest
from .cases import credential_of, found_afterwards, waited
from .details import detail
from .forms import (
    Attest,
    BeginSigning,
    Comment,
    CompleteSigning,
    Decide,
    Recorded,
    Remark,
    Reviews,
    ReviewShown,
    ReviewTold,
    Signed,
    Statement,
    Withdraw,
)
from .models import Asked, told
from .openapi import ABSENT, CONFLICT, INVALID, route
from .paging import CursorText, Limit, cursor_of, moment_and_id, place_of
from .parts import Service
from .waiting import Prefer

_REVIEWS = ["Reviews"]
ReviewPath = Annotated[str, PathParameter(pattern="^r-[0-9a-f]{32}$", description="A review's id.")]
_Signing = Annotated[str, PathParameter(pattern="^g-[0-9a-f]{32}$", description="A statement's id.")]
_Sha256 = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$", description="An attachment's SHA-256.")]
_Status = Annotated[str | None, QueryParameter(pattern=f"^({'|'.join(REVIEW_STATUSES)})$", description="Only these.")]
_Mine = Annotated[bool, QueryParameter(description="Only those that the caller may sign now.")]
_Case = Annotated[str | None, QueryParameter(pattern="^[0-9a-f-]{36}$", description="Only those of this case.")]


@get("/api/reviews", tags=_REVIEWS, **route("reviews:read", INVALID))
async def list_reviews(
    request: CallerRequest,
    state: State,
    status: _Status = None,
    mine: _Mine = False,  # noqa: FBT002 - Litestar passes parameters by name
    case: _Case = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Reviews:
    """List reviews of cases that the caller may read, the oldest first; with `mine=true` one's own inbox."""
    service: Service = state.service
    question = {"list": "reviews", "status": status, "mine": mine, "case": case}
    after = moment_and_id(place_of(cursor, question, str, str))
    found = await service.desk.list_reviews(
        request.user, status=status, mine=mine, case=case, after=after, most=limit + 1
    )
    last = found[limit - 1] if len(found) > limit else None
    following = cursor_of([last.opened_at.isoformat(), last.id], question) if last else None
    return Reviews(items=[told(ReviewTold, row) for row in found[:limit]], next=following)


@get("/api/reviews/{review:str}", tags=_REVIEWS, **route("reviews:read", ABSENT, CONFLICT))
async def get_review(request: CallerRequest, state: State, review: ReviewPath) -> Response[ReviewShown]:
    """Show a review: exactly what a signature on it covers, and the digest that a decision has to name.

    The first time that somebody who may sign is shown a view is recorded.
    """
    service: Service = state.service
    page = await service.desk.review(request.user, review)
    answer = ReviewShown(
        **structs.asdict(told(ReviewTold, page.row)),
        shown_digest=page.shown_digest,
        view=page.view,
        comments=[convert(remark, Remark) for remark in page.comments],
    )
    return detail(request, answer)


@get(
    "/api/reviews/{review:str}/attachments/{sha256:str}",
    tags=_REVIEWS,
    media_type="application/octet-stream",
    **route("reviews:read", ABSENT, CONFLICT),
)
async def get_attachment(request: CallerRequest, state: State, review: ReviewPath, sha256: _Sha256) -> Response[bytes]:
    """Return bytes of the state that a review's view names by their SHA-256."""
    service: Service = state.service
    data = await service.desk.attachment(request.user, review, sha256)
    headers = {"content-disposition": f'attachment; filename="{sha256}"', "etag": f'"{sha256}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)


@post("/api/reviews/{review:str}/signings", tags=_REVIEWS, **route(None, ABSENT, CONFLICT, body=True))
async def begin_signing(
    request: CallerRequest, state: State, review: ReviewPath, data: JSONBody[BeginSigning]
) -> Response[Statement]:
    """Fix what is to be signed: once, within five minutes, in this session, on what was shown."""
    service: Service = state.service
    found = done_before(request, Statement)
    if found is None:
        async with _of_readers(service, request.user, review):
            found = told(Statement, await service.desk.begin_signing(request.user, review, _asked(data)))
    return Response(found, headers={"location": f"/api/reviews/{review}/signings/{found.id}"})


@post("/api/reviews/{review:str}/signings/{signing_id:str}", tags=_REVIEWS, **route(None, ABSENT, CONFLICT, body=True))
async def complete_signing(
    request: CallerRequest,
    state: State,
    review: ReviewPath,
    signing_id: _Signing,
    data: JSONBody[CompleteSigning],
    prefer: Prefer = None,
) -> Response[Signed]:
    """Sign a statement with one's credential."""
    service: Service = state.service
    credential = credential_of(data.credential)
    done = done_before(request, signing.SignedOff)
    if done is None:
        async with _of_readers(service, request.user, review):
            done = await service.desk.complete_signing(request.user, review, signing_id, credential)
    return await _signed(service, request.user, done, prefer)


@post("/api/reviews/{review:str}/decisions", tags=_REVIEWS, **route(None, ABSENT, CONFLICT, body=True))
async def decide(
    request: CallerRequest, state: State, review: ReviewPath, data: JSONBody[Decide], prefer: Prefer = None
) -> Response[Signed]:
    """Sign a decision in one call.

    409 where the review was decided meanwhile, and by what; or where `shown_digest` is not that of what is shown now,
    and what has changed.
    """
    service: Service = state.service
    credential = credential_of(data.credential)
    done = done_before(request, signing.SignedOff)
    if done is None:
        async with _of_readers(service, request.user, review):
            done = await service.desk.decide(request.user, review, _asked(data), credential)
    return await _signed(service, request.user, done, prefer)


@post("/api/reviews/{review:str}/attestations", tags=_REVIEWS, **route("reviews:attest", ABSENT, CONFLICT, body=True))
async def attest(
    request: CallerRequest, state: State, review: ReviewPath, data: JSONBody[Attest], prefer: Prefer = None
) -> Response[Signed]:
    """Vouch for a decision with an API key. It counts only where the gate accepts it."""
    service: Service = state.service
    done = done_before(request, signing.SignedOff)
    if done is None:
        async with _of_readers(service, request.user, review):
            done = await service.desk.attest(request.user, review, _asked(data))
    return await _signed(service, request.user, done, prefer)


@post("/api/reviews/{review:str}/withdrawal", tags=_REVIEWS, **route(None, ABSENT, CONFLICT, body=True, status=200))
async def withdraw(request: CallerRequest, state: State, review: ReviewPath, data: JSONBody[Withdraw]) -> Recorded:
    """Take back one's own signature, as long as nothing came of it."""
    service: Service = state.service
    seq = done_before(request, int)
    if seq is None:
        async with _of_readers(service, request.user, review):
            seq = await service.desk.withdraw(request.user, review, data.reason)
    return await _recorded(service, review, seq)


@post("/api/reviews/{review:str}/claim", tags=_REVIEWS, **route(None, ABSENT, CONFLICT, status=200))
async def claim(request: CallerRequest, state: State, review: ReviewPath) -> Recorded:
    """Say that one is at it. It excludes nobody."""
    service: Service = state.service
    seq = done_before(request, int)
    if seq is None:
        async with _of_readers(service, request.user, review):
            seq = await service.desk.claim(request.user, review)
    return await _recorded(service, review, seq)


@post("/api/reviews/{review:str}/comments", tags=_REVIEWS, **route(None, ABSENT, CONFLICT, body=True))
async def comment(request: CallerRequest, state: State, review: ReviewPath, data: JSONBody[Comment]) -> Recorded:
    """Say something to those who take part in a review. It is no part of what they sign."""
    service: Service = state.service
    seq = done_before(request, int)
    if seq is None:
        async with _of_readers(service, request.user, review):
            seq = await service.desk.comment(request.user, review, data.text)
    return await _recorded(service, review, seq)


@asynccontextmanager
async def _of_readers(service: Service, caller: Caller, review: str) -> AsyncIterator[None]:
    """Tell whoever may not read a review no more than that there is none for them, whatever it was that failed.

    The attempt itself is an entry by then, where it was one to decide.
    """
    try:
        yield
    except (ConflictError, ForbiddenError, InvalidError) as error:
        if not await _may_read(service, caller, review):
            raise AbsentError(f"There is no review {review}, or none that you may read.") from error
        raise


async def _may_read(service: Service, caller: Caller, review: str) -> bool:
    async with service.pool.connection() as conn:
        row = await review_row(conn, review)
        directory = await service.people.directory.current(conn)
    readable = rights.readable(directory, caller, service.settings.clock())
    return row is not None and (readable is None or row.workflow in readable)


def _asked(data: Asked) -> dict[str, Any]:
    """Return what is to be decided, as the desk takes it: without the credential, and what was left out left out."""
    return {name: value for name, value in structs.asdict(data).items() if name != "credential" and value is not None}


async def _signed(service: Service, caller: Caller, done: signing.SignedOff, prefer: str | None) -> Response[Signed]:
    found = await found_afterwards(service, caller, done.case, prefer)
    headers = waited(prefer, {"location": f"/api/cases/{done.case}"})
    return Response(told(Signed, done, now=found), headers=headers)


async def _recorded(service: Service, review: str, seq: int) -> Recorded:
    async with service.pool.connection() as conn:
        row = await review_row(conn, review)
    return Recorded(trail=row.case if row else "", seq=seq)


ROUTES = (
    list_reviews, get_review, get_attachment, begin_signing, complete_signing, decide, attest, withdraw, claim,
    comment,
)  # fmt: skip
