"""All witnesses of a policy: asked once about a head, or beside sealing about the newest head; what comes is kept.

A witness that is away delays evidence only. Each is asked by a thread of its own, which touches no database, so one
that is slow holds up neither the sealer nor the others. A witness that holds another history is an alarm: it is written
to the file `witness-alarm` beside the keys, and while that is there nothing may be signed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from psycopg import Connection

from .alarm import ALARM
from .attestations import add_cosignatures_steps, cosigned_note_steps
from .canonical import canonical, format_time
from .errors import AuditError, ConfigurationError, MalformedError, VerificationError
from .keyfolder import KeyFolder
from .keys import sync_folder, write_new
from .leaves import last_head_steps
from .memory import Known, Memory
from .note import Note, Verified, VerifierKey, encode_base64, merged_note, open_note, parse_note
from .steps import run
from .witness import Cosignature, NoCosignatureError, OtherHistoryError, ShownHead, WitnessClient
from .witness_policy import FILE, Policy, Witness, load_policy

PATIENCE = 10.0
"""Seconds for which witnesses are asked about one head, unless somebody says otherwise."""
ALARM_SPEC = "countersign/witness-alarm/1"
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 60.0  # seconds between two rounds with a witness in trouble; doubled each time

Newest = Callable[[], Known | None]
"""What gives the newest head that was signed, as the memory holds it by then."""


class Trouble(NamedTuple):
    """That a witness did not cosign the head of `tree_size` leaves, and why."""

    witness: Witness
    tree_size: int
    error: AuditError


@dataclass(frozen=True, slots=True)
class Asked:
    """The note of a head with all cosignatures that are there, those that came now, and who did not give one."""

    note: Note
    came: tuple[Cosignature, ...]
    troubles: tuple[Trouble, ...]


# --- the policy


def policy_of(folder: KeyFolder, log: VerifierKey, given: Path | None) -> Policy | None:
    """Return the policy in `given`, else where COUNTERSIGN_WITNESS_POLICY says, else beside the keys, if it is there.

    Raises ConfigurationError where it was named and is not there, and as `load_policy` does.
    """
    named = given or os.environ.get("COUNTERSIGN_WITNESS_POLICY")
    path = Path(named) if named else folder.path / FILE
    return load_policy(path, log) if named or path.exists() else None


def cosigned_by(note: Note, witnesses: Sequence[Witness]) -> list[Verified]:
    """Return the cosignatures in `note` that verify under keys of these witnesses. What does not verify is left out."""
    found = []
    for witness in witnesses:
        lines = [line for line in note.signatures if (line.name, line.key_id) == (witness.key.name, witness.key.key_id)]
        with contextlib.suppress(VerificationError):
            found += open_note(Note(note.text, tuple(lines)), required=(witness.key,)) if lines else []
    return found


# --- once


def ask_witnesses(
    known: Known,
    witnesses: Sequence[Witness],
    *,
    patience: float,
    newest: Newest,
    cosigned: Mapping[str, int] = MappingProxyType({}),
) -> Asked:
    """Ask those of `witnesses` that have not cosigned this head, all at once, and wait `patience` seconds at most.

    Never fails for a witness that is away or answers nonsense: that is in `troubles`. Raises OtherHistoryError, the
    alarm, if one holds another history. `newest` tells an alarm from a head that was overtaken: a witness may know a
    larger one if the memory does too. `cosigned` are the sizes of the heads they cosigned last, by verifier key, as far
    as they are known: it saves a question.
    """
    have = {verified.key.text for verified in cosigned_by(known.note, witnesses)}
    missing = [witness for witness in witnesses if witness.key.text not in have]
    shown = ShownHead(known)
    end = time.monotonic() + patience
    answers: queue.SimpleQueue[tuple[Witness, Cosignature | AuditError]] = queue.SimpleQueue()
    for witness in missing:
        # A thread that is late is left to itself: it ends with its patience, or with the process.
        threading.Thread(
            target=_ask_one, args=(witness, shown, patience, cosigned.get(witness.key.text, 0), answers), daemon=True
        ).start()
    waiting = {witness.name: witness for witness in missing}
    came, troubles = list[Cosignature](), list[Trouble]()
    while waiting:
        try:
            witness, answer = answers.get(timeout=max(end - time.monotonic(), 0.0))
        except queue.Empty:
            break
        del waiting[witness.name]
        if isinstance(answer, Cosignature):
            came.append(answer)
        else:
            troubles.append(_checked(Trouble(witness, shown.head.size, answer), newest))
    late = [Trouble(witness, shown.head.size, _late(witness, patience)) for witness in waiting.values()]
    return Asked(merged_note(known.note, [item.signature for item in came]), tuple(came), (*troubles, *late))


def _ask_one(
    witness: Witness,
    shown: ShownHead,
    patience: float,
    old_size: int,
    answers: queue.SimpleQueue[tuple[Witness, Cosignature | AuditError]],
) -> None:
    import httpx  # noqa: PLC0415 - not for whoever asks nobody: it takes long

    try:
        with httpx.Client() as http:
            answers.put((witness, WitnessClient(witness, http, old_size=old_size).ask(shown, patience)))
    except AuditError as error:
        answers.put((witness, error))
    except Exception as error:  # noqa: BLE001 - whatever a thread dies of has to be seen
        answers.put((witness, NoCosignatureError(f"Asking the witness {witness.name} failed: {error!r}.")))


def _late(witness: Witness, patience: float) -> NoCosignatureError:
    return NoCosignatureError(
        f"The witness {witness.name} ({witness.url}) did not answer within {patience:g} seconds.", passing=True
    )


def _checked(trouble: Trouble, newest: Newest) -> Trouble:
    """Raise if it is an alarm. A witness that knows more than this head is none where we know as much by now."""
    error = trouble.error
    if not isinstance(error, OtherHistoryError):
        return trouble
    if error.size is not None:
        known = newest()
        if known is not None and known.head.size >= error.size:
            gone_on = f"The witness {trouble.witness.name} has gone on to a later head, of {error.size} leaves."
            return Trouble(trouble.witness, trouble.tree_size, NoCosignatureError(gone_on, passing=True))
    raise error


# --- beside sealing


class Watch:
    """Asks each witness about the newest head, in a thread of its own, from `start` until `close`.

    A witness in trouble is asked again after a pause that grows to a minute, or as long as it wants, and always about
    the head that is the newest by then, as `newest` reads it in that thread. `done` are the sizes of the last heads
    that they cosigned, by verifier key.
    """

    def __init__(self, witnesses: Sequence[Witness], newest: Newest, done: dict[str, int]) -> None:
        self._newest = newest
        self._reports: queue.SimpleQueue[Cosignature | Trouble | Exception] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._told = [threading.Event() for _ in witnesses]
        for witness, told in zip(witnesses, self._told, strict=True):
            work = (witness, told, done.get(witness.key.text, 0))
            threading.Thread(target=self._go, args=work, daemon=True, name=f"witness {witness.name}").start()

    def tell(self) -> None:
        """Let the threads know that there is a new head in the memory."""
        for told in self._told:
            told.set()

    def take(self, newest: Newest) -> Iterator[Cosignature | Trouble]:
        """Yield what has come since. Raises OtherHistoryError, the alarm, as `ask_witnesses` does."""
        while True:
            try:
                report = self._reports.get_nowait()
            except queue.Empty:
                return
            if isinstance(report, Exception):
                raise report
            yield _checked(report, newest) if isinstance(report, Trouble) else report

    def close(self) -> None:
        """Let the threads end. One that waits for a witness is left to itself."""
        self._stop.set()
        self.tell()

    def _go(self, witness: Witness, told: threading.Event, done: int) -> None:
        import httpx  # noqa: PLC0415 - as above

        try:
            with httpx.Client() as http:
                self._ask_on(WitnessClient(witness, http, old_size=done, wait=self._stop.wait), told, done)
        except Exception as error:  # noqa: BLE001 - a thread that died unseen would look like a witness that is fine
            self._reports.put(error)

    def _ask_on(self, client: WitnessClient, told: threading.Event, done: int) -> None:
        pause = _FIRST_PAUSE
        while not self._stop.is_set():
            told.clear()
            size = done
            try:
                known = self._newest()
                if known is None or known.head.size == done:
                    told.wait()
                    continue
                size = known.head.size
                cosignature = client.ask(ShownHead(known), PATIENCE)
            except AuditError as error:
                self._reports.put(Trouble(client.witness, size, error))
                asked_for = error.retry_after if isinstance(error, NoCosignatureError) else 0.0
                self._stop.wait(max(pause, asked_for))
                pause = min(2 * pause, _LAST_PAUSE)
                continue
            done, pause = size, _FIRST_PAUSE
            self._reports.put(cosignature)


# --- what came


def keep_cosignatures(conn: Connection[Any], memory: Memory, came: Sequence[Cosignature]) -> None:
    """Keep cosignatures in the database for ever, and in the memory while it still has that head.

    Requires `conn` in autocommit. A kill in between is made good by `merge_cosignatures`.
    """
    for item in came:
        run(conn, add_cosignatures_steps(item.head.size, [item.signature]))
        memory.add_cosignatures(item.head.text, [item.signature])


def merge_cosignatures(conn: Connection[Any], memory: Memory, witnesses: Sequence[Witness]) -> Note | None:
    """Put the cosignatures of the last head that the database holds into the memory, and return that note.

    None where the database has no head. Only what verifies under a key of these witnesses is taken.
    """
    stored = run(conn, last_head_steps())
    if stored is None:
        return None
    try:
        note = run(conn, cosigned_note_steps(stored))
    except MalformedError:  # rows that somebody else wrote: as good as none
        return parse_note(stored.note)
    wanted = {(item.key.name, item.key.key_id) for item in cosigned_by(note, witnesses)}
    lines = [line for line in note.signatures if (line.name, line.key_id) in wanted]
    memory.add_cosignatures(note.text, lines)
    return note


# --- the alarm


def keep_alarm(folder: KeyFolder, alarm: OtherHistoryError, now: datetime | None = None) -> Path:
    """Write the evidence of an alarm to a file beside the keys, on disk when this returns. The first one stays."""
    path = folder.path / ALARM
    document = canonical(
        {
            "spec": ALARM_SPEC,
            "at": format_time(now or datetime.now(UTC)),
            "witness": alarm.witness.key.text,
            "url": alarm.witness.url,
            "message": alarm.message,
            "shown": encode_base64(alarm.shown.encode()),
            "status": alarm.answer.status,
            "media_type": alarm.answer.media_type,
            "answer": encode_base64(alarm.answer.body),
        }
    )
    with contextlib.suppress(ConfigurationError):
        write_new(path, document + b"\n", 0o644)
        sync_folder(folder.path)
    return path
