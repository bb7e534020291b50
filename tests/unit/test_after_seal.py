"""What comes after a head is in the memory holds nobody up, leaves out heads rather than falling behind, and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from countersign.audit.merkle import root_hash
from countersign.audit.treehead import TreeHead
from countersign.service import after_seal
from countersign.service.after_seal import AfterSeal, Pause

PATIENCE = 60.0
"""Seconds after which a test gives up; none of them takes as long."""


def head(size: int) -> TreeHead:
    return TreeHead("log.invalid", size, root_hash([b"\0" * 32] * size))


class Work:
    """Notes the sizes that it is called with, and waits for `go` each time."""

    def __init__(self, good: Callable[[int], bool] = lambda _size: True) -> None:
        self.sizes: list[int] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self._good = good

    def __call__(self, of: TreeHead, _pause: Pause) -> bool:
        self.sizes.append(of.size)
        self.begun.release()
        assert self.go.acquire(timeout=PATIENCE)
        return self._good(len(self.sizes))


def test_telling_returns_while_work_is_under_way_and_only_the_newest_head_is_done_then() -> None:
    work = Work()
    with AfterSeal(work, every=0) as after:
        after.tell(head(1))
        assert work.begun.acquire(timeout=PATIENCE)
        for size in (2, 3, 4):
            after.tell(head(size))
        work.go.release()
        assert work.begun.acquire(timeout=PATIENCE)
        after.tell(head(4))
        work.go.release(2)
    assert work.sizes == [1, 4]


def test_what_failed_is_tried_again_though_there_is_no_new_head() -> None:
    work = Work(good=lambda turn: turn == 3)
    with AfterSeal(work, every=0) as after:
        after.tell(head(1))
        for _ in range(3):
            assert work.begun.acquire(timeout=PATIENCE)
            work.go.release()
    assert work.sizes == [1, 1, 1]


def test_it_is_done_no_more_often_than_that() -> None:
    work = Work()
    with AfterSeal(work, every=3600) as after:
        after.tell(head(1))
        assert work.begun.acquire(timeout=PATIENCE)
        after.tell(head(2))
        work.go.release()
    assert not after._thread.is_alive()
    assert work.sizes == [1]


def test_leaving_ends_a_pause() -> None:
    begun = threading.Event()

    def work(_head: TreeHead, pause: Pause) -> bool:
        begun.set()
        pause(3600)
        return False

    with AfterSeal(work, every=3600) as after:
        after.tell(head(1))
        assert begun.wait(PATIENCE)
    assert not after._thread.is_alive()


def test_leaving_does_not_wait_for_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work()
    with AfterSeal(work, every=0) as after:
        after.tell(head(1))
        assert work.begun.acquire(timeout=PATIENCE)
        monkeypatch.setattr(after_seal, "LEAVE", 0)
    assert after._thread.is_alive()
    assert after._thread.daemon
    work.go.release()
    after._thread.join(PATIENCE)
    assert work.sizes == [1]
