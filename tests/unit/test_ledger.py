"""What a trail binds: the last version of every row, replacements that are said, and rows held against it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.canonical import Json
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import VerificationError
from countersign.audit.keys import FileKey
from countersign.audit.kinds import Kind
from countersign.audit.ledger import Binding, Ledger, adoption_remedy
from countersign.audit.rows import row_hash
from unit.samples import (
    DEPLOYMENT,
    GRAPH,
    TRAIL,
    Row,
    binding,
    blob_row,
    bound,
    chain,
    checkpoint_row,
    note,
    superseding,
    walk,
    write_row,
)

OLD, NEW = checkpoint_row(1, '{"dose": 5}'), checkpoint_row(1, '{"dose": 50}')
KEY = OLD[0].key_of(OLD[1])


def ledger_of(*drafts: EntryDraft, signer: FileKey = GRAPH) -> Ledger:
    """Return the ledger behind checked entries made of these drafts."""
    ledger = Ledger(TRAIL)
    for checked in walk(chain(*drafts, signer=signer)):
        ledger.apply(checked)
    return ledger


def refused(*drafts: EntryDraft) -> VerificationError:
    """Return the failure of the last draft; those before it pass."""
    *before, last = walk(chain(*drafts))
    ledger = Ledger(TRAIL)
    for checked in before:
        ledger.apply(checked)
    with pytest.raises(VerificationError) as caught:
        ledger.apply(last)
    assert (caught.value.check, caught.value.seq, caught.value.trail) == ("binding", len(drafts), TRAIL)
    assert (caught.value.table, caught.value.column) == ("payloads", "data")
    return caught.value


def found(ledger: Ledger, *rows: Row) -> list[tuple[str, str | None, int | None]]:
    return [(error.check, error.table, error.seq) for error in ledger.check_all(rows)]


def test_a_ledger_without_entries_binds_nothing() -> None:
    ledger = Ledger(TRAIL)
    assert ledger.binding(KEY) is None
    assert ledger.latest("") is None
    assert ledger.writes_of("", "c1") == set()
    assert found(ledger) == []


def test_a_row_is_bound_by_the_entry_that_says_so() -> None:
    ledger = ledger_of(note(1), binding(OLD, blob_row("1")))
    assert ledger.binding(KEY) == Binding(row_hash(OLD[1]), 2)
    assert ledger.link.seq == 2


def test_an_entry_without_payload_or_without_rows_binds_nothing_but_moves_the_place() -> None:
    ledger = ledger_of(note(1), note(2, payload={"old": 1}), note(3, payload={"rows": []}))
    assert ledger.link.seq == 3
    assert found(ledger) == []


def test_binding_a_row_again_unchanged_needs_no_word_and_moves_the_entry() -> None:
    ledger = ledger_of(binding(OLD), binding(OLD))
    assert ledger.binding(KEY) == Binding(row_hash(OLD[1]), 2)


def test_a_replacement_that_names_what_it_supersedes_is_the_last_version() -> None:
    ledger = ledger_of(binding(OLD), note(2), binding(NEW, replaced=[superseding(OLD, 1)]))
    assert ledger.binding(KEY) == Binding(row_hash(NEW[1]), 3)
    ledger.check_row(*NEW)
    assert found(ledger, OLD) == [("row", "checkpoints", 3)]


def test_every_replacement_supersedes_the_one_before_it() -> None:
    again = checkpoint_row(1, "{}")
    drafts = [binding(OLD), binding(NEW, replaced=[superseding(OLD, 1)])]
    assert ledger_of(*drafts, binding(again, replaced=[superseding(NEW, 2)])).binding(KEY) == Binding(
        row_hash(again[1]), 3
    )
    assert "entry 2 bound" in refused(*drafts, binding(again, replaced=[superseding(NEW, 1)])).message


def test_a_change_that_is_not_said_is_somebodys_edit() -> None:
    error = refused(binding(OLD), binding(NEW))
    assert "entry 1 bound" in error.message
    assert "taken out or edited" in error.message


@pytest.mark.parametrize("seq", [0, 2, 3, -1])
def test_a_replacement_must_name_the_entry_it_supersedes(seq: int) -> None:
    assert "entry 1 bound" in refused(binding(OLD), binding(NEW, replaced=[superseding(OLD, seq)])).message


def test_a_replacement_of_another_row_does_not_excuse_the_change() -> None:
    other = checkpoint_row(2)
    drafts = (binding(OLD, other), binding(NEW, checkpoint_row(2, "[]"), replaced=[superseding(other, 1)]))
    assert "of checkpoints again" in refused(*drafts).message


def test_a_replacement_without_a_change_is_not_true() -> None:
    assert "does not change" in refused(binding(OLD), binding(OLD, replaced=[superseding(OLD, 1)])).message


def test_a_replacement_of_a_row_that_was_never_bound_is_not_true() -> None:
    assert "does not change" in refused(note(1), binding(OLD, replaced=[superseding(OLD, 1)])).message


def test_a_replacement_of_a_row_that_the_entry_does_not_bind_is_not_true() -> None:
    refused(binding(OLD), binding(blob_row("1"), replaced=[superseding(OLD, 1)]))


ITEM = superseding(OLD, 1)
NOT_REPLACED: list[tuple[str, Any]] = [
    ("null", None),
    ("an object", {}),
    ("a string", "x"),
    ("an item that is no object", [1]),
    ("an item without seq", [{key: ITEM[key] for key in ("table", "key", "was")}]),
    ("an item without was", [{key: ITEM[key] for key in ("table", "key", "seq")}]),
    ("an item with more", [ITEM | {"x": 1}]),
    ("a table that is a number", [ITEM | {"table": 1}]),
    ("a key that is a string", [ITEM | {"key": "t"}]),
    ("a seq that is a string", [ITEM | {"seq": "1"}]),
    ("a seq that is null", [ITEM | {"seq": None}]),
    ("a seq that is true", [ITEM | {"seq": True}]),
    ("a row replaced twice", [ITEM | {"seq": 7}, ITEM]),
]


@pytest.mark.parametrize("member", [item[1] for item in NOT_REPLACED], ids=[item[0] for item in NOT_REPLACED])
def test_replaced_in_another_form_is_refused(member: Any) -> None:
    payload: dict[str, Json] = {"rows": [row.as_json() for row in bound(NEW)], "replaced": member}
    refused(binding(OLD), EntryDraft(TRAIL, "checkpoint.saved", payload=payload))


@pytest.mark.parametrize("member", [None, {}, [{}], [{"table": "entries", "key": [], "sha256": "0" * 64}]], ids=str)
def test_rows_in_another_form_are_refused(member: Any) -> None:
    refused(EntryDraft(TRAIL, "checkpoint.saved", payload={"rows": member}))


def test_a_trail_binds_no_row_of_another_thread() -> None:
    error = refused(note(1), binding(checkpoint_row(1, thread="case-2")))
    assert "another thread, 'case-2'" in error.message


@pytest.mark.parametrize("trail", ["@system", "@keys"])
def test_our_own_trails_bind_no_rows(trail: str) -> None:
    entries = chain(binding(checkpoint_row(1, thread=trail), trail=trail), signer=DEPLOYMENT)
    with pytest.raises(VerificationError, match="no case has this trail") as caught:
        Ledger(trail).apply(walk(entries)[0])
    assert caught.value.check == "binding"


def test_the_latest_checkpoint_is_the_greatest_id_of_each_namespace() -> None:
    ledger = ledger_of(
        binding(checkpoint_row(1)),
        binding(checkpoint_row(3), checkpoint_row(9, ns="sub")),
        binding(checkpoint_row(2)),
        binding(blob_row("9")),
    )
    assert (ledger.latest(""), ledger.latest("sub"), ledger.latest("other")) == ("c3", "c9", None)


def test_writes_are_found_by_their_checkpoint() -> None:
    first, second, other = write_row(1, 0), write_row(1, -1), write_row(2, 0)
    ledger = ledger_of(binding(first, other), binding(second))
    assert ledger.writes_of("", "c1") == {table.key_of(row) for table, row in (first, second)}
    assert ledger.writes_of("", "c2") == {other[0].key_of(other[1])}
    assert ledger.writes_of("sub", "c1") == set()


ROWS: list[Row] = [OLD, blob_row("1"), write_row(1, 0)]


def test_rows_as_they_were_bound_pass() -> None:
    ledger = ledger_of(binding(*ROWS))
    for row in ROWS:
        ledger.check_row(*row)
    assert found(ledger, *reversed(ROWS)) == []


CHANGED: list[tuple[str, Row]] = [
    ("a column", NEW),
    ("NULL instead of a value", (OLD[0], (*OLD[1][:-1], None))),
    ("a value instead of NULL", (OLD[0], (*OLD[1][:3], "", *OLD[1][4:]))),
    ("a blob", blob_row("1", b"V")),
    ("a blob taken out", blob_row("1", None)),
    ("a write", write_row(1, 0, b"W")),
]


@pytest.mark.parametrize("row", [item[1] for item in CHANGED], ids=[item[0] for item in CHANGED])
def test_a_changed_row_is_found_with_the_entry_that_bound_it(row: Row) -> None:
    ledger = ledger_of(note(1), binding(*ROWS))
    with pytest.raises(VerificationError, match="not what entry 2 bound") as caught:
        ledger.check_row(*row)
    assert (caught.value.check, caught.value.table, caught.value.seq) == ("row", row[0].name, 2)
    assert found(ledger, *(row if row[0] is item[0] else item for item in ROWS)) == [("row", row[0].name, 2)]


def test_a_row_that_no_entry_binds_is_found() -> None:
    stranger = write_row(1, 1)
    ledger = ledger_of(binding(*ROWS))
    with pytest.raises(VerificationError, match="behind the saver's back") as caught:
        ledger.check_row(*stranger)
    assert (caught.value.check, caught.value.table, caught.value.seq) == ("unbound", "checkpoint_writes", None)
    assert found(ledger, *ROWS, stranger) == [("unbound", "checkpoint_writes", None)]


def test_a_row_of_a_thread_that_no_entry_binds_is_found_with_the_remedy() -> None:
    ledger = ledger_of(note(1))
    with pytest.raises(VerificationError, match=f"`countersign adopt {TRAIL}`") as caught:
        ledger.check_row(*ROWS[0])
    assert (caught.value.check, caught.value.table, ledger.binds) == ("unbound", ROWS[0][0].name, False)
    assert "countersign adopt" in ledger.stranger("checkpoints").message


def test_a_report_that_lost_an_entry_does_not_call_a_thread_new() -> None:
    ledger = ledger_of(note(1))
    ledger.incomplete = True
    with pytest.raises(VerificationError) as caught:
        ledger.check_row(*ROWS[0])
    assert "adopt" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "@keys", "@mine", "x" * 256, "a\nb"])
def test_what_can_have_no_trail_is_not_offered_one(name: str) -> None:
    assert adoption_remedy(name) == ""


def adoption(*rows: Row) -> EntryDraft:
    return replace(binding(*rows), kind=Kind.TRAIL_ADOPTED)


def test_an_adoption_binds_a_thread_that_nothing_bound() -> None:
    ledger = ledger_of(note(1), adoption(*ROWS), signer=DEPLOYMENT)
    assert (found(ledger, *ROWS), ledger.adopted, ledger.binds) == ([], 2, True)


def test_an_adoption_does_not_say_how_a_run_before_it_ended() -> None:
    assert ledger_of(note(1)).open_run == "run-1"
    assert ledger_of(note(1), adoption(*ROWS), signer=DEPLOYMENT).open_run is None


@pytest.mark.parametrize("before", ["saved", "adopted"])
def test_an_adoption_of_what_is_bound_already_is_refused(before: str) -> None:
    first = binding(ROWS[0]) if before == "saved" else adoption(ROWS[0])
    with pytest.raises(VerificationError, match="earlier entries bind") as caught:
        ledger_of(first, adoption(*ROWS[1:]), signer=DEPLOYMENT)
    assert (caught.value.check, caught.value.seq) == ("binding", 2)


@pytest.mark.parametrize("gone", range(len(ROWS)))
def test_a_bound_row_that_is_gone_is_found(gone: int) -> None:
    left = [row for index, row in enumerate(ROWS) if index != gone]
    table, row = ROWS[gone]
    ledger = ledger_of(binding(*ROWS))
    assert found(ledger, *left) == [("missing", table.name, 1)]
    assert "entry 1 bound it" in ledger.missing(table.key_of(row)).message


def test_a_row_that_stands_twice_is_found_once_for_each_time_too_many() -> None:
    ledger = ledger_of(binding(*ROWS))
    assert found(ledger, *ROWS, OLD, NEW) == [("duplicate", "checkpoints", None)] * 2


def test_a_row_moved_to_another_thread_is_missing_here_and_unbound_there() -> None:
    moved = checkpoint_row(1, '{"dose": 5}', thread="case-2")
    assert found(ledger_of(binding(OLD)), moved) == [("unbound", "checkpoints", None), ("missing", "checkpoints", 1)]


def test_all_damage_of_a_thread_is_found_at_once() -> None:
    ledger = ledger_of(binding(*ROWS))
    assert sorted(check for check, *_ in found(ledger, NEW, blob_row("2"), blob_row("2"))) == [
        "duplicate",
        "missing",
        "missing",
        "row",
        "unbound",
    ]


histories = st.lists(st.dictionaries(st.integers(1, 3), st.binary(max_size=2), max_size=3), max_size=6)


@given(histories)
def test_after_any_honest_history_exactly_the_last_versions_pass(history: list[dict[int, bytes]]) -> None:
    now: dict[int, tuple[bytes, int]] = {}
    drafts = []
    for seq, step in enumerate(history, 1):
        changed = [key for key, blob in step.items() if key in now and now[key][0] != blob]
        replaced: list[Json] = [superseding(blob_row(str(key)), now[key][1]) for key in sorted(changed)]
        drafts.append(binding(*(blob_row(str(key), blob) for key, blob in step.items()), replaced=replaced))
        now |= {key: (blob, seq) for key, blob in step.items()}
    ledger = ledger_of(*drafts)
    rows = [blob_row(str(key), blob) for key, (blob, _) in now.items()]
    assert found(ledger, *rows) == []
    for table, row in rows:
        edited = (*row[:-1], hashlib.sha256(repr(row).encode()).digest())
        with pytest.raises(VerificationError):
            ledger.check_row(table, edited)
