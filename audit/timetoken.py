"""What a time token proves: that the text of a tree head existed when a time stamping authority says so (RFC 3161).

Pure: no network and no clock. A token is judged at its own time, so it goes on counting when the certificates behind it
have expired. Revocation is not looked at: a reader who has to know asks the authority.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import Hash
from cryptography.x509 import (
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    load_pem_x509_certificates,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import VerificationError as Unverified
from rfc3161_client import VerifierBuilder
from rfc3161_client.tsp import TimeStampTokenInfo

from .canonical import Json, format_time
from .errors import MalformedError, VerificationError
from .tokenform import SHA2, TokenForm, parse_token, read_safely

_MAX_PEM = 1 << 20
_OPENSSL_REASONS = re.compile(r'data: "Verify error: ([^"]*)"'), re.compile(r'reason: "([^"]*)"')


class TokenTime(NamedTuple):
    """When the text existed, in UTC to the second below, and the subject of the certificate that says so."""

    time: datetime
    authority: str

    def __str__(self) -> str:
        return f"{format_time(self.time)}, by {self.authority}"


def parse_authorities(pem: bytes) -> tuple[Certificate, ...]:
    """Return the certificates of a PEM file, among them a self-signed one, at which trust begins.

    Raises MalformedError otherwise. Others in the file help to get from a token's certificate to that one.
    """
    if len(pem) > _MAX_PEM:
        raise MalformedError(f"A file of {len(pem)} bytes; {_MAX_PEM} are accepted.")
    with read_safely("Not certificates in PEM"):
        found = tuple(dict.fromkeys(load_pem_x509_certificates(pem)))
        rooted = any(certificate.issuer == certificate.subject for certificate in found)
    if not rooted:
        raise MalformedError("There is no self-signed certificate in it, at which trust could begin.")
    return found


def verify_token(token: bytes, text: str, authorities: Sequence[Certificate], *, nonce: int | None = None) -> TokenTime:
    """Return the time that an authority, certified by one of `authorities`, vouches for `text` at.

    `token` is the whole response. The certificate in it has to be valid at that time, and for time stamping alone; with
    `nonce`, the token has to answer that very request. Raises VerificationError, `check` is "time", otherwise.
    """
    form, told = _opened(token, text, nonce)
    try:
        with read_safely("The signature of the time token cannot be checked"):
            signer = _signer(form)
            _verify(form, text, authorities)
            return TokenTime(told, signer.subject.rfc4514_string())
    except MalformedError as error:
        raise _wrong(error.message) from error


def check_token(token: bytes, text: str, *, nonce: int | None = None) -> datetime:
    """Return the time that a token claims for `text`, whoever signed it: not evidence, but what was asked for.

    Raises VerificationError, `check` is "time", for a refusal, another text, another nonce, or no token at all.
    """
    return _opened(token, text, nonce)[1]


def _opened(token: bytes, text: str, nonce: int | None) -> tuple[TokenForm, datetime]:
    try:
        form = parse_token(token)
        with read_safely("The time token cannot be read"):
            info = form.response.tst_info
            _check_answer(info, text, nonce)
            return form, info.gen_time
    except MalformedError as error:
        raise _wrong(error.message) from error


def _check_answer(info: TimeStampTokenInfo, text: str, nonce: int | None) -> None:
    imprint = info.message_imprint
    algorithm = SHA2.get(imprint.hash_algorithm)
    if algorithm is None:
        raise MalformedError("It is over a digest that is not SHA-256, SHA-384 or SHA-512.")
    digest = Hash(algorithm())
    digest.update(text.encode())
    if imprint.message != digest.finalize():
        raise MalformedError("It is over another text than that of this tree head.")
    if nonce is not None and info.nonce != nonce:
        raise MalformedError("It answers another request: its nonce is not the one that was sent.")


def _signer(form: TokenForm) -> Certificate:
    """Return the certificate that the token says it is signed with, fit for it by RFC 3161, 2.3 and 2.4.2.

    Whether it did sign, and who certified it, is left to the library. No other certificate of its serial number may be
    there, so that both look at the same one.
    """
    (claimed,) = form.response.signed_data.signer_infos
    found = [certificate for certificate in form.certificates if certificate.serial_number == claimed.serial_number]
    if len(found) != 1 or found[0].issuer != claimed.issuer:
        raise MalformedError("The certificate that it was signed with is not in it, or is not the only one.")
    signer = found[0]
    if form.signed_with not in SHA2:
        raise MalformedError("It is signed over a digest that is not SHA-256, SHA-384 or SHA-512.")
    if form.named is None or signer.fingerprint(form.named[1]) != form.named[0]:
        raise MalformedError("What was signed does not name the certificate that it is signed with.")
    try:
        usage = signer.extensions.get_extension_for_class(ExtendedKeyUsage)
    except ExtensionNotFound:
        usage = None
    if usage is None or not usage.critical or list(usage.value) != [ExtendedKeyUsageOID.TIME_STAMPING]:
        raise MalformedError("The certificate that it was signed with is not one for time stamping alone.")
    return signer


def _verify(form: TokenForm, text: str, authorities: Sequence[Certificate]) -> None:
    try:
        VerifierBuilder(roots=list(authorities)).build().verify_message(form.response, text.encode())
    except Unverified as error:
        found = filter(None, (pattern.search(str(error)) for pattern in _OPENSSL_REASONS))
        reason = next((match[1] for match in found), str(error)[:300])
        raise MalformedError(f"No authority that is trusted vouches for it: {reason.rstrip('.')}.") from error


def _wrong(sentence: str) -> VerificationError:
    return VerificationError(f"The time token does not count. {sentence}", check="time")


class Tokens(NamedTuple):
    """What the tokens of a log amount to: what is wrong with them, the line of a report's `trust`, and the last one.

    Without any there is no `newest`, and the status is "missing".
    """

    failures: tuple[VerificationError, ...]
    trust: dict[str, Json]
    newest: int | None


def check_tokens(
    tokens: Iterable[tuple[int, bytes]], texts: Mapping[int, str], authorities: Sequence[Certificate]
) -> Tokens:
    """Check stored tokens, (tree_size, token), against the texts of the log's signed heads by tree_size."""
    failures: list[VerificationError] = []
    good: dict[int, TokenTime] = {}
    for size, token in tokens:
        try:
            if size not in texts:
                raise _wrong("There is no tree head of its size.")
            good[size] = verify_token(token, texts[size], authorities)
        except VerificationError as error:
            sentence = f"Time token of the tree head of size {size}: {error.message}"
            failures.append(VerificationError(sentence, check=error.check, table="tokens"))
    if good:
        newest = max(good)
        detail = f"{len(good)} tree heads; the newest, of size {newest}, existed at {good[newest]}"
        return Tokens(tuple(failures), {"what": "time", "status": "checked", "detail": detail}, newest)
    detail = "no tree head has a time token that counts"
    return Tokens(tuple(failures), {"what": "time", "status": "missing", "detail": detail}, None)
