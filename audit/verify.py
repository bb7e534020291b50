"""The verdict: what was checked, what was found, and what was not looked at (docs/formats.md, section 9).

Pure, and never imports a database driver: databases and bundles stream into the same checks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from .canonical import Json
from .chain import START, Checked, Link, check_entry, go_on_behind, moved, read_damaged
from .entry import KEYS_TRAIL, Entry
from .errors import VerificationError
from .keys import Ring
from .ledger import Ledger
from .logcheck import Rebuilt
from .note import Algorithm, Verified, VerifierKey
from .overlap import Overlaps
from .rows import TABLES
from .treehead import LogTrust, TreeHead

MAX_FINDINGS = 1000


class Verdict(StrEnum):
    """What a verifier may say. Missing evidence is never `passed`."""

    PASSED = "passed"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"


EXIT_CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.INDETERMINATE: 3}


@dataclass(frozen=True, slots=True)
class Finding:
    """One located problem, in a sentence."""

    check: str
    message: str
    trail: str | None = None
    seq: int | None = None
    leaf_index: int | None = None
    table: str | None = None
    column: str | None = None

    @classmethod
    def of(cls, error: VerificationError) -> Finding:
        """Return the finding that a failed check amounts to."""
        return cls(error.check, error.message, error.trail, error.seq, error.leaf_index, error.table, error.column)

    def as_json(self) -> dict[str, Json]:
        """Return the member of the report's `findings`."""
        return {
            "check": self.check,
            "trail": self.trail,
            "seq": self.seq,
            "leaf_index": self.leaf_index,
            "table": self.table,
            "column": self.column,
            "message": self.message,
        }


@dataclass(slots=True)
class Counts:
    """How much was looked at."""

    trails: int = 0
    entries: int = 0
    rows: int = 0
    payloads: int = 0
    erased: int = 0
    sealed: int = 0
    lost: int = 0

    def as_json(self) -> dict[str, Json]:
        """Return the report's `counts`."""
        return {name: getattr(self, name) for name in self.__slots__}


_CHECKS = (
    "schema", "file", "note", "time", "body", "key", "signature", "authority", "column", "origin", "sequence", "chain",
    "inclusion", "leaf", "order", "export", "payload", "erased", "binding", "overlap", "row", "unbound", "missing",
    "duplicate", "head", "tile", "witness",
)  # fmt: skip
_WHOLE = ("schema", "file", "note", "time")
_TABLES = ("entries", "payloads", "leaves", *TABLES)


def _rank(word: str | None, words: tuple[str, ...]) -> int:
    return words.index(word) if word in words else len(words)


def place_of(finding: Finding) -> tuple[int | str | bool, ...]:
    """Return where a finding stands in a report: by what it says alone, whoever finds it and in whatever turn.

    First the schema, or a bundle's files and tree head, then the keys, entries and payloads by trail and `seq`, then
    LangGraph's rows by trail and table.
    """
    table = _rank(finding.table, _TABLES)
    in_rows = (finding.table is None or finding.table in TABLES) and finding.check not in _WHOLE
    return (
        finding.check not in _WHOLE,
        finding.trail != KEYS_TRAIL or in_rows,
        in_rows,
        finding.trail is None,
        finding.trail or "",
        table if in_rows else 0,
        finding.seq is None,
        finding.seq or 0,
        _rank(finding.check, _CHECKS),
        table,
        finding.column or "",
        finding.message,
    )


@dataclass(slots=True)
class ViewCounts:
    """How many views of a state signers were shown, how many of these were held against the rows of that state, and
    how many values in them against what an entry says.
    """

    shown: int = 0
    held: int = 0
    told: int = 0


