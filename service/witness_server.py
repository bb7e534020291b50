"""A small witness over HTTP: one route, `POST /add-checkpoint` of C2SP tlog-witness. Needs no database.

What a head has to be is in witness_state.py; here are limits, so that nobody keeps the others waiting: of bytes, of
time for a request to arrive, of connections.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from litestar import Litestar, Request, Response, post

from countersign.audit.witness_request import MAX_REQUEST

from .witness_state import Reply, WitnessState

_ARRIVAL = 10.0  # seconds in which a request has to be there
_CONNECTIONS = 256
_RETRY_AFTER = "5"


def witness_app(
    state: WitnessState,
    report: Callable[[str], None],
    *,
    now: Callable[[], float] = time.time,
    arrival: float = _ARRIVAL,
) -> Litestar:
    """Return the application that answers for `state`. `now` gives seconds since 1970, UTC."""

    @post("/add-checkpoint", status_code=200)
    async def add_checkpoint(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Cosign a head of the log, if it extends the one before."""
        try:
            async with asyncio.timeout(arrival):
                data = await request.body()
        except TimeoutError:
            return _response(Reply(408, b"The request did not arrive in time.\n"))
        try:
            return _response(await asyncio.to_thread(state.answer, data, now))
        except OSError as error:
            report(f"Nothing can be cosigned: {error.filename or 'the disk'}: {error.strerror}")
            return _response(Reply(503, b"The witness cannot write to its disk.\n"), {"Retry-After": _RETRY_AFTER})

    return Litestar([add_checkpoint], openapi_config=None, logging_config=None, request_max_body_size=MAX_REQUEST)


def serve(app: Litestar, listening: socket.socket) -> None:
    """Answer on this socket until SIGTERM or SIGINT, and end what is under way first."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=int(_ARRIVAL),
    )
    uvicorn.Server(config).run(sockets=[listening])


def _response(reply: Reply, headers: dict[str, str] | None = None) -> Response[bytes]:
    # As a header, since to a media type of text the framework adds a charset, which tlog-witness does not have.
    content_type = {"Content-Type": reply.media_type}
    return Response(reply.body, status_code=reply.status, headers=content_type | (headers or {}))
