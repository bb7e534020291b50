"""What the commands about people share: the operator acts at the command line, under the operating system's name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import psycopg

from countersign.audit.errors import ConfigurationError

from .database import database

if TYPE_CHECKING:
    from .identity.people import People

T = TypeVar("T")
MOMENT = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"))
"""How a moment is written at the command line, in UTC."""
_PAGE = 500
_LONGEST_LINE = 4_096

role_option = click.option("--role", required=True, metavar="R", help="A role of a policy, or administrator, auditor.")
workflow_option = click.option("--workflow", required=True, metavar="W", help="A workflow's name, or * for all.")
reason_option = click.option("--reason", metavar="TEXT", help="Why: kept beside the entry, in one line.")
prompt_option = click.option("--prompt", is_flag=True, help="Ask for the password, twice.")
file_option = click.option(
    "--password-file",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Take the password from the first line of FILE; - is the standard input.",
)


def with_people(url: str | None, act: Callable[[People], Awaitable[T]]) -> T:
    """Return what `act` does with the people of the database, as its service. Needs the deployment key."""
    try:
        from .identity.people import open_people, service_pool  # noqa: PLC0415 - the other commands hash no password
    except ImportError as error:
        raise ConfigurationError(
            f"What keeps passwords is not installed ({error.name}).",
            remedy="Run: pip install '/path/to/this/clone[service]'",
        ) from error

    with database(url) as target:
        # A pool would try again for long before it said, less clearly, that there is no server.
        psycopg.connect(target.service_url, connect_timeout=10).close()

        async def work() -> T:
            async with service_pool(target.service_url, most=1) as pool:
                return await act(await open_people(pool, target.home))

        return asyncio.run(work())


async def every(page: Callable[[str | None, int], Awaitable[Sequence[Any]]]) -> list[Any]:
    """Return what all pages hold."""
    found: list[Any] = []
    while True:
        more = await page(found[-1].id if found else None, _PAGE)
        found += more
        if len(more) < _PAGE:
            return found


def given_password(file: Path | None, *, prompt: bool, what: str = "Password", again: bool = True) -> str | None:
    """Return the password that was typed or stands in `file`, without its line end; None where neither is wanted."""
    if file is not None:
        if prompt:
            raise ConfigurationError("A password comes from a file or is asked for, not both.")
        with click.open_file(str(file), "rb") as lines:
            return _first_line(lines.readline(_LONGEST_LINE))
    if not prompt:
        return None
    return str(click.prompt(what, hide_input=True, confirmation_prompt=again, err=True))


def _first_line(line: bytes) -> str:
    try:
        return line.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            "The password file is not UTF-8.", remedy="Write the password in UTF-8, in the first line."
        ) from error


def in_utc(moment: datetime | None) -> datetime | None:
    """Return a moment as it was written at the command line, which is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None else None


def table(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines whose columns are as wide as the widest of each."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def moment_text(moment: datetime | None) -> str:
    """Return a moment as people read it, to the second; `-` for none."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment is not None else "-"
