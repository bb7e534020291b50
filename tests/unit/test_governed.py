"""The rules of governed cases: honest ones of every shape pass, and each rule that is broken is found and named."""

from __future__ import annotations

import pytest

from countersign.audit.caseruns import Status
from unit import (
    broken_decisions,
    broken_mandates,
    broken_order,
    broken_runs,
    broken_signatures,
    broken_statements,
    broken_times,
    broken_views,
)
from unit.breaking import BROKEN, Broken
from unit.governing import World, problems
from unit.honest_cases import HONEST

_ENDS = {
    "stopped by the fallback role": Status.STOPPED,
    "expired and stopped": Status.STOPPED,
    "stopped": Status.STOPPED,
    "stopped in mid run": Status.STOPPED,
    "redirected from behind a node": Status.WAITING,
    "failed and tried again by itself": Status.WAITING,
    "told out of order": Status.WAITING,
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_case_breaks_no_rule(name: str) -> None:
    world: World = HONEST[name]()
    assert problems(world) == problems(world, sealed=0) == []
    assert world.replay().runs.status is _ENDS.get(name, Status.COMPLETED)
    assert world.replay().unknown == 0


@pytest.mark.parametrize("broken", BROKEN, ids=[broken.rule for broken in BROKEN])
def test_a_broken_rule_is_found(broken: Broken) -> None:
    found = problems(broken.make())
    assert any(broken.sentence in sentence for sentence in found), found
    assert all(sentence.startswith("Entry ") and sentence.endswith(".") for sentence in found)


def test_every_broken_rule_is_in_the_table_once() -> None:
    assert len({broken.rule for broken in BROKEN}) == len(BROKEN)
    assert {broken.make.__module__ for broken in BROKEN} == {
        module.__name__
        for module in (
            broken_decisions,
            broken_mandates,
            broken_order,
            broken_runs,
            broken_signatures,
            broken_statements,
            broken_times,
            broken_views,
        )
    }
