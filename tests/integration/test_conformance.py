"""LangGraph's own conformance suite: what the saver stores and finds is what LangGraph expects of any saver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.report import CapabilityResult
from langgraph.checkpoint.conformance.spec.test_get_tuple import ALL_GET_TUPLE_TESTS
from langgraph.checkpoint.conformance.spec.test_list import ALL_LIST_TESTS
from langgraph.checkpoint.conformance.spec.test_put import ALL_PUT_TESTS
from langgraph.checkpoint.conformance.spec.test_put_writes import ALL_PUT_WRITES_TESTS

from conftest import Database
from countersign.audit import AppendError, AsyncAuditedPostgresSaver
from integration.faults import assert_honest

KEPT = {
    "put": len(ALL_PUT_TESTS),
    "put_writes": len(ALL_PUT_WRITES_TESTS),
    "get_tuple": len(ALL_GET_TUPLE_TESTS),
    "list": len(ALL_LIST_TESTS),
}
REFUSED: dict[str, tuple[Any, ...]] = {
    "delete_thread": ("case",),
    "prune": (["case"],),
    "copy_thread": ("case", "copy"),
    "delete_for_runs": (["run"],),
}


async def results(database: Database, *capabilities: str) -> dict[str, CapabilityResult]:
    @checkpointer_test(name="AsyncAuditedPostgresSaver")
    async def audited() -> AsyncIterator[AsyncAuditedPostgresSaver]:
        async with database.saver() as saver:
            yield saver

    report = await validate(audited, capabilities=set(capabilities))
    return {capability: report.results[capability] for capability in capabilities}


async def test_every_test_of_what_is_kept_passes(database: Database) -> None:
    found = await results(database, *KEPT)

    assert {capability: result.failures for capability, result in found.items()} == {name: [] for name in KEPT}
    assert {capability: result.tests_passed for capability, result in found.items()} == KEPT
    assert_honest(database)


async def test_what_removes_evidence_fails_there_with_our_refusal(database: Database) -> None:
    for result in (await results(database, "delete_thread", "prune")).values():
        assert result.tests_passed == 0
        assert {"refused: evidence is only ever added to" in failure for failure in result.failures} == {True}
    assert_honest(database)


async def test_what_removes_or_copies_evidence_is_refused(saver: AsyncAuditedPostgresSaver) -> None:
    for capability, args in REFUSED.items():
        with pytest.raises(AppendError, match=f"{capability} is refused") as refused:
            await getattr(saver, f"a{capability}")(*args)
        assert refused.value.remedy
