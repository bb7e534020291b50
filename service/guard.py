"""What every command shares: errors become one sentence and exit code 2, and an option names the database."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, ParamSpec

import click
import psycopg

from countersign.audit.errors import AuditError
from countersign.audit.trouble import explain

P = ParamSpec("P")
COULD_NOT_RUN = 2

url_option = click.option("--database-url", "url", metavar="URL", help="Instead of COUNTERSIGN_DATABASE_URL.")


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors we know into one sentence and exit code 2; a traceback would only frighten."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except AuditError as error:
            _stop(error.message, error.remedy)
        except psycopg.Error as error:
            _stop(*explain(error))
        except OSError as error:  # a full disk or a reader that went away is no verdict either
            _stop(f"{error.filename or 'Reading or writing'} failed: {error.strerror or error}.", "")

    return wrapped


def _stop(what: str, remedy: str) -> NoReturn:
    click.echo(f"countersign: {what}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)
    sys.exit(COULD_NOT_RUN)
