"""Kinds of entries, patterns of kinds, and what a pattern covers."""

from __future__ import annotations

import pytest

from countersign.audit.errors import MalformedError
from countersign.audit.kinds import GRAPH_KINDS, Kind, allows, check_kind, check_pattern

KINDS = ["run.started", "a.b", "key.introduced", "report-copy.handed-over", *Kind]
NOT_KINDS = ["", ".", "a", "a.", ".a", "a.b.c", "A.b", "a.B", "a_b.c", "a1.b", "-a.b", "a-.b", "a--b.c", "a .b"]
NOT_KINDS += ["a.b\n", "\u00e9.b", "*", "a.*"]
PATTERNS = ["*", "run.*", "report-copy.*", "run.started"]
NOT_PATTERNS = [
    "",
    ".*",
    "**",
    "*.*",
    "*.started",
    "run*",
    "run.**",
    "run.s*",
    "Run.*",
    "run.*\n",
    "run.started.*",
    "run",
]


@pytest.mark.parametrize("kind", KINDS)
def test_subject_and_action_make_a_kind(kind: str) -> None:
    assert check_kind(kind) == kind
    assert type(check_kind(kind)) is str


@pytest.mark.parametrize("kind", NOT_KINDS)
def test_anything_else_is_no_kind(kind: str) -> None:
    with pytest.raises(MalformedError, match="kind"):
        check_kind(kind)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_star_a_subject_or_a_kind_is_a_pattern(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", NOT_PATTERNS)
def test_anything_else_is_no_pattern(pattern: str) -> None:
    with pytest.raises(MalformedError, match="pattern"):
        check_pattern(pattern)


COVERED = [
    (("*",), "review.signed", True),
    (("run.*",), "run.started", True),
    (("run.*",), "runs.started", False),
    (("run.*",), "run-once.started", False),
    (("run.*",), "rerun.started", False),
    (("run.*",), "run", False),
    (("run.started",), "run.started", True),
    (("run.started",), "run.started-again", False),
    (("run.start",), "run.started", False),
    (("run.started",), "run.completed", False),
    (("state.*", "run.started"), "run.started", True),
    (("state.*", "run.started"), "run.failed", False),
    ((), "run.started", False),
]


@pytest.mark.parametrize(("patterns", "kind", "covered"), COVERED)
def test_a_pattern_covers_these_kinds_only(patterns: tuple[str, ...], kind: str, *, covered: bool) -> None:
    assert allows(patterns, kind) is covered


GRAPH_MAY = ["checkpoint.saved", "writes.saved", "run.refused", "interrupt.raised", "state.updated"]
GRAPH_MAY_NOT = [
    "key.introduced",
    "trail.adopted",
    "review.signed",
    "decision.made",
    "log.restored",
    "report.issued",
    "policy.changed",
]


@pytest.mark.parametrize("kind", GRAPH_MAY)
def test_the_graph_key_may_sign_what_a_graph_does(kind: str) -> None:
    assert allows(GRAPH_KINDS, kind)


@pytest.mark.parametrize("kind", GRAPH_MAY_NOT)
def test_the_graph_key_may_sign_no_decision_and_no_key(kind: str) -> None:
    assert not allows(GRAPH_KINDS, kind)
