"""The checks every entry has to pass, whoever reads it: pure, and raising at the first that fails.

One entry is checked against the place it claims (the link before it), the origin, and the ring of keys that `@keys`
introduced. Order of the checks: signature first, so that every later sentence speaks of bytes that a key vouched for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .body import Body, parse_body
from .canonical import Json, parse
from .entry import GENESIS, KEYS_TRAIL, Entry, leaf_hash, pae, payload_digest
from .errors import MalformedError, VerificationError
from .keys import IntroducedKey, Ring, Trust, introduced
from .kinds import Kind

SALT_BYTES = 32
UNKNOWN = b""


class Link(NamedTuple):
    """A place in a chain: the last `seq` (0 before the first entry) and the leaf hash the next entry must name.

    With UNKNOWN for a hash the entry before is damaged; only a report that says so goes on there.
    """

    seq: int = 0
    leaf_hash: bytes = GENESIS


START = Link()


class Checked(NamedTuple):
    """An entry that passed: its body, and its payload where it has one."""

    entry: Entry
    body: Body
    payload: Json
    link: Link


def check_entry(entry: Entry, *, after: Link, origin: str, ring: Ring, erased: bool = False) -> Checked:
    """Return the entry with its body and payload parsed, having checked all that its bytes can prove.

    Of an `erased` entry the payload must be gone, and is None; whether it was rightly erased is for others to check.

    Raises VerificationError whose `check` is one of body, key, signature, authority, column, origin, sequence, chain,
    payload.
    """
    body = check_signed(entry, ring)
    _check_columns(entry, body)
    if body.origin != origin:
        raise _failed(entry, "origin", f"was signed for the log {body.origin!r}, not for {origin!r}: it was moved here")
    _check_place(entry, body, after)
    return Checked(entry, body, _check_payload(entry, body, erased=erased), Link(entry.seq, leaf_hash(entry.body)))


def check_signed(entry: Entry, ring: Ring) -> Body:
    """Return the entry's body, having checked that a key which may sign its kind signed exactly these bytes."""
    if None in (entry.trail, entry.seq, entry.body, entry.keyid, entry.signature):
        column = next(name for name in ("trail", "seq", "body", "keyid", "signature") if getattr(entry, name) is None)
        raise _failed(entry, "column", f"has no {column}", column)
    try:
        body = parse_body(entry.body)
    except MalformedError as error:
        raise _failed(entry, "body", f"has a body that is not an entry: {error.message}", column="body") from error
    key = ring.get(entry.keyid)
    if key is None:
        raise _failed(
            entry, "key", f"is signed with a key that @keys never introduced ({entry.keyid.hex()[:16]}…)", "keyid"
        )
    if not key.public.verifies(entry.signature, pae(entry.body)):
        raise _failed(entry, "signature", "does not match its signature: its body or signature was changed", "body")
    if not key.may_sign(body.kind):
        raise _failed(
            entry, "authority", f"is of kind {body.kind}, which its key may not sign ({', '.join(key.kinds)})"
        )
    return body


def go_on_behind(entry: Entry, error: VerificationError, after: Link) -> Link:
    """Return where a report goes on behind an entry that failed: one edit is not a finding for each later entry."""
    if error.check in ("sequence", "chain", "payload", "origin"):
        return after if entry.seq <= after.seq else Link(entry.seq, leaf_hash(entry.body))
    return Link(after.seq + 1, UNKNOWN)


def read_damaged(entry: Entry) -> Checked | None:
    """Return what a damaged entry still says, if its payload is the one it commits to.

    For reports only: one damaged entry is then one finding, and not one more for every row that it bound.
    """
    try:
        body = parse_body(entry.body)
        return Checked(entry, body, _check_payload(entry, body), Link(entry.seq, leaf_hash(entry.body)))
    except (MalformedError, VerificationError, TypeError):
        return None


def moved(entry: Entry, trail: str) -> VerificationError:
    """Return the failure for an entry that stands in the trail of another."""
    return _failed(entry, "column", f"stands in the trail {trail!r}", "trail")


