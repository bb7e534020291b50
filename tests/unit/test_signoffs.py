"""Who signed what, whether it counts and why not, and what it came to, as the report on a bundle lists it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from countersign.service.cli import main
from countersign.service.describe import describe
from unit import broken_signatures, broken_views
from unit.breaking import TWO
from unit.bundles import written
from unit.governing import World, finish, waiting
from unit.heads import log_key
from unit.honest_cases import HONEST
from unit.honest_paths import approved, two_stages
from unit.test_governed_bundle import logged, relied, verified


def listed(make: Callable[[], World]) -> Any:
    (case,) = verified(logged(make())).cases
    return case


def test_each_signature_is_listed_with_what_was_signed() -> None:
    case = listed(two_stages)
    assert (case["trail"], case["status"]) == ("case-1", "completed")
    assert case["signatures"][0] == {
        "seq": 11,
        "at": "2025-03-01T12:30:45.123456Z",
        "signer": "u-pha",
        "printed_name": "U-PHA",
        "role": "pharmacist",
        "attested": False,
        "review": "r-1",
        "gate": "pharmacist",
        "stage": 1,
        "decision": "approved",
        "meaning": "I say approved.",
        "reason": "weighed",
        "values": {},
        "counts": True,
        "why_not": None,
        "counted_by": 16,
    }
    assert case["reviews"] == [
        {
            "review": "r-1",
            "gate": "pharmacist",
            "opened": 9,
            "status": "decided",
            "decided": 16,
            "outcome": "approved",
            "by": "signatures",
            "allowed": True,
        }
    ]


def signed_once() -> World:
    world = waiting(TWO)
    world.sign("u-pha")
    return world


NOT_ACTIVE = (
    "Entry 11 of trail 'case-1' is no signature that the gate 'pharmacist' allows (inactive): they are not active."
)
ROWS: list[tuple[str, Callable[[], World], list[tuple[int | None, str | None]]]] = [
    ("withdrawn", HONEST["withdrawn"], [(None, "it was taken back (entry 12)"), (17, None), (17, None)]),
    (
        "edited",
        HONEST["edited by signature"],
        [(None, "what was under review was edited (entry 16)"), (14, None), (23, None), (23, None)],
    ),
    ("moved", HONEST["moved"], [(None, "the case was moved to another version (entry 12)"), (16, None)]),
    ("an API key", HONEST["attested beside"], [(None, "the gate does not count an API key's word"), (13, None)]),
    ("attested", HONEST["attested"], [(11, None)]),
    ("annotated", HONEST["annotated under signature"], [(12, None), (None, "an annotation decides nothing")]),
    ("stopped", HONEST["stopped by the fallback role"], [(10, None)]),
    ("nothing decided yet", signed_once, [(None, None)]),
    (
        "one short",
        broken_signatures.one_short,
        [(None, "what was decided on it, entry 12, is not what the policy allows")],
    ),
    (
        "deactivated",
        broken_signatures.deactivated,
        [(None, NOT_ACTIVE)],
    ),
]


@pytest.mark.parametrize(("make", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_whether_a_signature_counts_and_why_not(
    make: Callable[[], World], wanted: list[tuple[int | None, str | None]]
) -> None:
    signatures = listed(make)["signatures"]
    assert [(one["counted_by"], one["why_not"]) for one in signatures] == wanted
    assert [one["counts"] for one in signatures] == [why is None for _, why in wanted]


def test_what_is_not_allowed_is_listed_as_that() -> None:
    (review,) = listed(broken_signatures.one_short)["reviews"]
    assert (review["outcome"], review["allowed"]) == ("approved", False)
    assert "AGAINST THE POLICY" in describe(verified(logged(broken_signatures.one_short())))
    (one,) = listed(broken_views.shown_what_was_before)["signatures"]
    assert "(not-viewed)" in one["why_not"]


def test_it_is_printed_and_nothing_typed_leaves_its_line(tmp_path: Path) -> None:
    def typed() -> World:
        world = waiting()
        world.sign("u-pha", "rejected", text="too\nhigh\x1b[2J \u202ehgih oot")
        finish(world, world.decide())
        return world

    log = logged(typed())
    (tmp_path / "bundle.zip").write_bytes(written(log.contents(system=relied(log))))
    done = CliRunner().invoke(main, ["verify-bundle", str(tmp_path / "bundle.zip"), "--vkey", log_key().text])
    assert done.exit_code == 0
    odd = "\N{REPLACEMENT CHARACTER}"
    assert done.stdout.splitlines()[-7:] == [
        done.stdout.splitlines()[-7],
        "  11  2025-03-01T12:30:45.123456Z  U-PHA as pharmacist signed at the gate pharmacist, stage 1: rejected",
        "      meaning: I say rejected.",
        f"      reason: too{odd}high{odd}[2J {odd}hgih oot",
        "      counts: entry 12 rests on it",
        "  review at the gate pharmacist, opened by entry 9: decided, rejected by signatures (entry 12)",
        "  outcome: the case is completed",
    ]
    assert done.stdout.splitlines()[-7].startswith("signatures: 1 signature in case case-1 of orders, version ")


def test_a_case_without_signatures_says_so() -> None:
    assert "signatures: 0 signatures in case case-1" in describe(verified(logged(HONEST["expired"]())))
    assert "cases" in verified(logged(approved())).as_json()
