"""The command `countersign witness`: a witness for other people's logs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import click

from countersign.audit.errors import ConfigurationError

from .seal_command import told_to_stop
from .witness_state import create_witness, open_witness

_LAST_PORT = 65_535


def make_witness(state: Path, name: str | None) -> None:
    """Make a witness in the folder `state`, and print its verifier key."""
    if not name:
        raise ConfigurationError(
            "A new witness needs a name.", remedy="Give one that is yours, such as --name witness.example.org/one"
        )
    click.echo(create_witness(state, name).text)
    click.echo(f"A new key in {state}. Keep the folder on one machine, and never put a copy of it back.", err=True)


def run_witness(state: Path, listen: str, logs: Sequence[str], name: str | None) -> None:
    """Run the witness in `state` until SIGTERM or SIGINT. Prints its verifier key, its address, and what it has."""
    try:
        from .witness_server import serve, witness_app  # noqa: PLC0415 - the other commands need no server
    except ImportError as error:
        raise ConfigurationError(
            f"What serves HTTP is not installed ({error.name}).",
            remedy="Run: pip install '/path/to/this/clone[service]'",
        ) from error
    if not logs:
        raise ConfigurationError(
            "A witness without logs has nothing to cosign.",
            remedy="Name each log by the key that `countersign keys export --vkey` prints there: --log VKEY",
        )
    with open_witness(state, logs, _complain) as witness, told_to_stop():
        if name not in (None, witness.key.name):
            raise ConfigurationError(
                f"The witness in {state} has the name {witness.key.name}, not {name}.",
                remedy="Leave --name out. Another name is another witness: --init in another folder.",
            )
        with _listening(listen) as bound:
            click.echo(witness.key.text)
            for line in witness.describe():
                click.echo(line)
            click.echo(f"Listening on {_address(bound)}")
            serve(witness_app(witness, _complain), bound)


def _complain(sentence: str) -> None:
    click.echo(f"countersign: {sentence}", err=True)


def _listening(listen: str) -> socket.socket:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port[:6]) > _LAST_PORT:
        raise ConfigurationError(f"Not an address to listen at: {listen!r}.", remedy="Write HOST:PORT, 127.0.0.1:7380")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"Nothing can listen at {listen}: {error}.", remedy="Choose an address of this machine, and a free port."
        ) from error


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
