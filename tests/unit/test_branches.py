"""One branch of each trail: a second one is found, unless a recorded loss explains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from countersign.audit.canonical import Json
from countersign.audit.entry import Entry
from countersign.audit.monitor import Outcome, State, monitor
from countersign.audit.tiles import EntryTile
from countersign.audit.treehead import LogTrust
from unit.heads import log_key
from unit.logs import Log, Served, begun, honest, served
from unit.samples import forged, members

LOG = honest()
SIZE = LOG.size
CASE = "case-3"
KEY = LogTrust((log_key(),))


def watch(source: Served, known: State | None = None) -> Outcome:
    return monitor(source, KEY, known=known, entries=True)


def kept(log: Log) -> State:
    state = watch(served(log)).state
    assert state
    return state


def entry_of(log: Log, trail: str, seq: int) -> Entry:
    """Return an entry that a test may go on from: only its place and its leaf hash count."""
    for body in log.bodies:
        entry = replace(log.ends[trail], body=body)
        said = members(entry)
        if (said["trail"], said["seq"]) == (trail, seq):
            return replace(entry, seq=seq)
    raise AssertionError(trail)


def wrong(change: Callable[[Log], object]) -> Log:
    log = LOG.copy()
    change(log)
    return log


END = LOG.ends[CASE].seq
MIDDLE = entry_of(LOG, CASE, 3)
NONE: dict[str, Json] = {"size": 1, "root": "00" * 32}
ADDED: list[tuple[str, Callable[[Log], object], str, str, int | None]] = [
    ("a second end", lambda log: log.add(CASE, after=entry_of(LOG, CASE, END - 1)), "branch", CASE, END),
    ("a branch from the middle", lambda log: log.add(CASE, 2, after=MIDDLE), "branch", CASE, 4),
    ("the trail once more from its beginning", lambda log: log.add(CASE, seq=1, prev=bytes(32)), "branch", CASE, 1),
    ("an entry twice", lambda log: log.bodies.append(log.ends[CASE].body), "branch", CASE, END),
    ("an old entry twice", lambda log: log.bodies.append(MIDDLE.body), "branch", CASE, 3),
    ("another predecessor", lambda log: log.add(CASE, prev=b"p" * 32), "chain", CASE, END + 1),
    ("a gap", lambda log: log.add(CASE, seq=END + 2), "sequence", CASE, END + 2),
    ("a trail without beginning", lambda log: log.add("new", seq=3), "sequence", "new", 3),
    ("a beginning with a predecessor", lambda log: log.add("new", prev=b"p" * 32), "chain", "new", 1),
    ("a second @keys", lambda log: log.add("@keys", seq=1, prev=bytes(32)), "branch", "@keys", 1),
    ("of another origin", lambda log: log.put(forged(log.ends[CASE], origin="other")), "origin", CASE, END),
    ("no entry", lambda log: log.bodies.append(b"{}"), "body", "", None),
    ("an empty body", lambda log: log.bodies.append(b""), "body", "", None),
    ("a member too many", lambda log: log.bodies.append(forged(log.ends[CASE], more=1).body), "body", "", None),
    ("a restore that counts wrong", lambda log: log.restore(begun(), SIZE), "restore", "@system", 1),
    ("a restore to come", lambda log: log.restore(begun(), to=SIZE + 1, memory=NONE | {"size": SIZE + 1}), "restore",
     "@system", 1),
    ("a restore that goes backwards", lambda log: log.restore(begun(), **{"from": SIZE, "to": 2}), "restore", "@system",
     1),
    ("a restore of other leaves", lambda log: log.restore(begun(), memory=NONE), "restore", "@system", 1),
    ("a restore of more", lambda log: log.restore(begun(), **{"from": 0}), "restore", "@system", 1),
    ("a restore without heads", lambda log: log.restore(begun(), memory=None), "restore", "@system", 1),
    ("a restore whose head is no hash", lambda log: log.restore(begun(), memory={"size": 1, "root": "0"}), "restore",
     "@system", 1),
]  # fmt: skip


@pytest.mark.parametrize(("change", "check", "trail", "seq"), [case[1:] for case in ADDED], ids=[c[0] for c in ADDED])
@pytest.mark.parametrize("incremental", [False, True])
def test_what_does_not_go_on_with_its_trail_is_found(
    change: Callable[[Log], object], check: str, trail: str, seq: int | None, *, incremental: bool
) -> None:
    outcome = watch(served(wrong(change)), kept(LOG) if incremental else None)
    assert outcome.report.verdict == "failed"
    (finding,) = outcome.report.findings
    assert (finding.check, finding.trail or "", finding.seq, finding.leaf_index) == (check, trail, seq, SIZE)


# --- recorded losses


def test_what_is_lost_and_done_again_otherwise_is_counted() -> None:
    """Of the loss some trails had gone on, one had begun, and one is not gone on with."""
    backup = begun().add("a", 4).add("b", 2).add("d", 1)
    log = backup.copy().add("a", 3).add("b", 1).add("c", 300).add("d", 2)
    lost = log.size - backup.size
    log.restore(backup).add("a", 2).add("c", 5).add("b", 1).add("e", 1)
    outcome = watch(served(log))
    assert (outcome.report.verdict, outcome.report.findings) == ("passed", [])
    assert outcome.report.counts.lost == 3 + 1 + 300
    (said,) = [item for item in outcome.report.trust if item["what"] == "restore"]
    assert said["status"] == "recorded"
    assert f"{lost} have no entry any more" in str(said["detail"])


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_loss_explains_no_more_entries_than_it_counts(lost: int) -> None:
    backup = begun().add("a", 4)
    log = backup.copy().add("a", 3).restore(backup, lost=lost).add("a", 2)
    findings = watch(served(log)).report.findings
    assert [(finding.check, finding.leaf_index) for finding in findings] == [("restore", backup.size + 3)] * (lost < 3)


def test_a_backup_that_lost_nothing_of_a_trail_goes_on_with_it() -> None:
    backup = begun().add("a", 2)
    log = backup.copy().add("b", 2)
    log.restore(backup, **{"from": backup.size})
    log.add("a", 2)
    outcome = watch(served(log))
    assert (outcome.report.verdict, outcome.report.counts.lost) == ("passed", 0)


def test_entries_that_were_in_the_backup_and_not_sealed_yet_keep_their_leaves() -> None:
    backup = begun().add("a", 2)
    log = backup.copy().add("a", 2)
    unsealed = dict(log.ends)  # the backup knew them, though not that they were sealed
    log.add("a", 2)
    log.restore(replace(backup, ends=unsealed), lost=2).add("a", 1)
    outcome = watch(served(log))
    assert (outcome.report.verdict, outcome.report.counts.lost) == ("passed", 2)


def test_the_loss_may_be_recorded_behind_what_it_explains() -> None:
    backup = begun().add("a", 2)
    log = backup.copy().add("a", 2)
    memory = log.claim()
    log.ends = dict(backup.ends)
    log.add("a", 1)
    detail: dict[str, Json] = {"from": 4, "to": 6, "lost": 2, "database": backup.claim(), "memory": memory}
    log.add("@system", kind="log.restored", detail=detail)
    assert watch(served(log)).report.verdict == "passed"


BACKUP = begun().add("a", 3).add("@system", 1)
LOST = BACKUP.copy().add("a", 3).add("@system", 1).add("b", 260)
FIRST_B = entry_of(LOST, "b", 1)
AFTER = LOST.copy().restore(BACKUP).add("a", 1).add("@system", 1)


def test_the_record_itself_replaces_what_was_lost() -> None:
    outcome = watch(served(AFTER))
    assert (outcome.report.verdict, outcome.report.counts.lost) == ("passed", 3 + 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda log: log.add("a", after=entry_of(LOST, "a", 2)), "entry 4 (leaf"),
        (lambda log: log.add("a", after=entry_of(LOST, "a", 3)), "entry 4 (leaf"),
        (lambda log: log.add("b", after=FIRST_B).add("b", after=FIRST_B), "entry 2 (leaf"),
        (lambda log: log.put(LOST.ends["b"]), "entry 260 (leaf"),
    ],
    ids=["behind what was not lost", "once more", "the lost trail twice", "a lost entry once more"],
)  # fmt: skip
def test_a_second_branch_that_no_loss_explains_is_found(change: Callable[[Log], object], says: str) -> None:
    log = AFTER.copy()
    change(log)
    outcome = watch(served(log))
    (finding,) = outcome.report.findings
    assert (finding.check, finding.leaf_index) == ("branch", log.size - 1)
    assert says in finding.message


def test_a_record_of_too_small_a_loss_explains_no_more_than_it_says() -> None:
    log = LOST.copy().restore(Log(LOST.bodies[: BACKUP.size + 1], BACKUP.ends))
    outcome = watch(served(log.add("a", 1)))
    assert [(finding.check, finding.trail) for finding in outcome.report.findings] == [("branch", "a")]


def test_a_record_by_anybody_but_the_system_is_none() -> None:
    log = LOST.copy()
    (body,) = [body for body in AFTER.bodies if b'"log.restored"' in body]
    detail = members(replace(AFTER.ends["@system"], body=body))["detail"]
    log.add("case", kind="log.restored", detail=detail)
    log.ends = dict(BACKUP.ends)
    outcome = watch(served(log.add("a", 1)))
    assert [(finding.check, finding.trail) for finding in outcome.report.findings] == [("branch", "a")]


@pytest.mark.parametrize(("which", "claim"), [("database", BACKUP.claim()), ("memory", LOST.claim())])
def test_a_record_that_names_another_tree_is_found(which: str, claim: dict[str, Json]) -> None:
    log = LOST.copy().restore(BACKUP, None, **{which: claim | {"root": begun().head.root.hex()}})
    (finding,) = watch(served(log)).report.findings
    assert (finding.check, finding.leaf_index) == ("restore", LOST.size)
    assert "another root" in finding.message


def twice() -> Log:
    """A log restored twice; the second backup is younger than the first and older than the first restore."""
    between = LOST.copy().add("a", 5)
    log = between.copy().add("b", 7).restore(BACKUP).add("a", 8).add("b", 2)
    return log.restore(between, lost=log.size - between.size).add("a", 1).add("b", 1)


def test_a_second_restore_may_go_back_to_what_the_first_had_lost() -> None:
    log = twice()
    outcome = watch(served(log))
    assert (outcome.report.verdict, outcome.report.findings) == ("passed", [])
    lengths = {trail: end.seq for trail, end in log.ends.items()}
    assert outcome.report.counts.lost == log.size - sum(lengths.values())


@pytest.mark.parametrize("log", [AFTER, twice()], ids=["once", "twice"])
def test_incremental_equals_full_across_restores(log: Log) -> None:
    full = watch(served(log))
    records = [at for at, body in enumerate(log.bodies) if b'"log.restored"' in body]
    known = None
    for size in sorted(
        {1, 2, 255, 256, 257, *(at + n for at in records for n in (0, 1, 2, 3)), log.size} - {log.size + 1}
    ):
        outcome = watch(served(Log(log.bodies[:size])), known)
        assert outcome.report.verdict == "passed", size
        known = outcome.state
    assert (outcome.state, outcome.report.counts) == (full.state, full.report.counts)


def test_a_loss_that_is_not_shown_again_is_not_judged() -> None:
    known = kept(LOST)
    source = served(AFTER, **{EntryTile(0).path: None})
    outcome = watch(source, known)
    assert (outcome.report.verdict, outcome.report.findings) == ("indeterminate", [])
    assert outcome.state
    assert outcome.state.reading == known.reading
    assert watch(served(AFTER), outcome.state).report.verdict == "passed"


def test_a_branch_before_something_that_is_missing_is_judged_when_that_comes() -> None:
    """What explains it may lie there."""
    log = LOST.copy()
    log.ends = dict(BACKUP.ends)
    log.add("a", 1).add("c", 300)
    source = served(log, **{EntryTile(2, log.size - 512).path: None})
    outcome = watch(source, kept(LOST))
    assert (outcome.report.verdict, outcome.report.findings) == ("indeterminate", [])
    assert outcome.state
    assert outcome.state.reading.size == LOST.size
    (finding,) = watch(served(log), outcome.state).report.findings
    assert finding.check == "branch"
