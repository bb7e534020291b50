"""The options of commands that ask for time tokens or check them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])
_EVERY = 60.0


def tsa_ca_option(help_text: str, envvar: str | None = None) -> Callable[[Command], Command]:
    """Return the option --tsa-ca of a command, which gets it as `tsa_ca`."""
    return click.option("--tsa-ca", type=click.Path(path_type=Path), envvar=envvar, metavar="PEM", help=help_text)


def time_token_options(command: Command) -> Command:
    """Give a command the options that `token_plan` takes."""
    url = click.option(
        "--tsa-url", envvar="COUNTERSIGN_TSA_URL", metavar="URL",
        help="The time stamping authority to ask for a token over the newest tree head.",
    )  # fmt: skip
    every = click.option(
        "--tsa-every", type=click.FloatRange(min=1), default=_EVERY, show_default=True, metavar="SECONDS",
        help="With --watch: ask no more often than that.",
    )  # fmt: skip
    ca = tsa_ca_option("Its CA certificate: keep no token that this does not vouch for.", "COUNTERSIGN_TSA_CA")
    return url(ca(every(command)))
