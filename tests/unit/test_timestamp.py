"""Asking for a token: one that was asked for is kept, and whatever else an authority does is told in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NoReturn

import httpx
import pytest
from cryptography.x509 import Certificate
from rfc3161_client._rust import parse_timestamp_request

from countersign.audit.errors import ConfigurationError
from countersign.audit.timestamp import LIMIT, TRIES, Authority, NoTokenError, open_client, request_token, token_request
from countersign.audit.timetoken import verify_token
from countersign.audit.tokenform import MAX_TOKEN
from unit.stamping import SHA256, Stamp, refusal
from unit.test_timetoken import BOUGHT, ROOT, STRANGER, TEXT, TSA, certs

URL = "https://tsa.invalid/tsr"
Handler = Callable[[httpx.Request], httpx.Response]


def reply(status: int, content: bytes = b"", **headers: str) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)


def stamped(request: httpx.Request, signer: Stamp | None = None) -> httpx.Response:
    nonce = parse_timestamp_request(request.content).nonce
    return reply(200, (signer or Stamp(TSA, TEXT)).with_(nonce=nonce).response())


class Asked:
    """An authority that behaves as told, and what it was asked, and how long was waited in between."""

    def __init__(self, *behaviours: Handler) -> None:
        self._behaviours = iter([*behaviours[:-1], *itertools.repeat(behaviours[-1], TRIES)])
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def token(self, roots: tuple[Certificate, ...] = (), monotonic: Callable[[], float] = lambda: 0.0) -> bytes:
        with httpx.Client(transport=httpx.MockTransport(self._answer)) as client:
            return request_token(client, Authority(URL, roots), TEXT, wait=self.waits.append, monotonic=monotonic)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return next(self._behaviours)(request)


def says(status: int, content: bytes = b"", **headers: str) -> Handler:
    return lambda _request: reply(status, content, **headers)


def fails(error: type[httpx.HTTPError]) -> Handler:
    def answer(request: httpx.Request) -> NoReturn:
        raise error("it failed")

    return answer


def test_a_request_is_over_sha256_of_the_text_with_a_nonce_and_asks_for_the_certificate() -> None:
    asked = Asked(stamped)
    asked.token(certs(ROOT))
    (request,) = asked.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["Content-Type"] == "application/timestamp-query"
    query = parse_timestamp_request(request.content)
    assert (query.message_imprint.hash_algorithm, query.cert_req) == (SHA256, True)
    assert len({token_request(TEXT).nonce for _ in range(4)} | {query.nonce}) == 5


def test_the_answer_is_kept_as_it_came() -> None:
    answers: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        answers.append(stamped(request).read())
        return reply(200, answers[-1])

    asked = Asked(answer)
    assert [asked.token(certs(ROOT))] == answers
    assert verify_token(answers[0], TEXT, certs(ROOT))
    assert asked.waits == []


NOT_BETTER: list[tuple[str, Handler, str]] = [
    ("not found", says(404), "It answered with HTTP status 404."),
    ("no content", says(204), "It answered with HTTP status 204."),
    ("a redirect", says(302, Location="https://elsewhere.invalid/"), "302; a redirect is not followed"),
    ("a redirect to nonsense", says(308, Location="/tsr2"), "308; a redirect is not followed"),
    ("garbage", says(200, b"<html>"), "no RFC 3161 time stamp response"),
    ("nothing", says(200), "A time stamp response of 0 bytes"),
    ("too much", says(200, bytes(MAX_TOKEN + 1)), f"It answered with more than {MAX_TOKEN} bytes."),
    ("packed", says(200, b"x", **{"Content-Encoding": "gzip"}), "in an encoding that nobody asked for."),
    ("a refusal", says(200, refusal()), "The time stamping authority refused: status 2."),
    ("an old answer", says(200, Stamp(TSA, TEXT).response()), "its nonce is not the one that was sent"),
    ("of another text", lambda asked: stamped(asked, Stamp(TSA, "x\n")), "over another text"),
]  # fmt: skip


@pytest.mark.parametrize("case", NOT_BETTER, ids=[case[0] for case in NOT_BETTER])
@pytest.mark.parametrize("roots", [(), certs(ROOT)], ids=["any", "trusted"])
def test_what_will_not_become_better_is_not_asked_again(
    case: tuple[str, Handler, str], roots: tuple[Certificate, ...]
) -> None:
    _, behaviour, why = case
    asked = Asked(behaviour)
    with pytest.raises(NoTokenError) as caught:
        asked.token(roots)
    assert "The time stamping authority tsa.invalid gave no token. " in caught.value.message
    assert why in caught.value.message
    assert "--tsa-url" in caught.value.remedy
    assert (len(asked.requests), asked.waits) == (1, [])


def test_a_stranger_is_found_out_where_the_certificates_are_known() -> None:
    def bought(request: httpx.Request) -> httpx.Response:
        return stamped(request, Stamp(BOUGHT, TEXT))

    assert verify_token(Asked(bought).token(), TEXT, certs(STRANGER))
    with pytest.raises(NoTokenError, match="No authority that is trusted vouches for it"):
        Asked(bought).token(certs(ROOT))


LATER: list[tuple[str, Handler, str]] = [
    ("an error", says(500), "HTTP status 500"),
    ("unavailable", says(503), "HTTP status 503"),
    ("too many", says(429), "HTTP status 429"),
    ("no connection", fails(httpx.ConnectError), "it failed"),
    ("slow", fails(httpx.ReadTimeout), "it failed"),
    ("cut off", fails(httpx.RemoteProtocolError), "it failed"),
]


@pytest.mark.parametrize("case", LATER, ids=[case[0] for case in LATER])
def test_what_may_become_better_is_asked_again_but_not_for_ever(case: tuple[str, Handler, str]) -> None:
    _, behaviour, why = case
    asked = Asked(behaviour)
    with pytest.raises(NoTokenError, match=why):
        asked.token()
    assert (len(asked.requests), asked.waits) == (3, [1.0, 2.0])
    asked = Asked(behaviour, behaviour, stamped)
    assert verify_token(asked.token(), TEXT, certs(ROOT))
    assert len({request.content for request in asked.requests}) == 1


def test_an_answer_that_does_not_end_is_given_up() -> None:
    clock = itertools.count(0.0, LIMIT / 3)

    class Dripping(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return itertools.repeat(b"0")

    asked = Asked(lambda _: httpx.Response(200, stream=Dripping()))
    with pytest.raises(NoTokenError, match="did not come to an end within 30 seconds"):
        asked.token(monotonic=lambda: next(clock))


@pytest.mark.parametrize("url", ["", "tsa.invalid", "ftp://tsa.invalid/", "https://", "http://[::1", "http://a\nb"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="COUNTERSIGN_TSA_URL"):
        Authority(url)


def test_the_client_waits_for_nothing_without_end_and_follows_nobody() -> None:
    with open_client() as client:
        assert not client.follow_redirects
        assert all(seconds is not None for seconds in client.timeout.as_dict().values())
