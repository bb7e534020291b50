"""Opening a deployment: from a connection and a home folder to an Appender that may write.

The database only says which origin it claims to be; keys and trust come from the folder of that origin on this machine,
and the database's `@keys` must begin with the deployment key trusted there.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def open_steps(home: Path, names: Sequence[str]) -> Steps[Appender]:
    """Return an Appender that signs with the keys `names` (graph, deployment), having checked schema and `@keys`.

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
    appender = Appender(folder.trust(), signers)
    yield from appender.ring_steps()
    return appender
