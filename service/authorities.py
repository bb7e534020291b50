"""The certificates of time stamping authorities, as an operator or a reader names them."""

from __future__ import annotations

from pathlib import Path

from cryptography.x509 import Certificate

from countersign.audit.errors import ConfigurationError, MalformedError
from countersign.audit.timetoken import parse_authorities


def read_authorities(path: Path) -> tuple[Certificate, ...]:
    """Return the certificates in a PEM file. Raises ConfigurationError, a sentence with its remedy, otherwise."""
    try:
        return parse_authorities(path.read_bytes())
    except MalformedError as error:
        raise ConfigurationError(
            f"{path} does not hold the certificates of a time stamping authority: {error.message}",
            remedy="Get the CA certificate from the authority, in PEM: COUNTERSIGN_TSA_CA or --tsa-ca.",
        ) from error
