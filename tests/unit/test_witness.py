"""Asking one witness: what each answer leads to, how often it is asked, and what is an alarm."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from countersign.audit.errors import VerificationError
from countersign.audit.merkle import verify_consistency
from countersign.audit.note import Note, cosign
from countersign.audit.witness import (
    LONGEST_PAUSE,
    MAX_ANSWER,
    Cosignature,
    NoCosignatureError,
    OtherHistoryError,
    ShownHead,
    WitnessClient,
)
from countersign.audit.witness_policy import Witness
from countersign.audit.witness_request import SIZE_TYPE, CosignRequest, parse_request
from unit.heads import OTHER, SECONDS, WITNESS, witness_key
from unit.witnessing import ONE, TWO, URL, Clock, cosignature_of, head_of, known_of

SIZE = 7
SHOWN = ShownHead(known_of(SIZE))
GOOD = cosignature_of(SIZE)
FOREIGN = cosign(head_of(SIZE).text, TWO.key, OTHER, SECONDS).line
FORGED = cosign(head_of(SIZE).text, witness_key(OTHER), OTHER, SECONDS)
WRONG = cosign(head_of(6).text, ONE.key, WITNESS, SECONDS).line


def ok(*lines: str) -> httpx.Response:
    return httpx.Response(200, text="".join(lines))


def size(number: int | str, status: int = 409) -> httpx.Response:
    return httpx.Response(status, content=f"{number}\n", headers={"Content-Type": SIZE_TYPE})


def status(code: int, **headers: str) -> httpx.Response:
    return httpx.Response(code, text="no", headers={name.replace("_", "-"): text for name, text in headers.items()})


@dataclass
class Script:
    """A server that gives these answers one after the other, the last one for ever, and keeps what it was asked."""

    answers: list[httpx.Response | Exception]
    old_size: int = 0
    patience: float = 60.0
    clock: Clock = field(default_factory=Clock)
    asked: list[CosignRequest] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, str(request.url)) == ("POST", f"{URL}/add-checkpoint")
        self.asked.append(parse_request(request.content))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))

    def ask(self) -> Cosignature:
        with httpx.Client(transport=httpx.MockTransport(self)) as http:
            client = WitnessClient(ONE, http, old_size=self.old_size, now=self.clock.now, wait=self.clock.wait)
            return client.ask(SHOWN, self.patience)

    @property
    def olds(self) -> list[int]:
        return [request.old_size for request in self.asked]


COSIGNED = {
    "at once": (Script([ok(GOOD)]), [0], []),
    "among those of others": (Script([ok(FOREIGN, GOOD)]), [0], []),
    "beside a forged line under its name": (Script([ok(FORGED.line, GOOD)]), [0], []),
    "from a size that was known": (Script([ok(GOOD)], old_size=5), [5], []),
    "from the head itself": (Script([ok(GOOD)], old_size=7), [7], []),
    "from a size that was known and is too large": (Script([ok(GOOD)], old_size=9), [7], []),
    "from the size it names": (Script([size(5), ok(GOOD)]), [0, 5], []),
    "of a head it has already": (Script([size(7), ok(GOOD)]), [0, 7], []),
    "from a newer size than known": (Script([size(6), ok(GOOD)], old_size=5), [5, 6], []),
    "while others ask as well": (Script([size(3), size(5), size(6), ok(GOOD)]), [0, 3, 5, 6], []),
    "after 500": (Script([status(500), ok(GOOD)]), [0, 0], [0.25]),
    "after it was not there": (Script([httpx.ConnectError("refused"), ok(GOOD)]), [0, 0], [0.25]),
    "after a time-out": (Script([httpx.ReadTimeout("slow"), size(5), ok(GOOD)]), [0, 0, 5], [0.25]),
    "after half an answer": (Script([httpx.RemoteProtocolError("closed"), ok(GOOD)]), [0, 0], [0.25]),
    "after pushback": (Script([status(429), status(503), ok(GOOD)]), [0, 0, 0], [0.25, 0.5]),
    "after the pause it asked for": (Script([status(429, Retry_After="7"), ok(GOOD)]), [0, 0], [7.0]),
    "at the fifth attempt": (Script([*[status(502)] * 4, ok(GOOD)]), [0] * 5, [0.25, 0.5, 1.0, 2.0]),
}


@pytest.mark.parametrize(("script", "olds", "pauses"), COSIGNED.values(), ids=COSIGNED)
def test_a_cosignature_comes(script: Script, olds: list[int], pauses: list[float]) -> None:
    came = script.ask()
    assert (came.witness, came.head, came.signature.line, came.cosigned_at) == (ONE, head_of(SIZE), GOOD, SECONDS)
    assert (script.olds, script.clock.pauses) == (olds, pauses)
    for request in script.asked:
        roots = {"first_root": head_of(request.old_size).root, "second_root": head_of(SIZE).root}
        verify_consistency(request.proof, first=request.old_size, second=SIZE, **roots)
        assert request.note == SHOWN.note


TROUBLE = {
    "never there": (Script([httpx.ConnectError("refused")]), "cannot be reached", [0] * 5),
    "never without error": (Script([status(500)]), "answers 500", [0] * 5),
    "sizes without end": (Script([size(at) for at in (1, 2, 3, 4, 5, 6)]), "another size whenever", [0, 1, 2, 3, 4]),
    "sizes to and fro": (Script([size(at) for at in (1, 2, 1, 2, 1, 2)]), "another size whenever", [0, 1, 2, 1, 2]),
    "the size it was given": (Script([size(0)]), "without naming another", [0]),
    "the size it was given later": (Script([size(3), size(3)]), "without naming another", [0, 3]),
    "a size before one it cosigned": (Script([size(2)], old_size=5), "it forgot", [5]),
    "nothing, though it cosigned": (Script([size(0)], old_size=5), "it forgot", [5]),
    "409 without a size": (Script([status(409)]), "without naming another", [0]),
    "409 with a size of another type": (Script([httpx.Response(409, text="5\n")]), "without naming another", [0]),
    "409 with garbage": (Script([size("five")]), "without naming another", [0]),
    "409 with a size beyond all": (Script([size(2**63)]), "without naming another", [0]),
    "422 to no proof": (Script([status(422)]), "refuses with 422", [0]),
    "400": (Script([status(400)]), "refuses with 400", [0]),
    "403": (Script([status(403)]), "refuses with 403", [0]),
    "404": (Script([status(404)]), "refuses with 404", [0]),
    "201": (Script([httpx.Response(201, text=GOOD)]), "refuses with 201", [0]),
    "204": (Script([httpx.Response(204)]), "refuses with 204", [0]),
    "a redirect": (Script([status(307, Location="http://elsewhere.invalid/add-checkpoint")]), "refuses with 307", [0]),
    "a redirect for ever": (Script([status(301, Location=f"{URL}/add-checkpoint")]), "refuses with 301", [0]),
    "another witness's cosignature": (Script([ok(FOREIGN)]), "did not sign with the key", [0]),
    "another key under its name": (Script([ok(FORGED.line)]), "did not sign with the key", [0]),
    "a cosignature of another head": (Script([ok(WRONG)]), "no cosignature of the head", [0]),
    "two cosignatures": (Script([ok(GOOD, cosignature_of(SIZE, 5))]), "no cosignature of the head", [0]),
    "the note with its cosignature": (Script([ok(SHOWN.note.encode().decode(), GOOD)]), "no cosignature", [0]),
    "nothing": (Script([ok("")]), "did not sign with the key", [0]),
    "garbage": (Script([ok("<html>")]), "no cosignature", [0]),
    "bytes": (Script([httpx.Response(200, content=b"\xff\xfe")]), "not UTF-8", [0]),
    "half a line": (Script([ok(GOOD[:-1])]), "no cosignature", [0]),
    "too much": (Script([ok(GOOD, "x" * MAX_ANSWER)]), f"more than {MAX_ANSWER} bytes", [0]),
    "too much of an error": (Script([httpx.Response(500, text="x" * (MAX_ANSWER + 1))]), "more than", [0]),
    "a long pause": (Script([status(503, Retry_After="600")]), "answers 503", [0]),
}  # fmt: skip


@pytest.mark.parametrize(("script", "what", "olds"), TROUBLE.values(), ids=TROUBLE)
def test_trouble_is_told_and_ends(script: Script, what: str, olds: list[int]) -> None:
    with pytest.raises(NoCosignatureError, match="The witness one") as refused:
        script.ask()
    assert what in refused.value.message
    assert script.olds == olds


@pytest.mark.parametrize(
    ("code", "remedy"), [(403, "keys export"), (404, "verifier key"), (307, "no redirect is followed")]
)
def test_trouble_has_a_remedy(code: int, remedy: str) -> None:
    with pytest.raises(NoCosignatureError) as refused:
        Script([status(code)]).ask()
    assert remedy in refused.value.remedy


ALARMS = {
    "409 with our size": (Script([size(7), size(7)]), [0, 7], None),
    "409 with our size, which was known": (Script([size(7)], old_size=7), [7], None),
    "409 to our size without another": (Script([status(409)], old_size=7), [7], None),
    "422 to our size": (Script([size(7), status(422)]), [0, 7], None),
    "422 to a proof": (Script([size(5), status(422)]), [0, 5], None),
    "422 to a proof from a size that was known": (Script([status(422)], old_size=3), [3], None),
    "422 after trouble": (Script([size(5), status(500), status(422)]), [0, 5, 5], None),
    "a larger size": (Script([size(8)]), [0], 8),
    "a much larger size": (Script([size(5), size(2**63 - 1)]), [0, 5], 2**63 - 1),
}


@pytest.mark.parametrize(("script", "olds", "ahead"), ALARMS.values(), ids=ALARMS)
def test_another_history_is_an_alarm_with_its_evidence(script: Script, olds: list[int], ahead: int | None) -> None:
    last = script.answers[-1]
    assert isinstance(last, httpx.Response)
    with pytest.raises(OtherHistoryError, match="The witness one") as alarm:
        script.ask()
    assert (script.olds, alarm.value.check, alarm.value.size) == (olds, "witness", ahead)
    assert (alarm.value.answer.status, alarm.value.answer.body) == (last.status_code, last.content)
    assert (alarm.value.witness, alarm.value.shown) == (ONE, SHOWN.note)
    assert "Stop every sealer" in alarm.value.remedy
    assert isinstance(alarm.value, VerificationError)


def test_what_a_witness_is_shown_has_the_logs_signatures_alone() -> None:
    known = known_of(SIZE)
    foreign = cosign(known.note.text, TWO.key, OTHER, SECONDS)
    merged = type(known)(Note(known.note.text, (foreign, *known.note.signatures)), known.head, known.tiles, [])
    assert ShownHead(merged).note == known.note


def test_after_a_cosignature_it_is_asked_from_there() -> None:
    script = Script([ok(GOOD), ok(cosignature_of(9))])
    with httpx.Client(transport=httpx.MockTransport(script)) as http:
        client = WitnessClient(ONE, http, now=script.clock.now, wait=script.clock.wait)
        client.ask(SHOWN, 60)
        client.ask(ShownHead(known_of(9)), 60)
    assert script.olds == [0, 7]


def test_patience_ends_before_a_pause_that_is_too_long() -> None:
    script = Script([status(500)], patience=1.0)
    with pytest.raises(NoCosignatureError):
        script.ask()
    assert script.clock.pauses == [0.25, 0.5]


def in_a_minute() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)


RETRIES: dict[str, tuple[Callable[[], str], float, float]] = {
    "seconds": (lambda: "120", 120, 120),
    "a date": (in_a_minute, 50, 60),
    "a date that is over": (lambda: "Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    "a year": (lambda: "31536000", LONGEST_PAUSE, LONGEST_PAUSE),
    "many digits": (lambda: "9" * 5_000, LONGEST_PAUSE, LONGEST_PAUSE),
    "a negative number": (lambda: "-5", 0, 0),
    "garbage": (lambda: "soon", 0, 0),
}


@pytest.mark.parametrize(("text", "least", "most"), RETRIES.values(), ids=RETRIES)
def test_the_pause_it_asks_for_is_told(text: Callable[[], str], least: float, most: float) -> None:
    with pytest.raises(NoCosignatureError) as refused:
        Script([status(429, Retry_After=text())], patience=0.1).ask()
    assert least <= refused.value.retry_after <= most


class Dripping(httpx.SyncByteStream):
    """An answer that comes byte by byte, a second each."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.given = 0

    def __iter__(self) -> Iterator[bytes]:
        for byte in GOOD.encode():
            self.given += 1
            self.clock.seconds += 1
            yield bytes([byte])


def test_an_answer_that_drips_is_given_up() -> None:
    clock = Clock()
    stream = Dripping(clock)
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, stream=stream))) as http:
        client = WitnessClient(ONE, http, now=clock.now, wait=clock.wait)
        with pytest.raises(NoCosignatureError, match="did not end its answer in time"):
            client.ask(SHOWN, 20)
    assert stream.given == 21


def test_a_server_that_says_nothing_is_given_up() -> None:
    """Over a real socket: connections are accepted by the system, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent, httpx.Client(trust_env=False) as http:
        witness = Witness("silent", ONE.key, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(NoCosignatureError, match="ReadTimeout"):
            WitnessClient(witness, http).ask(SHOWN, 0.2)


def test_nobody_there_is_trouble() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        witness = Witness("gone", ONE.key, f"http://127.0.0.1:{gone.getsockname()[1]}")
    with httpx.Client(trust_env=False) as http, pytest.raises(NoCosignatureError, match="ConnectError"):
        WitnessClient(witness, http, wait=lambda _: None).ask(SHOWN, 60)
