"""A time stamping authority of our own: its certificates, `openssl ts` to answer for it, and HTTP before it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from needs import needed

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
STAMPING = (ExtendedKeyUsageOID.TIME_STAMPING,)
BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC)
CONFIG = """
[tsa]
default_tsa = ours
[ours]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.32473.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = {named_by}
{certs}
"""


class Party(NamedTuple):
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: Key

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def new_key(kind: str = "P-256") -> Key:
    return ec.generate_private_key(ec.SECP256R1()) if kind == "P-256" else rsa.generate_private_key(65537, 2048)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def authority(subject: str, issuer: Party | None = None, *, key: Key | None = None) -> Party:
    """Return a CA, self-signed unless an issuer is given."""
    key = key or new_key()
    builder = _builder(subject, issuer, key, (BEGIN, END), None)
    basic = x509.BasicConstraints(ca=True, path_length=None)
    return Party(builder.add_extension(basic, critical=True).sign(issuer.key if issuer else key, hashes.SHA256()), key)


def stamper(
    issuer: Party | None,
    *,
    subject: str = "Our TSA",
    key: Key | None = None,
    usage: Sequence[x509.ObjectIdentifier] = STAMPING,
    critical: bool = True,
    valid: tuple[datetime, datetime] = (BEGIN, END),
    serial: int | None = None,
) -> Party:
    """Return a certificate for time stamping, or one that nearly is."""
    key = key or new_key()
    builder = _builder(subject, issuer, key, valid, serial)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=critical)
    return Party(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


def _builder(
    subject: str, issuer: Party | None, key: Key, valid: tuple[datetime, datetime], serial: int | None
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(issuer.certificate.subject if issuer else name(subject))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )


@dataclass(frozen=True)
class OpensslTsa:
    """An authority that `openssl ts` answers for, in a folder of its own."""

    folder: Path
    ca: Party
    tsa: Party
    openssl: str

    @classmethod
    def begin(
        cls, folder: Path, *, kind: str = "P-256", named_by: str = "sha256", certs: Sequence[x509.Certificate] = ()
    ) -> OpensslTsa:
        ca = authority("Our root", key=new_key(kind))
        tsa = stamper(ca, key=new_key(kind))
        folder.mkdir(exist_ok=True)
        ours = cls(folder, ca, tsa, needed("openssl"))
        ours._write(named_by, [*certs, ca.certificate] if certs else [])
        return ours

    def _write(self, named_by: str, certs: Sequence[x509.Certificate]) -> None:
        pem = PrivateFormat.PKCS8
        (self.folder / "tsa.pem").write_bytes(self.tsa.pem)
        (self.folder / "tsa.key").write_bytes(self.tsa.key.private_bytes(Encoding.PEM, pem, NoEncryption()))
        (self.folder / "ca.pem").write_bytes(self.ca.pem)
        (self.folder / "chain.pem").write_bytes(b"".join(cert.public_bytes(Encoding.PEM) for cert in certs))
        (self.folder / "serial").write_text("01\n")
        config = CONFIG.format(named_by=named_by, certs="certs = chain.pem" if certs else "")
        (self.folder / "tsa.cnf").write_text(config)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def answer(self, query: bytes) -> bytes:
        """Return the response to a request, a refusal if it is none."""
        (self.folder / "query.tsq").write_bytes(query)
        words = ["ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq"]
        return subprocess.run([self.openssl, *words], cwd=self.folder, capture_output=True, check=True).stdout


class Reply(NamedTuple):
    """What an HTTP server says."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/timestamp-reply"),)


@dataclass
class HttpTsa:
    """An HTTP server that answers each request with `behave`, and remembers what it was asked."""

    behave: Callable[[bytes], Reply]
    url: str = ""
    asked: list[bytes] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """For a `behave` that waits: set at the end of the test at the latest."""


@contextmanager
def served(behave: Callable[[bytes], Reply]) -> Iterator[HttpTsa]:
    """Yield an authority that answers on a port of this machine."""
    tsa = HttpTsa(behave)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            tsa.asked.append(query)
            reply = tsa.behave(query)
            self.send_response(reply.status)
            for key, value in reply.headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it is called with
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tsa.url = f"http://127.0.0.1:{server.server_port}/tsr"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield tsa
        finally:
            tsa.released.set()
            server.shutdown()
            thread.join()
