"""The command `countersign verify-bundle`: an evidence file, checked on any machine with nothing but keys."""

from __future__ import annotations

from pathlib import Path

from countersign.audit.errors import ConfigurationError, MalformedError
from countersign.audit.note import VerifierKey
from countersign.audit.treehead import LogTrust
from countersign.audit.verify import Report
from countersign.audit.verify_bundle import verify_bundle

from .authorities import read_authorities


def check_bundle(
    file: Path, vkeys: tuple[str, ...], witnesses: tuple[str, ...], quorum: int | None, tsa_ca: Path | None = None
) -> Report:
    """Return the report on a bundle. All witnesses given have to have cosigned, unless `quorum` says how many.

    With `tsa_ca`, a PEM file, there has to be a time token of the tree head that it vouches for. Raises
    ConfigurationError, a sentence with its remedy, for keys that cannot be trusted so and for what is no bundle.
    """
    trust = _trust(vkeys, witnesses, quorum)
    authorities = read_authorities(tsa_ca) if tsa_ca else ()
    try:
        return verify_bundle(file, trust, authorities)
    except MalformedError as error:
        raise ConfigurationError(
            f"{file} is not a bundle that can be judged: {error.message}",
            remedy=error.remedy
            or "Ask for the file again, as it was exported, and compare its SHA-256 with the sender's.",
        ) from error


def _trust(vkeys: tuple[str, ...], witnesses: tuple[str, ...], quorum: int | None) -> LogTrust | None:
    if not vkeys:
        if witnesses or quorum is not None:
            raise ConfigurationError(
                "Witnesses vouch for the tree head of a log, and no log was named.",
                remedy="Give the log's verifier key as well: --vkey KEY.",
            )
        return None
    if quorum is not None and quorum > len(witnesses):
        raise ConfigurationError(
            f"{len(witnesses)} witnesses cannot make a quorum of {quorum}.",
            remedy="Give the key of each witness: --witness KEY.",
        )
    keys = [_key("--vkey", text) for text in vkeys]
    others = witness_keys(witnesses)
    return LogTrust(tuple(keys), others, len(others) if quorum is None else quorum)


def witness_keys(texts: tuple[str, ...]) -> tuple[VerifierKey, ...]:
    """Return the verifier keys of witnesses. Raises ConfigurationError for what is none."""
    return tuple(_key("--witness", text) for text in texts)


def _key(option: str, text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text.strip())
    except MalformedError as error:
        raise ConfigurationError(
            f"{option} {text[:400]!r} is no verifier key: {error.message}",
            remedy="A verifier key looks like name+0123abcd+base64; get it from its owner, not from the bundle.",
        ) from error


def log_trust(vkeys: tuple[str, ...], witnesses: tuple[str, ...], quorum: int | None) -> LogTrust:
    """Return the trust in a log that has to be named. Raises ConfigurationError for keys that cannot be trusted so."""
    trust = _trust(vkeys, witnesses, quorum)
    if trust is None:
        raise ConfigurationError("No log was named.", remedy="Give its verifier key: --vkey KEY.")
    return trust
