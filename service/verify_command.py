"""The command `countersign verify`: the database, held against keys, memory, heads and witnesses that are outside."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from countersign.audit.alarm import check_alarm
from countersign.audit.attestations import cosigned_note_steps
from countersign.audit.deployment import claimed_origin_steps
from countersign.audit.errors import ConfigurationError, NotFoundError, VerificationError
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.keys import Trust, write_new
from countersign.audit.leaves import StoredHead
from countersign.audit.memory import Memory
from countersign.audit.outside import Outside, log_trust, read_head, read_outside
from countersign.audit.schema import revision_steps
from countersign.audit.steps import Statement, Steps, run
from countersign.audit.treehead import LogTrust, TreeHead
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_database import Progress, verify_database

from .authorities import read_authorities
from .bundle_command import witness_keys
from .database import Database

_MOST_JOBS = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """What a verifier asks for, as the options of the command say it."""

    trail: str | None = None
    trust_file: Path | None = None
    heads: tuple[Path, ...] = ()
    since: Path | None = None
    save_head: Path | None = None
    witnesses: tuple[str, ...] = ()
    quorum: int | None = None
    tsa_ca: Path | None = None
    jobs: int | None = None


def usual_jobs() -> int:
    """Return how many processes verify when nobody says: one for each processor this one may use, but no crowd."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_JOBS)


def verify(target: Database, asked: Asked, progress: Progress | None = None) -> Report:
    """Return the report on a database. A database without @keys is failed, whoever asks."""
    from countersign.audit.states import CheckedStates  # noqa: PLC0415 - LangGraph takes a second to import

    if asked.save_head is not None and asked.trail is not None:
        raise ConfigurationError(
            "A head is kept for the whole log, and with --trail the other trails are not read.",
            remedy="Say --save-head without --trail.",
        )
    with psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn:
        if run(conn, revision_steps()) is None and not _has_evidence(conn):
            raise ConfigurationError(
                "This database was never prepared for Countersign.", remedy="Run: countersign migrate"
            )
        trust = trust_of(conn, target, asked.trust_file)
        if asked.trail is not None and not run(conn, _known_steps(asked.trail)):
            raise NotFoundError(
                f"There is no trail {asked.trail!r}.", remedy="A trail's name is LangGraph's thread id."
            )
        outside = outside_of(target.home, trust, asked)
        if asked.save_head is not None and not os.access(asked.save_head.absolute().parent, os.W_OK):
            raise ConfigurationError(
                f"The head cannot be kept: the folder of {asked.save_head} is not there or not to be written.",
                remedy="Choose another place: --save-head FILE",
            )
        since = _since(asked.since, outside)
        report = verify_database(
            conn,
            trust,
            outside=outside,
            since=since,
            trail=asked.trail,
            jobs=asked.jobs or usual_jobs(),
            progress=progress,
            states=CheckedStates(),
        )
        _say_others(target.home, trust, asked, report)
        if asked.save_head is not None and report.verdict is Verdict.PASSED and report.tree_head is not None:
            _save_head(conn, asked.save_head, report.tree_head.size)
        return report


def outside_of(home: Path, trust: Trust, asked: Asked) -> Outside:
    """Return what a database of this trust is held against: keys, this machine's memory if it has one, given heads."""
    keys = witness_keys(asked.witnesses)
    if asked.quorum is not None and asked.quorum > len(keys):
        raise ConfigurationError(
            f"{len(keys)} witnesses cannot make a quorum of {asked.quorum}.",
            remedy="Give the key of each witness: --witness KEY.",
        )
    log = log_trust(trust, keys, len(keys) if asked.quorum is None else asked.quorum)
    folder = KeyFolder.of(home, trust.origin)
    outside = read_outside(log, Memory.of(folder), asked.heads)
    try:
        check_alarm(folder)
    except VerificationError as alarm:
        outside = replace(outside, wrong=(*outside.wrong, alarm))
    return replace(outside, authorities=read_authorities(asked.tsa_ca)) if asked.tsa_ca else outside


def _say_others(home: Path, trust: Trust, asked: Asked, report: Report) -> None:
    """Say which other logs this machine knows, where the database alone said of which one it is."""
    if asked.trust_file is not None or os.environ.get("COUNTERSIGN_ORIGIN"):
        return
    others = [folder.path.name for folder in _key_folders(home) if folder.path != KeyFolder.of(home, trust.origin).path]
    if others:
        detail = (
            f"this machine has keys of {', '.join(sorted(others))} too; that it is {trust.origin} the database says"
        )
        report.say("which log", "not checked", f"{detail}. Name the one you mean: COUNTERSIGN_ORIGIN")


def _since(path: Path | None, outside: Outside) -> TreeHead | None:
    if path is None:
        return None
    if outside.log is None:
        raise ConfigurationError(
            "--since names a tree head, and there is no key of the log to check it with.",
            remedy="Give a trust file that names the log's key: --trust FILE.",
        )
    return read_head(path, LogTrust(outside.log.logs, outside.log.witnesses)).head


def _save_head(conn: psycopg.Connection[Any], path: Path, size: int) -> None:
    ((number, note),) = conn.execute("SELECT number, note FROM audit.heads WHERE tree_size = %s", (size,)).fetchall()
    note = run(conn, cosigned_note_steps(StoredHead(number, size, bytes(note)))).encode()
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    write_new(new, note, 0o644)
    new.replace(path)


def _known_steps(trail: str) -> Steps[bool]:
    """Tell whether there is anything of this name: entries, or rows that somebody left without entries."""
    rows = yield Statement(
        "SELECT EXISTS (SELECT FROM audit.entries WHERE trail = %(trail)s)"
        " OR EXISTS (SELECT FROM checkpoints WHERE thread_id = %(trail)s)"
        " OR EXISTS (SELECT FROM checkpoint_writes WHERE thread_id = %(trail)s)"
        " OR EXISTS (SELECT FROM checkpoint_blobs WHERE thread_id = %(trail)s)",
        {"trail": trail},  # type: ignore[arg-type]
    )
    return bool(rows[0][0])


def _has_evidence(conn: psycopg.Connection[Any]) -> bool:
    row = conn.execute("SELECT to_regclass('audit.entries') IS NOT NULL").fetchone()
    return bool(row and row[0])


def trust_of(conn: psycopg.Connection[Any], target: Database, trust_file: Path | None) -> Trust:
    """Return the trust in the file given, or in this machine's folder of the origin that the database claims."""
    if trust_file is not None:
        return Trust.load(trust_file)
    configured = os.environ.get("COUNTERSIGN_ORIGIN")
    claimed = configured or run(conn, claimed_origin_steps())
    folders = (
        [KeyFolder.of(target.home, claimed)] if claimed else sorted(_key_folders(target.home), key=lambda f: f.path)
    )
    for folder in folders:
        if folder.path.is_dir():
            return folder.trust()
    raise ConfigurationError(
        f"No trust file for this database on this machine (looked in {target.home}).",
        remedy="Give the trust.json that its first migration wrote: --trust FILE.",
    )


def _key_folders(home: Path) -> list[KeyFolder]:
    return [KeyFolder(path.parent) for path in home.glob("*/trust.json")]
