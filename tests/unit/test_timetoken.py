"""A time token counts for one text, by an authority that is trusted, at the token's own time; nothing else does."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.errors import MalformedError, VerificationError
from countersign.audit.timetoken import TokenTime, check_token, check_tokens, parse_authorities, verify_token
from countersign.audit.tokenform import MAX_TOKEN, read_safely
from needs import needed
from tsa import BEGIN, END, Party, authority, new_key, stamper
from unit.stamping import ECDSA, SHA1, SHA256, SHA512, SIGNED_DATA, SIGNING_CERTIFICATE, Stamp, refusal

TEXT = "countersign.example/ward-3\n5\nt+/6wBz3HU/RVFaG8QQgCMb2xMQjvKl1JFol2AENc7s=\n"
NONCE = 7
TOLD = datetime(2026, 3, 2, 12, 5, tzinfo=UTC)
ROOT = authority("Our root")
MIDDLE = authority("Our middle", ROOT)
TSA = stamper(ROOT)
BELOW = stamper(MIDDLE)
STRANGER = authority("A stranger's root")
LIKE_OURS = authority("Our root")
STAMP = Stamp(TSA, TEXT)
GOOD = STAMP.response()
BOUGHT = stamper(STRANGER)
ALONE = stamper(None, subject="Our root")
NO_CA = stamper(stamper(ROOT, subject="No CA"))
LATER = stamper(ROOT, valid=(TOLD.replace(hour=13), END))
SINCE_EXPIRED = stamper(ROOT, valid=(BEGIN, TOLD.replace(hour=13)))
EXPIRED = stamper(ROOT, valid=(BEGIN, TOLD.replace(hour=11)))
RSA = stamper(ROOT, key=new_key("RSA"))


def certs(*parties: Party) -> tuple[Certificate, ...]:
    return tuple(party.certificate for party in parties)


def refusal_of(token: bytes, text: str = TEXT, roots: tuple[Certificate, ...] = certs(ROOT)) -> str:
    with pytest.raises(VerificationError) as caught:
        verify_token(token, text, roots, nonce=NONCE)
    assert caught.value.check == "time"
    return caught.value.message


def outcome(token: bytes) -> TokenTime | str:
    """Return what a token tells, or the check that it fails; nothing else may be raised."""
    try:
        return verify_token(token, TEXT, certs(ROOT), nonce=NONCE)
    except VerificationError as error:
        return error.check


COUNTS: dict[str, tuple[Stamp, tuple[Certificate, ...]]] = {
    "as asked": (STAMP, certs(ROOT)),
    "RSA": (Stamp(RSA, TEXT), certs(ROOT)),
    "SHA-512": (STAMP.with_(imprint=SHA512, digest=SHA512), certs(ROOT)),
    "its certificate named as RFC 2634 does": (STAMP.with_(named_by=SIGNING_CERTIFICATE), certs(ROOT)),
    "the root is in the token": (STAMP.with_(certificates=certs(TSA, ROOT)), certs(ROOT)),
    "a stranger's root is in the token": (STAMP.with_(certificates=certs(TSA, STRANGER)), certs(ROOT)),
    "a certificate between, in the token": (
        Stamp(BELOW, TEXT, certificates=certs(MIDDLE, BELOW)),
        certs(STRANGER, ROOT),
    ),
    "a certificate between, from outside": (Stamp(BELOW, TEXT), certs(MIDDLE, ROOT)),
    "a certificate that has expired since": (Stamp(SINCE_EXPIRED, TEXT), certs(ROOT)),
}


@pytest.mark.parametrize("case", COUNTS)
def test_it_counts_at_its_own_time(case: str) -> None:
    stamp, roots = COUNTS[case]
    told = verify_token(stamp.response(), TEXT, roots, nonce=NONCE)
    assert told == TokenTime(TOLD, "CN=Our TSA")
    assert str(told) == "2026-03-02T12:05:00.000000Z, by CN=Our TSA"


@pytest.mark.parametrize("case", COUNTS)
def test_openssl_agrees_once_it_is_told_the_time_to_judge_at(case: str, tmp_path: Path) -> None:
    stamp, roots = COUNTS[case]
    (tmp_path / "text").write_text(TEXT)
    (tmp_path / "token").write_bytes(stamp.response())
    (tmp_path / "ca").write_bytes(b"".join(root.public_bytes(Encoding.PEM) for root in roots))
    words = [needed("openssl"), "ts", "-verify", "-data", "text", "-in", "token", "-CAfile", "ca"]
    at = ["-attime", str(int(TOLD.timestamp()))]
    done = subprocess.run([*words, *at], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Verification: OK\n"), done.stderr
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (stamp.signer is not SINCE_EXPIRED)


def test_the_nonce_matters_only_to_whoever_sent_it() -> None:
    assert verify_token(STAMP.with_(nonce=None).response(), TEXT, certs(ROOT)).time == TOLD


def usage(*kinds: object, critical: bool = True) -> Stamp:
    return Stamp(stamper(ROOT, usage=kinds, critical=critical), TEXT)  # type: ignore[arg-type]


_FOR_TIME, _FOR_CODE = ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING
_TWIN = stamper(STRANGER, serial=TSA.certificate.serial_number)
WRONG: dict[str, tuple[bytes, str]] = {
    "another text": (STAMP.with_(text=TEXT + "\n").response(), "over another text"),
    "another nonce": (STAMP.with_(nonce=NONCE + 1).response(), "its nonce is not the one that was sent"),
    "no nonce": (STAMP.with_(nonce=None).response(), "its nonce is not the one that was sent"),
    "another CA": (Stamp(BOUGHT, TEXT).response(), "unable to get local issuer certificate"),
    "another CA, in the token": (
        Stamp(BOUGHT, TEXT, certificates=certs(BOUGHT, STRANGER)).response(),
        "self-signed certificate in certificate chain",
    ),
    "another CA of the same name": (
        Stamp(stamper(LIKE_OURS), TEXT).response(),
        "No authority that is trusted vouches for it",
    ),
    "self-signed": (Stamp(stamper(None), TEXT).response(), "self-signed certificate"),
    "self-signed, by the root's name": (Stamp(ALONE, TEXT).response(), "No authority that is trusted"),
    "from somebody who is no CA": (
        Stamp(NO_CA, TEXT, certificates=certs(NO_CA)).response(),
        "unable to get local issuer certificate",
    ),
    "a certificate without usage": (usage().response(), "not one for time stamping alone"),
    "of another usage": (usage(_FOR_CODE).response(), "not one for time stamping alone"),
    "of that usage and another": (usage(_FOR_TIME, _FOR_CODE).response(), "not one for time stamping alone"),
    "usage not critical": (usage(_FOR_TIME, critical=False).response(), "not one for time stamping alone"),
    "expired": (Stamp(EXPIRED, TEXT).response(), "certificate has expired"),
    "not yet valid": (Stamp(LATER, TEXT).response(), "certificate is not yet valid"),
    "without its certificate": (STAMP.with_(certificates=()).response(), "is not in it, or is not the only one"),
    "with another's certificate": (STAMP.with_(certificates=certs(BOUGHT)).response(), "is not in it"),
    "a second one of that serial number": (
        STAMP.with_(certificates=certs(TSA, _TWIN)).response(),
        "is not the only one",
    ),
    "signed with another key": (
        Stamp(Party(TSA.certificate, new_key()), TEXT).response(),
        "signature failure",
    ),
    "its certificate not named": (STAMP.with_(named_by=None).response(), "does not name the certificate"),
    "another certificate named": (STAMP.with_(named=RSA.certificate).response(), "does not name the certificate"),
    "SHA-1 of the text": (STAMP.with_(imprint=SHA1).response(), "over a digest that is not SHA-256"),
    "SHA-1 signed": (STAMP.with_(digest=SHA1).response(), "signed over a digest that is not SHA-256"),
    "not a time that is signed": (STAMP.with_(kind=SIGNED_DATA).response(), "cannot be read"),
    "two signatures": (STAMP.with_(copies=2).response(), "has one signer; this one has 2"),
    "none": (STAMP.with_(copies=0).response(), "has one signer; this one has 0"),
    "refused": (refusal(), "The time stamping authority refused: status 2."),
    "granted, without a token": (refusal(0), "The time stamping authority refused: status 0."),
    "refused, with a token": (STAMP.with_(status=2).response(), "PKIStatus is not GRANTED"),
    "granted, changed": (STAMP.with_(status=1).response(), "PKIStatus is not GRANTED"),
    "empty": (b"", "response of 0 bytes; 1 to 65536 are accepted"),
    "huge": (GOOD + bytes(MAX_TOKEN), "1 to 65536 are accepted"),
    "more behind it": (GOOD + b"\0", "no RFC 3161 time stamp response"),
    "no DER": (b"token", "no RFC 3161 time stamp response"),
    "a certificate": (TSA.certificate.public_bytes(Encoding.DER), "no RFC 3161 time stamp response"),
}


@pytest.mark.parametrize("case", WRONG)
def test_it_does_not_count(case: str) -> None:
    token, says = WRONG[case]
    message = refusal_of(token)
    assert message.startswith("The time token does not count. ")
    assert says in message
    assert message.endswith(".")
    assert not message.endswith("..")


def test_every_beginning_of_a_token_is_refused() -> None:
    for length in range(len(GOOD)):
        refusal_of(GOOD[:length])


def test_whatever_byte_is_flipped_it_is_refused_or_says_the_same() -> None:
    """Nothing depends on two version numbers and on how the signer names its algorithm: its key has but one."""
    kept = set()
    for at in range(len(GOOD)):
        for bit in (0x01, 0x80):
            token = GOOD[:at] + bytes([GOOD[at] ^ bit]) + GOOD[at + 1 :]
            if outcome(token) != "time":
                assert outcome(token) == TokenTime(TOLD, "CN=Our TSA")
                kept.add(at)
    algorithm = asn1.encode_der(ECDSA[SHA256])
    begin = GOOD.rindex(algorithm)
    assert len(kept - set(range(begin, begin + len(algorithm)))) == 2, kept


@given(st.binary(max_size=300))
def test_garbage_is_refused_in_words(token: bytes) -> None:
    refusal_of(token)


@given(st.data())
def test_a_mangled_token_is_refused_or_says_the_same(data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(GOOD) - 1))
    end = data.draw(st.integers(begin, min(begin + 40, len(GOOD))))
    token = GOOD[:begin] + data.draw(st.binary(max_size=40)) + GOOD[end:]
    assert outcome(token) in ("time", TokenTime(TOLD, "CN=Our TSA"))


def test_a_panic_of_a_library_is_a_refusal_too_and_an_interruption_stays_one() -> None:
    class PanicException(BaseException):
        pass

    with pytest.raises(MalformedError, match=r"^Not read \(called unwrap\)\.$"), read_safely("Not read"):
        raise PanicException("called unwrap")
    with pytest.raises(KeyboardInterrupt), read_safely("Not read"):
        raise KeyboardInterrupt


def test_without_certificates_only_text_and_nonce_are_held_against_it() -> None:
    stranger = Stamp(BOUGHT, TEXT).response()
    assert check_token(stranger, TEXT, nonce=NONCE) == TOLD
    for token, text, nonce in ((stranger, TEXT + "x", NONCE), (stranger, TEXT, 8), (refusal(), TEXT, None)):
        with pytest.raises(VerificationError) as caught:
            check_token(token, text, nonce=nonce)
        assert caught.value.check == "time"


def test_the_certificates_that_are_trusted() -> None:
    assert parse_authorities(MIDDLE.pem + ROOT.pem + ROOT.pem) == certs(MIDDLE, ROOT)


@pytest.mark.parametrize(
    ("pem", "says"),
    [
        (b"", "Not certificates in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "Not certificates in PEM"),
        (MIDDLE.pem, "no self-signed certificate"),
        (bytes(1 << 21), "1048576 are accepted"),
    ],
)
def test_what_cannot_be_trusted(pem: bytes, says: str) -> None:
    with pytest.raises(MalformedError, match=says):
        parse_authorities(pem)


def test_the_tokens_of_a_log() -> None:
    texts = {5: TEXT, 9: "another\n", 12: "a third\n"}
    good = (5, GOOD), (9, STAMP.with_(text="another\n").response())
    found = check_tokens(good, texts, certs(ROOT))
    assert (found.failures, found.newest) == ((), 9)
    assert found.trust == {
        "what": "time",
        "status": "checked",
        "detail": "2 tree heads; the newest, of size 9, existed at 2026-03-02T12:05:00.000000Z, by CN=Our TSA",
    }
    found = check_tokens([*good, (12, GOOD), (13, GOOD)], texts, certs(ROOT))
    assert found.newest == 9
    assert [(error.check, error.table) for error in found.failures] == [("time", "tokens")] * 2
    assert found.failures[0].message == (
        "Time token of the tree head of size 12: "
        "The time token does not count. It is over another text than that of this tree head."
    )
    assert "There is no tree head of its size." in found.failures[1].message
    found = check_tokens([], texts, certs(ROOT))
    assert (found.failures, found.newest, found.trust["status"]) == ((), None, "missing")
