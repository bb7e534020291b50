"""Routes by which people sign in, see who they are, set their own password, and sign out."""

from __future__ import annotations

from typing import Annotated

from litestar import Response, delete, get, post
from litestar.datastructures import State
from litestar.params import JSONBody
from msgspec import Meta

from ..identity.records import Session
from .callers import CallerRequest, csrf_token, session_cookie
from .hub import announce_people
from .models import Asked, Moment, Told, UserId, text
from .openapi import route
from .parts import Service
from .problems import FORBIDDEN, UNAUTHENTICATED

Password = Annotated[str, Meta(max_length=1_000, description="A password.", examples=["correct horse battery staple"])]
Username = Annotated[str, text("A username, in any case of letters.", "p.keller", 200)]


class SignIn(Asked):
    """Who somebody says they are, and how they prove it."""

    username: Username
    password: Password


class NewPassword(Asked):
    """A password in place of the one that an administrator set, or of one's own."""

    username: Username
    password: Password
    new_password: Password


class SignedIn(Told):
    """A session. `token` goes into the header Authorization; a browser has it as a cookie besides."""

    id: Annotated[str, Meta(examples=["s-0123456789abcdef0123"])]
    user: UserId
    token: Annotated[str, Meta(description="Told this once.", examples=["css_..."])]
    csrf_token: Annotated[str, Meta(description="What goes beside the cookie into X-CSRF-Token.")]
    opened_at: Moment
    expires_at: Moment


class Who(Told):
    """Who asks, as the server knows them."""

    id: Annotated[str, Meta(description="A user's or an API key's id.", examples=["u-0123456789abcdef0123"])]
    via: Annotated[str, Meta(description="How that was established.", examples=["session+password"])]
    session: str | None
    scopes: Annotated[list[str], Meta(description="What an API key is for; empty for people, whom roles limit.")]
    csrf_token: Annotated[str | None, Meta(description="For a browser that signed in with a cookie.")]


@post("/api/sessions", tags=["Sessions"], **route(None, UNAUTHENTICATED, FORBIDDEN, body=True, public=True))
async def sign_in(data: JSONBody[SignIn], state: State) -> Response[SignedIn]:
    """Sign in. A wrong password and an unknown name are answered alike, and after the same work."""
    service: Service = state.service
    token, session = await service.people.sign_in(data.username, data.password)
    seconds = int((session.expires_at - session.opened_at).total_seconds())
    response = Response(_signed_in(token, session), headers={"location": "/api/sessions/current"})
    response.set_cookie(session_cookie(token, https=service.settings.https, seconds=seconds))
    return response


@get("/api/sessions/current", tags=["Sessions"], **route("workflows:read"))
async def who(request: CallerRequest) -> Who:
    """Tell who the caller is."""
    caller = request.user
    by_cookie = request.auth.by_cookie
    return Who(
        id=caller.id,
        via=caller.via,
        session=caller.session,
        scopes=sorted(caller.scopes),
        csrf_token=csrf_token(request.auth.token) if by_cookie else None,
    )


@delete("/api/sessions/current", tags=["Sessions"], **route(None, status=204))
async def sign_out(request: CallerRequest, state: State) -> Response[None]:
    """End the session. What it had open, such as a stream of events, ends with it."""
    service: Service = state.service
    if request.user.session is not None:
        await service.people.sign_out(request.user.session)
        await let_look_again(service)
    response: Response[None] = Response(None)
    response.set_cookie(session_cookie("", https=service.settings.https, seconds=0))
    return response


@post("/api/passwords", tags=["Sessions"], **route(None, UNAUTHENTICATED, body=True, public=True, status=204))
async def set_password(data: JSONBody[NewPassword], state: State) -> None:
    """Set one's own password: needed once before the first session, since only such a password signs."""
    service: Service = state.service
    await service.people.set_password(data.username, data.password, data.new_password)
    await let_look_again(service)


async def let_look_again(service: Service) -> None:
    """Let every server's streams see at once that somebody may be gone."""
    async with service.pool.connection() as conn:
        await announce_people(conn)


def _signed_in(token: str, session: Session) -> SignedIn:
    return SignedIn(
        id=session.id,
        user=session.user,
        token=token,
        csrf_token=csrf_token(token),
        opened_at=session.opened_at,
        expires_at=session.expires_at,
    )


ROUTES = (sign_in, who, sign_out, set_password)
