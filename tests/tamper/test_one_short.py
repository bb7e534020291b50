"""A case that the service made, rewritten with every real key: chain, leaves, heads and the memory outside.

One signature is short in it, and nothing else is wrong with it; so nothing but the rules can tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import DEPLOYMENT, GRAPH, Database
from countersign.audit.bundle import write_bundle
from countersign.audit.canonical import canonical, parse
from countersign.audit.entry import GENESIS, leaf_hash, pae
from countersign.audit.errors import VerificationError
from countersign.audit.export import open_exporter, record_export
from countersign.audit.gather import gathered
from countersign.audit.kinds import GRAPH_KINDS
from countersign.audit.memory import Memory
from countersign.audit.outside import log_trust
from countersign.audit.seal import open_sealer
from countersign.audit.verify import Report, Verdict
from countersign.audit.verify_bundle import verify_bundle
from countersign.reports.bundle import bundle_file
from governing import deployed, gate, orders, policy
from serving import home_folder, own_home
from tamper.test_log_attacks import Scene
from tamper.tools import entries_of
from unit.samples import WHEN

PAIR = gate(stages=[{"role": "pharmacist", "count": 2}])
SHORT = "decides 'approved' for the gate 'pharmacist' without sufficient sign-off"


async def _made(database: Database) -> str:
    """Return a case that two pharmacists approved and that was carried out."""
    async with deployed(database) as place:
        await place.register(policy(gates=[PAIR]), orders())
        for name, role in (("pat", "prescriber"), ("ada", "pharmacist"), ("bo", "pharmacist")):
            await place.person(name, role)
        case = await place.started(place.sessions["pat"])
        review = await place.open_review(case)
        assert (await place.decide("ada", review, "approved")).outcome is None
        assert (await place.decide("bo", review, "approved")).outcome == "approved"
        await place.work(case)
        assert (await place.desk.get_case(place.sessions["pat"], case)).row.status == "completed"
        return case


@pytest.fixture
def scene(database: Database, tmp_path: Path) -> Iterator[tuple[Scene, str]]:
    with home_folder() as home:
        own = own_home(database, home)
        case = asyncio.run(_made(own))
        scene = Scene(own, tmp_path)
        with psycopg.connect(own.app_url, autocommit=True) as conn:
            sealer = open_sealer(conn, own.home)
            sealer.sweep(conn)
            sealer.seal(conn)
        report = scene.look("operator")
        assert (report.verdict, report.unsealed) == (Verdict.PASSED, 0)
        yield scene, case


def _moved(value: Any, gone: int) -> Any:
    """Return what an entry says, with every entry behind the one that is gone named by its new number."""
    if isinstance(value, list):
        return [_moved(item, gone) for item in value if item != gone]
    return value - 1 if type(value) is int and value > gone else value


def _shortened(database: Database, case: str) -> None:
    """Take the last signature out of a case, and write all behind it anew as if it had never been there."""
    bodies: list[tuple[int, Any]] = [(seq, parse(body)) for seq, body in entries_of(database, case)]
    gone = next(seq for seq, body in reversed(bodies) if body["kind"] == "review.signed")
    for table in ("entries", "payloads"):
        database.as_admin(f"DELETE FROM audit.{table} WHERE trail = %s AND seq = %s", (case, gone))
        for by in (1_000_000, -1_000_001):
            database.as_admin(
                f"UPDATE audit.{table} SET seq = seq + %s WHERE trail = %s AND seq > %s", (by, case, gone)
            )
    prev = GENESIS
    for seq, body in bodies:
        if seq == gone:
            continue
        if seq > gone:
            _renumber(body, gone)
        body["prev"] = prev.hex()
        data = canonical(body)
        signer = database.folder.key(GRAPH if body["kind"] in GRAPH_KINDS else DEPLOYMENT)
        database.as_admin(
            "UPDATE audit.entries SET body = %s, keyid = %s, signature = %s WHERE trail = %s AND seq = %s",
            (data, signer.keyid, signer.sign(pae(data)), case, body["seq"]),
        )
        prev = leaf_hash(data)


def _renumber(body: Any, gone: int) -> None:
    body["seq"] -= 1
    prefix, _, number = body["actor"]["id"].partition(":")
    if prefix == "entry":
        body["actor"]["id"] = f"entry:{_moved(int(number), gone)}"
    for member in ("signed", "cause"):
        if member in body["detail"]:
            body["detail"][member] = _moved(body["detail"][member], gone)


def _said(report: Report) -> list[str]:
    return [f"{finding.check}: {finding.message}" for finding in report.findings]


def test_one_signature_short_under_every_real_key_fails(scene: tuple[Scene, str], tmp_path: Path) -> None:
    made, case = scene
    _shortened(made.database, case)
    made.reseal(memory=True)
    for report in (made.look("operator"), made.database.verify(case), made.database.verify(jobs=2)):
        assert report.verdict is Verdict.FAILED
        assert {finding.check for finding in report.findings} == {"authority"}, _said(report)
        assert any(SHORT in sentence for sentence in _said(report)), _said(report)
        assert any("crossed without sufficient sign-off" in sentence for sentence in _said(report)), _said(report)
    _check_bundle(made, case, tmp_path / "bundle.zip")


def _check_bundle(made: Scene, case: str, out: Path) -> None:
    """Whoever is handed the case is not deceived either; and our own export hands out no such thing."""
    database, log = made.database, log_trust(made.trust)
    assert log is not None
    with psycopg.connect(database.app_url, autocommit=True) as conn:
        exported = record_export(conn, open_exporter(conn, database.home), case)
        with gathered(conn, Memory(made.memory), log, exported, readme="-", created_at=WHEN) as contents:
            with out.open("wb") as file:
                write_bundle(file, contents)
            with bundle_file(out.with_name("ours.zip")) as ours, pytest.raises(VerificationError) as refused:
                ours.write(contents, log)
    assert refused.value.check == "authority"
    report = verify_bundle(out, log)
    assert report.verdict is Verdict.FAILED
    assert {finding.check for finding in report.findings} == {"authority"}, _said(report)
    assert any(SHORT in sentence for sentence in _said(report)), _said(report)