@dataclass(slots=True)
class Report:
    """What a verification found. Keeps the first 1,000 findings by place, and counts the rest."""

    counts: Counts = field(default_factory=Counts)
    trust: list[dict[str, Json]] = field(default_factory=list)
    indeterminate: bool = False
    tree_head: TreeHead | None = None
    """The head that a trusted key signed, where there is one."""
    unsealed: int = 0
    """Entries that are no leaves of the log yet."""
    doubtful: int = 0
    """Entries whose key was revoked from before them on, and over which a head had been cosigned by then."""
    governed: int = 0
    """Governed cases that were replayed against their policies."""
    unjudged: int = 0
    """Things in them that cannot be judged any more, since a payload was erased."""
    views: ViewCounts = field(default_factory=ViewCounts)
    cases: list[dict[str, Json]] = field(default_factory=list)
    """Of governed cases of which that was asked for: who signed what, and what it came to."""
    rebuilt: Rebuilt | None = None
    """What the leaves of the log came to, where they were read."""
    found: int = field(default=0, init=False)
    """How many findings there are, kept or not."""
    _kept: list[Finding] = field(default_factory=list, init=False)

    @property
    def findings(self) -> list[Finding]:
        """The findings in the order of `place_of`, the first 1,000 of them."""
        self._kept.sort(key=place_of)
        del self._kept[MAX_FINDINGS:]
        return self._kept

    @property
    def omitted(self) -> int:
        """How many more findings there are than `findings` holds."""
        return self.found - min(self.found, MAX_FINDINGS)

    @property
    def verdict(self) -> Verdict:
        """`failed` as soon as there is one finding; `indeterminate` when evidence that was asked for is missing."""
        if self.found:
            return Verdict.FAILED
        return Verdict.INDETERMINATE if self.indeterminate else Verdict.PASSED

    def add(self, error: VerificationError) -> None:
        """Record a failed check."""
        self.found += 1
        self._keep([Finding.of(error)])

    def say(self, what: str, status: str, detail: str) -> None:
        """List what a kind of evidence came to: "checked", "not checked" or, where it was asked for, "missing"."""
        self.trust.append({"what": what, "status": status, "detail": detail})

    def weigh(self, head: TreeHead, trust: LogTrust, signatures: Sequence[Verified]) -> list[VerifierKey]:
        """Say who vouches for a head, and whether that is as many as `trust` asks for. Returns the log's keys in it."""
        logs = [signed.key for signed in signatures if signed.key.algorithm == Algorithm.LOG]
        names = ", ".join(f"{key.name} ({key.key_id.hex()})" for key in logs)
        self.say("log key", "checked", f"{names} signed the tree head of size {head.size}")
        witnesses = [signed for signed in signatures if signed.key.algorithm == Algorithm.COSIGNATURE]
        cosigned = [f"{signed.key.name} at {said_time(signed.cosigned_at)}" for signed in witnesses]
        if not trust.witnesses:
            self.say("witnesses", "not checked", "no witness's key was given: --witness")
        elif len(cosigned) < trust.quorum:
            self.indeterminate = True
            self.say("witnesses", "missing", f"{len(cosigned)} cosigned the tree head; {trust.quorum} are asked for")
        else:
            self.say("witnesses", "checked", f"{', '.join(cosigned) or 'none'}; {trust.quorum} are asked for")
        return logs

    def merge(self, other: Report) -> None:
        """Take over what was found elsewhere, of another part."""
        for name in other.counts.__slots__:
            setattr(self.counts, name, getattr(self.counts, name) + getattr(other.counts, name))
        self.unsealed += other.unsealed
        self.doubtful += other.doubtful
        self.governed += other.governed
        self.unjudged += other.unjudged
        for name in other.views.__slots__:
            setattr(self.views, name, getattr(self.views, name) + getattr(other.views, name))
        self.rebuilt = self.rebuilt or other.rebuilt
        self.found += other.found
        self._keep(other.findings)

    def _keep(self, findings: Sequence[Finding]) -> None:
        self._kept += findings
        if len(self._kept) > 2 * MAX_FINDINGS:  # not at each one: that would be a sort for each
            self._kept = self.findings

    def as_json(self) -> dict[str, Json]:
        """Return the document of `--json`."""
        head: Json = None
        if self.tree_head is not None:
            head = {"size": self.tree_head.size, "root": self.tree_head.root.hex()}
        return {
            "verdict": self.verdict.value,
            "findings": [finding.as_json() for finding in self.findings],
            "counts": self.counts.as_json(),
            "tree_head": head,
            "trust": list(self.trust),
            **({"findings_omitted": self.omitted} if self.omitted else {}),
            **({"cases": list(self.cases)} if self.cases else {}),
        }


def said_time(seconds: int | None) -> str:
    """Return a witness's time, in seconds since 1970, for people."""
    try:
        return f"{datetime.fromtimestamp(seconds or 0, UTC):%Y-%m-%d %H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds} seconds since 1970"


class TrailCheck:
    """Checks the entries of one trail as they stream by, and remembers what they bind.

    Goes on behind a damaged entry from what is there, so that one edit is not a finding for every later entry.
    """

    def __init__(self, trail: str, *, origin: str, ring: Ring, report: Report) -> None:
        self.ledger = Ledger(trail)
        self._overlaps = Overlaps()
        self._origin = origin
        self._ring = ring
        self._report = report
        self._link: Link = START
        report.counts.trails += 1

    def feed(self, entry: Entry, *, erased: bool = False) -> Checked | None:
        """Check the next entry, in order of `seq`, and return it if it passed, whatever it binds.

        Of an `erased` one the payload must be gone; what it bound can then no longer be told.
        """
        counts = self._report.counts
        counts.entries += 1
        counts.payloads += entry.data is not None
        counts.erased += erased
        checked: Checked | None
        passed = None
        try:
            if entry.trail != self.ledger.trail:
                raise moved(entry, self.ledger.trail)
            checked = check_entry(entry, after=self._link, origin=self._origin, ring=self._ring, erased=erased)
            passed = checked
            self._link = checked.link
            self.ledger.incomplete = self.ledger.incomplete or erased
            if overlaps := self._overlaps.feed(checked.body):
                self.extend(overlaps)
        except VerificationError as error:
            self._report.add(error)
            # What cannot be believed may have been any run's beginning or end: what follows is judged by itself.
            self._overlaps = Overlaps()
            self._link = go_on_behind(entry, error, self._link)
            checked = read_damaged(entry)
            self.ledger.incomplete = self.ledger.incomplete or checked is None
        if checked is not None:
            try:
                self.ledger.apply(checked)
            except VerificationError as error:
                self._report.add(error)
        return passed

    def extend(self, errors: Iterable[VerificationError]) -> None:
        """Record failures found elsewhere about this trail."""
        for error in errors:
            self._report.add(error)
