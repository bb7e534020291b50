"""Routes that only read: workflows, and entries across cases."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.datastructures import State
from litestar.params import QueryParameter

from ..cases import rights
from ..cases.lists import EntryFilter
from .callers import CallerRequest
from .forms import Entries, EntryTold, Workflows, WorkflowTold
from .models import moment, told
from .openapi import ABSENT, CONFLICT, INVALID, route
from .paging import PRINTABLE, CursorText, Limit, cursor_of, moment_trail_seq, place_of
from .parts import Service

_MOMENT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
_Person = Annotated[
    str | None, QueryParameter(max_length=100, pattern="^[a-z0-9:-]+$", description="By this user or API key.")
]
_Kind = Annotated[
    str | None, QueryParameter(max_length=100, pattern="^[a-z.-]+$", description="Of this kind: review.signed.")
]
_Workflow = Annotated[str | None, QueryParameter(max_length=100, pattern=PRINTABLE, description="Of its cases.")]
_Trail = Annotated[str | None, QueryParameter(max_length=255, pattern=PRINTABLE, description="Of this case.")]
_Since = Annotated[str | None, QueryParameter(pattern=_MOMENT, description="From this moment on.")]
_Until = Annotated[str | None, QueryParameter(pattern=_MOMENT, description="Before this moment.")]


@get("/api/workflows", tags=["Workflows"], **route("workflows:read"))
async def list_workflows(request: CallerRequest, state: State) -> Workflows:
    """List the workflows that the caller may read, with their policies and the caller's roles."""
    service: Service = state.service
    now = service.settings.clock()
    async with service.pool.connection() as conn:
        directory = await service.people.directory.current(conn)
    readable = rights.readable(directory, request.user, now)
    standing = rights.standing_of(directory, request.user)
    items = []
    for name in sorted({name for name, _ in directory.policies}) if readable is None else readable:
        registered = rights.newest(directory, name)
        policy = rights.policy_of(registered)
        roles = sorted(standing.roles(name, now))
        items.append(
            WorkflowTold(
                name=name, version=registered.version, title=policy.title, roles=roles, policy=dict(policy.as_json())
            )
        )
    return Workflows(items=items)


@get("/api/entries", tags=["Entries"], **route("entries:read", ABSENT, CONFLICT, INVALID))
async def list_entries(
    request: CallerRequest,
    state: State,
    person: _Person = None,
    kind: _Kind = None,
    workflow: _Workflow = None,
    trail: _Trail = None,
    since: _Since = None,
    until: _Until = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Entries:
    """List entries, the newest first: all to auditors, those of one case to whoever may read it."""
    service: Service = state.service
    which = EntryFilter(
        person,
        kind,
        workflow,
        trail,
        moment(since, "since") if since is not None else None,
        moment(until, "until") if until is not None else None,
    )
    question = {
        "list": "entries",
        "person": person,
        "kind": kind,
        "workflow": workflow,
        "trail": trail,
        "since": since,
        "until": until,
    }
    after = moment_trail_seq(place_of(cursor, question, str, str, int))
    found = await service.desk.entries(request.user, which, after=after, most=limit + 1)
    last = found[limit - 1] if len(found) > limit else None
    following = cursor_of([last.occurred_at.isoformat(), last.trail, last.seq], question) if last else None
    return Entries(items=[told(EntryTold, row) for row in found[:limit]], next=following)


ROUTES = (list_workflows, list_entries)
