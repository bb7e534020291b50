"""`countersign seal` asks for time tokens: once after the last head, or in the background while it watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import psycopg

from countersign.audit.attestations import add_token_steps, last_stamped_steps, token_steps
from countersign.audit.errors import AuditError, ConfigurationError
from countersign.audit.steps import run
from countersign.audit.timestamp import Authority, open_client, request_token
from countersign.audit.timetoken import check_token
from countersign.audit.treehead import TreeHead
from countersign.audit.trouble import explain

from .after_seal import AfterSeal, Pause
from .authorities import read_authorities
from .database import Database

Told = Callable[[TreeHead], object]


@dataclass(frozen=True, slots=True)
class TokenPlan:
    """From whom tokens are asked for, and how many seconds lie between two requests at least."""

    authority: Authority
    every: float


def token_plan(url: str | None, ca: Path | None, every: float) -> TokenPlan | None:
    """Return what the options of `countersign seal` ask for; None where no authority is named.

    Raises ConfigurationError for an address or a file that is none.
    """
    if not url:
        if ca is not None:
            raise ConfigurationError(
                "The certificate of a time stamping authority was given, and not where it is asked.",
                remedy="Give its address: --tsa-url or COUNTERSIGN_TSA_URL.",
            )
        return None
    return TokenPlan(Authority(url, read_authorities(ca) if ca else ()), every)


@contextmanager
def stamping(target: Database, plan: TokenPlan | None, *, watch: bool) -> Iterator[Told]:
    """Yield what is to be told of each head once it is in the memory.

    With `watch` that returns at once and a thread asks for tokens; without, it asks before it returns, for a bounded
    time. It raises nothing: what is wrong is printed, once and when it changes.
    """
    if plan is None:
        yield lambda _head: None
    elif watch:
        with AfterSeal(TimeTokens(target, plan.authority).stamp, every=plan.every) as after:
            yield after.tell
    else:
        yield TimeTokens(target, plan.authority).stamp


class TimeTokens:
    """Asks one authority for tokens, keeps them, and says so; of trouble, once until it is another or over."""

    def __init__(
        self,
        target: Database,
        authority: Authority,
        *,
        say: Callable[[str], None] = click.echo,
        warn: Callable[[str], None] = lambda text: click.echo(text, err=True),
    ) -> None:
        self._target = target
        self._authority = authority
        self._say, self._warn = say, warn
        self._trouble = ""

    def stamp(self, head: TreeHead, wait: Pause = time.sleep) -> bool:
        """See to it that there is a token of `head`. Returns whether there is one now; never raises."""
        try:
            self._stamp(head, wait)
        except AuditError as error:
            self._tell(head, error.message, error.remedy)
        except psycopg.Error as error:
            self._tell(head, *explain(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is evidence that is missing, and sealing goes on
            self._tell(head, f"{type(error).__name__}: {error}", "")
        else:
            self._trouble = ""
            return True
        return False

    def _stamp(self, head: TreeHead, wait: Pause) -> None:
        with self._connected() as conn:
            if run(conn, token_steps(head.size)) is not None:
                return
        with open_client() as client:  # no connection is held meanwhile
            token = request_token(client, self._authority, head.text, wait=wait)
        with self._connected() as conn:
            run(conn, add_token_steps(head.size, token))
        moment = check_token(token, head.text)
        self._say(f"Time token: {moment:%Y-%m-%d %H:%M:%S} UTC for the tree head of size {head.size}")

    def _connected(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self._target.app_url, autocommit=True, connect_timeout=10)

    def _tell(self, head: TreeHead, message: str, remedy: str) -> None:
        if message == self._trouble:
            return
        self._trouble = message
        self._warn(f"countersign: {message}")
        self._warn(f"  {self._lag(head)}")
        if remedy:
            self._warn(f"  {remedy}")

    def _lag(self, head: TreeHead) -> str:
        try:
            with self._connected() as conn:
                last = run(conn, last_stamped_steps())
        except psycopg.Error:
            return f"The tree head of size {head.size} has no time token."
        if last is None:
            return f"No tree head has a time token yet; the log has {head.size} leaves."
        behind = head.size - last.tree_size
        return f"The last time token is of the tree head of size {last.tree_size}, {behind} leaves behind."
