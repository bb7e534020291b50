"""Whether this server lives, whether it can work, what it counts, and what its problems mean."""

from __future__ import annotations

from typing import Annotated, LiteralString

from litestar import get
from litestar.datastructures import State
from litestar.params import FromPath
from litestar.plugins.prometheus import PrometheusController
from msgspec import Meta

from ..errors import AbsentError, UnavailableError
from .callers import PUBLIC
from .models import Told
from .openapi import ABSENT, UNAVAILABLE, route
from .parts import Service
from .problems import PROBLEMS, TYPES

_ALIVE: LiteralString = "SELECT 1"


class Health(Told):
    """That it is well."""

    status: Annotated[str, Meta(examples=["ok"])]


class Readiness(Told):
    """What this server needs, and whether it has it."""

    status: Annotated[str, Meta(examples=["ready"])]
    origin: Annotated[str, Meta(description="The log's name.", examples=["countersign.example/ward-3"])]
    database: bool
    listening: Annotated[bool, Meta(description="Whether announcements of the database are heard.")]


class ProblemMeaning(Told):
    """A type of problem."""

    type: str
    status: int
    title: str
    remedy: Annotated[str, Meta(description="What helps, where the problem itself does not say it closer.")]


class Metrics(PrometheusController):
    """Counts and times, in Prometheus' text form. They name routes, not cases or people."""

    path = "/metrics"
    include_in_schema = False
    opt = PUBLIC


@get("/healthz", tags=["Health"], **route(None, public=True))
async def healthz() -> Health:
    """Tell that the process answers."""
    return Health(status="ok")


@get("/readyz", tags=["Health"], **route(None, UNAVAILABLE, public=True))
async def readyz(state: State) -> Readiness:
    """Tell whether the server can work: 503 while its database is away, or while it ends."""
    service: Service = state.service
    if service.hub.closing.is_set():
        raise UnavailableError("This server is ending.", remedy="Ask another one.")
    async with service.pool.connection(timeout=2.0) as conn:
        await conn.execute(_ALIVE)
    listening = service.hub.listening.is_set()
    return Readiness(status="ready", origin=service.settings.origin, database=True, listening=listening)


@get(f"{PROBLEMS}/{{name:str}}", tags=["Health"], **route(None, ABSENT, public=True))
async def problem_meaning(name: FromPath[str]) -> ProblemMeaning:
    """Say what a type of problem means."""
    problem = TYPES.get(name)
    if problem is None:
        raise AbsentError("There is no such type of problem.", remedy=f"There are: {', '.join(TYPES)}.")
    return ProblemMeaning(
        type=f"{PROBLEMS}/{problem.name}", status=problem.status, title=problem.title, remedy=problem.remedy
    )


ROUTES = (healthz, readyz, problem_meaning, Metrics)
