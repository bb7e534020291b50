"""Routes for administrators: users, grants, API keys. Each change is an entry of @system; nothing is ever deleted."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, post
from litestar.datastructures import State
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, field

from ..identity.names import SCOPES
from ..identity.records import Grant, GrantWanted
from .answers import done_before
from .callers import CallerRequest
from .models import Asked, GrantId, KeyId, Moment, MomentText, Next, RoleName, Told, UserId, moment, text, told
from .openapi import ABSENT, CONFLICT, INVALID, route
from .paging import CursorText, Limit, cursor_of, place_of
from .parts import Service
from .sessions import Password, Username, let_look_again

_ADMINISTRATION = ["Administration"]
_Workflow = Annotated[str, text("A workflow's name, or * for all.", "medication-order", 100)]
_PathUser = Annotated[str, PathParameter(pattern="^u-[0-9a-f]{20}$", description="A user's id.")]
_PathGrant = Annotated[str, PathParameter(pattern="^g-[0-9a-f]{20}$", description="A grant's id.")]
_PathKey = Annotated[str, PathParameter(pattern="^k-[0-9a-f]{20}$", description="An API key's id.")]
_Until = Annotated[MomentText, Meta(description="Until when; left out: for good.")]


class NewGrant(Asked):
    """A role that somebody shall have."""

    role: RoleName
    workflow: _Workflow
    valid_from: Annotated[MomentText, Meta(description="Since when; left out: now.")] | None = None
    valid_until: _Until | None = None


class GrantTo(NewGrant, kw_only=True):
    """A role, and who shall have it."""

    user: UserId


class NewUser(Asked):
    """Somebody who shall sign in. Without a password one is made up."""

    username: Username
    printed_name: Annotated[str, text("The name that stands on signatures.", "Petra Keller", 200)]
    password: Password | None = None
    grants: Annotated[list[NewGrant], Meta(max_length=50)] = field(default_factory=list)


class Why(Asked):
    """Why somebody is deactivated or reactivated."""

    reason: Annotated[str, text("Why.", "Left the ward.", 4_000)] | None = None


class Reset(Asked):
    """A password that the user has to replace; without one it is made up."""

    password: Password | None = None


class NewApiKey(Asked, kw_only=True):
    """A key for a program."""

    name: Annotated[str, text("What it is for.", "Ward system", 200)]
    scopes: Annotated[
        list[str], Meta(min_length=1, max_length=20, description=f"Of: {', '.join(SCOPES)}", examples=[["cases:start"]])
    ]
    roles: Annotated[
        list[RoleName], Meta(max_length=20, description="Roles that it has.", examples=[["prescriber"]])
    ] = field(default_factory=list)
    workflow: _Workflow = "*"
    expires_at: Annotated[MomentText, Meta(description="Until when: 366 days from now at most.")]


class UserTold(Told):
    """Somebody who may sign in while `active`."""

    id: UserId
    username: Annotated[str, Meta(examples=["p.keller"])]
    printed_name: Annotated[str, Meta(examples=["Petra Keller"])]
    active: bool
    created_at: Moment
    password: Annotated[str, Meta(description="none, temporary (set for them) or own.", examples=["own"])]


class NewUserTold(UserTold, kw_only=True):
    """The user that was made."""

    first_password: Annotated[str, Meta(description="Told this once; the user has to replace it.")]


class FirstPassword(Told):
    """A password that the user has to replace."""

    first_password: Annotated[str, Meta(description="Told this once.")]


class GrantTold(Told):
    """A role that somebody has, or had."""

    id: GrantId
    user: UserId
    role: RoleName
    workflow: Annotated[str, Meta(examples=["medication-order"])]
    valid_from: Moment
    valid_until: Moment | None
    revoked_at: Moment | None


class ApiKeyTold(Told):
    """A key for a program, without what it is known by."""

    id: KeyId
    name: str
    made_by: str
    scopes: list[str]
    roles: list[str]
    workflow: str
    made_at: Moment
    expires_at: Moment
    revoked_at: Moment | None


class NewApiKeyTold(ApiKeyTold, kw_only=True):
    """The key that was made."""

    token: Annotated[
        str, Meta(description="Told this once. It goes into the header Authorization.", examples=["csk_..."])
    ]


class Users(Told):
    """A page of users, in the order in which they were made."""

    items: list[UserTold]
    next: Next


class Grants(Told):
    """A page of grants, as they begin."""

    items: list[GrantTold]
    next: Next


class ApiKeys(Told):
    """A page of API keys, in the order in which they were made."""

    items: list[ApiKeyTold]
    next: Next


@get("/api/users", tags=_ADMINISTRATION, **route(None, INVALID))
async def list_users(request: CallerRequest, state: State, limit: Limit = 50, cursor: CursorText = None) -> Users:
    """List users."""
    service: Service = state.service
    after = _after(cursor, "users")
    found = await service.people.list_users(request.user, after, limit + 1)
    return Users(
        items=[told(UserTold, item) for item in found[:limit]], next=_next([item.id for item in found], limit, "users")
    )


@post("/api/users", tags=_ADMINISTRATION, **route(None, CONFLICT, body=True, secret=True))
async def create_user(request: CallerRequest, state: State, data: JSONBody[NewUser]) -> Response[NewUserTold]:
    """Make a user, with grants if that is said."""
    service: Service = state.service
    wanted = [_wanted(grant, f"grants[{place}].") for place, grant in enumerate(data.grants)]
    user, password = await service.people.create_user(
        request.user, data.username, data.printed_name, data.password, wanted
    )
    answer = told(NewUserTold, user, first_password=password)
    return Response(answer, headers={"location": f"/api/users/{user.id}"})


@get("/api/users/{user:str}", tags=_ADMINISTRATION, **route(None, ABSENT))
async def get_user(request: CallerRequest, state: State, user: _PathUser) -> UserTold:
    """Tell of one user; everybody of themselves."""
    service: Service = state.service
    return told(UserTold, await service.people.get_user(request.user, user))


@post("/api/users/{user:str}/deactivate", tags=_ADMINISTRATION, **route(None, ABSENT, CONFLICT, body=True, status=204))
async def deactivate(request: CallerRequest, state: State, user: _PathUser, data: JSONBody[Why]) -> None:
    """Deactivate a user: nobody signs in or signs as them from that moment on, and their sessions end."""
    service: Service = state.service
    if done_before(request, str) is None:
        await service.people.deactivate(request.user, user, data.reason)
    await let_look_again(service)


@post("/api/users/{user:str}/reactivate", tags=_ADMINISTRATION, **route(None, ABSENT, CONFLICT, body=True, status=204))
async def reactivate(request: CallerRequest, state: State, user: _PathUser, data: JSONBody[Why]) -> None:
    """Let a user that was deactivated sign in again, with the password and the grants that they have."""
    service: Service = state.service
    if done_before(request, str) is None:
        await service.people.reactivate(request.user, user, data.reason)


@post(
    "/api/users/{user:str}/reset-password",
    tags=_ADMINISTRATION,
    **route(None, ABSENT, body=True, secret=True, status=200),
)
async def reset_password(request: CallerRequest, state: State, user: _PathUser, data: JSONBody[Reset]) -> FirstPassword:
    """Give a user a password that they have to replace before they sign in; their sessions end."""
    service: Service = state.service
    password = await service.people.reset_password(request.user, user, data.password)
    await let_look_again(service)
    return FirstPassword(first_password=password)


@get("/api/grants", tags=_ADMINISTRATION, **route(None, INVALID))
async def list_grants(
    request: CallerRequest,
    state: State,
    user: Annotated[str | None, QueryParameter(pattern="^u-[0-9a-f]{20}$", description="Of this user only.")] = None,
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Grants:
    """List grants: all to administrators and auditors, one's own to everybody who names themselves."""
    service: Service = state.service
    question = f"grants of {user}"
    found = await service.people.list_grants(request.user, user, _after(cursor, question), limit + 1)
    return Grants(
        items=[told(GrantTold, item) for item in found[:limit]],
        next=_next([item.id for item in found], limit, question),
    )


