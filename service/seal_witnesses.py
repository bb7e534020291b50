"""What `countersign seal` does about witnesses: shows them new heads, keeps and tells what they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from psycopg import Connection

from countersign.audit.alarm import check_alarm
from countersign.audit.attestations import cosigned_size_steps
from countersign.audit.canonical import format_time
from countersign.audit.errors import ConfigurationError, VerificationError
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.memory import Known
from countersign.audit.note import Note, VerifierKey
from countersign.audit.recent import Recent
from countersign.audit.seal import Sealer, log_key
from countersign.audit.steps import run
from countersign.audit.treehead import LogTrust
from countersign.audit.witness import Cosignature, OtherHistoryError
from countersign.audit.witness_policy import Policy
from countersign.audit.witnesses import (
    PATIENCE,
    Trouble,
    Watch,
    ask_witnesses,
    cosigned_by,
    keep_alarm,
    keep_cosignatures,
    merge_cosignatures,
    policy_of,
)


class Witnessing:
    """The witnesses of the log that `sealer` seals, if there is a policy; and the alarm that stops it, in any case.

    `conn` is the sealer's, in autocommit; only the thread that made this uses it.
    """

    def __init__(self, conn: Connection[Any], sealer: Sealer, policy_file: Path | None) -> None:
        self._conn = conn
        self._sealer = sealer
        self._folder = KeyFolder(sealer.memory.path.parent)
        self._log = log_key(self._folder)
        self._policy: Policy | None = policy_of(self._folder, self._log, policy_file)
        self._watch: Watch | None = None
        self._keys: Recent[int, list[VerifierKey]] = Recent(_HEADS)

    def check(self) -> None:
        """Take what has come. Raises VerificationError (`check` is "witness") where nothing more may be signed."""
        check_alarm(self._folder)
        if self._watch and self._policy:
            for report in self._watch.take(self._newest):
                self._tell(self._policy, report)

    def ask_once(self, patience: float = PATIENCE) -> None:
        """Ask all that have not cosigned the last head, and wait for them that many seconds at most."""
        if not self._policy or not (known := self._last(self._policy)).head.size:
            return
        sizes = {witness.key.text: self._cosigned(witness.key) for witness in self._policy.witnesses}
        asked = ask_witnesses(known, self._policy.witnesses, patience=patience, newest=self._newest, cosigned=sizes)
        reports: list[Cosignature | Trouble] = [*asked.came, *asked.troubles]
        for report in reports:
            self._tell(self._policy, report)
        keys = [verified.key for verified in cosigned_by(asked.note, self._policy.witnesses)]
        if not self._policy.is_met(keys):
            click.echo(
                f"countersign: The head of {known.head.size} leaves has {len(keys)} cosignatures, fewer than the "
                "witness policy asks for.\n  Nothing is lost: seal again when the witnesses are back.",
                err=True,
            )

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Ask beside sealing, as long as this lasts."""
        if not self._policy:
            yield
            return
        known = self._last(self._policy)
        keys = [verified.key for verified in cosigned_by(known.note, self._policy.witnesses)]
        have, size = {key.text for key in keys}, known.head.size
        self._keys[size] = keys
        done = {
            witness.key.text: size if witness.key.text in have else max(min(self._cosigned(witness.key), size - 1), 0)
            for witness in self._policy.witnesses
        }
        trust = LogTrust((self._log,))
        self._watch = Watch(self._policy.witnesses, lambda: self._sealer.memory.open(trust), done)
        try:
            yield
        finally:
            self._watch.close()

    def tell(self) -> None:
        """Let the witnesses know of a new head."""
        if self._watch:
            self._watch.tell()

    def cosigners(self, note: Note) -> list[VerifierKey]:
        """Return the keys of those witnesses of the policy whose cosignature of this note verifies."""
        witnesses = self._policy.witnesses if self._policy else ()
        return [verified.key for verified in cosigned_by(note, witnesses)]

    def keep(self, alarm: OtherHistoryError) -> Path:
        """Keep the evidence of an alarm, so that nothing is signed before somebody has looked at it."""
        return keep_alarm(self._folder, alarm)

    def _newest(self) -> Known:
        return self._sealer.caught_up(self._conn)

    def _last(self, policy: Policy) -> Known:
        """Return the last head with the cosignatures that the database has of it; the memory has them too, then."""
        self._newest()
        merge_cosignatures(self._conn, self._sealer.memory, policy.witnesses)
        return self._newest()

    def _cosigned(self, key: VerifierKey) -> int:
        return run(self._conn, cosigned_size_steps(key.name, key.key_id))

    def _tell(self, policy: Policy, report: Cosignature | Trouble) -> None:
        if isinstance(report, Trouble):
            self._complain(report)
            return
        keep_cosignatures(self._conn, self._sealer.memory, [report])
        moment = datetime.fromtimestamp(min(report.cosigned_at, _LAST_SECOND), UTC)
        click.echo(f"Cosigned {report.head.size} by {report.witness.name} at {format_time(moment)}")
        size = report.head.size  # of a slow witness, not always that of the last report
        keys = self._keys.get(size) or []
        self._keys[size] = [*keys, report.witness.key]
        if policy.is_met([*keys, report.witness.key]) and not policy.is_met(keys):
            click.echo(f"The head of {size} leaves is cosigned as the witness policy asks")

    def _complain(self, trouble: Trouble) -> None:
        click.echo(f"countersign: {trouble.error.message}", err=True)
        size = self._cosigned(trouble.witness.key)
        behind = f"has {size} leaves, {trouble.tree_size - size} fewer than this one" if size else "is none so far"
        click.echo(f"  The last head it cosigned {behind}; sealing goes on.", err=True)
        if trouble.error.remedy:
            click.echo(f"  {trouble.error.remedy}", err=True)


def vouched_by_witnesses(folder: KeyFolder, log: VerifierKey) -> Callable[[Known], None]:
    """Return what asks the witnesses of the log's policy whether a head is the newest that they know.

    It raises VerificationError where one knows a later head or another history, and ConfigurationError unless as many
    cosign it now as the policy asks for. Without a policy it asks nobody.
    """
    policy = policy_of(folder, log, None)

    def ask(known: Known) -> None:
        if policy is None or not known.head.size:
            return
        try:
            asked = ask_witnesses(known, policy.witnesses, patience=PATIENCE, newest=lambda: known)
        except OtherHistoryError as alarm:
            raise VerificationError(
                f"{alarm.message} No memory was made.",
                check="witness",
                remedy="Connect to the database that was sealed last; `countersign log restore` is for a backup, and "
                "needs the log's folder, which anybody who reads the log may have a copy of.",
            ) from alarm
        if not policy.is_met([verified.key for verified in cosigned_by(asked.note, policy.witnesses)]):
            why = "".join(f" {trouble.error.message}" for trouble in asked.troubles)
            raise ConfigurationError(
                f"The witnesses do not vouch that the database's last head is the newest.{why} No memory was made.",
                remedy="Try again when they are back, or take the head on trust: --without-witnesses.",
            )

    return ask


_HEADS = 256  # of which it is known who has cosigned, for one line
_LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
