"""The acts of an export: the entry that records it, and the sealing of that entry into the log.

Guarantees: the entry is appended behind an end of the trail that was checked, under the trail's lock, and names the end
of `@keys` as it was then; when `record_export` returns, it and all before it stand under a signed head that the memory
outside the database holds. Whatever keeps the log from being sealed shows before anything is appended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from .append import Appender
from .attestations import last_cosigned_steps
from .canonical import Json
from .chain import START, Link, check_keys_trail
from .deployment import claimed_origin_steps, open_steps
from .entry import KEYS_TRAIL, Entry, EntryDraft, check_trail
from .errors import ConfigurationError, MalformedError, NotFoundError, VerificationError
from .home import os_user
from .keyfolder import DEPLOYMENT, KeyFolder
from .kinds import Kind
from .leaves import leaf_index_steps
from .note import Note, VerifierKey
from .read import entries_statement, entry_of
from .seal import Sealed, Sealer, open_sealer
from .steps import Steps, run
from .treehead import LogTrust

PATIENCE = 0.25
"""Seconds between two looks for cosignatures."""
Ask = Callable[[Connection[Any], Note], None]
"""Asks witnesses to cosign the last head, which the memory holds, and keeps what they send beside it."""


@dataclass(frozen=True, slots=True)
class Exporter:
    """Who may record exports from one deployment, and what its readers are to believe: the keys in trust.json."""

    appender: Appender
    sealer: Sealer
    trust: LogTrust


def open_exporter(conn: Connection[Any], home: Path) -> Exporter:
    """Return an Exporter with the deployment's key and the log's, having checked schema, keys and trust.

    Raises ConfigurationError, with the remedy, where one of them is not on this machine.
    """
    run(conn, open_steps(home, ()))
    folder = KeyFolder.of(home, run(conn, claimed_origin_steps()) or "")
    path = folder.path / f"{DEPLOYMENT}.pem"
    if not path.exists():
        raise ConfigurationError(
            f"The deployment key is not on this machine: {path} does not exist.",
            remedy="An export is recorded in the trail by that key: run it where `countersign migrate` left it.",
        )
    appender = run(conn, open_steps(home, (DEPLOYMENT,)))
    sealer = open_sealer(conn, home)
    return Exporter(appender, sealer, LogTrust(tuple(map(VerifierKey.parse, appender.trust.log))))


def check_exportable(trail: str) -> str:
    """Return `trail` if it is the name of a case's trail. Raises ConfigurationError for the service's own trails."""
    try:
        return check_trail(trail)
    except MalformedError as error:
        raise ConfigurationError(
            f"Only the trail of a case is exported. {error.message}",
            remedy="Name a LangGraph thread; what is needed of @keys and @system goes into its bundle.",
        ) from error


def record_export(conn: Connection[Any], exporter: Exporter, trail: str) -> Entry:
    """Append `report.exported` to the trail, commit and seal it, and return it.

    `conn` must be in autocommit and in no transaction. Raises NotFoundError for a trail without entries, AppendError
    where its end is damaged, VerificationError where it cannot be sealed, and what `Sealer.seal` raises; all but a
    trail that goes wrong meanwhile before anything is appended.
    """
    _check_sealed(exporter.sealer.seal(conn), trail)
    with conn.transaction():
        (entry,) = run(conn, _append_steps(exporter.appender, trail))
    exporter.appender.committed([entry])
    for _ in range(2):
        _check_sealed(exporter.sealer.seal(conn), trail)
        if run(conn, leaf_index_steps(trail, entry.seq)) is not None:
            return entry
        exporter.sealer.sweep(conn)  # somebody struck it from the list
    raise VerificationError(
        f"Entry {entry.seq} of trail {trail!r} was appended and does not become a leaf of the log.",
        check="leaf",
        trail=trail,
        seq=entry.seq,
        table="leaves",
        remedy="Run: countersign verify; something takes entries away from whoever seals.",
    )


def await_cosignatures(
    conn: Connection[Any], exporter: Exporter, entry: Entry, seconds: float, ask: Ask | None = None
) -> None:
    """Return when a head over `entry`, which is sealed, has a cosignature, or after that many seconds.

    First `ask` asks for them, where there is one. Others may ask too: whoever's answer comes first ends the wait.
    """
    index = run(conn, leaf_index_steps(entry.trail, entry.seq))
    known = exporter.sealer.memory.open(exporter.trust)
    if ask is not None and known is not None:
        ask(conn, known.note)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        cosigned = run(conn, last_cosigned_steps())
        if cosigned is not None and index is not None and cosigned.tree_size > index:
            return
        time.sleep(min(PATIENCE, left))


def _check_sealed(done: Sealed, trail: str) -> None:
    for error in done.refused:
        if error.trail in (trail, KEYS_TRAIL):
            raise error


def _append_steps(appender: Appender, trail: str) -> Steps[list[Entry]]:
    heads = yield from appender.lock_steps([trail])
    if heads[trail] is START:
        raise NotFoundError(f"There is no trail {trail!r}.", remedy="A trail's name is LangGraph's thread id.")
    # Whoever changes keys waits for the lock that is held here, so @keys ends there until this is committed.
    tip = yield from _keys_end_steps(appender)
    named: Json = {"seq": tip.seq, "leaf_hash": tip.leaf_hash.hex()}
    draft = EntryDraft(trail, Kind.REPORT_EXPORTED, os_user(), detail={"format": "bundle", "keys": named})
    return (yield from appender.insert_steps(heads, [draft]))


def _keys_end_steps(appender: Appender) -> Steps[Link]:
    rows = yield entries_statement(KEYS_TRAIL)
    _, link = check_keys_trail(map(entry_of, rows), appender.trust)
    return link
