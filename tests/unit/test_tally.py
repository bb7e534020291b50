"""Signatures against a gate: stages in order, N of M, one person once, what has to agree."""

from __future__ import annotations

from typing import Any

import pytest

from countersign.audit.canonical import Json
from countersign.audit.policy import Gate, parse_policy
from countersign.audit.tally import Signature, tally
from unit.governing import decision, gate, policy

PHA, CHI = "pharmacist", "chief"
VALUED: list[Json] = [
    decision("approved", releases=True, write={"dose": "$values.dose", "why": "$reason"}, values={}),
    decision("rejected", releases=False),
]


def made(**members: Any) -> Gate:
    return parse_policy(policy(gate(**members))).gates[0]


ONE = made()
TWO = made(stages=[{"role": PHA, "count": 2}])
STAGED = made(stages=[{"role": PHA, "count": 2}, {"role": CHI, "count": 1}])
SAME_ROLE = made(stages=[{"role": PHA, "count": 1}, {"role": PHA, "count": 1}])
VALUES = made(stages=[{"role": PHA, "count": 2}], decisions=VALUED)
ATTESTED = made(accept="attested")


def by(seq: int, signer: str, role: str = PHA, name: str = "approved", stage: int = 1, **how: Any) -> Signature:
    return Signature(seq, signer, role, name, stage, **how)


Row = tuple[str, Gate, list[Signature], tuple[int, str | None, tuple[int, ...]]]
ROWS: list[Row] = [
    ("nobody", ONE, [], (1, None, ())),
    ("one of one", ONE, [by(5, "a")], (1, "approved", (5,))),
    ("one of two", TWO, [by(5, "a")], (1, None, (5,))),
    ("two of two", TWO, [by(5, "a"), by(6, "b")], (1, "approved", (5, 6))),
    ("in whatever order they are handed in", TWO, [by(6, "b"), by(5, "a")], (1, "approved", (5, 6))),
    ("the same person twice", TWO, [by(5, "a"), by(6, "a")], (1, None, (5,))),
    ("two who do not agree", TWO, [by(5, "a"), by(6, "b", name="waved")], (1, None, (5,))),
    ("a rejection takes one", TWO, [by(5, "a"), by(6, "b", name="rejected")], (1, "rejected", (6,))),
    ("a rejection first", TWO, [by(5, "b", name="rejected"), by(6, "a")], (1, "rejected", (5,))),
    ("the first stage done", STAGED, [by(5, "a"), by(6, "b")], (2, None, (5, 6))),
    ("all stages", STAGED, [by(5, "a"), by(6, "b"), by(7, "c", CHI, stage=2)], (2, "approved", (5, 6, 7))),
    ("the second stage first", STAGED, [by(4, "c", CHI, stage=2), by(5, "a")], (1, None, (5,))),
    ("the last stage rejects", STAGED, [by(5, "a"), by(6, "b"), by(7, "c", CHI, "rejected", 2)], (2, "rejected", (7,))),
    ("a stage that rejects too early", STAGED, [by(5, "c", CHI, "rejected", 2)], (1, None, ())),
    ("one person in two stages", SAME_ROLE, [by(5, "a"), by(6, "a", stage=2)], (2, None, (5,))),
    ("two persons in two stages", SAME_ROLE, [by(5, "a"), by(6, "b", stage=2)], (2, "approved", (5, 6))),
    ("another role", ONE, [by(5, "a", CHI)], (1, None, ())),
    ("an API key's word", ONE, [by(5, "k", attested=True)], (1, None, ())),
    ("an API key's word that is accepted", ATTESTED, [by(5, "k", attested=True)], (1, "approved", (5,))),
    ("a signature where a word would do", ATTESTED, [by(5, "a")], (1, "approved", (5,))),
    ("other values", VALUES, [by(5, "a", values={"dose": 1}), by(6, "b", values={"dose": 2})], (1, None, (5,))),
    ("True for 1", VALUES, [by(5, "a", values={"dose": 1}), by(6, "b", values={"dose": True})], (1, None, (5,))),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "signatures", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_signatures_come_to(gate: Gate, signatures: list[Signature], expected: Any) -> None:
    found = tally(gate, signatures, escalated=False)
    assert (found.stage, found.outcome, found.counted) == expected
    assert found.role == gate.stages[found.stage - 1].role
    assert found.outcome is not None or found.write is None


@pytest.mark.parametrize(("escalated", "outcome"), [(False, None), (True, "approved")])
def test_another_role_counts_after_escalation(escalated: bool, outcome: str | None) -> None:  # noqa: FBT001
    assert tally(ONE, [by(5, "c", CHI)], escalated=escalated).outcome == outcome
    assert tally(ONE, [by(5, "a")], escalated=escalated).outcome == "approved"


def test_what_is_written_has_the_reasons_in_order_and_the_common_values() -> None:
    signatures = [
        by(6, "b", values={"dose": 3}, reason="counted"),
        by(5, "a", values={"dose": 3}, reason="weighed"),
    ]
    assert tally(VALUES, signatures, escalated=False).write == {"dose": 3, "why": "weighed\ncounted"}
    silent = [by(5, "a", values={"dose": 3}), by(6, "b", values={"dose": 3}, reason="counted")]
    assert tally(VALUES, silent, escalated=False).write == {"dose": 3, "why": "counted"}


def test_a_rejection_writes_its_own_reason_alone() -> None:
    signatures = [by(5, "a", reason="weighed"), by(6, "b", name="rejected", reason="too much")]
    assert tally(TWO, signatures, escalated=False).write == {"decision": "rejected", "notes": "too much"}
