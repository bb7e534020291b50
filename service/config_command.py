"""The commands `countersign init` and `countersign config check`: a sample to begin with, and what a file says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from countersign.audit.errors import ConfigurationError

from .config.model import FILE_NAME, Config
from .config.words import acts_in_words, gate_in_words
from .guard import guarded

if TYPE_CHECKING:
    from .config.version import Description

SAMPLE = (FILE_NAME, "orders.py")


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@guarded
def init_command(folder: Path) -> None:
    """Write a sample to FOLDER: countersign.toml, and orders.py with the two graphs that it puts under sign-off.

    Nothing that is there already is overwritten.

    Exit code 0: written, 2: could not.
    """
    write_sample(folder)
    click.echo(f"Wrote {' and '.join(str(folder / name) for name in SAMPLE)}.")
    click.echo(f"  See what they say: countersign config check {folder / FILE_NAME}")
    click.echo("  What else there is: docs/configuration.md")


@click.group("config")
def config_group() -> None:
    """Look at countersign.toml."""


@config_group.command("check")
@click.argument("file", type=click.Path(path_type=Path), default=Path(FILE_NAME))
@guarded
def check_command(file: Path) -> None:
    """Read FILE (or countersign.toml), import its graphs in processes of their own, and print what all of it says.

    Exit code 0: the service would start with it, 2: something is to be mended.
    """
    from .config.load import load_config  # noqa: PLC0415 - the other commands need no JSON schemas
    from .config.look import describe_all_in_children  # noqa: PLC0415 - and no LangGraph

    config = load_config(file)
    click.echo("\n".join(_lines(config, describe_all_in_children(config, os.environ))))


def write_sample(folder: Path) -> None:
    """Write the sample's files to a folder, made if need be.

    Raises ConfigurationError, with nothing written, when one of them is there already.
    """
    there = [name for name in SAMPLE if os.path.lexists(folder / name)]
    if there:
        raise ConfigurationError(
            f"There is {' and '.join(there)} in {folder} already, and nothing was written.",
            remedy="Name another folder: countersign init FOLDER.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAMPLE:
        with (folder / name).open("xb") as file:
            file.write(files("countersign.service.samples").joinpath(name).read_bytes())


def _lines(config: Config, described: Sequence[Description]) -> Iterator[str]:
    service = config.service
    yield f"file: {config.file}"
    yield f"service: listens on {service.host}:{service.port}, reached as {service.public_url}"
    yield f"database: {service.database or 'COUNTERSIGN_DATABASE_URL, or the embedded one'}"
    for one in described:
        workflow = config.workflow(one.workflow)
        policy = workflow.policy
        yield ""
        yield f"workflow {workflow.name}: {workflow.title}"
        yield f"  graph: {workflow.graph}"
        yield f"  version: {one.version}"
        yield f"    {', '.join(f'{part} {digest[:12]}' for part, digest in one.parts.items())}"
        yield f"  kept: {policy.retention.days} days ({policy.retention.name})"
        yield from (f"  {line}" for line in acts_in_words(policy))
        for gate in policy.gates:
            first, *rest = gate_in_words(gate)
            yield f"  gate {first}"
            yield from (f"    {line}" for line in rest)
    warnings = [*config.warnings, *(warning for one in described for warning in one.warnings)]
    yield ""
    yield from (f"warning: {warning}" for warning in warnings)
    yield f"verdict: good, {len(warnings)} {'warning' if len(warnings) == 1 else 'warnings'}"
