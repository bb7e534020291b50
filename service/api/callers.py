"""Who asks: from a bearer token, or from the cookie of a browser. Everything but what is marked public needs one.

A cookie is sent by the browser whoever made the page, so with a cookie a request that changes something must also name,
in a header, a token that only pages of this server could read.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NamedTuple

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, State
from litestar.handlers import BaseRouteHandler
from litestar.middleware.authentication import AbstractAuthenticationMiddleware, AuthenticationResult

from ..errors import ForbiddenError, UnauthenticatedError
from ..identity.caller import Caller
from .parts import Service

PUBLIC = {"exclude_from_auth": True}
"""What a route's `opt` says where nobody has to be known."""
CSRF_HEADER = "x-csrf-token"
_SAFE = ("GET", "HEAD", "OPTIONS")
_SCHEME = "bearer"
KEY_PREFIX = "csk_"


class Presented(NamedTuple):
    """How the caller was known: by which token, and whether a cookie brought it."""

    token: str
    by_cookie: bool


CallerRequest = Request[Caller, Presented, State]
_Connection = ASGIConnection[Any, Any, Any, State]


class Authentication(AbstractAuthenticationMiddleware):
    """Finds the caller of each request. Raises UnauthenticatedError where there is none."""

    async def authenticate_request(self, connection: _Connection) -> AuthenticationResult:
        """Return who asks. A bearer token is taken before a cookie, and one that does not count is not passed over."""
        service: Service = connection.app.state.service
        header = connection.headers.get("authorization")
        if header is not None:
            token = _bearer(header)
            people = service.people
            caller = await (people.api_key(token) if token.startswith(KEY_PREFIX) else people.session(token))
            return AuthenticationResult(caller, Presented(token, by_cookie=False))
        cookie = connection.cookies.get(cookie_name(https=service.settings.https))
        if not cookie:
            raise _nobody()
        caller = await service.people.session(cookie)
        if connection.scope["method"] not in _SAFE:  # type: ignore[typeddict-item]
            _check_csrf(connection, cookie)
        return AuthenticationResult(caller, Presented(cookie, by_cookie=True))


def scope_guard(connection: _Connection, handler: BaseRouteHandler) -> None:
    """Refuse an API key that is not for what this route does; a route without a scope is for people only."""
    caller = connection.scope.get("user")
    if not isinstance(caller, Caller) or not caller.is_api_key:
        return
    scope = handler.opt.get("scope")
    if scope is None:
        raise ForbiddenError(
            "An API key cannot do this, whatever its scopes.",
            remedy="Sign in as a person.",
            facts={"cause": "api-key"},
        )
    if not caller.allows(scope):
        raise ForbiddenError(
            "This API key is not for that.",
            remedy=f"Use a key with the scope {scope}.",
            facts={"cause": "scope", "scope": scope},
        )


def csrf_token(token: str) -> str:
    """Return what a page has to name beside the cookie `token`: it follows from it, and does not give it away."""
    return hashlib.sha256(b"countersign/csrf\0" + token.encode("utf-8", "surrogateescape")).hexdigest()


def cookie_name(*, https: bool) -> str:
    """Return the cookie's name. With the prefix no other host, and nobody without https, can set it."""
    return "__Host-countersign" if https else "countersign"


def session_cookie(token: str, *, https: bool, seconds: int) -> Cookie:
    """Return the cookie of a session; with 0 seconds the one that removes it."""
    return Cookie(
        cookie_name(https=https), value=token, path="/", httponly=True, secure=https, samesite="strict", max_age=seconds
    )


def with_cookie(response: Response[Any], cookie: Cookie) -> None:
    """Let the answer set a cookie."""
    response.set_cookie(cookie)


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    token = token.strip()
    if scheme.lower() != _SCHEME or not token or not token.isascii() or not token.isprintable():
        raise _nobody()
    return token


def _check_csrf(connection: _Connection, token: str) -> None:
    given = connection.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), csrf_token(token).encode()):
        raise ForbiddenError(
            "The request came with a cookie and does not show that a page of this server made it.",
            remedy=f"Send the session's csrf_token as {CSRF_HEADER}, or the token itself as a bearer.",
            facts={"cause": "csrf"},
        )


def _nobody() -> UnauthenticatedError:
    return UnauthenticatedError(
        "No session and no API key came along, or none that counts.",
        remedy="POST /api/sessions, and send the token as: Authorization: Bearer ...",
    )
