"""`countersign worker`: worker processes by themselves, on this machine or another than the server's."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import click
import psycopg

from countersign.audit.deployment import claimed_origin_steps
from countersign.audit.errors import ConfigurationError
from countersign.audit.home import home_folder
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.steps import run
from countersign.audit.trouble import explain

from ..config.load import load_config
from ..config.model import Config
from .children import Workers
from .settings import WorkerSettings, worker_environment
from .worker_home import prepare_worker_home


def run_workers(config_file: Path, url: str, *, number: int, concurrency: int) -> None:
    """Run `number` workers for the cases of the configuration until a signal ends them.

    Raises ConfigurationError when the database is not ready, or the graph key is not on this machine.
    """
    config = load_config(config_file)
    with tempfile.TemporaryDirectory(prefix="countersign-worker-") as place:
        home = prepare_worker_home(key_folder(url, home_folder()), Path(place))
        settings = WorkerSettings(url, str(home), str(config.file), concurrency)
        asyncio.run(_until_signalled(config, settings, number))


def key_folder(url: str, home: Path) -> KeyFolder:
    """Return where the keys of the deployment lie whose database is at `url`."""
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as conn:
            origin = run(conn, claimed_origin_steps())
    except psycopg.Error as error:
        what, remedy = explain(error)
        raise ConfigurationError(what, remedy=remedy) from error
    if origin is None:
        raise ConfigurationError("This database has no keys.", remedy="Run: countersign migrate")
    folder = KeyFolder.of(home, origin)
    if not folder.path.is_dir():
        raise ConfigurationError(
            f"The keys of {origin} are not on this machine: {folder.path} does not exist.",
            remedy="Copy graph.pem and trust.json there from the server, and nothing else.",
        )
    return folder


async def _until_signalled(config: Config, settings: WorkerSettings, number: int) -> None:
    workers = Workers(
        settings,
        worker_environment(config, os.environ),
        number=number,
        grace=config.service.engine.grace.total_seconds(),
    )
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, workers.stop)
    click.echo(f"Working on {', '.join(config.workflows)} in {number} processes; Ctrl-C ends them.")
    await workers.run()
