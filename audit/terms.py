"""From which leaf to which leaf of the log a key counts: the trail `@keys`, read with the places of its entries.

Pure. Without the log nobody can tell whether an entry came before its key was retired: `seq` orders one trail, and time
is the signer's own. In the log every entry has its place, and `@keys` has its own there.
"""

from __future__ import annotations

from collections.abc import Sequence

from .body import parse_body
from .canonical import parse_hex32
from .chain import START, Checked, Link, check_entry
from .entry import KEYS_TRAIL, Entry
from .errors import MalformedError, VerificationError
from .keys import IntroducedKey, PublicKey, introduced, introduced_log_key
from .kinds import Kind


class KeyTerms:
    """The keys that `@keys` introduced as far as it was read, and when each of them counts."""

    def __init__(self, origin: str, trusted: Sequence[PublicKey] | None = None) -> None:
        """Begin, with one of the keys `trusted` if they are given; else with whatever the log has for a first leaf."""
        self.ring: dict[bytes, IntroducedKey] = {}
        """All entry keys ever introduced, also those that are retired: ask `check_term` as well."""
        self.log_keys: dict[int, PublicKey] = {}
        """The log's keys, by the `seq` of the entry that introduced them."""
        self.link: Link = START
        self.leaf_index = -1
        """Where the last entry of `@keys` stands; -1 before the first."""
        self.revoked: dict[bytes, int] = {}
        """The leaf of the entry that revoked a key, by key id."""
        self.covered: dict[bytes, int] = {}
        """Set by who knows the cosigned heads: the size of the largest one from before a key was revoked."""
        self._origin = origin
        self._trusted = trusted
        self._introduced: dict[bytes, int] = {}
        self._ended: dict[bytes, tuple[int, str]] = {}

    def feed(self, entry: Entry, leaf_index: int) -> Checked:
        """Take over the next entry of `@keys`, which is this leaf, and return it.

        Raises VerificationError for one that does not belong there. The first is leaf 0 and introduces the key that
        signs it: what vouches for that key is the log.
        """
        first = self.link is START
        if first:
            self._begin(entry, leaf_index)
        checked = check_entry(entry, after=self.link, origin=self._origin, ring=self.ring)
        if checked.body.trail != KEYS_TRAIL:
            raise _failed(entry, leaf_index, "column", "stands where only entries of @keys may stand")
        if not checked.body.kind.startswith("key."):
            sentence = f"is of kind {checked.body.kind}; @keys holds events of keys only"
            raise _failed(entry, leaf_index, "authority", sentence)
        if leaf_index <= self.leaf_index:
            raise _failed(entry, leaf_index, "order", f"is leaf {leaf_index}, the one before it leaf {self.leaf_index}")
        if not first:
            self.check_term(checked, leaf_index)
        try:
            self._apply(checked, leaf_index)
        except MalformedError as error:
            raise _failed(entry, leaf_index, "key", f"cannot be judged: {error.message.rstrip('.')}") from error
        self.link, self.leaf_index = checked.link, leaf_index
        return checked

    def check_term(self, checked: Checked, leaf_index: int) -> bool:
        """Tell whether the key of a checked entry counted at the entry's leaf. Raises VerificationError otherwise.

        False where it was revoked from an earlier leaf on, but a head over the entry had been cosigned by then
        (`covered`): nobody made the entry up after the fact, and whether it is genuine is open.
        """
        entry = checked.entry
        if leaf_index <= self._introduced[entry.keyid]:
            raise _failed(
                entry,
                leaf_index,
                "key",
                f"is leaf {leaf_index}, and its key was introduced at leaf {self._introduced[entry.keyid]} only",
            )
        end, how = self._ended.get(entry.keyid, (leaf_index, ""))
        if leaf_index <= end:
            return True
        if leaf_index < self.covered.get(entry.keyid, 0):
            return False
        raise _failed(entry, leaf_index, "key", f"is leaf {leaf_index}, and its key {how}")

    def may_sign_head(self, key: PublicKey, tree_size: int) -> bool:
        """Tell whether nothing read so far says that this key of the log was given up before a head of this size."""
        return tree_size <= self._ended.get(key.keyid, (tree_size, ""))[0] + 1

    def may_sign_heads(self, key: PublicKey) -> bool:
        """Tell whether nothing read so far says that this key of the log is given up."""
        return key.keyid not in self._ended

    def _begin(self, entry: Entry, leaf_index: int) -> None:
        if self._trusted is not None and all(key.keyid != entry.keyid for key in self._trusted):
            raise _failed(
                entry,
                leaf_index,
                "key",
                "does not begin with the deployment key that you trust: another key wrote this trail, or the trust "
                "file is of another deployment",
            )
        try:
            key = introduced(parse_body(entry.body))
        except MalformedError as error:
            raise _failed(entry, leaf_index, "key", f"introduces no usable key: {error.message.rstrip('.')}") from error
        if key is None or key.public.keyid != entry.keyid:
            raise _failed(entry, leaf_index, "key", "does not introduce the key that signs it, as the first has to")
        if leaf_index != 0:
            raise _failed(
                entry, leaf_index, "key", f"is leaf {leaf_index}; @keys begins with the first leaf of the log, 0"
            )
        self.ring[entry.keyid] = key
        self._introduced[entry.keyid] = leaf_index

    def _apply(self, checked: Checked, leaf_index: int) -> None:
        body = checked.body
        if body.kind == Kind.KEY_INTRODUCED:
            self._introduce(checked, leaf_index)
        elif body.kind in (Kind.KEY_RETIRED, Kind.KEY_REVOKED):
            keyid = parse_hex32(body.detail.get("keyid"))
            if keyid not in self._introduced:
                raise MalformedError("It names a key that was never introduced.")
            self._end(keyid, body.kind, leaf_index, body.detail.get("since"))
        else:
            raise MalformedError(f"A {body.kind} is no event of a key that this version knows.")

    def _introduce(self, checked: Checked, leaf_index: int) -> None:
        key = introduced(checked.body)
        public = key.public if key is not None else introduced_log_key(checked.body)
        if self.link is START:
            return  # taken over before it was checked
        if public.keyid in self._introduced:
            raise MalformedError("It introduces a key that was introduced before.")
        self._introduced[public.keyid] = leaf_index
        if key is not None:
            self.ring[public.keyid] = key
        else:
            self.log_keys[checked.body.seq] = public

    def _end(self, keyid: bytes, kind: str, leaf_index: int, since: object) -> None:
        end, how = leaf_index, f"was retired at leaf {leaf_index}"
        if kind == Kind.KEY_REVOKED:
            if type(since) is not int or not 0 <= since <= leaf_index:
                raise MalformedError("It does not say since which leaf, up to its own, the key is revoked.")
            end, how = since - 1, f"is revoked since leaf {since}"
            self.revoked.setdefault(keyid, leaf_index)
        if keyid not in self._ended or end < self._ended[keyid][0]:
            self._ended[keyid] = end, how


def _failed(entry: Entry, leaf_index: int, check: str, sentence: str) -> VerificationError:
    return VerificationError(
        f"Entry {entry.seq} of trail {entry.trail!r} {sentence}.",
        check=check,
        trail=entry.trail,
        seq=entry.seq,
        table="entries",
        leaf_index=leaf_index,
    )
