"""Opening a deployment: from a connection and a home folder to an Appender that may write.

The database only says which origin it claims to be; keys and trust come from the folder of that origin on this machine,
and the database's `@keys` must begin with the deployment key trusted there.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .append import Appender, Signers
from .body import parse_body
from .entry import KEYS_TRAIL
from .errors import ConfigurationError, MalformedError
from .keyfolder import DEPLOYMENT, GRAPH, KeyFolder
from .kinds import GRAPH_KINDS
from .schema import check_functions_steps, check_langgraph_steps, check_revision_steps
from .steps import Statement, Steps

_FIRST_KEY = "SELECT body FROM audit.entries WHERE trail = %s AND seq = 1"
MAX_REASON = 4_000
_ROLES: dict[str, tuple[str, ...]] = {GRAPH: GRAPH_KINDS, DEPLOYMENT: ("*",)}


def claimed_origin_steps() -> Steps[str | None]:
    """Return the origin that the database claims in `@keys`, or None when it has no keys yet. Not to be trusted."""
    rows = yield Statement(_FIRST_KEY, (KEYS_TRAIL,))
    if not rows:
        return None
    try:
        return parse_body(rows[0][0]).origin
    except MalformedError as error:
        raise ConfigurationError(
            f"The first entry of @keys is damaged: {error.message}", remedy="Run: countersign verify"
        ) from error


def _now() -> datetime:
    return datetime.now(UTC)


def open_steps(home: Path, names: Sequence[str], now: Callable[[], datetime] = _now) -> Steps[Appender]:
    """Return an Appender that signs with the keys `names` (graph, deployment), having checked schema and `@keys`.

    `now` is the clock by which its entries are dated.

    Raises ConfigurationError when the database or this machine's key folder is not ready, VerificationError when
    `@keys` does not start at the trusted key.
    """
    yield from check_revision_steps()
    yield from check_langgraph_steps()
    yield from check_functions_steps()
    origin = yield from claimed_origin_steps()
    if origin is None:
        raise ConfigurationError(
            "This database has no keys: @keys is empty.", remedy="Run `countersign migrate`, then `countersign verify`."
        )
    folder = KeyFolder.of(home, origin)
    if not folder.path.is_dir():
        raise ConfigurationError(
            f"The keys of {origin} are not on this machine: {folder.path} does not exist.",
            remedy="Set COUNTERSIGN_HOME to the folder that `countersign migrate` filled, or copy it here.",
        )
    signers: Signers = [(_ROLES[name], folder.key(name)) for name in names]
    appender = Appender(folder.trust(), signers, now=now)
    yield from appender.ring_steps()
    return appender


def open_operator_steps(home: Path, now: Callable[[], datetime] = _now) -> Steps[Appender]:
    """Return an Appender for an operator's act, which the deployment key signs, as `open_steps` does.

    Raises ConfigurationError with the remedy also where that key is not on this machine.
    """
    yield from open_steps(home, ())
    folder = KeyFolder.of(home, (yield from claimed_origin_steps()) or "")
    path = folder.path / f"{DEPLOYMENT}.pem"
    if not path.exists():
        raise ConfigurationError(
            f"The deployment key is not on this machine: {path} does not exist.",
            remedy="This is an operator's act: run it where `countersign migrate` left that key.",
        )
    appender = yield from open_steps(home, (DEPLOYMENT,), now)
    key = appender.ring.get(folder.key(DEPLOYMENT).keyid)
    if key is None or not key.may_sign("*"):
        raise ConfigurationError(
            f"The key {path} may not sign an operator's acts: it is not a deployment key that @keys introduced.",
            remedy="Restore it from a backup of COUNTERSIGN_HOME.",
        )
    return appender


def check_reason(reason: str) -> str:
    """Return why an operator does something, without space around it: 1 to 4,000 characters, none of them a control.

    Raises ConfigurationError otherwise: it is to be read for as long as the entry is.
    """
    text = reason.strip()
    if not text:
        raise ConfigurationError("An operator's act needs a reason.", remedy="Say why: --reason TEXT")
    if len(text) > MAX_REASON:
        raise ConfigurationError(
            f"A reason of {len(text)} characters; {MAX_REASON} are accepted.", remedy="Say it shorter."
        )
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
        raise ConfigurationError(
            "A reason with a control character, a line break, or what is no Unicode.", remedy="Say it in one line."
        )
    return text
