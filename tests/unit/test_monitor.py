"""A monitor reads a log from outside: the honest pass, each dishonest one is found, what is not shown is missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from countersign.audit.entry import leaf_hash
from countersign.audit.merkle import CompactRange
from countersign.audit.monitor import MissingError, Outcome, State, monitor
from countersign.audit.monitorstate import decode_state, encode_state
from countersign.audit.tiles import EntryTile, Tile, encode_entries
from countersign.audit.treehead import LogTrust
from unit.heads import OTHER, TRUST, WITNESSES, log_key, witness_key
from unit.logs import Log, Served, begun, honest, served
from unit.samples import STRANGER, forged

LOG = honest()
SIZE = LOG.size
KEY = LogTrust((log_key(),))


def watch(source: Served, known: State | None = None, *, entries: bool = True, trust: LogTrust = KEY) -> Outcome:
    return monitor(source, trust, known=known, entries=entries)


def kept(log: Log, *, entries: bool = True) -> State:
    """What an earlier run left that read this log, as it comes out of the file."""
    outcome = watch(served(log), entries=entries)
    assert outcome.report.verdict == "passed"
    assert outcome.state
    return decode_state(b"".join(encode_state(outcome.state)))


def said(outcome: Outcome, what: str) -> list[str]:
    return [str(item["status"]) for item in outcome.report.trust if item["what"] == what]


def grown(begin: Log, *steps: Callable[[Log], object]) -> Log:
    log = begin.copy()
    for step in steps:
        step(log)
    return log


def test_an_honest_log_passes_and_every_file_is_read_once() -> None:
    source = served(LOG)
    outcome = watch(source)
    report = outcome.report
    assert (report.verdict, report.findings, report.tree_head) == ("passed", [], LOG.head)
    assert (report.counts.entries, report.counts.sealed, report.counts.trails) == (SIZE, SIZE, len(LOG.ends))
    assert sorted(source.asked) == sorted(source.files)
    assert {item["what"]: item["status"] for item in report.trust} == {
        "log key": "checked",
        "witnesses": "not checked",
        "earlier head": "not checked",
        "tiles": "checked",
        "entries": "checked",
        "signatures": "not checked",
    }


def test_without_credential_the_tiles_are_checked_and_no_body_is_asked_for() -> None:
    source = served(LOG)
    outcome = watch(source, entries=False)
    assert outcome.report.verdict == "passed"
    assert said(outcome, "entries") == ["not checked"]
    assert outcome.report.counts.entries == 0
    assert sorted(source.asked) == sorted(path for path in source.files if "entries" not in path)


def test_the_empty_log_passes() -> None:
    outcome = watch(served(Log()))
    assert (outcome.report.verdict, outcome.report.tree_head) == ("passed", Log().head)
    assert outcome.state
    assert watch(served(begun()), outcome.state).report.verdict == "passed"


# --- witnesses


@pytest.mark.parametrize(
    ("trust", "verdict", "status"),
    [
        (TRUST, "passed", "checked"),
        (replace(TRUST, quorum=2), "indeterminate", "missing"),
        (LogTrust(TRUST.logs, (witness_key(OTHER),), 1), "indeterminate", "missing"),
        (LogTrust(TRUST.logs, WITNESSES), "passed", "checked"),
    ],
)
def test_witnesses_are_counted(trust: LogTrust, verdict: str, status: str) -> None:
    outcome = watch(served(LOG), trust=trust)
    assert (outcome.report.verdict, said(outcome, "witnesses")) == (verdict, [status])
    assert outcome.state, "the head extends what was seen, whoever vouches for it"


# --- dishonest servers that have one log


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


FILES = LOG.files()
FIRST, SECOND, LAST = Tile(0, 0).path, Tile(0, 1).path, Tile(0, SIZE // 256, SIZE % 256).path
TOP = Tile(1, 0, SIZE // 256).path
BODIES = EntryTile(1).path
LAST_BODIES = EntryTile(SIZE // 256, SIZE % 256).path
OTHER_BODY = forged(LOG.ends["long-20"], detail={"n": 0}).body
BEHIND = next(at for at, body in enumerate(LOG.bodies) if body == LOG.ends["long-20"].body)
EDITED = encode_entries(
    [OTHER_BODY if at == BEHIND else body for at, body in enumerate(LOG.bodies[:SIZE])][
        BEHIND // 256 * 256 : BEHIND // 256 * 256 + 256
    ]
)

SERVERS: list[tuple[str, dict[str, bytes | None], str, int | None]] = [
    ("a note that is none", {"checkpoint": b"<html>"}, "note", None),
    ("a head by another key", {"checkpoint": LOG.note(STRANGER).encode()}, "note", None),
    ("a head with another size", {"checkpoint": FILES["checkpoint"].replace(b"%d\n" % SIZE, b"9\n")}, "note", None),
    ("the head of another tree", {"checkpoint": Log(LOG.bodies[::-1]).note().encode()}, "tile", None),
    ("a tile on the border", {LAST: flipped(FILES[LAST], 40)}, "tile", None),
    ("a tile that is full", {SECOND: flipped(FILES[SECOND], 40)}, "tile", None),
    ("the tile above", {TOP: flipped(FILES[TOP], 40)}, "tile", None),
    ("a truncated tile", {SECOND: FILES[SECOND][:-1]}, "tile", None),
    ("a truncated tile on the border", {LAST: FILES[LAST][:-32]}, "tile", None),
    ("an empty tile", {SECOND: b""}, "tile", None),
    ("a tile that is too long", {SECOND: FILES[SECOND] + bytes(32)}, "tile", None),
    ("two tiles exchanged", {FIRST: FILES[SECOND], SECOND: FILES[FIRST]}, "tile", None),
    ("another body", {EntryTile(BEHIND // 256).path: EDITED}, "tile", BEHIND),
    ("a truncated entry tile", {BODIES: FILES[BODIES][:-1]}, "tile", 256),
    ("an entry tile with more", {BODIES: FILES[BODIES] + b"\0"}, "tile", 256),
    ("an empty entry tile", {LAST_BODIES: b""}, "tile", SIZE // 256 * 256),
    ("the bodies of another tile", {BODIES: FILES[EntryTile(0).path]}, "tile", 256),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "check", "leaf_index"), [case[1:] for case in SERVERS], ids=[case[0] for case in SERVERS]
)
def test_what_is_wrong_is_found(changes: dict[str, bytes | None], check: str, leaf_index: int | None) -> None:
    outcome = watch(served(LOG, **changes))
    assert outcome.report.verdict == "failed"
    assert [(finding.check, finding.leaf_index) for finding in outcome.report.findings] == [(check, leaf_index)]
    assert outcome.state is None or outcome.state.reading.size == 0


@pytest.mark.parametrize("path", [path for path in FILES if path != "checkpoint"])
def test_what_is_missing_makes_it_indeterminate(path: str) -> None:
    outcome = watch(served(LOG, **{path: None}))
    assert (outcome.report.verdict, outcome.report.findings) == ("indeterminate", [])
    assert "missing" in said(outcome, "tiles") + said(outcome, "entries")


def test_without_a_head_there_is_nothing_to_judge() -> None:
    with pytest.raises(MissingError, match="no checkpoint"):
        watch(served(LOG, checkpoint=None))


def test_what_was_read_before_something_was_missing_is_not_read_again() -> None:
    first = watch(served(LOG, **{BODIES: None}))
    assert first.report.verdict == "indeterminate"
    assert first.state
    assert first.state.reading.size == 256
    again = served(LOG)
    outcome = watch(again, first.state)
    assert outcome.report.verdict == "passed"
    assert EntryTile(0).path not in again.asked
    assert outcome.report.counts == watch(served(LOG)).report.counts


# --- two heads


SMALLER = grown(begun(), lambda log: log.add("case-1", 300))
LARGER = grown(SMALLER, lambda log: log.add("case-2", 300))
BESIDE = grown(begun(), lambda log: log.add("case-1", 299).add("case-3", 1))
BEYOND = grown(BESIDE, lambda log: log.add("case-2", 300))


@pytest.mark.parametrize("entries", [True, False])
@pytest.mark.parametrize(
    ("seen", "shown", "says"),
    [
        (LARGER, SMALLER, "was rolled back"),
        (SMALLER, BESIDE, "two histories"),
        (SMALLER, BEYOND, "two histories"),
        (LARGER, Log(), "was rolled back"),
    ],
    ids=["rolled back", "split view, same size", "split view, grown", "begun anew"],
)
def test_a_head_that_excludes_an_earlier_one_is_evidence(seen: Log, shown: Log, says: str, *, entries: bool) -> None:
    known = kept(seen)
    outcome = watch(served(shown), known, entries=entries)
    (finding,) = outcome.report.findings
    assert (finding.check, outcome.report.verdict) == ("head", "failed")
    assert says in finding.message
    assert outcome.evidence == (seen.note(), shown.note())
    assert outcome.state is None


def test_a_head_whose_tree_is_not_shown_is_no_evidence() -> None:
    """Somebody who cannot show the tiles has shown nothing; the earlier head stays the one to be extended."""
    outcome = watch(served(BEYOND, **{Tile(0, 1).path: None, Tile(0, 2, 90).path: None}), kept(SMALLER))
    assert (outcome.report.verdict, outcome.evidence, outcome.state) == ("indeterminate", (), None)


# --- incremental


SIZES = [0, 2, 3, 255, 256, 257, 300, 512, SIZE]


def part(size: int) -> Log:
    return Log(LOG.bodies[:size])


@pytest.mark.parametrize("sizes", [SIZES, SIZES[::2], [SIZE, SIZE], [255, 257, SIZE], [0, SIZE]], ids=str)
@pytest.mark.parametrize("sometimes", [False, True])
def test_incremental_equals_full(sizes: list[int], *, sometimes: bool) -> None:
    """Also where the credential was at hand only every other time."""
    known = None
    for turn, size in enumerate(sizes):
        entries = not sometimes or bool(turn % 2) or size == SIZE
        source = served(part(size))
        outcome = watch(source, known, entries=entries)
        assert outcome.report.verdict == "passed"
        assert outcome.state
        known = decode_state(b"".join(encode_state(outcome.state)))
        assert known == outcome.state
    full = watch(served(LOG))
    assert outcome.report.counts == full.report.counts
    assert outcome.state == full.state


def test_what_was_read_is_not_asked_for_again() -> None:
    source = served(LOG)
    watch(source, kept(part(512)))
    assert {FIRST, EntryTile(0).path, SECOND, EntryTile(1).path}.isdisjoint(source.asked)


def test_a_finding_is_found_again_by_the_next_run() -> None:
    wrong = grown(LOG, lambda log: log.add("case-1", after=log.ends["case-2"]))
    known = kept(LOG)
    for log in (wrong, grown(wrong, lambda log: log.add("case-5"))):
        outcome = watch(served(log), known)
        assert [finding.leaf_index for finding in outcome.report.findings] == [SIZE]
        assert outcome.state
        assert (outcome.state.head, outcome.state.reading) == (log.head, known.reading)
        known = outcome.state


@pytest.mark.parametrize(
    ("path", "entries"), [(FIRST, True), (FIRST, False), (SECOND, True), (SECOND, False), (BODIES, True)]
)
@pytest.mark.parametrize("begun_with", [0, 2])
def test_what_is_wrong_or_missing_stays_so_until_it_is_shown(path: str, begun_with: int, *, entries: bool) -> None:
    """A server does not get round a monitor by waiting for its next run, with or without a credential."""
    known: State | None = kept(part(begun_with))
    for change in (None, b"", flipped(FILES[path], 40), None):
        for shows_bodies in (entries, False) if path != BODIES else (entries,):
            outcome = watch(served(LOG, **{path: change}), known, entries=shows_bodies)
            assert outcome.report.verdict == ("indeterminate" if change is None else "failed")
            known = outcome.state or known
    assert watch(served(LOG), known, entries=entries).report.verdict == "passed"


def test_bodies_that_another_run_claims_to_have_read_must_lead_to_the_root() -> None:
    known = kept(part(300))
    other = CompactRange().extend(leaf_hash(b"%d" % number) for number in range(300))
    outcome = watch(served(LOG), replace(known, reading=replace(known.reading, range=other)))
    (finding,) = outcome.report.findings
    assert finding.check == "tile"
    assert f"The bodies of all {SIZE} leaves lead to the root" in finding.message
