"""Which trails show runs that went on side by side, and where; which only look like it. From entries, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.body import Body
from countersign.audit.entry import GENESIS, SYSTEM, Actor, Entry, EntryDraft
from countersign.audit.ledger import Ledger
from countersign.audit.overlap import Overlaps
from countersign.audit.verify import Report, TrailCheck, Verdict
from unit.samples import DEPLOYMENT, ORIGIN, RING, TRAIL, WHEN, chain, walk

PERSON = Actor("pharmacist-17", "application")
# What is said of a run (the first word) in a line below: kind, detail, actor.
WORDS: dict[str, tuple[str, dict[str, Any], Actor]] = {
    "starts": ("run.started", {"continues": False}, PERSON),
    "resumes": ("run.resumed", {"interrupts": []}, PERSON),
    "forks": ("run.forked", {"latest": "c2"}, PERSON),
    "saves": ("checkpoint.saved", {"source": "loop", "step": 1}, SYSTEM),
    "writes": ("writes.saved", {"task": "t", "path": "", "channels": ["dose"]}, SYSTEM),
    "asks": ("interrupt.raised", {"when": "dynamic", "interrupt": "q", "task": "t", "path": ""}, SYSTEM),
    "pauses": ("interrupt.raised", {"when": "before", "next": ["order"]}, SYSTEM),
    "waits": ("run.paused", {"interrupts": ["q"]}, SYSTEM),
    "completes": ("run.completed", {}, SYSTEM),
    "fails": ("run.failed", {"error": "builtins.RuntimeError"}, SYSTEM),
    "refused": ("run.refused", {"check": "row", "trail": TRAIL, "table": None, "seq": None}, PERSON),
    "pauses-recovered": ("interrupt.raised", {"when": "after", "next": ["order"], "recovered": True}, SYSTEM),
    "completes-recovered": ("run.completed", {"recovered": True}, SYSTEM),
    "edits": ("state.updated", {"source": "update", "step": 2, "channels": ["dose"]}, PERSON),
    "edit-writes": ("writes.saved", {"task": "t", "path": "~__interrupt__, 0", "channels": ["dose"]}, PERSON),
    "adopts": ("trail.adopted", {"checkpoints": 0, "checkpoint_blobs": 0, "checkpoint_writes": 0}, PERSON),
}

# What stands in a trail, by commas; the findings: at which entry, and behind which other.
TABLE: list[tuple[str, str, list[tuple[int, int]]]] = [
    # Damage.
    ("both go on", "A resumes, B resumes, A writes, A saves, A completes, B writes, B saves, B completes", [(3, 2)]),
    ("one step each, turn by turn", "A resumes, B resumes, B writes, A writes, B saves, A saves", [(4, 2)]),
    ("the first goes on behind the second", "A starts, A saves, B resumes, B saves, B completes, A saves", [(6, 3)]),
    ("the first goes on when the second failed", "A starts, B resumes, B fails, A writes", [(4, 2)]),
    ("behind an answer of the other", "A resumes, A asks, B resumes, B completes, A writes", [(5, 3)]),
    ("a task beside the one that asked goes on", "A starts, A writes, A asks, B resumes, A writes, A asks", [(5, 4)]),
    ("a slow run taken for a lost one", "A starts, A saves, A pauses-recovered, B resumes, A saves", [(5, 4)]),
    ("taken for one that was complete", "A starts, A saves, A completes-recovered, B starts, A saves", [(5, 4)]),
    ("a new input beside a run", "A starts, A saves, B starts, B saves, A saves", [(5, 3)]),
    ("a fork beside a run", "A starts, A saves, B forks, B resumes, A saves", [(5, 4)]),
    ("three runs", "A resumes, B resumes, A writes, C resumes, A saves, B saves, C saves", [(3, 2), (5, 4), (6, 4)]),
    ("two more while one was silent", "A resumes, B resumes, C resumes, A saves, A saves", [(4, 3)]),
    ("twice, by two runs after each other", "A resumes, B resumes, B completes, A saves, C resumes, A saves",
     [(4, 2), (6, 5)]),
    ("and back: an id begun again is behind", "A resumes, B resumes, A resumes, B saves, A saves", [(4, 3)]),
    ("an edit beside a run", "A resumes, E edit-writes, E edits, A saves", [(4, 3)]),
    ("an edit beside a run, as one end", "A resumes, E edits, A writes, A saves, A completes", [(3, 2)]),
    ("an edit in bulk", "A resumes, E edits, E edit-writes, E edits, A saves", [(5, 4)]),
    ("two edits", "A resumes, E edits, A saves, F edits, A saves", [(3, 2), (5, 4)]),
    ("an edit of a checkpoint before", "A resumes, E forks, E edits, A saves", [(4, 3)]),
    ("an edit without attach", "A resumes, - edits, A saves", [(3, 2)]),
    ("an edit under the run's own id", "A resumes, A edit-writes, A edits, A saves", [(4, 3)]),
    ("an edit and a run", "A resumes, B resumes, E edits, A saves", [(4, 2), (4, 3)]),
    ("an edit between two runs, both go on", "A resumes, E edits, B resumes, B saves, A saves", [(5, 3), (5, 2)]),
    # None.
    ("one run", "A starts, A saves, A writes, A saves, A completes", []),
    ("one after the other", "A starts, A saves, A pauses, E edits, B resumes, B saves, B completes, C starts", []),
    ("a crash", "A starts, A saves, B resumes, B writes, B saves, B completes", []),
    ("crash after crash", "A starts, A saves, B resumes, B writes, C resumes, C saves, C completes", []),
    ("a crash, and an edit", "A starts, A saves, E edits, B resumes, B saves", []),
    ("a crash behind a pause that was recovered", "A starts, A saves, A pauses-recovered, B resumes, B saves", []),
    ("a pause that was recovered and said", "A starts, A saves, A pauses-recovered, B resumes, A pauses, B saves", []),
    ("the end said late", "A starts, A saves, B resumes, A completes, B saves, B completes", []),
    ("a pause said late, behind an edit", "A starts, A saves, E edits, A pauses, B resumes, B saves", []),
    ("a stream that is closed late", "A starts, A writes, A asks, B resumes, A fails, B writes, B saves", []),
    ("questions at last said late", "A resumes, B resumes, A waits, B writes, B waits", []),
    ("a write behind a failure", "A starts, A fails, A writes, B resumes, B writes, B saves", []),
    ("a write behind a failure and the next run", "A starts, A fails, B resumes, A writes, B writes, B saves", []),
    ("a write behind a timeout and an edit", "A starts, A fails, E edits, A writes, B resumes, B saves", []),
    ("a write behind questions and the next run", "A resumes, A waits, B resumes, A writes, B saves", []),
    ("a run that was refused", "A resumes, A refused, B resumes, A writes, B saves", []),
    ("a refusal beside a run", "A resumes, B refused, A saves, A completes", []),
    ("questions at once", "A starts, A writes, A asks, A writes, A asks, B resumes, B writes, B waits, C resumes", []),
    ("an id used twice", "A starts, A saves, A completes, A resumes, A saves, A completes", []),
    ("an id used again behind a crash", "A starts, A saves, A resumes, A saves, A completes", []),
    ("an id used again behind another run", "A starts, B resumes, B saves, B completes, A resumes, A saves", []),
    ("an edit with the id of the run before", "A starts, A asks, B resumes, B asks, A edit-writes, A edits, B resumes",
     []),
    ("without attach", "- saves, - writes, - saves, - edits, - saves", []),
    ("without attach beside a run", "A starts, - saves, A saves, - writes, A saves", []),
    ("a run whose beginning is not here", "B starts, A saves, B saves", []),
    ("an opening without a run", "A starts, - resumes, - saves, A saves", []),
    ("a fork by one run", "A starts, A saves, A completes, B forks, B resumes, B saves, B completes", []),
    ("an adoption", "A starts, A fails, - adopts, B resumes, B saves", []),
    ("two edits of a thread at rest", "A starts, A asks, E edits, F edits, B resumes, B saves", []),
    ("nothing", "", []),
]  # fmt: skip


def draft(words: str) -> EntryDraft:
    run, word = words.split()
    kind, detail, actor = WORDS[word]
    return EntryDraft(TRAIL, kind, actor=actor, run=None if run == "-" else run, detail=detail)


def trail(line: str) -> list[Entry]:
    return chain(*(draft(words) for words in line.split(", ") if words), signer=DEPLOYMENT)


def verified(entries: list[Entry]) -> Report:
    report = Report()
    check = TrailCheck(TRAIL, origin=ORIGIN, ring=RING, report=report)
    for entry in entries:
        check.feed(entry)
    return report


@pytest.mark.parametrize(("line", "want"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_a_trail_shows(line: str, want: list[tuple[int, int]]) -> None:
    report = verified(trail(line))
    assert [(found.check, found.trail, found.seq, found.table, found.column) for found in report.findings] == [
        ("overlap", TRAIL, seq, "entries", None) for seq in sorted(at for at, _ in want)
    ]
    assert report.verdict is (Verdict.FAILED if want else Verdict.PASSED)
    for seq, other in want:
        messages = [found.message for found in report.findings if found.seq == seq]
        assert any(f"at entry {other}:" in message or f"after entry {other} " in message for message in messages)


def test_the_sentence_names_both_runs_and_says_what_to_do() -> None:
    edit, run = verified(trail("A resumes, B resumes, E edits, A saves")).findings
    assert run.message.startswith(
        f"Entry 4 of trail {TRAIL!r} shows that run A went on with the thread after run B had begun at entry 2: "
    )
    assert "Compare what both did" in run.message
    assert edit.message.startswith(
        f"Entry 4 of trail {TRAIL!r} shows that run A went on with the thread after entry 3 had edited it: "
    )
    assert "make the edit again" in edit.message


@pytest.mark.parametrize("line", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_process_that_loads_takes_no_offence(line: str) -> None:
    ledger = Ledger(TRAIL)
    for checked in walk(trail(line)):
        ledger.apply(checked)


@pytest.mark.parametrize(
    ("line", "damaged", "want"),
    [
        ("A resumes, B resumes, A saves, A saves", 2, []),
        ("A resumes, B resumes, A saves, A saves", 3, []),
        ("A resumes, B resumes, A saves, B saves", 4, [3]),
        ("A resumes, A completes, B resumes, A writes", 2, []),
        ("A resumes, B resumes, A resumes, A saves", 3, []),
        ("A resumes, A completes, B resumes, C resumes, B saves", 1, [5]),
    ],
)
def test_behind_damage_only_what_began_there_is_judged(line: str, damaged: int, want: list[int]) -> None:
    entries = trail(line)
    entries[damaged - 1] = replace(entries[damaged - 1], signature=bytes(64))
    found = [(finding.check, finding.seq) for finding in verified(entries).findings]
    assert found == sorted([("signature", damaged), *(("overlap", seq) for seq in want)], key=lambda item: item[1] or 0)


def body(seq: int, run: str, word: str) -> Body:
    kind, detail, actor = WORDS[word]
    return Body(
        ORIGIN, TRAIL, seq, GENESIS, kind, WHEN, actor, detail, None, None if run == "-" else run, None, None, 0
    )


def literally(bodies: list[Body]) -> list[int]:
    """Return the entries that are findings, each as often as it is one, as docs/formats.md puts it: slowly."""
    found: list[int] = []
    for at, saving in enumerate(bodies):
        if saving.kind not in ("checkpoint.saved", "writes.saved") or saving.actor != SYSTEM or saving.run is None:
            continue
        own = [place for place in range(at) if bodies[place].run == saving.run]
        begun = [place for place in own if bodies[place].kind in ("run.started", "run.resumed")]
        if not begun or any(_is_over(bodies[place]) for place in own if place > begun[-1]):
            continue
        told = max(
            (p for p in own if p > begun[-1] and bodies[p].kind in ("checkpoint.saved", "writes.saved")
             and bodies[p].actor == SYSTEM),
            default=begun[-1],
        )  # fmt: skip
        since = bodies[max(told, begun[-1]) + 1 : at]
        found += [at + 1] * any(other.kind in ("run.started", "run.resumed") and other.run for other in since)
        found += [at + 1] * any(other.kind == "state.updated" for other in since)
    return found


def _is_over(entry: Body) -> bool:
    if entry.detail.get("recovered") or entry.detail.get("when") == "dynamic":
        return False
    return entry.kind in ("run.completed", "run.failed", "run.paused", "run.refused", "interrupt.raised")


@given(st.lists(st.tuples(st.sampled_from("ABC-"), st.sampled_from(list(WORDS))), max_size=40))
def test_it_finds_what_the_words_of_the_format_say(steps: list[tuple[str, str]]) -> None:
    bodies = [body(seq, run, word) for seq, (run, word) in enumerate(steps, 1)]
    overlaps = Overlaps()
    assert [error.seq for each in bodies for error in overlaps.feed(each)] == literally(bodies)


def test_it_keeps_one_number_for_each_run_that_nothing_ended() -> None:
    overlaps = Overlaps()
    for number in range(1000):
        run = f"run-{number}"
        for word in ("resumes", "writes", "saves", "completes" if number % 10 else "asks"):
            assert overlaps.feed(body(number * 4, run, word)) == []
    assert len(overlaps._under_way) == 100
