"""The log rebuilt from leaves against heads: what passes, and which single finding a wrong one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.body import parse_body
from countersign.audit.canonical import Json
from countersign.audit.chain import Checked, Link
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import VerificationError
from countersign.audit.logcheck import KnownHead, LogCheck, Loss, parse_loss
from countersign.audit.merkle import CompactRange
from countersign.audit.treehead import TreeHead
from rfc6962 import leaf_hash, tree_hash
from unit.samples import DEPLOYMENT, ORIGIN, sealed

BODIES = [b"%d" % number for number in range(40)]
HASHES = [leaf_hash(body) for body in BODIES]
SIZES = (0, 3, 8, 17, 40)


def head(size: int, bodies: Sequence[bytes] = BODIES) -> TreeHead:
    return TreeHead(ORIGIN, size, tree_hash(list(bodies[:size])))


def rebuilt(
    leaves: Sequence[tuple[int | None, bytes | None]],
    sizes: Sequence[int] = SIZES,
    others: Sequence[KnownHead] = (),
    losses: Sequence[Loss] = (),
    start: CompactRange | None = None,
) -> LogCheck:
    check = LogCheck([head(size) for size in sizes], others, losses, start)
    for index, value in leaves:
        check.feed(index, value, "case-7", 1)
    check.finish()
    return check


def found(check: LogCheck) -> list[tuple[str, int | None]]:
    return [(error.check, error.leaf_index) for error in check.findings]


HONEST = list(enumerate(HASHES))


def test_an_honest_log_is_rebuilt() -> None:
    check = rebuilt(HONEST, others=[KnownHead(head(size), f"file {size}") for size in range(41)])
    assert found(check) == []
    assert (check.rebuilt.size, check.rebuilt.heads, check.rebuilt.last) == (40, 5, head(40))


@given(st.integers(0, 40), st.integers(0, 40))
def test_any_head_of_the_log_fits_and_one_from_a_known_tree_on_is_enough(size: int, begin: int) -> None:
    others = [KnownHead(head(size), "a file")]
    assert found(rebuilt(HONEST, others=others)) == []
    start = CompactRange().extend(HASHES[:begin])
    later = [known for known in SIZES if known >= begin]
    assert found(rebuilt(HONEST[begin:], later, others, start=start)) == []


@given(st.integers(0, 39), st.integers(0, 40))
def test_another_leaf_is_found_by_each_source_with_a_head_behind_it(index: int, size: int) -> None:
    other = [*HASHES[:index], leaf_hash(b"another"), *HASHES[index + 1 :]]
    check = rebuilt(list(enumerate(other)), others=[KnownHead(head(size), "a file")])
    assert [error.check for error in check.findings] == ["head"] * (1 + (size > index))
    assert check.rebuilt.differs is not None
    begin, end = check.rebuilt.differs
    assert begin <= index < end


@dataclass(frozen=True)
class Wrong:
    """Leaves that are no honest log, and the findings."""

    leaves: Sequence[tuple[int | None, bytes | None]]
    found: list[tuple[str, int | None]]
    sizes: Sequence[int] = SIZES


WRONG = {
    "a hole": Wrong([*HONEST[:5], *HONEST[6:]], [("leaf", 5)]),
    "a long hole": Wrong([*HONEST[:5], *HONEST[30:]], [("leaf", 5)]),
    "no beginning": Wrong(HONEST[1:], [("leaf", 0)]),
    "a leaf twice": Wrong([*HONEST[:6], HONEST[5], *HONEST[6:]], [("leaf", 5)]),
    "a negative index": Wrong([(-1, HASHES[0]), *HONEST], [("leaf", -1)]),
    "no index": Wrong([*HONEST, (None, HASHES[0])], [("leaf", None)]),
    "no hash": Wrong([*HONEST[:5], (5, None), *HONEST[6:]], [("leaf", 5)]),
    "a short hash": Wrong([*HONEST[:5], (5, b"x"), *HONEST[6:]], [("leaf", 5)]),
    "leaves behind the last head": Wrong(HONEST, [("leaf", 17)], SIZES[:-1]),
    "leaves cut off": Wrong(HONEST[:20], [("head", None)]),
    "everything cut off": Wrong([], [("head", None)]),
    "two exchanged": Wrong([*HONEST[:5], (5, HASHES[6]), (6, HASHES[5]), *HONEST[7:]], [("head", None)]),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_wrong_is_one_finding(name: str) -> None:
    wrong = WRONG[name]
    assert found(rebuilt(wrong.leaves, wrong.sizes)) == wrong.found


@pytest.mark.parametrize("size", [41, 1000])
def test_a_head_ahead_of_the_database_is_found(size: int) -> None:
    check = rebuilt(HONEST, others=[KnownHead(TreeHead(ORIGIN, size, bytes(32)), "a file")])
    assert [error.message.split(" in ")[0] for error in check.findings] == [f"The tree head of size {size}"]
    assert "ahead of the database" in check.findings[0].message


# --- losses

LOST = {index: HASHES[index] for index in range(20, 26) if index != 23}
LOSS = Loss(4, 26, 20, 26, head(20), head(26), LOST)
LEFT = [leaf for leaf in HONEST if leaf[0] not in LOST]
WITH_LOSS = [0, 3, 8, 20, 27, 40]


@given(st.integers(0, 40))
def test_a_recorded_loss_leaves_every_head_consistent(size: int) -> None:
    check = rebuilt(LEFT, WITH_LOSS, [KnownHead(head(size), "a file")], [LOSS])
    assert found(check) == []
    assert (check.rebuilt.size, check.rebuilt.lost, check.rebuilt.losses) == (40, 5, [LOSS])


@pytest.mark.parametrize("index", [20, 22, 25])
def test_a_loss_of_leaves_that_are_there_is_found(index: int) -> None:
    check = rebuilt(sorted([*LEFT, HONEST[index]]), WITH_LOSS, losses=[LOSS])
    assert found(check) == [("leaf", index)]


MISPLACED = {
    "no head before it": (LOSS, [0, 3, 8, 27, 40]),
    "a head of its lost leaves": (LOSS, [0, 3, 8, 20, 22, 27, 40]),
    "not the last leaf under its head": (LOSS, [0, 3, 8, 20, 30, 40]),
    "not under the first head behind it": (Loss(4, 33, 20, 26, head(20), head(26), LOST), WITH_LOSS),
    "another head before it": (Loss(4, 26, 20, 26, TreeHead(ORIGIN, 20, bytes(32)), head(26), LOST), WITH_LOSS),
}


@pytest.mark.parametrize("name", list(MISPLACED))
def test_a_loss_that_is_recorded_elsewhere_is_none(name: str) -> None:
    loss, sizes = MISPLACED[name]
    check = rebuilt(LEFT, sizes, losses=[loss])
    assert found(check) == [("leaf", loss.at), ("leaf", 20)]
    assert check.rebuilt.losses == []


def test_a_loss_that_names_another_memory_is_found() -> None:
    loss = Loss(4, 26, 20, 26, head(20), TreeHead(ORIGIN, 26, bytes(32)), LOST)
    check = rebuilt(LEFT, WITH_LOSS, losses=[loss])
    assert [error.check for error in check.findings] == ["head"]
    assert "entry 4 of '@system'" in check.findings[0].message


def test_a_loss_that_lists_other_hashes_is_found() -> None:
    loss = Loss(4, 26, 20, 26, head(20), head(26), {**LOST, 21: bytes(32)})
    assert {error.check for error in rebuilt(LEFT, WITH_LOSS, losses=[loss]).findings} == {"head"}


def said(size: int) -> dict[str, Json]:
    return {"size": size, "root": head(size).root.hex()}


DETAIL: dict[str, Json] = {"database": said(20), "memory": said(26), "from": 20, "to": 26, "lost": 5}
RUNS: list[Json] = [
    {"from": 20, "hashes": [HASHES[index].hex() for index in (20, 21, 22)]},
    {"from": 24, "hashes": [HASHES[index].hex() for index in (24, 25)]},
]


def restored(detail: dict[str, Json], payload: Json) -> Checked:
    entry = sealed(EntryDraft("@system", "log.restored", detail=detail), signer=DEPLOYMENT, seq=4)
    return Checked(entry, parse_body(entry.body), payload, Link(4, entry.leaf_hash))


def test_a_recorded_loss_is_read() -> None:
    assert parse_loss(restored(DETAIL, {"reason": "disk", "lost": RUNS}), 26) == LOSS


BAD: dict[str, tuple[dict[str, Any], Any, int]] = {
    "too few lost": (DETAIL | {"lost": 4}, {"lost": RUNS}, 26),
    "another from": (DETAIL | {"from": 19}, {"lost": RUNS}, 26),
    "another to": (DETAIL | {"to": 27}, {"lost": RUNS}, 27),
    "no database": ({key: value for key, value in DETAIL.items() if key != "database"}, {"lost": RUNS}, 26),
    "a root that is none": (DETAIL | {"memory": {"size": 26, "root": "x"}}, {"lost": RUNS}, 26),
    "a size that is none": (DETAIL | {"memory": {"size": True, "root": "0" * 64}}, {"lost": RUNS}, 26),
    "before its own loss": (DETAIL, {"lost": RUNS}, 25),
    "no payload": (DETAIL, None, 26),
    "nothing listed": (DETAIL, {"lost": {}}, 26),
    "in disorder": (DETAIL, {"lost": RUNS[::-1]}, 26),
    "a hash that is none": (DETAIL, {"lost": [{"from": 20, "hashes": ["0" * 63]}]}, 26),
    "a hash in capitals": (DETAIL, {"lost": [{"from": 20, "hashes": ["A" * 64]}]}, 26),
    "leaves outside": (DETAIL, {"lost": [{"from": 22, "hashes": ["0" * 64] * 5}]}, 26),
    "backwards": (DETAIL | {"database": said(26), "memory": said(20), "from": 26, "to": 20}, {"lost": RUNS}, 26),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_loss_that_is_recorded_wrong_is_refused(name: str) -> None:
    detail, payload, at = BAD[name]
    with pytest.raises(VerificationError, match="does not record a loss") as caught:
        parse_loss(restored(detail, payload), at)
    assert (caught.value.check, caught.value.seq, caught.value.leaf_index) == ("leaf", 4, at)
