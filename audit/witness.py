"""One witness, asked over HTTP to cosign a head of the log (client of C2SP tlog-witness v1.0.0).

Nothing that a witness answers is believed: its cosignature counts when it verifies under the key that was configured,
and sizes only say where a proof has to begin. What can be told from an answer is one of three things: a cosignature;
trouble, which delays evidence and nothing else; or that the witness holds another history of this log than ours, which
is an alarm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from .errors import AuditError, MalformedError, VerificationError
from .memory import Known
from .merkle import consistency_proof
from .note import Note, Signature, open_note, parse_signatures
from .treehead import TreeHead
from .witness_policy import Witness
from .witness_request import SIZE_TYPE, CosignRequest, parse_size

if TYPE_CHECKING:
    import httpx

MAX_ANSWER = 64 * 1024
"""Bytes of an answer: a hundred cosignatures of the largest kind would not fit, and ours is one of 200 bytes."""
LONGEST_PAUSE = 3_600.0
"""Seconds for which a witness may ask to be left alone."""
_PAUSES = (0.25, 0.5, 1.0, 2.0)  # seconds between attempts; one attempt more than there are pauses
_SINGLE = 10.0  # seconds without a byte, after which an attempt is given up
_OK, _CONFLICT, _UNPROCESSABLE = 200, 409, 422
_PUSHBACK = (408, 425, 429)
_SERVER_ERROR = 500
_REDIRECTIONS = range(300, 400)
_REFUSED = {
    400: "Compare the versions of both sides: it did not understand the request.",
    403: "Give the witness's operator the key that `countersign keys export --vkey` prints.",
    404: "Check the address in the witness policy, and give the witness's operator the log's verifier key.",
}
_MOVED = "Ask the witness's operator for its address, and write that into the witness policy: no redirect is followed."


class Answer(NamedTuple):
    """What a witness answered, as it came: the evidence behind an alarm."""

    status: int
    media_type: str
    body: bytes
    retry_after: float
    """Seconds for which it asks to be left alone; 0 where it does not say."""


class NoCosignatureError(AuditError):
    """A witness has not cosigned. That delays evidence, and says nothing against the log.

    `passing` is whether asking again may help; `retry_after` for how many seconds at least it should not be asked.
    """

    def __init__(self, message: str, *, remedy: str = "", passing: bool = False, retry_after: float = 0.0) -> None:
        super().__init__(message, remedy=remedy)
        self.passing = passing
        self.retry_after = retry_after


class OtherHistoryError(VerificationError):
    """A witness holds another history of this log than ours (`check` is "witness"): nothing more must be signed.

    Carries the witness, the note it was shown, and its answer. `size` is the size of its tree where the witness is
    ahead of us, else None: then it refused to take our head for an extension of what it has.
    """

    def __init__(self, witness: Witness, shown: Note, answer: Answer, what: str, size: int | None = None) -> None:
        super().__init__(
            f"The witness {witness.name} ({witness.url}) {what}",
            check="witness",
            remedy=(
                "Stop every sealer. Compare the database and the log's folder with their copies: it is a restored or "
                "older one, or somebody else signs with this log's key."
                if size is not None
                else "Stop every sealer, and ask the witness's operator for the head it holds: two heads that the log "
                "signed and that do not agree prove that its key was used for two histories."
            )
            + " If it is the witness that errs, take it out of the witness policy.",
        )
        self.witness = witness
        self.shown = shown
        self.answer = answer
        self.size = size


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A cosignature of `head` that verified, and the witness's time in seconds since 1970, UTC."""

    witness: Witness
    head: TreeHead
    signature: Signature
    cosigned_at: int


class ShownHead:
    """A head as witnesses are shown it, with the log's own signatures alone. May be shared by threads."""

    def __init__(self, known: Known) -> None:
        self.head: TreeHead = known.head
        own = tuple(signature for signature in known.note.signatures if signature.name == known.head.origin)
        self.note = Note(known.note.text, own)
        self._tiles = known.tiles
        self._lock = threading.Lock()

    def request(self, old_size: int) -> bytes:
        """Return the request to a witness that knows the tree of `old_size` leaves. Requires old_size <= head.size."""
        with self._lock:
            proof = consistency_proof(self._tiles.read, old_size, self.head.size)
        return CosignRequest(old_size, tuple(proof), self.note).encode()


