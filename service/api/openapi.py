"""What the OpenAPI document says of every route: who may call it, and which problems it answers with."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Example, License, SecurityScheme, Server
from msgspec import Meta, Struct

from .answers import SECRET
from .callers import PUBLIC
from .problems import (
    ABSENT,
    CONFLICT,
    FORBIDDEN,
    INVALID,
    MALFORMED,
    PROBLEMS,
    TOO_LARGE,
    UNAUTHENTICATED,
    UNAVAILABLE,
    Problem,
)

_MEDIA_TYPE = "application/problem+json"
_BEARER: list[dict[str, list[str]]] = [{"bearer": []}, {"cookie": []}]
__all__ = ["ABSENT", "CONFLICT", "INVALID", "UNAVAILABLE", "openapi_config", "route"]


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """What is answered in place of what was asked for (RFC 9457)."""

    status: int
    type: Annotated[str, Meta(description="Which kind of problem: a path of this server that says what it means.")]
    title: str
    detail: Annotated[str, Meta(description="What was the matter, in a sentence.")]
    remedy: Annotated[str, Meta(description="What the caller can do about it.")]
    facts: Annotated[dict[str, Any], Meta(description="The same for programs.")] | None = None
    incident: Annotated[str, Meta(description="Under which id it was logged, where nobody foresaw it.")] | None = None


def route(
    scope: str | None,
    *problems: Problem,
    body: bool = False,
    public: bool = False,
    secret: bool = False,
    status: int | None = None,
) -> dict[str, Any]:
    """Return what a route's decorator is told besides its path.

    `scope` is what an API key needs; None: people only, or nobody in particular where the route is `public`. `secret`:
    its answer holds a credential.
    """
    opt: dict[str, Any] = {"scope": scope}
    expected = [*problems, MALFORMED]
    if public:
        opt |= PUBLIC
    else:
        expected += [UNAUTHENTICATED, FORBIDDEN]
    if body:
        expected += [TOO_LARGE, INVALID]
    if secret:
        opt[SECRET] = True
    told: dict[str, Any] = {
        "opt": opt,
        "responses": {problem.status: _spec(problem) for problem in expected},
        "security": [] if public else _BEARER,
    }
    return told if status is None else {**told, "status_code": status}


def openapi_config() -> OpenAPIConfig:
    """Return what the document begins with. It is served at /schema/openapi.json, to everybody."""
    return OpenAPIConfig(
        title="Countersign",
        version=version("countersign"),
        description=(
            "Cases of governed LangGraph workflows, what waits for people in them, and what they signed.\n\n"
            "Every answer that is not what was asked for is a problem document (RFC 9457). Lists come in pages. A POST "
            "with an Idempotency-Key is carried out once, however often it is sent."
        ),
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        servers=[Server(url="/")],
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin()],
        openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt=PUBLIC),
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    description="The token of a session (css_...) or an API key (csk_...).",
                ),
                "cookie": SecurityScheme(
                    type="apiKey",
                    security_scheme_in="cookie",
                    name="__Host-countersign",
                    description="The session of a browser; `countersign` without https. What changes something needs "
                    "the header X-CSRF-Token as well.",
                ),
            }
        ),
    )


def _spec(problem: Problem) -> ResponseSpec:
    value = {
        "status": problem.status,
        "type": f"{PROBLEMS}/{problem.name}",
        "title": problem.title,
        "detail": "...",
        "remedy": problem.remedy,
    }
    return ResponseSpec(
        ProblemDocument,
        generate_examples=False,
        description=problem.title,
        media_type=_MEDIA_TYPE,
        examples=[Example(summary=problem.title, value=value)],
    )
