"""Asking a time stamping authority for a token over the text of a tree head (RFC 3161, section 3.4: HTTP).

A token is looked at before it is kept: it is over this text, it answers this request, and, where the authority's
certificates are known, it counts. Nothing here is waited for by whoever appends or seals: without an authority there is
less evidence, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from cryptography.x509 import Certificate
from rfc3161_client import TimeStampRequest, TimestampRequestBuilder
from rfc3161_client.base import HashAlgorithm

from .errors import AuditError, ConfigurationError, VerificationError
from .timetoken import check_token, verify_token
from .tokenform import MAX_TOKEN

if TYPE_CHECKING:
    import httpx

TRIES = 3
PATIENCE = 10.0
"""Seconds for a connection, and for every piece of an answer."""
LIMIT = 30.0
"""Seconds for a whole answer, however small the pieces in which it comes."""
_HEADERS = {
    "Content-Type": "application/timestamp-query",
    "Accept": "application/timestamp-reply",
    "Accept-Encoding": "identity",  # what is compressed may be larger than it looks
}


class NoTokenError(AuditError):
    """The time stamping authority gave no token that could be kept."""


class _TryAgainError(NoTokenError):
    """It may give one in a moment."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A time stamping authority: where it answers, and the certificates at which trust in it begins, if known.

    Raises ConfigurationError for an address that is none. Plain `http` will do: what comes is signed.
    """

    url: str
    certificates: tuple[Certificate, ...] = ()

    def __post_init__(self) -> None:
        import httpx  # noqa: PLC0415 - not for whoever asks nobody: it takes long

        try:
            url = httpx.URL(self.url)
            good = url.scheme in ("http", "https") and bool(url.host)
        except httpx.InvalidURL:
            good = False
        if not good:
            raise ConfigurationError(
                f"{self.url[:200]!r} is not the address of a time stamping authority.",
                remedy="Give one that begins with https:// or http://: COUNTERSIGN_TSA_URL or --tsa-url.",
            )


def token_request(text: str) -> TimeStampRequest:
    """Return a request for a token over SHA-256 of `text`, with a random nonce, that asks for the certificate too."""
    return TimestampRequestBuilder().data(text.encode()).hash_algorithm(HashAlgorithm.SHA256).build()


def open_client() -> httpx.Client:
    """Return a client for `request_token`, which does not follow a redirect. The caller closes it."""
    import httpx  # noqa: PLC0415 - as above

    return httpx.Client(timeout=PATIENCE, follow_redirects=False)


def request_token(
    client: httpx.Client,
    authority: Authority,
    text: str,
    *,
    wait: Callable[[float], object] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    make: Callable[[str], TimeStampRequest] = token_request,
) -> bytes:
    """Return the answer of the authority, a token over `text` that was checked; at most 64 KiB.

    Asks up to three times, with `wait` in between, where there is no answer or one that says to try later. Raises
    NoTokenError if that gave none, or at once for an answer that will not become better.
    """
    request = make(text)
    for turn in range(1, TRIES + 1):
        try:
            answer = _ask(client, authority, request.as_bytes(), monotonic)
            break
        except _TryAgainError:
            if turn == TRIES:
                raise
            wait(float(turn))
    try:
        if authority.certificates:
            verify_token(answer, text, authority.certificates, nonce=request.nonce)
        else:
            check_token(answer, text, nonce=request.nonce)
    except VerificationError as error:
        raise _none(authority, error.message) from error
    return answer


def _ask(client: httpx.Client, authority: Authority, request: bytes, monotonic: Callable[[], float]) -> bytes:
    import httpx  # noqa: PLC0415 - as above

    begun, answer = monotonic(), bytearray()
    try:
        with client.stream("POST", authority.url, content=request, headers=_HEADERS) as response:
            _check_status(authority, response)
            for piece in response.iter_raw():
                answer += piece
                if len(answer) > MAX_TOKEN:
                    raise _none(authority, f"It answered with more than {MAX_TOKEN} bytes.")
                if monotonic() - begun > LIMIT:
                    raise _none(authority, f"It did not come to an end within {LIMIT:.0f} seconds.", again=True)
    except httpx.HTTPError as error:
        raise _none(authority, f"{str(error).rstrip('.') or type(error).__name__}.", again=True) from error
    return bytes(answer)


def _check_status(authority: Authority, response: httpx.Response) -> None:
    status = response.status_code
    if status == HTTPStatus.OK and "Content-Encoding" not in response.headers:
        return
    what = "in an encoding that nobody asked for" if status == HTTPStatus.OK else f"with HTTP status {status}"
    if response.has_redirect_location:
        what += "; a redirect is not followed, since it would be another authority"
    later = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    raise _none(authority, f"It answered {what}.", again=later)


def _none(authority: Authority, why: str, *, again: bool = False) -> NoTokenError:
    import httpx  # noqa: PLC0415 - as above

    host = httpx.URL(authority.url).host
    return (_TryAgainError if again else NoTokenError)(
        f"The time stamping authority {host} gave no token. {why}",
        remedy="Sealing goes on without. Look after the authority, or name another: COUNTERSIGN_TSA_URL or --tsa-url.",
    )
