"""The form of an RFC 3161 time stamp response (section 2.4.2): what of it the library rfc3161-client does not show.

A response is untrusted bytes. Reading it says nothing of whether any of it is true; that is timetoken.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import Certificate, ObjectIdentifier
from rfc3161_client import TimeStampResponse, decode_timestamp_response

from .errors import MalformedError

MAX_TOKEN = 1 << 16
"""Bytes of a response: those of real authorities, with a chain of certificates, have a tenth of it."""
SHA2: dict[ObjectIdentifier, type[hashes.HashAlgorithm]] = {
    ObjectIdentifier("2.16.840.1.101.3.4.2.1"): hashes.SHA256,
    ObjectIdentifier("2.16.840.1.101.3.4.2.2"): hashes.SHA384,
    ObjectIdentifier("2.16.840.1.101.3.4.2.3"): hashes.SHA512,
}
_SIGNING_CERTIFICATE = ObjectIdentifier("1.2.840.113549.1.9.16.2.12")
_SIGNING_CERTIFICATE_V2 = ObjectIdentifier("1.2.840.113549.1.9.16.2.47")


# The parts of RFC 3161, RFC 5652 (CMS) and RFC 5035 (which certificate signed), only as far as they are asked for here.
# `list[TLV]` stands for a SEQUENCE of anything, and with a tag of its own for a SET in any order.
@asn1.sequence
class _Attribute:
    kind: ObjectIdentifier
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class _Signer:
    version: int
    issuer_and_serial: asn1.TLV
    digest_algorithm: list[asn1.TLV]
    attributes: Annotated[list[_Attribute] | None, asn1.Implicit(0)]
    signature_algorithm: asn1.TLV
    signature: bytes
    unsigned_attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]


@asn1.sequence
class _SignedData:
    version: int
    digest_algorithms: asn1.TLV
    content: asn1.TLV
    certificates: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    crls: Annotated[list[asn1.TLV] | None, asn1.Implicit(1)]
    signers: asn1.SetOf[_Signer]


@asn1.sequence
class _ContentInfo:
    kind: ObjectIdentifier
    content: Annotated[_SignedData, asn1.Explicit(0)]


@asn1.sequence
class _Response:
    status: asn1.TLV
    token: _ContentInfo


@asn1.sequence
class _Refusal:
    status: list[asn1.TLV]


@asn1.sequence
class _CertificateId:
    hash_algorithm: list[asn1.TLV] | None
    certificate_hash: bytes
    issuer_and_serial: list[asn1.TLV] | None


@asn1.sequence
class _SigningCertificate:
    certificates: list[_CertificateId]
    policies: list[asn1.TLV] | None


@dataclass(frozen=True, slots=True)
class TokenForm:
    """A response taken apart: as the library reads it, its certificates, and what the signature says of its own.

    `named` is the hash by which the signer names its certificate among what it signed, and with which algorithm; None
    where it names none. `signed_with` is the algorithm of the digest that is signed.
    """

    response: TimeStampResponse
    certificates: tuple[Certificate, ...]
    signed_with: ObjectIdentifier
    named: tuple[bytes, hashes.HashAlgorithm] | None


@contextmanager
def read_safely(what: str) -> Iterator[None]:
    """Turn whatever the libraries raise on untrusted bytes into MalformedError, with their reason.

    A panic of their Rust code is a BaseException of a class that cannot be imported, hence its name.
    """
    try:
        yield
    except MalformedError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise MalformedError(f"{what} ({str(error).rstrip('.')[:300] or type(error).__name__}).") from error


def parse_token(data: bytes) -> TokenForm:
    """Return the parts of a response that holds a token with one signer. Raises MalformedError for anything else.

    A refusal is one of those: its status and words are in the sentence.
    """
    if not 0 < len(data) <= MAX_TOKEN:
        raise MalformedError(f"A time stamp response of {len(data)} bytes; 1 to {MAX_TOKEN} are accepted.")
    with read_safely("These bytes are no RFC 3161 time stamp response"):
        refused = _refused(data)
    if refused:
        raise MalformedError(f"The time stamping authority refused: {refused}.")
    with read_safely("These bytes are no RFC 3161 time stamp response"):
        return _form(asn1.decode_der(_Response, data))


def _refused(data: bytes) -> str:
    """Return what a response without a token says; empty if there is one."""
    try:
        asn1.decode_der(_Refusal, data)
    except ValueError:  # more than a status, or nothing of the kind
        return ""
    response = decode_timestamp_response(data)
    words = ", ".join(text for text in response.status_string if text.isprintable())
    return f"status {response.status}{', ' if words else ''}{words[:300]}"


def _form(response: _Response) -> TokenForm:
    data = response.token.content
    # DER orders a SET, the library insists on it, and some authorities (openssl with `certs`) do not. Nothing signs the
    # order of the certificates.
    given = sorted({asn1.encode_der(certificate) for certificate in data.certificates or ()})
    data.certificates = [asn1.decode_der(asn1.TLV, certificate) for certificate in given] or None
    signers = data.signers.as_list()
    if len(signers) != 1:
        raise MalformedError(f"A time token has one signer; this one has {len(signers)}.")
    return TokenForm(
        decode_timestamp_response(asn1.encode_der(response)),
        tuple(asn1.decode_der(asn1.TLV, certificate).parse(Certificate) for certificate in given),
        signers[0].digest_algorithm[0].parse(ObjectIdentifier),
        _named(signers[0]),
    )


def _named(signer: _Signer) -> tuple[bytes, hashes.HashAlgorithm] | None:
    for attribute in signer.attributes or ():
        if attribute.kind in (_SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2):
            first = attribute.values.as_list()[0].parse(_SigningCertificate).certificates[0]
            return first.certificate_hash, _hash_of(attribute.kind, first.hash_algorithm)
    return None


def _hash_of(kind: ObjectIdentifier, algorithm: list[asn1.TLV] | None) -> hashes.HashAlgorithm:
    if kind == _SIGNING_CERTIFICATE:  # of RFC 2634: SHA-1, where only a second preimage would help anybody
        return hashes.SHA1()  # noqa: S303
    named = algorithm[0].parse(ObjectIdentifier) if algorithm else None
    return hashes.SHA256() if named is None else SHA2[named]()
