"""One table from what went wrong to its problem document (RFC 9457), and the only place where that is decided.

Every answer that is not what was asked for is such a document: `type` is a path of this server that says what it means,
`status` and `title` go with it, `detail` is one sentence, `remedy` says what the caller can do, and `facts` are members
for programs. What nobody foresaw gives 500 and nothing but an incident's id, under which it is logged.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import psycopg
from litestar import Request
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.middleware import ASGIMiddleware
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsException, ProblemDetailsPlugin
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from psycopg_pool import PoolClosed, PoolTimeout

from countersign.audit.canonical import Json
from countersign.audit.errors import VerificationError

from ..errors import (
    AbsentError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    RequestError,
    UnauthenticatedError,
    UnavailableError,
)

PROBLEMS = "/problems"
_PATH = re.compile(r" for [A-Z]+ /.*", re.DOTALL)
_log = logging.getLogger("countersign.api")


class Problem(NamedTuple):
    """A type of problem: its name in the URI, its status, its title, what helps where nothing closer is known, and the
    headers that go with it.
    """

    name: str
    status: int
    title: str
    remedy: str
    headers: Mapping[str, str]


def _problem(name: str, status: int, title: str, remedy: str, **headers: str) -> Problem:
    return Problem(name, status, title, remedy, {key.replace("_", "-"): value for key, value in headers.items()})


MALFORMED = _problem(
    "malformed", 400, "The request is not one that this server understands",
    "Send what /schema/openapi.json says of this route.",
)  # fmt: skip
UNAUTHENTICATED = _problem(
    "unauthenticated", 401, "Nobody is known to ask",
    "POST /api/sessions, and send the token as: Authorization: Bearer ...", www_authenticate='Bearer realm="api"',
)  # fmt: skip
FORBIDDEN = _problem(
    "forbidden", 403, "The caller may not do this",
    "Leave it to somebody who may; facts.cause names the rule that is against it.",
)  # fmt: skip
ABSENT = _problem(
    "absent", 404, "There is no such thing",
    "Look it up in the list that it would be in; /schema/openapi.json has every route.",
)  # fmt: skip
METHOD = _problem(
    "method", 405, "This cannot be done to it", "The header Allow names what can; /schema/openapi.json has every route."
)
CONFLICT = _problem(
    "conflict", 409, "It is not as the request supposes", "Read it again, and act on what is there now."
)
TOO_LARGE = _problem(
    "too-large", 413, "The request is too large", "Send a mebibyte at most; pass a reference to what is larger."
)
MEDIA_TYPE = _problem(
    "media-type", 415, "The request is in no form that is read here", "Send JSON, as application/json."
)
INVALID = _problem(
    "invalid", 422, "The request says something that cannot be", "Mend the member that facts.place names."
)
TOO_MANY = _problem("too-many", 429, "Too many requests", "Send it again after what Retry-After says.", retry_after="1")
INCIDENT = _problem("incident", 500, "Something went wrong here", "Tell whoever runs this server the incident.")
DAMAGED = _problem(
    "damaged", 500, "What is stored is not what was recorded", "Have whoever runs this server run: countersign verify"
)
UNAVAILABLE = _problem(
    "unavailable", 503, "It cannot be done just now", "Send it again after what Retry-After says.", retry_after="1"
)

TYPES = {
    problem.name: problem
    for problem in (
        MALFORMED, UNAUTHENTICATED, FORBIDDEN, ABSENT, METHOD, CONFLICT, TOO_LARGE, MEDIA_TYPE, INVALID, TOO_MANY,
        INCIDENT, DAMAGED, UNAVAILABLE,
    )
}  # fmt: skip
"""Every type of problem, by name."""

TABLE: dict[type[Exception], Problem] = {
    UnauthenticatedError: UNAUTHENTICATED,
    ForbiddenError: FORBIDDEN,
    AbsentError: ABSENT,
    ConflictError: CONFLICT,
    InvalidError: INVALID,
    UnavailableError: UNAVAILABLE,
    RequestError: MALFORMED,
    VerificationError: DAMAGED,
    psycopg.OperationalError: UNAVAILABLE,
    psycopg.InterfaceError: UNAVAILABLE,
    RecursionError: MALFORMED,
    PoolTimeout: UNAVAILABLE,
    PoolClosed: UNAVAILABLE,
    Exception: INCIDENT,
}
"""What an exception is told as: by its class, or the nearest above it."""

_BY_STATUS = {problem.status: problem for problem in TYPES.values() if problem not in (DAMAGED, INVALID)}
_LOGGED = (INCIDENT, DAMAGED, UNAVAILABLE)


def problem_plugin() -> ProblemDetailsPlugin:
    """Return the plugin that answers every exception with a problem document, Litestar's own included."""
    return ProblemDetailsPlugin(
        ProblemDetailsConfig(exception_to_problem_detail_map={HTTPException: _of_litestar, Exception: _of_any})
    )


