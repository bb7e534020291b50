"""State outlives its process, ids are used once, and resuming differs from starting over."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from examples import rules

from acceptance.trails import actors, entries, story
from conftest import Database
from countersign.audit import AuditedPostgresSaver

CASE = ["run.started", "interrupt.raised", "state.updated", "run.resumed", "run.completed"]


def test_a_case_goes_on_in_another_process(database: Database) -> None:
    case = str(uuid.uuid4())
    settings = {"COUNTERSIGN_DATABASE_URL": database.app_url, "COUNTERSIGN_HOME": str(database.home)}

    def step(what: str) -> str:
        command = [sys.executable, rules.__file__, what, case]
        done = subprocess.run(command, env=os.environ | settings, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert step("start") == "60 mg proposed"
    assert story(database, case) == CASE[:2]
    assert step("approved") == "GIVE 60 mg heparin to P-9"
    assert story(database, case) == CASE
    assert actors(database, case, "run.resumed") == ["pharmacist-17"]
    assert database.verify().findings == []


def test_a_used_id_is_refused_and_leaves_no_entry(database: Database, sync_saver: AuditedPostgresSaver) -> None:
    graph, case = rules.order_graph(sync_saver), str(uuid.uuid4())
    rules.start(graph, case, "P-1", "warfarin")
    for stage in (CASE[:2], CASE):
        assert story(database, case) == stage
        with pytest.raises(rules.UsedIdError, match="is used already"):
            rules.start(graph, case, "P-2", "heparin")
        assert story(database, case) == stage
        if stage != CASE:
            assert rules.decide(graph, case, "approved")["order"] == "GIVE 5 mg warfarin to P-1"
    assert database.verify().findings == []


def test_none_resumes_and_an_input_starts_over(database: Database, sync_saver: AuditedPostgresSaver) -> None:
    graph, case = rules.order_graph(sync_saver), str(uuid.uuid4())
    rules.start(graph, case, "P-1", "warfarin")
    state = rules.start_over(graph, case, "P-1", "warfarin")
    # The agent ran again, and nobody's decision was used.
    assert state["history"] == ["proposed 5 mg of warfarin"] * 2
    assert rules.waiting(graph, case).next == ("review",)
    state = rules.decide(graph, case, "approved")

    assert state["history"][2:] == ["pharmacist: approved", "GIVE 5 mg warfarin to P-1"]
    assert story(database, case) == [*CASE[:2], *CASE]
    assert [e.body.detail["continues"] for e in entries(database, case, "run.started")] == [False, True]
    assert actors(database, case, "run.started") == ["ward-3", "ward-3"]
    assert database.verify().findings == []
