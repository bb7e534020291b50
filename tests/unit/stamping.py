"""Time tokens made by hand: what `openssl ts` refuses to make, and moments other than now."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding

from tsa import Party

OID = x509.ObjectIdentifier
SHA1, SHA256 = OID("1.3.14.3.2.26"), OID("2.16.840.1.101.3.4.2.1")
SHA512 = OID("2.16.840.1.101.3.4.2.3")
DIGESTS: dict[OID, tuple[str, hashes.HashAlgorithm]] = {
    SHA1: ("sha1", hashes.SHA1()),  # noqa: S303 - to be refused
    SHA256: ("sha256", hashes.SHA256()),
    SHA512: ("sha512", hashes.SHA512()),
}
SIGNED_DATA, TST_INFO = OID("1.2.840.113549.1.7.2"), OID("1.2.840.113549.1.9.16.1.4")
CONTENT_TYPE, MESSAGE_DIGEST = OID("1.2.840.113549.1.9.3"), OID("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE, SIGNING_CERTIFICATE_V2 = (OID(f"1.2.840.113549.1.9.16.2.{last}") for last in (12, 47))
ECDSA = {SHA1: OID("1.2.840.10045.4.1"), SHA256: OID("1.2.840.10045.4.3.2"), SHA512: OID("1.2.840.10045.4.3.4")}
RSA = OID("1.2.840.113549.1.1.1")


@asn1.sequence
class Algorithm:
    oid: OID
    parameters: asn1.Null | None


@asn1.sequence
class Imprint:
    algorithm: Algorithm
    digest: bytes


@asn1.sequence
class TstInfo:
    version: int
    policy: OID
    imprint: Imprint
    serial: int
    time: asn1.GeneralizedTime
    nonce: int | None


@asn1.sequence
class EssCertId:
    digest: bytes


@asn1.sequence
class SigningCertificate:
    certificates: list[EssCertId]


@asn1.sequence
class Attribute:
    kind: OID
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class IssuerAndSerial:
    issuer: asn1.TLV
    serial: int


@asn1.sequence
class Signer:
    version: int
    sid: IssuerAndSerial
    digest: Algorithm
    attributes: Annotated[asn1.SetOf[Attribute], asn1.Implicit(0)]
    algorithm: Algorithm
    signature: bytes


@asn1.sequence
class Content:
    kind: OID
    data: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class SignedData:
    version: int
    digests: asn1.SetOf[Algorithm]
    content: Content
    certificates: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]
    signers: asn1.SetOf[Signer]


@asn1.sequence
class ContentInfo:
    kind: OID
    content: Annotated[SignedData, asn1.Explicit(0)]


@asn1.sequence
class Status:
    status: int


@asn1.sequence
class Response:
    status: Status
    token: ContentInfo | None


@dataclass(frozen=True)
class Stamp:
    """What a token says; `with_` makes one that says something else, signed as before."""

    signer: Party
    text: str
    time: datetime = datetime(2026, 3, 2, 12, 5, tzinfo=UTC)
    nonce: int | None = 7
    certificates: tuple[x509.Certificate, ...] | None = None
    imprint: OID = SHA256
    digest: OID = SHA256
    kind: OID = TST_INFO
    named: x509.Certificate | None = None
    named_by: OID | None = SIGNING_CERTIFICATE_V2
    status: int = 0
    copies: int = 1

    def with_(self, **changes: Any) -> Stamp:
        return replace(self, **changes)

    @property
    def info(self) -> bytes:
        digest = hashlib.new(DIGESTS[self.imprint][0], self.text.encode()).digest()
        imprint = Imprint(algorithm=_algorithm(self.imprint), digest=digest)
        policy, time = OID("1.3.6.1.4.1.32473.1"), asn1.GeneralizedTime(self.time)
        return asn1.encode_der(
            TstInfo(version=1, policy=policy, imprint=imprint, serial=1, time=time, nonce=self.nonce)
        )

    def response(self) -> bytes:
        given = (self.signer.certificate,) if self.certificates is None else self.certificates
        certificates = sorted(certificate.public_bytes(Encoding.DER) for certificate in given)
        data = SignedData(
            version=3,
            digests=asn1.SetOf([_algorithm(self.digest)]),
            content=Content(kind=self.kind, data=self.info),
            certificates=[_tlv(certificate) for certificate in certificates] or None,
            signers=asn1.SetOf([self._signed() for _ in range(self.copies)]),
        )
        return asn1.encode_der(
            Response(status=Status(status=self.status), token=ContentInfo(kind=SIGNED_DATA, content=data))
        )

    def _signed(self) -> Signer:
        hash_name, algorithm = DIGESTS[self.digest]
        named = (self.named or self.signer.certificate).fingerprint(
            hashes.SHA1() if self.named_by == SIGNING_CERTIFICATE else hashes.SHA256()  # noqa: S303 - RFC 2634
        )
        attributes = [
            (CONTENT_TYPE, asn1.encode_der(self.kind)),
            (MESSAGE_DIGEST, asn1.encode_der(hashlib.new(hash_name, self.info).digest())),
        ]
        if self.named_by is not None:
            attributes.append(
                (self.named_by, asn1.encode_der(SigningCertificate(certificates=[EssCertId(digest=named)])))
            )
        signed = asn1.SetOf([Attribute(kind=kind, values=asn1.SetOf([_tlv(value)])) for kind, value in attributes])
        certificate = self.signer.certificate
        sid = IssuerAndSerial(issuer=_tlv(certificate.issuer.public_bytes()), serial=certificate.serial_number)
        key, message = self.signer.key, asn1.encode_der(signed)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            how, signature = ECDSA[self.digest], key.sign(message, ec.ECDSA(algorithm))
        else:
            how, signature = RSA, key.sign(message, padding.PKCS1v15(), algorithm)
        return Signer(
            version=1,
            sid=sid,
            digest=_algorithm(self.digest),
            attributes=signed,
            algorithm=_algorithm(how),
            signature=signature,
        )


def _algorithm(oid: OID) -> Algorithm:
    return Algorithm(oid=oid, parameters=None)


def _tlv(data: bytes) -> asn1.TLV:
    return asn1.decode_der(asn1.TLV, data)


def refusal(status: int = 2) -> bytes:
    return asn1.encode_der(Response(status=Status(status=status), token=None))
