"""The bounded memory: it forgets the least recently used, and nothing else."""

from __future__ import annotations

from countersign.audit.recent import Recent


def test_what_was_used_least_recently_is_forgotten() -> None:
    recent: Recent[str, int] = Recent(2)
    recent["a"], recent["b"] = 1, 2
    assert recent.get("a") == 1
    recent["c"] = 3
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_writing_counts_as_use_and_replaces() -> None:
    recent: Recent[str, int] = Recent(2)
    recent["a"], recent["b"] = 1, 2
    recent["a"] = 10
    recent["c"] = 3
    assert [recent.get(key) for key in "abc"] == [10, None, 3]


def test_a_miss_and_a_discard_change_nothing_else() -> None:
    recent: Recent[str, int] = Recent(2)
    recent["a"], recent["b"] = 1, 2
    assert recent.get("x") is None
    recent.discard("x")
    recent.discard("a")
    recent["c"] = 3
    assert [recent.get(key) for key in "abc"] == [None, 2, 3]