def _of_any(error: Exception) -> ProblemDetailsException:
    problem = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    if isinstance(error, RequestError):
        return _document(problem, error.message, remedy=error.remedy, facts=error.facts)
    if isinstance(error, RecursionError):
        return _document(problem, "The request is nested too deeply.", remedy="Send flatter values.")
    return _incident(problem, error)


def _incident(problem: Problem, error: Exception) -> ProblemDetailsException:
    incident = uuid.uuid4().hex
    _log.error("Incident %s", incident, exc_info=error)
    detail = f"It was logged as incident {incident}."
    return _document(problem, detail, incident=incident)


def _of_litestar(error: HTTPException) -> ProblemDetailsException:
    problem = _BY_STATUS.get(error.status_code)
    if problem is None:
        status = error.status_code
        near = MALFORMED if status < HTTPStatus.INTERNAL_SERVER_ERROR else INCIDENT
        problem = near._replace(status=status, title="Refused")
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _incident(problem, error)
    places = _places(error.extra)
    facts: dict[str, Json] = {"places": places} if places else {}
    remedy = "Mend what facts.places names; /schema/openapi.json has the form." if places else ""
    return _document(problem, _sentence(error.detail, places), remedy=remedy, facts=facts, headers=error.headers)


def _sentence(detail: str, places: list[Json]) -> str:
    """Return what Litestar says, without the path of the request, which only repeats what the caller sent."""
    if places:
        return "The request is not of the form that the schema gives."
    return _PATH.sub("", detail)


def _places(extra: object) -> list[Json]:
    """Return where the request is wrong, as Litestar found it: the member, where it stands, and why."""
    if not isinstance(extra, list):
        return []
    return [{key: str(item[key]) for key in ("key", "source", "message") if item.get(key)} for item in extra]


def _document(
    problem: Problem,
    detail: str,
    *,
    remedy: str = "",
    facts: Mapping[str, Json] | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Json,
) -> ProblemDetailsException:
    extra: dict[str, Any] = {**members, "remedy": remedy or problem.remedy}
    if facts:
        extra["facts"] = dict(facts)
    return ProblemDetailsException(
        status_code=problem.status,
        type_=f"{PROBLEMS}/{problem.name}",
        title=problem.title,
        detail=detail,
        extra=extra,
        headers={**problem.headers, **(headers or {})},
    )


class ProblemMiddleware(ASGIMiddleware):
    """Answers what is raised in front of a route, such as by authentication, as what a route raises is answered.

    Without it whatever stands further out, such as the counting of answers by status, would see no answer.
    """

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Let the request through."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await next_app(scope, receive, watched)
        except Exception as error:
            if begun:
                raise
            request: Request[Any, Any, Any] = Request(scope)
            found = _of_litestar(error) if isinstance(error, HTTPException) else _of_any(error)
            await found.to_response(request).to_asgi_response(None, request)(scope, receive, send)
