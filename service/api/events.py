"""Routes that tell what changes, as it changes (server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from litestar import get
from litestar.datastructures import State
from litestar.response import ServerSentEvent, ServerSentEventMessage

from ..errors import AbsentError, ForbiddenError, UnauthenticatedError
from ..identity.caller import Caller
from .callers import CallerRequest
from .hub import CASE, PEOPLE
from .models import CaseId, Moment, Told
from .openapi import route
from .parts import Service
from .words import told_status

RETRY = 1_000
"""Milliseconds after which a browser connects again."""


class CaseChanged(Told):
    """What an event `case` holds: which case changed, and how it is now. The details are read with it."""

    id: CaseId
    workflow: str
    status: str
    changed_at: Moment


@get("/api/events", tags=["Events"], media_type="text/event-stream", **route("cases:read"))
async def events(request: CallerRequest, state: State) -> ServerSentEvent:
    """Tell of every case that the caller may read as soon as it changes.

    `case`: a case changed. `all`: anything may have; read again what is shown. `end`: the caller may have no more of
    this, or the server ends. Only what changes from now on is told, and a change may be told together with the next.
    """
    service: Service = state.service
    return ServerSentEvent(_stream(service, request.user, request.auth.token), retry_duration=RETRY)


async def _stream(service: Service, caller: Caller, token: str) -> AsyncIterator[ServerSentEventMessage]:
    with service.hub.ear(CASE, PEOPLE) as ear:
        yield ServerSentEventMessage(event="all", data="", retry=RETRY)
        while True:
            everything, cases = await ear.wait(service.settings.tick)
            why = await _over(service, token)
            if why is not None:
                yield ServerSentEventMessage(event="end", data=why)
                return
            if everything:
                yield ServerSentEventMessage(event="all", data="")
                continue
            told = [event for case in cases if (event := await _changed(service, caller, case)) is not None]
            for event in told:
                yield event
            if not told:
                yield ServerSentEventMessage(comment="still here", data=None)


async def _over(service: Service, token: str) -> str | None:
    """Return why nothing more may be told, None where it may."""
    if service.hub.closing.is_set():
        return "server"
    try:
        await service.people.caller(token)
    except UnauthenticatedError:
        return "session"
    return None


async def _changed(service: Service, caller: Caller, case: str) -> ServerSentEventMessage | None:
    """Return what is told of a case, None where the caller may not know of it."""
    try:
        row = (await service.desk.get_case(caller, case)).row
    except (AbsentError, ForbiddenError):
        return None
    told = CaseChanged(id=row.id, workflow=row.workflow, status=told_status(row.status), changed_at=row.changed_at)
    return ServerSentEventMessage(event="case", data=msgspec.json.encode(told).decode())


ROUTES = (events,)