class WitnessClient:
    """Asks one witness. `old_size` is the size of the tree that it cosigned last, as far as is known.

    `now` gives seconds that only grow; `wait` lets so many of them pass.
    """

    def __init__(
        self,
        witness: Witness,
        http: httpx.Client,
        *,
        old_size: int = 0,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.witness = witness
        self._http = http
        self._old_size = old_size
        self._now = now
        self._wait = wait

    def ask(self, shown: ShownHead, patience: float) -> Cosignature:
        """Return the witness's cosignature of this head, within `patience` seconds or a little more.

        Asks at most five times, from the size that the witness names, with pauses. Raises NoCosignatureError where
        none came, and OtherHistoryError as an alarm.
        """
        end = self._now() + patience
        old = min(self._old_size, shown.head.size)
        for pause in (*_PAUSES, None):
            try:
                outcome = self._judged(self._send(shown.request(old), end), shown, old)
            except NoCosignatureError as error:
                if not error.passing or pause is None or self._now() + max(pause, error.retry_after) >= end:
                    raise
                self._wait(max(pause, error.retry_after))
                continue
            if isinstance(outcome, Cosignature):
                self._old_size = shown.head.size
                return outcome
            old = outcome
        raise self._trouble("names another size whenever it is asked", passing=True)

    def _send(self, request: bytes, end: float) -> Answer:
        import httpx  # noqa: PLC0415 - not for whoever asks nobody: it takes long

        left = end - self._now()
        if left <= 0:
            raise self._trouble("did not answer in time", passing=True)
        headers = {"Content-Type": "text/plain; charset=utf-8", "Accept-Encoding": "identity"}
        try:
            with self._http.stream(
                "POST",
                f"{self.witness.url}/add-checkpoint",
                content=request,
                headers=headers,
                timeout=min(left, _SINGLE),
                follow_redirects=False,
            ) as response:
                body = self._read(response, end)
                media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                return Answer(response.status_code, media_type, body, _retry_after(response.headers))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._trouble(f"cannot be reached ({type(error).__name__}: {error})", passing=True) from error

    def _read(self, response: httpx.Response, end: float) -> bytes:
        parts, size = [], 0
        for part in response.iter_raw():
            size += len(part)
            if size > MAX_ANSWER:
                raise self._trouble(f"answers with more than {MAX_ANSWER} bytes")
            if self._now() > end:
                raise self._trouble("did not end its answer in time", passing=True)
            parts.append(part)
        return b"".join(parts)

    def _judged(self, answer: Answer, shown: ShownHead, old: int) -> Cosignature | int:
        """Return the cosignature, or the size from which the witness wants a proof."""
        status = answer.status
        if status == _OK:
            return self._cosignature(answer, shown)
        if status == _CONFLICT:
            return self._conflict(answer, shown, old)
        if status == _UNPROCESSABLE and old > 0:
            # It knows a tree of this size, or it would have named another. Ours leads from there to the head.
            raise OtherHistoryError(
                self.witness, shown.note, answer, f"holds a tree of {old} leaves of which ours is no extension."
            )
        if status in _PUSHBACK or status >= _SERVER_ERROR:
            raise self._trouble(f"answers {status}", passing=True, retry_after=answer.retry_after)
        moved = _MOVED if status in _REDIRECTIONS else ""
        raise self._trouble(f"refuses with {status}: {answer.body[:200]!r}", remedy=_REFUSED.get(status, moved))

    def _conflict(self, answer: Answer, shown: ShownHead, old: int) -> int:
        try:
            size = parse_size(answer.body) if answer.media_type == SIZE_TYPE else None
        except MalformedError:
            size = None
        ours = shown.head.size
        if old == ours and size in (None, ours):
            raise OtherHistoryError(
                self.witness, shown.note, answer, f"holds a tree of {ours} leaves as well, with another root."
            )
        if size is None or size == old:
            raise self._trouble(f"answers 409 to the size {old} without naming another: {answer.body[:200]!r}")
        if size < min(self._old_size, ours):
            raise self._trouble(
                f"names a tree of {size} leaves, but it has cosigned one of {self._old_size}: it forgot",
                remedy="Tell its operator: it may cosign two histories now, and has to be replaced, with another key.",
            )
        if size > ours:
            raise OtherHistoryError(
                self.witness, shown.note, answer, f"knows a head of {size} leaves, our last has {ours}.", size
            )
        return size

    def _cosignature(self, answer: Answer, shown: ShownHead) -> Cosignature:
        key = self.witness.key
        try:
            lines = parse_signatures(answer.body.decode("utf-8"))
            own = tuple(line for line in lines if (line.name, line.key_id) == (key.name, key.key_id))
            if not own:
                raise self._trouble(
                    f"did not sign with the key {key.key_id.hex()} of {key.name}",
                    remedy="Ask its operator for its verifier key; a new key is a new line in the witness policy.",
                )
            (verified,) = open_note(Note(shown.note.text, own), required=(key,))
        except (MalformedError, VerificationError, UnicodeDecodeError) as error:
            why = error.message if isinstance(error, AuditError) else "not UTF-8"
            raise self._trouble(f"answers with what is no cosignature of the head: {why}") from error
        return Cosignature(self.witness, shown.head, own[0], verified.cosigned_at or 0)

    def _trouble(
        self, what: str, *, remedy: str = "", passing: bool = False, retry_after: float = 0.0
    ) -> NoCosignatureError:
        return NoCosignatureError(
            f"The witness {self.witness.name} ({self.witness.url}) {what}.",
            remedy=remedy,
            passing=passing,
            retry_after=retry_after,
        )


def _retry_after(headers: httpx.Headers) -> float:
    """Return the seconds that the header Retry-After names (RFC 9110, section 10.2.3), as a number or as a date."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), LONGEST_PAUSE)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_PAUSE)
