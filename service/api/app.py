"""The application: routes, what stands around each of them, and what runs beside them while the server lives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cache
from typing import Any

from litestar import Litestar, Request
from litestar.datastructures import MutableScopeHeaders
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.plugins.prometheus import PrometheusConfig
from litestar.types import Message, Scope

from ..errors import RequestError
from ..log_routes import log_router
from . import cases, events, health, people, reading, reviews, sessions
from .answers import IdempotencyMiddleware
from .background import at_work
from .bodies import refuse_unknown_members
from .callers import Authentication, scope_guard
from .openapi import openapi_config
from .parts import Settings, opened
from .problems import ProblemMiddleware, problem_plugin

MOST_BYTES = 1_048_576
"""How large a request's body may be."""
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
_HTTPS_ONLY = {"strict-transport-security": "max-age=31536000"}
Beside = Callable[[], AbstractAsyncContextManager[None]]
"""Opens what runs beside a server."""
ROUTES: Sequence[Any] = (
    *health.ROUTES,
    *sessions.ROUTES,
    *people.ROUTES,
    *reading.ROUTES,
    *cases.ROUTES,
    *reviews.ROUTES,
    *events.ROUTES,
)


def create_app(
    settings: Settings, *, begun: Callable[[], None] = lambda: None, beside: Beside = nullcontext
) -> Litestar:
    """Return the application of one server process. Its parts are opened when it starts, and closed when it ends.

    `begun` is called when all of them are; what `beside` opens lives as long as they do.
    """

    @asynccontextmanager
    async def living(app: Litestar) -> AsyncIterator[None]:
        async with opened(settings) as service, at_work(service), beside():
            app.state.service = service
            begun()
            yield

    async def with_headers(message: Message, _: Scope) -> None:
        if message["type"] == "http.response.start":
            headers = MutableScopeHeaders(message)
            for name, value in {**_HEADERS, **(_HTTPS_ONLY if settings.https else {})}.items():
                headers.setdefault(name, value)

    prometheus = PrometheusConfig(app_name="countersign", prefix="countersign", group_path=True)
    return Litestar(
        [*ROUTES, log_router(settings.memory, settings.auditors)],
        lifespan=[living],
        plugins=[problem_plugin()],
        middleware=[prometheus.middleware, ProblemMiddleware(), Authentication, IdempotencyMiddleware(MOST_BYTES)],
        guards=[scope_guard],
        before_request=refuse_unknown,
        before_send=[with_headers],
        openapi_config=openapi_config(),
        request_max_body_size=MOST_BYTES,
        logging_config=None,
        debug=False,
    )


async def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """Refuse a query or a body that says what this server would pass over."""
    await refuse_unknown_parameters(request)
    await refuse_unknown_members(request)


async def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse a query with a parameter that the route does not have: a misspelt filter is no filter."""
    handler = request.route_handler
    if not request.scope["query_string"]:
        return
    known = parameters_of(handler)
    if unknown := sorted(set(request.query_params) - known):
        raise RequestError(
            "The query has a parameter that this route does not know.",
            remedy=f"Known are: {', '.join(sorted(known)) or 'none'}.",
            facts={"place": unknown[0][:100]},
        )


@cache
def parameters_of(handler: HTTPRouteHandler) -> frozenset[str]:
    """Return the names of the query parameters that a route has."""
    fields = handler.parsed_fn_signature.parameters.values()
    return frozenset(
        field.kwarg_definition.name or field.name
        for field in fields
        if isinstance(field.kwarg_definition, QueryParameter)
    )
