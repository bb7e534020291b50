"""The report as the format has it, and a trail that is checked on behind damage without blaming the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.canonical import canonical
from countersign.audit.entry import Entry
from countersign.audit.errors import VerificationError
from countersign.audit.verify import EXIT_CODES, MAX_FINDINGS, Counts, Finding, Report, TrailCheck, Verdict
from unit.samples import (
    ORIGIN,
    RING,
    STRANGER,
    TRAIL,
    WHEN,
    binding,
    blob_row,
    chain,
    checkpoint_row,
    forged,
    four,
    note,
    resigned,
    sealed,
    superseding,
)

ERROR = VerificationError("It was changed.", check="row", trail="case-1", seq=3, table="checkpoints", column="metadata")


def test_a_report_without_findings_has_passed_and_exits_with_0() -> None:
    report = Report()
    assert (report.verdict, EXIT_CODES[report.verdict]) == (Verdict.PASSED, 0)


def test_one_finding_fails_and_exits_with_1_whatever_else_is_missing() -> None:
    report = Report(indeterminate=True)
    report.add(ERROR)
    assert (report.verdict, EXIT_CODES[report.verdict]) == (Verdict.FAILED, 1)


def test_missing_evidence_is_indeterminate_and_exits_with_3() -> None:
    report = Report(indeterminate=True)
    assert (report.verdict, EXIT_CODES[report.verdict]) == (Verdict.INDETERMINATE, 3)


def test_every_verdict_of_the_format_has_its_exit_code_and_2_is_left_for_could_not_run() -> None:
    assert {verdict.value: EXIT_CODES[verdict] for verdict in Verdict} == {
        "passed": 0,
        "failed": 1,
        "indeterminate": 3,
    }


def test_the_json_has_exactly_the_members_of_the_format() -> None:
    report = Report(Counts(1, 2, 3, 4, 5, 6, 7), trust=[{"what": "log", "status": "not checked"}])
    report.add(ERROR)
    report.add(VerificationError("The schema is another.", check="schema"))
    document = report.as_json()
    assert document == {
        "verdict": "failed",
        "findings": [
            {
                "check": "schema",
                "trail": None,
                "seq": None,
                "leaf_index": None,
                "table": None,
                "column": None,
                "message": "The schema is another.",
            },
            {
                "check": "row",
                "trail": "case-1",
                "seq": 3,
                "leaf_index": None,
                "table": "checkpoints",
                "column": "metadata",
                "message": "It was changed.",
            },
        ],
        "counts": {"trails": 1, "entries": 2, "rows": 3, "payloads": 4, "erased": 5, "sealed": 6, "lost": 7},
        "tree_head": None,
        "trust": [{"what": "log", "status": "not checked"}],
    }
    assert canonical(document)


def test_an_empty_report_is_complete_json_too() -> None:
    assert Report().as_json() == {
        "verdict": "passed",
        "findings": [],
        "counts": dict.fromkeys(["trails", "entries", "rows", "payloads", "erased", "sealed", "lost"], 0),
        "tree_head": None,
        "trust": [],
    }


def test_a_finding_repeats_its_error_without_the_remedy() -> None:
    error = VerificationError("It was changed.", check="row", remedy="Ask the administrator.")
    assert Finding.of(error) == Finding("row", "It was changed.")


def test_beyond_a_thousand_findings_the_rest_is_counted() -> None:
    report = Report()
    for _ in range(MAX_FINDINGS + 5):
        report.add(ERROR)
    document: Any = report.as_json()
    assert MAX_FINDINGS == 1000
    assert len(document["findings"]) == 1000
    assert document["findings_omitted"] == 5
    assert document["verdict"] == "failed"


def located(check: str, trail: str | None, seq: int | None, table: str | None) -> VerificationError:
    return VerificationError(f"{check} {trail} {seq}.", check=check, trail=trail, seq=seq, table=table)


IN_ORDER = [
    located("schema", None, None, "payloads"),
    located("key", "@keys", 1, "entries"),
    located("signature", "a", 2, "entries"),
    located("binding", "a", 2, "payloads"),
    located("payload", "a", 10, "payloads"),
    located("column", "a", None, "entries"),
    located("chain", "b", 1, "entries"),
    located("chain", "\ufb33", 1, "entries"),
    located("chain", "\U0001f600", 1, "entries"),
    located("column", None, 1, "entries"),
    located("unbound", "@keys", None, "checkpoints"),
    located("missing", "a", 9, "checkpoints"),
    located("row", "a", 1, "checkpoint_blobs"),
    located("duplicate", "a", None, "checkpoint_blobs"),
    located("row", "b", 1, "checkpoints"),
    located("unbound", None, None, "checkpoints"),
]


@given(st.permutations(IN_ORDER))
def test_findings_stand_by_place_whoever_finds_them_first(found: list[VerificationError]) -> None:
    report = Report()
    for error in found:
        report.add(error)
    assert [finding.check for finding in report.findings] == [error.check for error in IN_ORDER]
    assert report.findings == [Finding.of(error) for error in IN_ORDER]


@pytest.mark.parametrize("shares", [1, 2, 7, 1000])
def test_reports_of_parts_make_the_report_of_the_whole(shares: int) -> None:
    whole, parts = Report(), [Report(Counts(entries=2), unsealed=1) for _ in range(4)]
    for number in range(3 * MAX_FINDINGS):
        error = located("row", f"case-{number * 7919 % 3000}", number, "checkpoints")
        whole.add(error)
        parts[number // shares % 4].add(error)
    merged = Report(Counts(entries=1))
    for part in parts:
        merged.merge(part)
    assert (merged.counts.entries, merged.unsealed) == (9, 4)
    assert (merged.findings, merged.omitted) == (whole.findings, whole.omitted)
    assert (len(whole.findings), whole.omitted) == (MAX_FINDINGS, 2 * MAX_FINDINGS)


def checked(entries: list[Entry], trail: str = TRAIL) -> tuple[TrailCheck, Report]:
    report = Report()
    check = TrailCheck(trail, origin=ORIGIN, ring=RING, report=report)
    for entry in entries:
        check.feed(entry)
    return check, report


def places(report: Report) -> list[tuple[str, int | None]]:
    return [(finding.check, finding.seq) for finding in report.findings]


def test_an_honest_trail_is_counted_and_has_no_findings() -> None:
    _, report = checked(four())
    assert report.findings == []
    assert (report.counts.trails, report.counts.entries, report.counts.payloads) == (1, 4, 2)


def test_a_trail_without_entries_is_counted_and_has_no_findings() -> None:
    assert checked([])[1].counts == Counts(trails=1)


Edit = Callable[[Entry], Entry]
# Everything a dishonest administrator can do to entry 2 of four without a key: each is one edit.
EDITS: list[tuple[str, Edit, str]] = [
    ("trail", lambda e: replace(e, trail="case-2"), "column"),
    ("trail null", lambda e: replace(e, trail=None), "column"),  # type: ignore[arg-type]
    ("seq", lambda e: replace(e, seq=7), "column"),
    ("seq null", lambda e: replace(e, seq=None), "column"),  # type: ignore[arg-type]
    ("kind", lambda e: replace(e, kind="run.failed"), "column"),
    ("time", lambda e: replace(e, occurred_at=WHEN), "column"),
    ("time null", lambda e: replace(e, occurred_at=None), "column"),  # type: ignore[arg-type]
    ("body", lambda e: replace(e, body=e.body.replace(b"run-2", b"run-X")), "signature"),
    ("body cut", lambda e: replace(e, body=e.body[:-1]), "body"),
    ("body null", lambda e: replace(e, body=None), "column"),  # type: ignore[arg-type]
    ("key id", lambda e: replace(e, keyid=bytes(32)), "key"),
    ("key id null", lambda e: replace(e, keyid=None), "column"),  # type: ignore[arg-type]
    ("signature", lambda e: replace(e, signature=bytes(64)), "signature"),
    ("signature null", lambda e: replace(e, signature=None), "column"),  # type: ignore[arg-type]
    ("salt", lambda e: replace(e, salt=bytes(32)), "payload"),
    ("data", lambda e: replace(e, data=b"{}"), "payload"),
    ("payload gone", lambda e: replace(e, salt=None, data=None), "payload"),
    ("another key", lambda e: resigned(e, e.body, STRANGER), "key"),
]


@pytest.mark.parametrize(("edit", "check"), [item[1:] for item in EDITS], ids=[item[0] for item in EDITS])
def test_one_edit_is_one_finding_and_verification_goes_on_behind_it(edit: Edit, check: str) -> None:
    entries = four()
    entries[1] = edit(entries[1])
    _, report = checked(entries)
    assert [finding.check for finding in report.findings] == [check]
    assert report.counts.entries == 4


def test_two_edits_are_two_findings() -> None:
    entries = four()
    entries[0] = replace(entries[0], signature=bytes(64))
    entries[3] = replace(entries[3], data=b"{}")
    assert places(checked(entries)[1]) == [("signature", 1), ("payload", 4)]


def test_an_entry_that_is_gone_is_one_finding() -> None:
    entries = four()
    assert places(checked([entries[0], *entries[2:]])[1]) == [("sequence", 3)]


def test_an_entry_put_in_by_a_rightful_key_breaks_the_chain_once() -> None:
    entries = four()
    entries[1] = sealed(note(99), entries[0])
    assert places(checked(entries)[1]) == [("chain", 3)]


def test_an_edit_behind_an_edit_is_not_excused() -> None:
    entries = four()
    entries[1] = replace(entries[1], body=entries[1].body.replace(b"run-2", b"run-X"))
    entries[2] = replace(entries[2], body=entries[2].body.replace(b"run-3", b"run-X"))
    found = places(checked(entries)[1])
    assert ("signature", 2) in found
    assert ("signature", 3) in found


def test_what_a_damaged_entry_binds_still_counts_when_its_payload_is_whole() -> None:
    row = checkpoint_row(1)
    entries = chain(binding(row), note(2))
    entries[0] = replace(entries[0], signature=bytes(64))
    check, report = checked(entries)
    check.extend(check.ledger.check_all([row]))
    assert places(report) == [("signature", 1)]


def test_rows_whose_binding_was_edited_are_named_as_unbound_and_never_as_changed() -> None:
    rows = [checkpoint_row(1), blob_row("1")]
    entries = chain(binding(*rows), note(2))
    entries[0] = replace(entries[0], data=b"{}")
    check, report = checked(entries)
    check.extend(check.ledger.check_all(rows))
    assert places(report) == [("payload", 1), ("unbound", None), ("unbound", None)]


def test_an_honest_replacement_of_what_an_edited_entry_bound_is_no_finding() -> None:
    old, new = checkpoint_row(1, "{}"), checkpoint_row(1, "[]")
    entries = chain(binding(old), binding(new, replaced=[superseding(old, 1)]))
    entries[0] = replace(entries[0], data=b"{}")
    check, report = checked(entries)
    check.extend(check.ledger.check_all([new]))
    assert places(report) == [("payload", 1)]


def test_a_row_edited_beside_the_trail_is_found_with_the_rest() -> None:
    entries = chain(binding(checkpoint_row(1)), note(2))
    check, report = checked(entries)
    check.extend(check.ledger.check_all([checkpoint_row(1, "[]")]))
    assert places(report) == [("row", 1)]


def test_an_entry_that_binds_what_it_may_not_is_found_and_the_rest_is_checked() -> None:
    entries = chain(binding(checkpoint_row(1)), binding(checkpoint_row(1, "[]")), note(3))
    entries[2] = replace(entries[2], signature=bytes(64))
    assert places(checked(entries)[1]) == [("binding", 2), ("signature", 3)]


def test_an_entry_of_a_kind_its_key_may_not_sign_is_found_and_its_rows_count() -> None:
    row = checkpoint_row(1)
    entries = [forged(chain(binding(row))[0], kind="review.signed")]
    entries[0] = replace(entries[0], kind="review.signed")
    check, report = checked(entries)
    check.extend(check.ledger.check_all([row]))
    assert places(report) == [("authority", 1)]


def test_a_whole_trail_shown_under_another_name_is_found() -> None:
    _, report = checked(four(), trail="case-2")
    assert report.verdict is Verdict.FAILED
