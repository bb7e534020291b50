"""A server that shows signers another state than the case has, and signs what it did with every real key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import Database
from countersign.audit.canonical import Json
from countersign.audit.shown import Shown, shown_state
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_bundle import verify_bundle
from countersign.service.cases import asking
from governing import deployed, orders, policy
from integration.exporting import export_unchecked
from integration.sealing import own_log


async def approved(database: Database, edits: Mapping[str, Json] | None = None) -> str:
    """Return a case that was approved, perhaps edited before, and carried out."""
    async with deployed(database) as place:
        await place.register(policy(), orders())
        for name, role in (("pat", "prescriber"), ("ada", "pharmacist"), ("bo", "pharmacist")):
            await place.person(name, role)
        case = await place.started(place.sessions["pat"])
        review = await place.open_review(case)
        if edits is not None:
            await place.decide("bo", review, "edit", "misread", edits=dict(edits))
            await place.work(case)
            review = await place.open_review(case)
        await place.decide("ada", review, "approved")
        await place.work(case)
        return case


def said(report: Report) -> list[str]:
    return [f"{finding.check}: {finding.message}" for finding in report.findings]


def views(report: Report) -> list[tuple[Json, Json]]:
    return [(line["status"], line["detail"]) for line in report.trust if line["what"] == "views"]


def lying(fields: Mapping[str, Json]) -> Shown:
    """Return a state as it is shown by whoever wants sixty to be signed as six."""
    return shown_state({**fields, "dose_mg": 6})


def test_what_was_shown_is_compared_with_the_checkpoint(database: Database) -> None:
    asyncio.run(approved(database))
    report = database.verify()
    assert (said(report), report.verdict) == ([], Verdict.PASSED)
    assert views(report) == [("checked", "1 that signers were shown, against the state of their cases")]
    said_less = (
        "that the state in 1 view that signers were shown was the case's is the server's word, but for 2 values that "
        "entries of edits tell"
    )
    assert views(database.verify(states=None)) == [("not checked", said_less)]


def test_a_server_that_showed_another_state_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "shown_state", lying)
    case = asyncio.run(approved(database))
    for report in (database.verify(), database.verify(jobs=2), database.verify(case)):
        (found,) = said(report)
        assert found.startswith("authority: Entry ")
        assert found.endswith(" has, in 'dose_mg': what was shown is not the state.")


def test_in_a_bundle_it_is_compared_with_what_edits_tell(database: Database, tmp_path: Path) -> None:
    """The rows are not there; but an edit of the dose says what it was, and came to."""
    log = own_log(database, tmp_path / "home")
    case = asyncio.run(approved(log.database, {"dose_mg": 30}))
    out = export_unchecked(log, case, tmp_path / "bundle.zip")
    report = verify_bundle(out, log.trust)
    assert (said(report), report.verdict) == ([], Verdict.PASSED)
    ((status, detail),) = views(report)
    assert status == "not checked"
    assert str(detail).endswith("but for 4 values that entries of edits tell")
