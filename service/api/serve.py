"""One server from beginning to end: what has to be there first, the processes beside it, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import click
import psycopg
import uvicorn
from litestar import Litestar

from countersign.audit.deployment import claimed_origin_steps, open_operator_steps
from countersign.audit.errors import ConfigurationError
from countersign.audit.home import os_user
from countersign.audit.migrate import migrate
from countersign.audit.steps import run

from ..config.look import describe_all_in_children
from ..config.model import Config
from ..config.version import Description
from ..database import Database, database
from ..identity.changes import Limits
from ..identity.people import open_people, service_pool
from ..log_http import ended_by_signals, listening
from ..optional import prepare_jobs
from .app import Beside, create_app
from .beside import sealing, working
from .parts import Settings
from .registering import register_versions
from .try_out import make_people, password_of, people_of, what_to_try

_GRACE = 10
"""Seconds that requests have to end when the server does."""


class Server(uvicorn.Server):
    """Lets streams and waiting requests end before it waits for them."""

    app: Litestar

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order."""
        service = self.app.state.get("service")
        if service is not None:
            service.hub.close()
        await super().shutdown(sockets)


def serve(config: Config, environ: Mapping[str, str], listen: str | None, *, try_out: bool) -> None:
    """Serve what `config` describes until SIGTERM or SIGINT.

    Raises ConfigurationError, with the remedy, where something is missing; nothing was started then.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    host = config.service.host
    address = listen or f"{f'[{host}]' if ':' in host else host}:{config.service.port}"
    with ExitStack() as stack:
        bound = stack.enter_context(listening(address))
        if try_out:
            _check_loopback(bound)
        target = stack.enter_context(_database(config, environ))
        if try_out:
            _prepare(target, environ)
        versions = describe_all_in_children(config, environ)
        origin = _register(target, versions)
        url = f"http://{_shown(bound)}"
        settings = Settings(
            target.service_url,
            target.home,
            origin,
            https=config.service.public_url.startswith("https:"),
            offered={found.workflow: found.version for found in versions},
            limits=Limits(config.service.sessions.idle, config.service.sessions.absolute),
        )
        if try_out:
            asyncio.run(_make_people(target, config))
        stack.enter_context(sealing(target))
        hello = [*_hello(settings, url, versions), *(_to_try(config, url) if try_out else ())]
        _run(settings, bound, hello, lambda: working(config, target, settings.folder, environ))


def _run(settings: Settings, bound: socket.socket, hello: Sequence[str], beside: Beside) -> None:
    app = create_app(settings, begun=lambda: click.echo("\n".join(hello)), beside=beside)
    server = Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, lifespan="on",
            timeout_graceful_shutdown=_GRACE,
        )
    )  # fmt: skip
    server.app = app
    with ended_by_signals(server):
        server.run(sockets=[bound])
    if not server.started:
        raise ConfigurationError("The server did not start; what was the matter stands above.")


def _hello(settings: Settings, url: str, versions: Sequence[Description]) -> Iterator[str]:
    yield f"Serving {settings.origin} at {url}"
    yield from (f"  {found.workflow} in version {found.version}" for found in versions)
    yield f"  {url}/schema/openapi.json describes what it answers."


def _to_try(config: Config, url: str) -> Iterator[str]:
    yield "Users to try it with, on this machine only:"
    yield from (f"  {name}  password {password_of(name)}" for name in people_of(config))
    yield "Paste this into another shell:"
    yield ""
    yield from what_to_try(config, url)
    yield ""
    yield "Ctrl-C ends it."


async def _make_people(target: Database, config: Config) -> None:
    async with service_pool(target.service_url, most=4) as pool:
        await make_people(await open_people(pool, target.home), config)


@contextmanager
def _database(config: Config, environ: Mapping[str, str]) -> Iterator[Database]:
    service = config.service
    url = config.secret(service.database, environ) if service.database else None
    with database(url) as target:
        if service.worker_database is None:
            yield target
        else:
            yield replace(target, worker_url=config.secret(service.worker_database, environ))


def _prepare(target: Database, environ: Mapping[str, str]) -> None:
    done = migrate(target.owner_url, target.home, environ.get("COUNTERSIGN_ORIGIN"))
    prepare_jobs(target.owner_url)
    if done.keys_created:
        click.echo(f"New keys for {done.origin} in {done.keys}")


def _register(target: Database, versions: Sequence[Description]) -> str:
    """Register what is new, and return the origin. Raises ConfigurationError where database or keys are not ready."""
    with psycopg.connect(target.service_url, connect_timeout=10) as conn:
        appender = run(conn, open_operator_steps(target.home))
        origin = run(conn, claimed_origin_steps())
        conn.commit()
        for found in register_versions(conn, appender, versions, os_user()):
            click.echo(f"Registered {found.workflow} in version {found.version}.")
    return origin or ""


def _check_loopback(bound: socket.socket) -> None:
    host = bound.getsockname()[0]
    if host not in ("127.0.0.1", "::1") and not host.startswith("127."):
        raise ConfigurationError(
            f"With known passwords it may be reached from this machine alone, and {host} is reached by others.",
            remedy="Listen on 127.0.0.1, or leave --try-out away.",
        )


def _shown(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