def check_keys_trail(entries: Iterable[Entry], trust: Trust) -> tuple[dict[bytes, IntroducedKey], Link]:
    """Return the ring that the trail `@keys` builds, having checked it from the trusted deployment key on.

    Raises VerificationError when there is no such trail, or when it does not begin with a key that `trust` names.
    """
    ring: dict[bytes, IntroducedKey] = {}
    link = START
    for entry in entries:
        if link is START:
            ring = _root(entry, trust)
        checked = check_entry(entry, after=link, origin=trust.origin, ring=ring)
        if checked.body.trail != KEYS_TRAIL:
            raise _failed(entry, "column", "stands where only entries of @keys may stand", "trail")
        if not checked.body.kind.startswith("key."):
            raise _failed(
                entry, "authority", f"is of kind {checked.body.kind}; @keys holds events of keys only", "kind"
            )
        try:
            key = introduced(checked.body)
        except MalformedError as error:
            raise _failed(entry, "key", f"introduces no usable key: {error.message}", "body") from error
        if checked.body.kind != Kind.KEY_INTRODUCED:
            raise _failed(entry, "key", f"is a {checked.body.kind}, which this version cannot judge", "kind")
        if link is START and (key is None or key.public.keyid != entry.keyid):
            raise _failed(entry, "key", "does not introduce the key that signs it", "body")
        if key is not None:
            ring[key.public.keyid] = key
        link = checked.link
    if link is START:
        raise no_keys()
    return ring, link


def no_keys() -> VerificationError:
    """Return the failure of a database that has our schema and no `@keys`."""
    return VerificationError(
        "The trail @keys is empty: nothing says which keys sign here, so no entry can be believed.",
        check="key",
        trail=KEYS_TRAIL,
        table="entries",
        remedy="If this database was never migrated, run `countersign migrate`.",
    )


def _root(entry: Entry, trust: Trust) -> dict[bytes, IntroducedKey]:
    for key in trust.entry:
        if key.keyid == entry.keyid:
            return {key.keyid: IntroducedKey(key, ("*",))}
    raise _failed(
        entry,
        "key",
        "does not begin with the deployment key that you trust: another key wrote this trail, or the trust file is of "
        "another deployment",
        "keyid",
    )


def _check_columns(entry: Entry, body: Body) -> None:
    signed_columns = (body.trail, body.seq, body.kind, body.occurred_at)
    if (entry.trail, entry.seq, entry.kind, entry.occurred_at) == signed_columns:
        return
    for column in ("trail", "seq", "kind", "occurred_at"):
        stored, signed = getattr(entry, column), getattr(body, column)
        if stored != signed:
            raise _failed(entry, "column", f"says {column} {stored!s}, its signed body says {signed!s}", column)


def _check_place(entry: Entry, body: Body, after: Link) -> None:
    if body.seq <= after.seq:
        raise _failed(entry, "sequence", f"stands again after entry {after.seq}: a duplicate", "seq")
    if body.seq != after.seq + 1:
        missing = f"{after.seq + 1}" if body.seq == after.seq + 2 else f"{after.seq + 1} to {body.seq - 1}"
        raise _failed(entry, "sequence", f"follows entry {after.seq}: {missing} is missing", "seq")
    if after.leaf_hash not in (UNKNOWN, body.prev):
        raise _failed(
            entry, "chain", f"names another predecessor than entry {after.seq} as it stands: one of the two was put in"
        )


def _check_payload(entry: Entry, body: Body, *, erased: bool = False) -> Json:
    if erased:
        if body.payload_digest is None or entry.salt is not None or entry.data is not None:
            raise _failed(entry, "payload", "is marked as erased, but has no payload or still has it", None, "payloads")
        return None
    if body.payload_digest is None:
        if entry.salt is not None or entry.data is not None:
            raise _failed(entry, "payload", "has a payload that its body does not commit to", "data", "payloads")
        return None
    if entry.salt is None or entry.data is None:
        raise _failed(entry, "payload", "has lost its payload: the row is gone", None, "payloads")
    if len(entry.salt) != SALT_BYTES or payload_digest(entry.salt, entry.data) != body.payload_digest:
        raise _failed(entry, "payload", "has a payload whose salt or data was changed", "data", "payloads")
    if len(entry.data) != body.payload_size:
        raise _failed(entry, "payload", "has a payload of another size than its body says", "data", "payloads")
    try:
        return parse(entry.data)
    except MalformedError as error:
        raise _failed(
            entry, "payload", f"has a payload that is not canonical: {error.message}", "data", "payloads"
        ) from error


def _failed(
    entry: Entry, check: str, sentence: str, column: str | None = None, table: str = "entries"
) -> VerificationError:
    return VerificationError(
        f"Entry {entry.seq} of trail {entry.trail!r} {sentence}.",
        check=check,
        trail=entry.trail,
        seq=entry.seq,
        table=table,
        column=column,
    )
