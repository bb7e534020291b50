"""What a witness is: a folder with its key and the last head of each log that it cosigned, and the rule for the next.

Guarantees: no two heads of a log are cosigned of which one does not extend the other, and never a smaller one behind a
larger, whatever is killed in between. That holds as long as the folder is neither lost nor put back from a copy: a
witness that forgot has to become another one, with another key.

    witness.pem, witness.vkey     its key, and the verifier key with its name
    lock                          held by the one process that may use the folder
    logs/<origin>/head            the last head it cosigned, as the log signed it
    logs/<origin>/conflicts/...   heads that the log signed and this witness refused, beside the one it had
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from countersign.audit.errors import ConfigurationError, MalformedError, VerificationError
from countersign.audit.keyfolder import KeyFolder
from countersign.audit.keys import FileKey, sync_folder, write_new
from countersign.audit.merkle import EMPTY_ROOT, verify_consistency
from countersign.audit.note import Algorithm, Note, VerifierKey, check_name, cosign, parse_note
from countersign.audit.treehead import LogTrust, TreeHead, open_tree_head
from countersign.audit.witness_request import SIZE_TYPE, CosignRequest, encode_size, parse_request

_PEM, _VKEY, _LOCK, _LOGS, _HEAD, _CONFLICTS = "witness.pem", "witness.vkey", "lock", "logs", "head", "conflicts"
MOST_CONFLICTS = 1_000
"""Refused heads that are kept of a log. Each is one that the log itself signed; more would not prove more."""
TEXT = "text/plain; charset=utf-8"


class Reply(NamedTuple):
    """The answer to a request, as it is sent."""

    status: int
    body: bytes
    media_type: str = TEXT


class Last(NamedTuple):
    """The last head of a log that was cosigned."""

    head: TreeHead
    note: Note


def create_witness(path: Path, name: str) -> VerifierKey:
    """Make the folder of a new witness with a key of its own, and return its verifier key. Never overwrites.

    Raises ConfigurationError where there is one already, or the name is none that a key may have.
    """
    try:
        check_name(name)
    except MalformedError as error:
        raise ConfigurationError(
            error.message, remedy="Name the witness like an address without https://, witness.example.org/one."
        ) from error
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = VerifierKey(name, Algorithm.COSIGNATURE, FileKey.create(path / _PEM).public)
    (path / _LOGS).mkdir(mode=0o755)
    write_new(path / _VKEY, f"{key.text}\n".encode(), 0o644)  # last: without it there is no witness
    sync_folder(path)
    return key


def trusted_logs(keys: Sequence[str], witness: VerifierKey) -> dict[str, LogTrust]:
    """Return by origin how the heads of the logs of these verifier keys are believed.

    Raises ConfigurationError for what is no key of a log, and for the witness's own.
    """
    logs: dict[str, tuple[VerifierKey, ...]] = {}
    for text in keys:
        try:
            key = VerifierKey.parse(text.strip())
        except MalformedError as error:
            raise ConfigurationError(
                f"--log {text[:400]!r} is no verifier key: {error.message}",
                remedy="Ask the log's operator for what `countersign keys export --vkey` prints.",
            ) from error
        logs[key.name] = (*logs.get(key.name, ()), key)
    for origin, group in logs.items():
        LogTrust(group, (witness,))  # refuses keys of the wrong kind, or that stand twice
        logs[origin] = group
    return {origin: LogTrust(group) for origin, group in logs.items()}


@contextmanager
def open_witness(path: Path, keys: Sequence[str], report: Callable[[str], None]) -> Iterator[WitnessState]:
    """Yield the witness in `path`, for the logs of these verifier keys, held by this process alone.

    `report` is told what its operator should see. Raises ConfigurationError where there is no witness, another process
    holds it, or what it remembers is damaged: it is never begun anew.
    """
    if not (path / _VKEY).is_file():
        raise ConfigurationError(
            f"There is no witness in {path}.", remedy="Make one: countersign witness --init --state FOLDER --name NAME"
        )
    with _held(path):
        signer = FileKey.load(path / _PEM)
        try:
            key = VerifierKey.parse((path / _VKEY).read_text("utf-8").removesuffix("\n"))
        except (MalformedError, UnicodeDecodeError) as error:
            raise _damaged(path / _VKEY, str(error)) from error
        if (key.algorithm, key.public.raw) != (Algorithm.COSIGNATURE, signer.public.raw):
            raise _damaged(path / _VKEY, f"It is not the key in {_PEM}.")
        if not (path / _LOGS).is_dir():
            raise _damaged(path / _LOGS, "It is gone.")
        yield WitnessState(path, key, signer, trusted_logs(keys, key), report)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    handle = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"The witness in {path} is run by another process.", remedy="Stop that one first: there may be one."
            ) from error
        yield
    finally:
        os.close(handle)


class WitnessState:
    """The last heads of the logs in `trusts`, and the key that cosigns the next. Threads may share it."""

    def __init__(
        self,
        path: Path,
        key: VerifierKey,
        signer: FileKey,
        trusts: dict[str, LogTrust],
        report: Callable[[str], None],
    ) -> None:
        self.key = key
        self._path = path
        self._signer = signer
        self._trusts = trusts
        self._report = report
        self._lock = threading.Lock()
        self._last = {origin: self._load(origin) for origin in trusts}

    def describe(self) -> Iterator[str]:
        """Yield a line for each log: its last head, and how many heads of it were refused and are kept."""
        for origin, last in self._last.items():
            size = f"last cosigned a head of {last.head.size} leaves" if last else "nothing cosigned yet"
            folder = self._folder(origin) / _CONFLICTS
            count = len(list(folder.iterdir())) if folder.is_dir() else 0
            yield f"{origin}: {size}" + (f"; {count} refused heads in {folder}" if count else "")

    def answer(self, data: bytes, now: Callable[[], float]) -> Reply:
        """Return the answer to a request, by the rules of tlog-witness and in their order.

        A head is on disk before its cosignature is made. `now` is asked for the time afterwards, in seconds since 1970,
        UTC. Raises OSError, with nothing cosigned, where the disk does not take it.
        """
        try:
            request = parse_request(data)
            head_origin = request.note.text.partition("\n")[0]
            trust = self._trusts.get(head_origin)
            if trust is None:
                return _refusal(404, f"The log {head_origin[:300]!r} is not known here.")
            TreeHead.parse(request.note.text)
        except MalformedError as error:
            return _refusal(400, error.message)
        try:
            head = open_tree_head(request.note, trust).head
        except VerificationError as error:
            return _refusal(403, error.message)
        if request.old_size > head.size:
            return _refusal(400, f"The old size {request.old_size} is larger than the head's, {head.size}.")
        with self._lock:
            return self._checked(request, head) or self._cosigned(request, head, now)

    def _checked(self, request: CosignRequest, head: TreeHead) -> Reply | None:
        """Return why this head is refused, if it is."""
        last = self._last[head.origin]
        size, root = (last.head.size, last.head.root) if last else (0, EMPTY_ROOT)
        forked = last is not None and head.size == size and head.root != root
        if last and forked:
            self._keep(request, head, last)  # proven by the two heads alone, whatever else was sent
        if request.old_size != size or (forked and not request.proof):
            return Reply(409, encode_size(size), SIZE_TYPE)
        try:
            verify_consistency(request.proof, first=size, second=head.size, first_root=root, second_root=head.root)
        except VerificationError as error:
            if last and not forked:
                self._keep(request, head, last)
            return _refusal(422, error.message)
        return None

    def _cosigned(self, request: CosignRequest, head: TreeHead, now: Callable[[], float]) -> Reply:
        trusted = {(key.name, key.key_id) for key in self._trusts[head.origin].logs}
        own = tuple(line for line in request.note.signatures if (line.name, line.key_id) in trusted)
        note = Note(request.note.text, own)
        self._store(head.origin, note)
        self._last[head.origin] = Last(head, note)
        return Reply(200, cosign(note.text, self.key, self._signer, int(now())).line.encode())

    def _folder(self, origin: str) -> Path:
        return KeyFolder.of(self._path / _LOGS, origin).path

    def _load(self, origin: str) -> Last | None:
        path = self._folder(origin) / _HEAD
        try:
            note = parse_note(path.read_bytes())
            head = TreeHead.parse(note.text)
        except FileNotFoundError:
            return None
        except MalformedError as error:
            raise _damaged(path, error.message) from error
        if head.origin != origin:
            raise _damaged(path, f"It is of the log {head.origin!r}.")
        return Last(head, note)

    def _store(self, origin: str, note: Note) -> None:
        folder = self._folder(origin)
        if not folder.is_dir():
            folder.mkdir(mode=0o755)
            sync_folder(folder.parent)
        _write(folder / _HEAD, note.encode())
        sync_folder(folder)

    def _keep(self, request: CosignRequest, head: TreeHead, last: Last) -> None:
        """Keep a head that the log signed and that cannot stand beside the one cosigned, once, with both notes."""
        folder = self._folder(head.origin) / _CONFLICTS
        path = folder / f"{head.size}-{hashlib.sha256(head.text.encode()).hexdigest()[:16]}"
        self._report(
            f"Refused a head of {head.size} leaves that the log {head.origin} signed: it is not shown to extend the "
            f"one cosigned, of {last.head.size}. Both are kept in {path}"
        )
        folder.mkdir(exist_ok=True)
        if (path / "refused").exists() or sum(1 for _ in folder.iterdir()) >= MOST_CONFLICTS:
            return
        path.mkdir(exist_ok=True)
        for name, content in (("cosigned", last.note.encode()), ("refused", request.encode())):
            _write(path / name, content)
        for made in (path, folder, folder.parent):
            sync_folder(made)


def _write(path: Path, data: bytes) -> None:
    """Put a file in place, whole and on disk; the name is durable when its folder is synced."""
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _refusal(status: int, sentence: str) -> Reply:
    return Reply(status, f"{sentence}\n".encode())


def _damaged(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The witness's folder is damaged, at {path}: {why}",
        remedy="Do not put a copy back: a witness that forgets what it cosigned may cosign two histories. Make a new "
        "one with --init in another folder, and give its key to those who use it.",
    )
