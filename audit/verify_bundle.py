"""The verdict on a bundle, from the keys that its reader was given alone (docs/formats.md).

Pure: no database, no network, no clock. The log's key vouches for the tree head, the head for every entry by an
inclusion proof, the first leaf of the log for the deployment key, and `@keys` from there on for every other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.x509 import Certificate

from .archive import Archive, open_archive
from .authority import Authority, say_authority
from .bundle import (
    EXPORTED_PROOF,
    HEAD,
    HEAD_TIME,
    KEYS,
    MANIFEST,
    README,
    REQUIRED,
    SYSTEM,
    TRAIL,
    Manifest,
    Place,
    file_failed,
    is_of_manifest,
    log_key_files,
    read_manifest,
    read_places,
)
from .canonical import Json, format_time
from .chain import START, UNKNOWN, Checked, Link, check_entry, go_on_behind
from .entry import KEYS_TRAIL, SYSTEM_TRAIL
from .erasures import Erasures
from .errors import MalformedError, VerificationError
from .kinds import Kind
from .logkeys import Handover, walk
from .logproof import MAX_PROOF, LogProof, parse_log_proof, verify_log_proof
from .merkle import verify_inclusion
from .note import MAX_NOTE, VerifierKey, parse_note
from .standing import Directory
from .terms import KeyTerms
from .timetoken import verify_token
from .tokenform import MAX_TOKEN
from .treehead import LogTrust, TreeHead, open_tree_head
from .verify import Report, TrailCheck


def verify_bundle(source: Path | bytes, trust: LogTrust | None, authorities: Sequence[Certificate] = ()) -> Report:
    """Return the report on a bundle, a file or its bytes, held against the keys of log and witnesses in `trust`.

    Without `trust` everything is checked against the head that the bundle shows, and the verdict is at best
    indeterminate; so it is where fewer witnesses cosigned than `trust` asks for, or where there are `authorities`,
    certificates of time stamping authorities, and no time token of the head. Raises MalformedError, with the
    reason, for what is no bundle of this spec or could be read in two ways, and ConfigurationError for a file that
    cannot be read. Takes memory for the longest line, the keys, and a few bytes for each row that the trail binds.
    """
    with open_archive(source) as archive:
        return _Verification(archive, read_manifest(archive), trust, authorities).run()


class _Verification:
    """One bundle under verification. The steps in `run` build on one another."""

    def __init__(
        self, archive: Archive, manifest: Manifest, trust: LogTrust | None, authorities: Sequence[Certificate]
    ) -> None:
        self._report = Report(indeterminate=trust is None)
        self._archive = archive
        self._manifest = manifest
        self._trust = trust
        self._authorities = authorities
        self._timed = False
        self._terms = KeyTerms(manifest.origin)
        self._erasures = Erasures()
        self._directory = Directory()
        self._signers: list[VerifierKey] = []
        self._handed_over: dict[int, int] = {}

    def run(self) -> Report:
        try:
            self._check_files()
            head = self._open_head()
            self._check_time(head)
            self._check_keys(head)
            self._check_signers()
            self._check_system(head)
            self._check_trail(head)
            for failure in self._erasures.check():
                self._report.add(failure)
        except VerificationError as error:
            self._report.add(error)  # of the kind behind which there is nothing to go on with
        self._list_rest()
        return self._report

    def _check_files(self) -> None:
        """Hold the files against the manifest. Raises VerificationError if one cannot be read at all."""
        names, listed = set(self._archive.names), self._manifest.files
        for name in sorted(names - listed.keys() - {MANIFEST}):
            if not is_of_manifest(name):
                self._report.add(file_failed(name, f"The file {name} is not listed in {MANIFEST}: it was put in."))
        for name in sorted(names & listed.keys()):
            try:
                digest = self._archive.digest(name)
            except MalformedError as error:
                raise file_failed(name, error.message) from error
            if digest != listed[name]:
                self._report.add(file_failed(name, f"The file {name} is not the one that {MANIFEST} lists."))
        for name in sorted((listed.keys() | set(REQUIRED)) - names):
            raise file_failed(name, f"The file {name} is missing.")
        for name in REQUIRED:
            if name not in listed:
                raise file_failed(name, f"The file {name} is not listed in {MANIFEST}.")

    def _open_head(self) -> TreeHead:
        """Return the head that everything is held against. Raises VerificationError if it is not to be believed."""
        trust, origin = self._trust, self._manifest.origin
        if trust is not None and trust.origin != origin:
            sentence = f"The bundle is of the log {origin!r}; the key that you gave is of {trust.origin!r}."
            raise VerificationError(sentence, check="origin", table=MANIFEST)
        try:
            note = parse_note(self._archive.read(HEAD, MAX_NOTE))
            if trust is None:
                self._report.say("log key", "not checked", "no key of the log was given: --vkey")
                head = TreeHead.parse(note.text)
            else:
                walked = walk(trust, self._handovers())
                self._trust, self._handed_over = walked.trust, walked.leaves
                opened = open_tree_head(note, replace(walked.trust, quorum=0))
                head = self._report.tree_head = opened.head
                self._signers = self._report.weigh(head, trust, opened.signatures)
        except MalformedError as error:
            raise VerificationError(f"The tree head is none: {error.message}", check="note", table=HEAD) from error
        except VerificationError as error:
            error.table = error.table or HEAD
            raise
        if head.origin != origin:
            sentence = f"The bundle is of the log {origin!r}, its tree head of {head.origin!r}."
            raise VerificationError(sentence, check="origin", table=HEAD)
        return head

    def _handovers(self) -> Iterator[Handover]:
        """Yield the files `log-keys/`, by `seq`, each with its entry of `@keys`."""
        files = log_key_files(self._archive)
        if not files:
            return
        for place in read_places(self._archive, KEYS, KEYS_TRAIL, lambda _: None):
            if (name := files.pop(place.entry.seq, None)) is not None:
                yield Handover(place.entry, self._proof(name))
        if files:
            name = min(files.values())
            raise file_failed(name, f"The file {name} is of an entry of @keys that is not in {KEYS.entries}.")

    def _proof(self, name: str) -> LogProof:
        try:
            return parse_log_proof(self._archive.read(name, MAX_PROOF))
        except MalformedError as error:
            raise file_failed(name, f"The file {name} is no proof: {error.message}") from error

    def _check_time(self, head: TreeHead) -> None:
        """Check the time token of the head, where authorities were given."""
        self._timed = bool(self._authorities)
        if not self._timed:
            return
        if HEAD_TIME not in self._archive.names:
            self._report.indeterminate = True
            self._report.say("time", "missing", f"there is no {HEAD_TIME}, a time token of the tree head")
            return
        try:
            token = self._archive.read(HEAD_TIME, MAX_TOKEN)
            self._report.say(
                "time", "checked", f"the tree head existed at {verify_token(token, head.text, self._authorities)}"
            )
        except MalformedError as error:
            self._report.add(file_failed(HEAD_TIME, error.message))
        except VerificationError as error:
            error.table = HEAD_TIME
            self._report.add(error)

    def _check_keys(self, head: TreeHead) -> None:
        """Read `@keys`. Raises VerificationError at the first entry that does not belong: all else rests on it."""
        self._report.counts.trails += 1
        for place in read_places(self._archive, KEYS, KEYS_TRAIL, self._report.add):
            self._report.counts.entries += 1
            leaf_index = self._included(place, head)
            self._terms.feed(place.entry, leaf_index)
            if self._handed_over.get(place.entry.seq, leaf_index) != leaf_index:
                raise _at(place, "inclusion", "is another leaf under the head that hands over to its key")
        if self._terms.link is START:
            sentence = "The bundle shows no entry of @keys: nothing says which keys sign."
            raise VerificationError(sentence, check="key", trail=KEYS_TRAIL, table=KEYS.entries)

    def _check_signers(self) -> None:
        """Raise VerificationError if no signer of the head is a key of the log that `@keys` has not given up."""
        if self._trust is not None and not any(self._terms.may_sign_heads(key.public) for key in self._signers):
            raise VerificationError(
                "The tree head is signed by a key of the log that @keys has retired or revoked below that very head.",
                check="key",
                table=HEAD,
            )

    def _check_trail(self, head: TreeHead) -> None:
        trail, report = self._manifest.trail, self._report
        check = TrailCheck(trail, origin=self._manifest.origin, ring=self._terms.ring, report=report)
        authority = Authority(self._manifest.origin, trail, self._directory, report, lists=True)
        leaf_index, begun = -1, report.counts.entries
        last: tuple[Place, Checked] | None = None
        for place in read_places(self._archive, TRAIL, trail, report.add):
            checked = check.feed(place.entry, erased=place.erased is not None)
            last = checked and (place, checked)
            if checked is not None:
                leaf_index = self._settle(place, checked, head, leaf_index)
            authority.feed(checked, _leaf_of(place))
        authority.tell()
        say_authority(report)
        count = report.counts.entries - begun
        if count != self._manifest.entries:
            sentence = f"The bundle has {count} entries of its trail; {MANIFEST} says {self._manifest.entries}."
            report.add(file_failed(TRAIL.entries, sentence, trail))
        if last is not None:
            self._check_export(*last)
        elif not count:
            sentence = f"The bundle shows no entry of trail {trail!r}."
            report.add(VerificationError(sentence, check="export", trail=trail, table=TRAIL.entries))

    def _check_system(self, head: TreeHead) -> None:
        """Check the entries of `@system` that are shown: each by itself, and their chain where they are neighbours."""
        link, leaf_index, counts = START, -1, self._report.counts
        for place in read_places(self._archive, SYSTEM, SYSTEM_TRAIL, self._report.add):
            entry, erased = place.entry, place.erased is not None
            counts.trails += link is START
            counts.entries += 1
            counts.payloads += entry.data is not None
            counts.erased += erased
            after = link if entry.seq <= link.seq + 1 else Link(entry.seq - 1, UNKNOWN)
            try:
                if entry.trail != SYSTEM_TRAIL:
                    raise _at(place, "column", f"stands where only entries of {SYSTEM_TRAIL} may stand")
                checked = check_entry(
                    entry, after=after, origin=self._manifest.origin, ring=self._terms.ring, erased=erased
                )
                link = checked.link
            except VerificationError as error:
                self._report.add(error)
                link = go_on_behind(entry, error, after)
            else:
                leaf_index = self._settle(place, checked, head, leaf_index)
                for failure in self._directory.feed(checked, _leaf_of(place)):
                    self._report.add(failure)

    def _settle(self, place: Place, checked: Checked, head: TreeHead, before: int) -> int:
        """Check where in the log an entry stands that passed by itself, and return it; what fails is reported."""
        try:
            leaf_index = self._included(place, head)
            if leaf_index <= before:
                raise _at(place, "order", f"is leaf {leaf_index}, an entry before it in its trail is leaf {before}")
            self._terms.check_term(checked, leaf_index)
        except VerificationError as error:
            self._report.add(error)
            return before
        self._erasures.feed(checked, leaf_index)
        if place.erased is not None:
            self._erasures.mark(place.entry.trail, place.entry.seq, leaf_index, place.erased)
        return leaf_index

    def _included(self, place: Place, head: TreeHead) -> int:
        """Return which leaf of the log an entry is. Raises VerificationError if that is not proven."""
        if place.inclusion is None:
            raise _at(place, "inclusion", "has no inclusion proof")
        leaf_index, hashes = place.inclusion
        try:
            verify_inclusion(
                hashes,
                leaf_hash=place.entry.leaf_hash,
                leaf_index=leaf_index,
                tree_size=head.size,
                root_hash=head.root,
            )
        except VerificationError as error:
            raise _at(place, "inclusion", f"is not shown to be in the log: {error.message.rstrip('.')}") from error
        self._report.counts.sealed += self._report.tree_head is not None
        return leaf_index

    def _check_export(self, place: Place, checked: Checked) -> None:
        """Check that the trail ends with its own export, that this names `@keys` as shown, and the proof of it."""
        body, tip = checked.body, self._terms.link
        named = body.detail.get("keys")
        shown: Json = {"seq": tip.seq, "leaf_hash": tip.leaf_hash.hex()}
        if body.kind != Kind.REPORT_EXPORTED:
            sentence = f"is the last one shown and no {Kind.REPORT_EXPORTED}: behind it the trail may have been cut"
            self._report.add(_at(place, "export", sentence))
        elif named != shown:
            sentence = f"names another end of {KEYS_TRAIL} than entry {tip.seq}, the last one shown: keys are missing"
            self._report.add(_at(place, "export", sentence))
        elif place.inclusion is not None and place.inclusion.leaf_index <= self._terms.leaf_index:
            self._report.add(_at(place, "order", f"stands before the entry of {KEYS_TRAIL} that it names"))
        try:
            self._check_exported_proof(place)
        except VerificationError as error:
            sentence = f"is not proven by {EXPORTED_PROOF}: {error.message.rstrip('.')}"
            self._report.add(_at(place, error.check, sentence, EXPORTED_PROOF))

    def _check_exported_proof(self, place: Place) -> None:
        """Check the proof for other people's tools: with the same note, so that they see the same witnesses."""
        proof = self._proof(EXPORTED_PROOF)
        if proof.note.encode() != self._archive.read(HEAD, MAX_NOTE) or proof.extra is not None:
            raise file_failed(EXPORTED_PROOF, f"it carries another note than {HEAD}, or more than a proof")
        if (proof.leaf_index, proof.hashes) != place.inclusion:
            raise file_failed(EXPORTED_PROOF, f"it says something else than {TRAIL.proofs}")
        if self._trust is not None:
            verify_log_proof(proof, place.entry.body, replace(self._trust, quorum=0))

    def _list_rest(self) -> None:
        """List what no bundle can show, and what was not looked at."""
        self._report.say(
            "other branches", "not checked", "that no second trail of this name exists shows in the whole log only"
        )
        self._report.say("rows", "not checked", "LangGraph's tables are not in a bundle; what entries bind was read")
        if self._report.governed:
            self._report.say(
                "people",
                "not checked",
                "that nothing later is said of who acted shows in the database or the whole log",
            )
        made = format_time(self._manifest.created_at)
        self._report.say(
            "date", "not checked", f"that it was made at {made} is the manifest's word, which nobody signs"
        )
        known = {MANIFEST, *(set(REQUIRED) - {README}), *log_key_files(self._archive).values()}
        if self._timed:
            known.add(HEAD_TIME)
        for name in sorted(set(self._archive.names) - known):
            how = (
                "its digest only"
                if name in self._manifest.files
                else "not even its digest: the manifest cannot list it"
            )
            self._report.say(name, "not checked", how)


def _leaf_of(place: Place) -> int | None:
    """Return which leaf an entry says it is; where that is not proven, it was told."""
    return place.inclusion.leaf_index if place.inclusion is not None else None


def _at(place: Place, check: str, sentence: str, table: str = "entries") -> VerificationError:
    entry, inclusion = place.entry, place.inclusion
    return VerificationError(
        f"Entry {entry.seq} of trail {entry.trail!r} {sentence}.",
        check=check,
        trail=entry.trail,
        seq=entry.seq,
        table=table,
        leaf_index=inclusion and inclusion.leaf_index,
    )
