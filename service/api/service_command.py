"""The command `countersign serve`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from countersign.audit.errors import ConfigurationError

from ..guard import guarded


@click.command("serve")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="FILE",
    help="countersign.toml, or a folder that holds it; without: that of this folder.",
)
@click.option("--listen", metavar="HOST:PORT", help="In place of what the file says. Port 0: a free one.")
@click.option("--try-out", is_flag=True, help="On this machine alone: prepare the database, and make sample users.")
@guarded
def service_command(file: Path, listen: str | None, try_out: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Serve the workflows of countersign.toml until SIGTERM or Ctrl-C.

    Registers their versions, runs their cases in processes of their own, seals the log, and answers over HTTP. Needs
    the deployment key; put TLS in front of it.

    Exit code 0: ended as told, 2: could not run.
    """
    try:
        from ..config.load import load_config  # noqa: PLC0415 - the other commands serve nothing
        from .serve import serve  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"What serves HTTP is not installed ({error.name}).",
            remedy="Run: pip install '/path/to/this/clone[service]'",
        ) from error
    config = load_config(file)
    for warning in config.warnings:
        click.echo(f"countersign: {warning}", err=True)
    serve(config, os.environ, listen, try_out=try_out or config.service.try_out)
