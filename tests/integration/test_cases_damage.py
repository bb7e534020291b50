"""A case that is not what was recorded: nothing is shown of it as if it were, and nothing is decided on it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from conftest import GRAPH, Database
from countersign.audit.append import Appender
from countersign.audit.entry import Actor, EntryDraft
from countersign.audit.kinds import GRAPH_KINDS, Kind
from countersign.service.cases.desk import Desk
from countersign.service.errors import AbsentError, ConflictError, RequestError
from governing import Deployment, credential, deployed, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = bytes(range(256)) * 4


class Scanned(TypedDict, total=False):
    scans: list[bytes]
    decision: str
    notes: str


def scan(_: Scanned) -> dict[str, Any]:
    return {"scans": [b"short", LONG]}


def done(_: Scanned) -> dict[str, Any]:
    return {}


def scans() -> Any:
    builder: Any = StateGraph(Scanned)
    builder.add_node("scan", scan)
    builder.add_node("review", done)
    builder.add_edge(START, "scan")
    builder.add_edge("scan", "review")
    builder.add_edge("review", END)
    return builder.compile()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        await place.register(policy(), orders())
        await place.register(policy("scans"), scans())
        await place.person("pat", "prescriber", workflow="*")
        await place.person("ada", "pharmacist", workflow="*")
        yield place


async def _ready(place: Deployment, workflow: str = "medication-order") -> tuple[str, str, dict[str, Any]]:
    case = (
        await place.started(place.sessions["pat"])
        if workflow == "medication-order"
        else await place.begun(workflow, {})
    )
    review = await place.open_review(case)
    page = await place.desk.review(place.sessions["ada"], review)
    return case, review, {"decision": "approved", "shown_digest": page.shown_digest}


async def test_attachments_are_shown_by_their_digest_and_handed_out_by_it(place: Deployment) -> None:
    _, review, _ = await _ready(place, "scans")
    digest = hashlib.sha256(LONG).hexdigest()
    page = await place.desk.review(place.sessions["ada"], review)
    assert page.state["scans"] == [{"$bytes": base64.b64encode(b"short").decode()}, {"$attachment": digest}]
    assert page.view["attachments"] == [{"field": "scans", "sha256": digest, "size": len(LONG)}]
    assert await place.desk.attachment(place.sessions["ada"], review, digest) == LONG
    with pytest.raises(AbsentError):
        await place.desk.attachment(place.sessions["ada"], review, "00" * 32)


async def test_state_edited_in_the_database_is_neither_shown_nor_decided(place: Deployment) -> None:
    case, review, asked = await _ready(place)
    cheat = (
        "UPDATE checkpoints SET checkpoint = jsonb_set(checkpoint, '{channel_values,dose_mg}', %s::text::jsonb) "
        "WHERE thread_id = %s AND checkpoint #>> '{channel_values,dose_mg}' = %s"
    )
    assert place.database.as_admin(cheat, ("500", case, "5"))
    for act in (
        place.desk.review(place.sessions["ada"], review),
        place.desk.state(place.sessions["ada"], case),
        place.desk.decide(place.sessions["ada"], review, asked, credential("ada")),
    ):
        with pytest.raises(ConflictError, match="not what was recorded"):
            await act
    assert place.kinds(case).count("review.signed") == 0
    place.database.as_admin(cheat, ("5", case, "500"))
    page = await place.desk.review(place.sessions["ada"], review)
    asked["shown_digest"] = page.shown_digest
    assert (await place.desk.decide(place.sessions["ada"], review, asked, credential("ada"))).outcome == "approved"


async def test_a_view_changed_in_the_database_is_not_what_is_signed(place: Deployment) -> None:
    _, review, asked = await _ready(place)
    place.database.as_admin(
        "UPDATE countersign.views SET view = convert_to(replace(convert_from(view, 'UTF8'), "
        "'\"dose_mg\":5', '\"dose_mg\":1'), 'UTF8') WHERE review_id = %s",
        (review,),
    )
    with pytest.raises(ConflictError, match="no view"):
        await place.desk.decide(place.sessions["ada"], review, asked, credential("ada"))
    page = await place.desk.review(place.sessions["ada"], review)
    assert page.state["dose_mg"] == 5
    assert page.shown_digest != asked["shown_digest"]


OF_CASE = "WHERE trail = %(case)s AND seq = "
LAST = "(SELECT max(seq) FROM audit.entries WHERE trail = %(case)s)"
REMOVALS = [
    ("the last entry is gone", "DELETE FROM audit.entries " + OF_CASE + LAST),
    ("a payload was changed", "UPDATE audit.payloads SET data = convert_to('{}', 'UTF8') " + OF_CASE + "1"),
    ("an entry in the middle is gone", "DELETE FROM audit.entries " + OF_CASE + "3"),
]


@pytest.mark.parametrize(("what", "sql"), REMOVALS)
async def test_nothing_is_decided_in_a_case_whose_trail_does_not_verify(place: Deployment, what: str, sql: str) -> None:
    case, review, asked = await _ready(place)
    kept = place.desk
    place.database.as_admin(sql, {"case": case})
    fresh = Desk(place.pool, place.people, place.saver, clock=place.watch)
    # A process that has just started reads a trail whose last entry is gone as one that never had it.
    desks = [kept] if what == "the last entry is gone" else [fresh]
    for desk in desks:
        for act in (
            desk.decide(place.sessions["ada"], review, asked, credential("ada")),
            desk.correct(place.sessions["ada"], case, {"dose_mg": 1}, "x"),
            desk.settle(case),
        ):
            with pytest.raises(ConflictError) as refused:
                await act
            assert refused.value.facts["cause"] == "damaged", what
    page = await kept.list_cases(place.sessions["pat"], status="damaged")
    assert case in {row.id for row in page}
    await kept.keep_time()


async def _forge(place: Deployment, *drafts: EntryDraft) -> None:
    """Append as a hostile node would, that has taken the worker's key and its connection."""
    async with place.engine.saver.conn.connection() as conn:
        appender = Appender(place.database.trust, [(GRAPH_KINDS, place.database.folder.key(GRAPH))])
        async with conn.transaction():
            await appender.aappend(conn, *drafts)


async def test_what_a_hostile_node_adds_with_the_workers_key_is_found_and_nothing_decided_on_it(
    place: Deployment,
) -> None:
    case, review, asked = await _ready(place)
    workflow = next(iter(place.graphs))
    await _forge(
        place,
        EntryDraft(case, Kind.RUN_RESUMED, Actor("entry:7", "mandate"), workflow, run="r-1", detail={"interrupts": []}),
    )
    with pytest.raises(RequestError) as refused:
        await place.desk.decide(place.sessions["ada"], review, asked, credential("ada"))
    assert refused.value.facts["cause"] == "damaged"
    findings = place.database.verify(case).findings
    assert "authority" in {finding.check for finding in findings}
