"""The commands `countersign log serve` and `countersign log credential`: the log for those who watch it."""

from __future__ import annotations

import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from countersign.audit.errors import ConfigurationError
from countersign.audit.home import home_folder
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.memory import Memory

from .auditors import RANDOM_BYTES, auditors_file, new_credential
from .guard import guarded

if TYPE_CHECKING:
    from uvicorn import Server

_PORTS = 65_536


@click.command("serve")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8460", show_default=True, help="Port 0: a free one.")
@guarded
def serve_command(listen: str) -> None:
    """Serve the signed head and the tiles to everybody, and entries to auditors, until SIGTERM or Ctrl-C.

    Reads the log's memory below COUNTERSIGN_HOME, and needs no database and no key. Put TLS in front of it where
    credentials are used.

    Exit code 0: ended as told, 2: could not run.
    """
    folder = own_folder(home_folder(), os.environ.get("COUNTERSIGN_ORIGIN"))
    origin, server = folder.trust().origin, log_server(folder)
    from .log_routes import PREFIX  # noqa: PLC0415 - needs Litestar, as the server does

    with listening(listen) as bound, ended_by_signals(server):
        host, port = bound.getsockname()[:2]
        where = f"[{host}]" if ":" in host else host
        click.echo(f"Serving the log of {origin} at http://{where}:{port}{PREFIX}")
        server.run(sockets=[bound])


@click.command("credential")
@click.argument("name", metavar="NAME")
@guarded
def credential_command(name: str) -> None:
    """Make a credential with which an auditor, NAME, may read all entries over HTTP, and print it, once.

    Its digest is kept in the file auditors beside the keys. To take it back, remove its line.
    """
    folder = own_folder(home_folder(), os.environ.get("COUNTERSIGN_ORIGIN"))
    click.echo(new_credential(auditors_file(folder), name, secrets.token_bytes(RANDOM_BYTES)))


def log_server(folder: KeyFolder) -> Server:
    """Return a server of the log in `folder`, which runs until its `should_exit` is set.

    Raises ConfigurationError where the service is not installed.
    """
    try:
        import uvicorn  # noqa: PLC0415 - the other commands serve nothing
        from litestar import Litestar  # noqa: PLC0415

        from .log_routes import log_router  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"What serves HTTP is not installed ({error.name}).",
            remedy="Run: pip install '/path/to/this/clone[service]'",
        ) from error
    app = Litestar([log_router(Memory.of(folder).path, auditors_file(folder))], openapi_config=None)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))


def own_folder(home: Path, origin: str | None) -> KeyFolder:
    """Return the folder of `origin` below `home`; where nobody says which, the only one there is.

    Raises ConfigurationError where there is none, or more than one to choose from.
    """
    if origin:
        folders = [KeyFolder.of(home, origin)]
    else:
        folders = sorted((KeyFolder(path.parent) for path in home.glob("*/trust.json")), key=lambda folder: folder.path)
    if len(folders) > 1:
        raise ConfigurationError(
            f"{home} holds the logs of {len(folders)} deployments.", remedy="Say which: COUNTERSIGN_ORIGIN."
        )
    if not folders or not Memory.of(folders[0]).path.is_dir():
        raise ConfigurationError(
            f"There is no log{f' of {origin}' if origin else ''} in {home}.",
            remedy="Set COUNTERSIGN_HOME to the folder that `countersign migrate` filled, or copy it here.",
        )
    return folders[0]


def listening(listen: str) -> socket.socket:
    """Return a socket bound to HOST:PORT that takes connections. Raises ConfigurationError where that cannot be."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) >= _PORTS:
        raise ConfigurationError(f"Not an address to listen at: {listen!r}.", remedy="Write HOST:PORT.")
    try:
        address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        bound = socket.create_server(address[4][:2], family=address[0])
        # What it accepts has it from there. asyncio sets it only where a socket says its protocol, which these do not:
        # the second half of an answer would wait some 40 ms for the first to be acknowledged.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can listen at {listen}: {error.strerror or error}.",
            remedy="Choose an address of this machine, and a port that is free: --listen HOST:PORT.",
        ) from error
    return bound


@contextmanager
def ended_by_signals(server: Server) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the server, and not the process: also before it runs, and when it sends them on."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
