"""The commands `countersign log ...`: what an operator does to the log when database or memory are not as they were."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import click
import psycopg

from countersign.audit.adopt_head import adopt_head
from countersign.audit.deployment import check_reason, claimed_origin_steps, open_operator_steps
from countersign.audit.errors import ConfigurationError
from countersign.audit.home import os_user
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.memory import Memory
from countersign.audit.note import VerifierKey
from countersign.audit.outside import read_head
from countersign.audit.restore import Found, LostOfTrail, examine, restore
from countersign.audit.seal import open_sealer
from countersign.audit.steps import run
from countersign.audit.treehead import LogTrust, TreeHead

from .database import Database, database
from .guard import guarded, url_option
from .seal_witnesses import vouched_by_witnesses

MOST_TRAILS = 40
"""Trails that are told of one by one."""


@click.group("log")
def log_group() -> None:
    """Show the log to others, or let it go on after a loss: of the database, or of the memory beside it."""


@log_group.command("restore")
@click.option("--reason", metavar="TEXT", help="Why, to be kept for ever: at most 4,000 characters, in one line.")
@click.option("--dry-run", is_flag=True, help="Say what is lost, by trail, and write nothing.")
@url_option
@guarded
def restore_command(reason: str | None, dry_run: bool, url: str | None) -> None:  # noqa: FBT001 - click passes flags so
    """Let the log go on over a database that came back from a backup.

    The entries that the backup lacks are lost; the log's tree keeps their hashes, and an entry in @system says which
    they are, and why. Needs the log's memory, its key and the deployment key. Take the lost database out of use first.

    Exit code 0: done, 2: could not run.
    """
    with database(url) as target:
        restore_log(target, reason, dry_run=dry_run)


@log_group.command("adopt-head")
@click.option("--reason", metavar="TEXT", required=True, help="Why, to be kept for ever, as with `log restore`.")
@click.option(
    "--head",
    "heads",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A signed head of this log, from whoever kept one, that the database has to extend. Repeatable.",
)
@click.option(
    "--from",
    "copy",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="A copy of the log, for entries that are lost in the database.",
)
@click.option("--without-witnesses", "unwitnessed", is_flag=True, help="Take the head on trust, whatever they say.")
@url_option
@guarded
def adopt_head_command(
    reason: str,
    heads: tuple[Path, ...],
    copy: Path | None,
    unwitnessed: bool,  # noqa: FBT001 - click passes flags so
    url: str | None,
) -> None:
    """Make the log's memory anew from the database's last head, where no copy of the memory can be had.

    That head is taken on trust: give every head that somebody kept. The witnesses of the policy, if there is one, have
    to cosign it first. An entry in @system says so. Needs the deployment key.

    Exit code 0: done, 2: could not run.
    """
    with database(url) as target:
        adopt_last_head(target, reason, heads, copy, unwitnessed=unwitnessed)


def restore_log(target: Database, reason: str | None, *, dry_run: bool) -> None:
    """Restore, or say what that would lose, and print it. Raises ConfigurationError without a reason."""
    if reason is None and not dry_run:
        raise ConfigurationError("An operator's act needs a reason.", remedy="Say why: --reason TEXT")
    why = check_reason(reason) if reason is not None else ""
    with psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn:
        sealer = open_sealer(conn, target.home)
        if dry_run:
            for line in _told(examine(conn, sealer), done=False):
                click.echo(line)
            return
        appender = run(conn, open_operator_steps(target.home))
        restored = restore(conn, sealer, appender, reason=why, actor=os_user())
    for line in _told(restored.found, done=True):
        click.echo(line)
    click.echo(f"Recorded in entry {restored.seq} of @system. The log has {_head(restored.head)}.")
    if restored.found.loss.lost:
        click.echo(f"From now on {sealer.memory.path} is the only copy of what was lost; keep a copy of it elsewhere.")
    click.echo("Next: `countersign verify`, then `countersign seal` as before.")
    click.echo("Tell those who rely on the log, auditors and witnesses: what was lost stays lost, and is on record.")


def adopt_last_head(
    target: Database, reason: str, heads: tuple[Path, ...], copy: Path | None, *, unwitnessed: bool = False
) -> None:
    """Make the memory anew, and print with which head it begins."""
    why = check_reason(reason)
    with psycopg.connect(target.app_url, autocommit=True, connect_timeout=10) as conn:
        appender = run(conn, open_operator_steps(target.home))
        folder = KeyFolder.of(target.home, run(conn, claimed_origin_steps()) or "")
        trust = LogTrust(tuple(map(VerifierKey.parse, folder.trust().log)))
        given = [read_head(path, trust).head for path in heads]
        memory = Memory.of(folder)
        vouched = (lambda _: None) if unwitnessed else vouched_by_witnesses(folder, trust.logs[-1])
        done = adopt_head(
            conn, memory, trust, appender, reason=why, actor=os_user(), given=given, copy=copy, vouched=vouched
        )
    click.echo(f"The log's memory {memory.path} begins with {_head(done.head)}.")
    click.echo(f"Recorded in entry {done.seq} of @system.")
    if given:
        largest = max(head.size for head in given)
        click.echo(f"It extends every head that was given ({len(given)}), up to {largest} leaves.")
    else:
        click.echo("It was held against no other copy: that no later head was signed rests on this database alone.")
    click.echo("Next: `countersign verify`, then `countersign seal` as before. Tell auditors and witnesses.")


def _told(found: Found, *, done: bool) -> Iterator[str]:
    loss = found.loss
    yield f"Last head in the database: {_head(found.database)}"
    yield f"Last head in the memory: {_head(found.memory)}"
    are, became = ("are lost", "are leaves again") if done else ("would be lost", "would be leaves again")
    total = found.memory.size - found.database.size
    yield f"Of the {total} leaves between them {loss.lost} {are}, and {loss.linked} {became}, their entries being here."
    yield from _by_trail(loss.trails)


def _by_trail(trails: Mapping[str, LostOfTrail]) -> Iterator[str]:
    for trail, lost in islice(sorted(trails.items()), MOST_TRAILS):
        (first, kind), (last, last_kind) = lost.first, lost.last
        if lost.entries == 1:
            yield f"  {trail}: entry {first} ({kind})"
        else:
            yield f"  {trail}: {lost.entries} entries, {first} ({kind}) to {last} ({last_kind})"
    if len(trails) > MOST_TRAILS:
        yield f"  and {len(trails) - MOST_TRAILS} more trails"


def _head(head: TreeHead) -> str:
    return f"{head.size} leaves, root {head.root.hex()}"