@post("/api/grants", tags=_ADMINISTRATION, **route(None, ABSENT, CONFLICT, body=True))
async def give_grant(request: CallerRequest, state: State, data: JSONBody[GrantTo]) -> GrantTold:
    """Give a role for a workflow, or for all."""
    service: Service = state.service
    wanted = _wanted(data, "")
    grant = done_before(request, Grant) or await service.people.give_grant(
        request.user, data.user, wanted.role, wanted.workflow, wanted.valid_from, wanted.valid_until
    )
    return told(GrantTold, grant)


@delete("/api/grants/{grant:str}", tags=_ADMINISTRATION, **route(None, ABSENT, CONFLICT, status=204))
async def revoke_grant(request: CallerRequest, state: State, grant: _PathGrant) -> None:
    """Take a grant back, from now on."""
    service: Service = state.service
    await service.people.revoke_grant(request.user, grant)
    await let_look_again(service)


@get("/api/api-keys", tags=_ADMINISTRATION, **route(None, INVALID))
async def list_api_keys(request: CallerRequest, state: State, limit: Limit = 50, cursor: CursorText = None) -> ApiKeys:
    """List API keys."""
    service: Service = state.service
    found = await service.people.list_api_keys(request.user, _after(cursor, "keys"), limit + 1)
    return ApiKeys(
        items=[told(ApiKeyTold, item) for item in found[:limit]],
        next=_next([item.id for item in found], limit, "keys"),
    )


@post("/api/api-keys", tags=_ADMINISTRATION, **route(None, CONFLICT, body=True, secret=True))
async def create_api_key(request: CallerRequest, state: State, data: JSONBody[NewApiKey]) -> NewApiKeyTold:
    """Make a key for a program. It attests, and never signs."""
    service: Service = state.service
    token, key = await service.people.create_api_key(
        request.user, data.name, data.scopes, moment(data.expires_at, "expires_at"), data.roles, data.workflow
    )
    return told(NewApiKeyTold, key, token=token)


@delete("/api/api-keys/{key:str}", tags=_ADMINISTRATION, **route(None, ABSENT, CONFLICT, status=204))
async def revoke_api_key(request: CallerRequest, state: State, key: _PathKey) -> None:
    """Let an API key count no longer, at once."""
    service: Service = state.service
    await service.people.revoke_api_key(request.user, key)
    await let_look_again(service)


def _wanted(grant: NewGrant, place: str) -> GrantWanted:
    since = moment(grant.valid_from, f"{place}valid_from") if grant.valid_from is not None else None
    until = moment(grant.valid_until, f"{place}valid_until") if grant.valid_until is not None else None
    return GrantWanted(grant.role, grant.workflow, since, until)


def _after(cursor: str | None, question: str) -> str | None:
    place = place_of(cursor, {"list": question}, str)
    return None if place is None else str(place[0])


def _next(ids: list[str], limit: int, question: str) -> str | None:
    return cursor_of([ids[limit - 1]], {"list": question}) if len(ids) > limit else None


ROUTES = (
    list_users, create_user, get_user, deactivate, reactivate, reset_password, list_grants, give_grant, revoke_grant,
    list_api_keys, create_api_key, revoke_api_key,
)  # fmt: skip
