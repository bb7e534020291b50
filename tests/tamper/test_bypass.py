"""Ways around a gate, as one table: who does what, what comes of it at once, and what verification says of it then.

Everything is real: the desk with its people, the engine, and the graph in the hands of somebody who holds the worker's
key and its connections. Beside each row stand the same rules on entries alone (tests/unit/broken_*.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from conftest import GRAPH, Database
from countersign.audit.append import Appender
from countersign.audit.call import acting_as
from countersign.audit.entry import Actor, EntryDraft
from countersign.audit.errors import AuditError
from countersign.audit.verify import Verdict
from countersign.service.api.problems import TABLE
from countersign.service.errors import RequestError
from countersign.service.identity.caller import Caller
from countersign.service.order_workflow import new_order
from governing import OPERATOR, PASSWORD, Deployment, credential, deployed, gate, orders, policy

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = ("ada", "bo")
WRITE = {"decision": "approved", "notes": ""}
STAGES = [{"role": "pharmacist", "count": 1}, {"role": "chief", "count": 1}]
QUICK = {"remind": None, "escalate": None, "expire": 600}


@dataclass
class Scene:
    """A case that waits at its review, and the page that two pharmacists were shown."""

    place: Deployment
    case: str
    review: str
    digest: str
    seen: str = ""
    """What came of it at once, where a row has to say more than an exception does."""

    @property
    def config(self) -> Any:
        return {"configurable": {"thread_id": self.case}}

    @property
    def graph(self) -> Any:
        (found,) = [one for workflow, one in self.place.graphs.items() if workflow.name == "medication-order"]
        return found.graph

    def decide(self, name: str, choice: str = "approved", **more: Any) -> Awaitable[Any]:
        asked = {"decision": choice, "reason": "so I say", "shown_digest": self.digest, **more}
        return self.place.desk.decide(self.place.sessions[name], self.review, asked, credential(name))


Do = Callable[[Scene], Awaitable[Any]]


# What people do through the service


async def _after_an_edit(scene: Scene) -> None:
    await scene.decide("bo", "edit", edits={"dose_mg": 4})
    await scene.place.work(scene.case)
    await scene.decide("ada")


async def _of_before_a_correction(scene: Scene) -> None:
    await scene.place.desk.correct(scene.place.sessions["bo"], scene.case, {"dose_mg": 500}, "mistyped")
    await scene.place.work(scene.case)
    await scene.decide("ada")


async def _edit_after_approval(scene: Scene) -> None:
    await scene.decide("ada")
    await scene.place.desk.correct(scene.place.sessions["bo"], scene.case, {"dose_mg": 500}, "mistyped")


async def _editor(scene: Scene) -> None:
    await scene.place.desk.correct(scene.place.sessions["ada"], scene.case, {"dose_mg": 4}, "mistyped")
    await scene.place.work(scene.case)
    page = await scene.place.desk.review(scene.place.sessions["ada"], scene.review)
    await scene.decide("ada", shown_digest=page.shown_digest)


async def _starter(scene: Scene) -> None:
    place = scene.place
    scene.case = await place.started(place.sessions["both"])
    scene.review = await place.open_review(scene.case)
    page = await place.desk.review(place.sessions["both"], scene.review)
    await scene.decide("both", shown_digest=page.shown_digest)


async def _starter_by_key(scene: Scene) -> None:
    place = scene.place
    key = await _api_key(place, "cases:start", "prescriber", by=place.sessions["chris"])
    scene.case = await place.desk.start(key, "medication-order", dict(new_order("patient-1", "warfarin")))
    await place.work(scene.case)
    scene.review = await place.open_review(scene.case)
    page = await place.desk.review(place.sessions["chris"], scene.review)
    await scene.decide("chris", shown_digest=page.shown_digest)


async def _deactivated(scene: Scene) -> None:
    place = scene.place
    leaver = place.sessions["leaver"]
    await place.desk.review(leaver, scene.review)
    await place.people.deactivate(OPERATOR, leaver.id)
    try:
        await scene.decide("leaver")
    finally:
        await place.people.reactivate(OPERATOR, leaver.id)


async def _out_of_order(scene: Scene) -> None:
    await _in(scene, "two", "chief")


async def _one_of_two(scene: Scene) -> None:
    place = scene.place
    await _in(scene, "two", "ada")
    await place.work(scene.case)
    page = await place.desk.get_case(place.sessions["pat"], scene.case)
    scene.seen = f"{page.row.status} {len(page.reviews)}"


async def _twice(scene: Scene) -> None:
    await _in(scene, "pair", "ada")
    page = await scene.place.desk.review(scene.place.sessions["ada"], scene.review)
    await scene.decide("ada", shown_digest=page.shown_digest)


async def _expired(scene: Scene) -> None:
    scene.case = await scene.place.started(scene.place.sessions["pat"], workflow="quick")
    scene.review = await scene.place.open_review(scene.case)
    page = await scene.place.desk.review(scene.place.sessions["ada"], scene.review)
    scene.place.watch.forward(600)
    await scene.decide("ada", shown_digest=page.shown_digest)


async def _in(scene: Scene, workflow: str, name: str) -> None:
    place = scene.place
    scene.case = await place.started(place.sessions["pat"], workflow=workflow)
    scene.review = await place.open_review(scene.case)
    page = await place.desk.review(place.sessions[name], scene.review)
    await scene.decide(name, shown_digest=page.shown_digest)


async def _another_reviews_digest(scene: Scene) -> None:
    place = scene.place
    other = await place.open_review(await place.started(place.sessions["pat"]))
    page = await place.desk.review(place.sessions["ada"], other)
    await scene.decide("ada", shown_digest=page.shown_digest)


async def _anothers_page(scene: Scene) -> None:
    await scene.decide("cy")


async def _statement_of_another_session(scene: Scene) -> None:
    place = scene.place
    signing = await _begun(scene)
    token, _ = await place.people.sign_in("ada", PASSWORD)
    other = await place.people.session(token)
    await place.desk.complete_signing(other, scene.review, signing, credential("ada"))


async def _reused_statement(scene: Scene) -> None:
    signing = await _begun(scene)
    for _ in range(2):
        await scene.place.desk.complete_signing(scene.place.sessions["ada"], scene.review, signing, credential("ada"))


async def _statement_of_another_review(scene: Scene) -> None:
    place = scene.place
    signing = await _begun(scene)
    other = await place.open_review(await place.started(place.sessions["pat"]))
    await place.desk.complete_signing(place.sessions["ada"], other, signing, credential("ada"))


async def _old_statement(scene: Scene) -> None:
    signing = await _begun(scene)
    scene.place.watch.forward(301)
    await scene.place.desk.complete_signing(scene.place.sessions["ada"], scene.review, signing, credential("ada"))


async def _begun(scene: Scene) -> str:
    asked = {"decision": "approved", "reason": "", "shown_digest": scene.digest}
    return (await scene.place.desk.begin_signing(scene.place.sessions["ada"], scene.review, asked)).id


async def _key_signs(scene: Scene) -> None:
    key = await _api_key(scene.place, "reviews:attest", "pharmacist")
    asked = {"decision": "approved", "reason": "", "shown_digest": scene.digest}
    await scene.place.desk.decide(key, scene.review, asked, credential("ada"))


async def _key_attests(scene: Scene) -> None:
    place = scene.place
    key = await _api_key(place, "reviews:attest", "pharmacist")
    page = await place.desk.review(key, scene.review)
    done = await place.desk.attest(key, scene.review, {"decision": "approved", "shown_digest": page.shown_digest})
    scene.seen = str(done.outcome)


async def _api_key(place: Deployment, scope: str, role: str, by: Any = OPERATOR) -> Caller:
    until = place.watch() + timedelta(days=1)
    name = f"key {place.watch()}"
    token, _ = await place.people.create_api_key(by, name, [scope, "reviews:read"], until, (role,), "*")
    return await place.people.caller(token)


async def _configured(scene: Scene, **config: Any) -> None:
    """Start a case whose caller's config would lead past the gate, were it heeded."""
    place = scene.place
    given = dict(new_order("patient-1", "warfarin"))
    given["decision"] = "approved"
    scene.case = await place.desk.start(place.sessions["pat"], "medication-order", given, config=config)
    await place.work(scene.case)
    page = await place.desk.get_case(place.sessions["pat"], scene.case)
    scene.seen = f"{page.row.status} {len(page.reviews)}"


def configured(**config: Any) -> Do:
    return lambda scene: _configured(scene, **config)


async def _redirected(scene: Scene) -> None:
    await scene.place.desk.redirect(scene.place.sessions["sue"], scene.case, "issue", "faster")


# What somebody does who has the graph, the worker's key and its connections


def as_worker(do: Callable[[Any, Any], Awaitable[Any]], actor: str = "entry:1") -> Do:
    """Call the registered graph, outside the service, in the name of a mandate."""

    async def call(scene: Scene) -> None:
        via = "mandate" if actor.startswith("entry:") else "session+password"
        with acting_as(actor, via=via):
            await do(scene.graph, scene.config)

    return call


async def _as_node_and_on(graph: Any, config: Any) -> None:
    await graph.aupdate_state(config, WRITE, as_node="review")
    await graph.ainvoke(None, config)


async def _edit_and_on(graph: Any, config: Any) -> None:
    await graph.aupdate_state(config, WRITE)
    await graph.ainvoke(None, config)


async def _fork(graph: Any, config: Any) -> None:
    states = [state async for state in graph.aget_state_history(config)]
    await graph.ainvoke(None, states[-2].config)


async def _edit_of_old(graph: Any, config: Any) -> None:
    states = [state async for state in graph.aget_state_history(config)]
    await graph.aupdate_state(states[-1].config, {"dose_mg": 1})


async def _plain_run(scene: Scene) -> None:
    scene.case = f"{scene.case}-outside"
    with acting_as("u-1"):
        await scene.graph.ainvoke(dict(new_order("p", "warfarin")), scene.config)


async def _direct_write(scene: Scene) -> None:
    saver = scene.place.engine.saver
    found = await saver.aget_tuple(scene.config)
    assert found is not None
    changed: Any = {**found.checkpoint, "id": f"{found.checkpoint['id'][:-4]}ffff"}
    values = {**found.checkpoint["channel_values"], "decision": "approved"}
    version = saver.get_next_version(str(found.checkpoint["channel_versions"]["decision"]), None)
    changed["channel_values"] = values
    changed["channel_versions"] = {**found.checkpoint["channel_versions"], "decision": version}
    await saver.aput(found.config, changed, {"source": "loop", "step": 9, "parents": {}}, {"decision": version})


async def _direct_writes(scene: Scene) -> None:
    saver = scene.place.engine.saver
    found = await saver.aget_tuple(scene.config)
    assert found is not None
    await saver.aput_writes(found.config, [("decision", "approved")], "00000000-0000-0000-0000-000000000001")


async def _swapped(scene: Scene) -> None:
    """Take the graph to a saver of one's own: nothing of the case changes, and nothing in it is decided."""
    free = orders()
    free.checkpointer = InMemorySaver()
    await free.ainvoke(
        {**new_order("patient-1", "warfarin"), "decision": "approved"}, scene.config, interrupt_before=["review"]
    )
    page = await scene.place.desk.get_case(scene.place.sessions["pat"], scene.case)
    scene.seen = page.row.status


def sql(statement: str) -> Do:
    """Do something in the database as the role of a worker."""

    async def run(scene: Scene) -> None:
        async with scene.place.engine.saver.conn.connection() as conn:
            cursor = await conn.execute(statement.encode(), {"case": scene.case})
            scene.seen = f"{cursor.rowcount} rows"

    return run


def _appended(kind: str, actor: str = "entry:1", *, system: bool = False, **detail: Any) -> Do:
    async def append(scene: Scene) -> None:
        signer = scene.place.database.folder.key(GRAPH)
        appender = Appender(scene.place.database.trust, [(("*",), signer)])
        (workflow,) = [one for one in scene.place.graphs if one.name == "medication-order"]
        who = Actor(actor, "mandate" if actor.startswith("entry:") else "session+password")
        draft = EntryDraft("@system" if system else scene.case, kind, who, workflow, run="r-1", detail=detail)
        async with scene.place.engine.saver.conn.connection() as conn, conn.transaction():
            await appender.aappend(conn, draft)

    return append


DEFER = """SELECT procrastinate_defer_jobs_v1(ARRAY[ROW('x', 'countersign.run', 0, %(case)s::text, NULL,
jsonb_build_object('case', %(case)s::text, 'mandate', 99), NULL)::procrastinate_job_to_defer_v1])"""
JOB = """INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)
VALUES ('x', 'countersign.run', %(case)s::text,
jsonb_build_object('case', %(case)s::text, 'mandate', 99))"""


Row = tuple[str, Do, str, str | None]
"""Who does what; what comes of it at once; what `authority` says of the case then, None: it passes."""

NO_MANDATE = "under no entry of this case that allows it"
USED = "acts once more under entry 1, which is used up"
BY_PEOPLE: list[Row] = [
    ("edit after approval", _edit_after_approval, "409 closed", None),
    ("approval of what was edited since", _after_an_edit, "409 digest", None),
    ("stale digest", _of_before_a_correction, "409 digest", None),
    ("another review's digest", _another_reviews_digest, "409 digest", None),
    ("somebody else's page", _anothers_page, "409 not-viewed", None),
    ("starter", _starter, "403 starter", None),
    ("starter by an API key of theirs", _starter_by_key, "403 starter", None),
    ("editor", _editor, "403 editor", None),
    ("deactivated", _deactivated, "401 inactive", None),
    ("a role that is not asked for", lambda scene: scene.decide("sue"), "403 role", None),
    ("a role that is not asked for yet", lambda scene: scene.decide("chief"), "403 role", None),
    ("out of order", _out_of_order, "403 stage", None),
    ("one signature of two", _one_of_two, "waiting 1", None),
    ("the same person twice", _twice, "409 signed-already", None),
    ("after expiry", _expired, "409 expired", None),
    ("a statement of another session", _statement_of_another_session, "403 session", None),
    ("a statement that was used", _reused_statement, "409 statement-used", None),
    ("a statement of another review", _statement_of_another_review, "404", None),
    ("a statement that is too old", _old_statement, "409 statement-expired", None),
    ("an API key that signs", _key_signs, "403 credential", None),
    ("an API key's word where people have to sign", _key_attests, "None", None),
    ("a redirection to behind the gate", _redirected, "422", None),
    ("no pauses", configured(interrupt_before=[], interrupt_after=[]), "waiting 1", None),
    ("resuming", configured(configurable={"__pregel_resuming": True}), "waiting 1", None),
    ("another saver", configured(configurable={"__pregel_checkpointer": None}), "waiting 1", None),
    ("another thread", configured(configurable={"thread_id": "elsewhere"}), "waiting 1", None),
    ("callbacks", configured(callbacks=["x"]), "waiting 1", None),
    ("an identity", configured(configurable={"langgraph_auth_user": {"identity": "u-1"}}), "waiting 1", None),
]
BY_THE_WORKER: list[Row] = [
    ("goto", as_worker(lambda graph, config: graph.ainvoke(Command(goto="issue"), config)), "ValueError", USED),
    ("goto by somebody", as_worker(lambda graph, config: graph.ainvoke(Command(goto="issue"), config), "u-1"),
     "ValueError", NO_MANDATE),
    ("as_node", as_worker(lambda graph, config: graph.aupdate_state(config, WRITE, as_node="review")),
     "done", USED),
    ("as_node and on", as_worker(_as_node_and_on, "u-1"), "done", NO_MANDATE),
    ("plain resume", as_worker(lambda graph, config: graph.ainvoke(None, config)), "ValueError", USED),
    ("an edit and a resume", as_worker(_edit_and_on, "u-1"), "done", NO_MANDATE),
    ("under a mandate that is none", as_worker(_edit_and_on, "entry:9"),
     "done", NO_MANDATE),
    ("new input", as_worker(lambda graph, config: graph.ainvoke(dict(new_order("p", "heparin")), config)),
     "AppendError", None),
    ("a fork", as_worker(_fork), "done", "a fork"),
    ("an edit of an old checkpoint", as_worker(_edit_of_old), "done", USED),
    ("no pauses in a run", as_worker(lambda graph, config: graph.ainvoke(None, config, interrupt_before=[])),
     "ValueError", USED),
    ("resuming in a run", as_worker(lambda graph, config: graph.ainvoke(
        None, {"configurable": {**config["configurable"], "__pregel_resuming": True}})), "ValueError", USED),
    ("a plain run of the registered graph", _plain_run, "done", "the trail does not begin with case.opened"),
    ("a checkpoint written past the graph", _direct_write, "done", "was saved outside of any run"),
    ("writes put past the graph", _direct_writes, "done", "was saved outside of any run"),
    ("the graph on another saver", _swapped, "waiting", None),
    ("a decision appended", _appended("review.decided", review="r-1"), "InsufficientPrivilege", None),
    ("a signature appended", _appended("review.signed", "u-1", review="r-1"), "InsufficientPrivilege", None),
    ("a grant appended", _appended("grant.given", "u-1", system=True), "InsufficientPrivilege", None),
    ("a run appended", _appended("run.resumed", interrupts=[]), "done", USED),
    ("an edit appended", _appended("state.updated"), "done", USED),
    ("users read", sql("SELECT * FROM countersign.users"), "InsufficientPrivilege", None),
    ("sessions read", sql("SELECT * FROM countersign.sessions"), "InsufficientPrivilege", None),
    ("what stands of people in @system read",
     sql("SELECT * FROM audit.entries WHERE trail = '@system'"), "0 rows", None),
    ("entries deleted", sql("DELETE FROM audit.entries WHERE trail = %(case)s"), "InsufficientPrivilege", None),
    ("a review's row decided",
     sql("UPDATE countersign.reviews SET status = 'decided' WHERE case_id = %(case)s"), "InsufficientPrivilege", None),
    ("checkpoints deleted",
     sql("DELETE FROM checkpoints WHERE thread_id = %(case)s"), "InsufficientPrivilege", None),
    ("jobs deleted", sql("DELETE FROM procrastinate_jobs WHERE lock = %(case)s"), "1 rows", None),
    ("jobs deferred", sql(DEFER), "InsufficientPrivilege", None),
    ("jobs added", sql(JOB), "InsufficientPrivilege", None),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(shared_database: Database) -> AsyncIterator[Deployment]:
    async with deployed(shared_database) as place:
        await place.register(policy(), orders())
        await place.register(policy("two", [gate(stages=STAGES)]), orders())
        await place.register(policy("pair", [gate(stages=[{"role": "pharmacist", "count": 2}])]), orders())
        await place.register(policy("quick", [gate(times=QUICK, escalate_to=None)]), orders())
        for name, *roles in (
            ("pat", "prescriber"),
            *((name, "pharmacist") for name in (*ASKED, "cy", "leaver")),
            ("both", "prescriber", "pharmacist"),
            ("chris", "prescriber", "pharmacist", "administrator"),
            ("sue", "supervisor"),
            ("chief", "chief"),
        ):
            await place.person(name, *roles, workflow="*")
        yield place


async def _scene(place: Deployment) -> Scene:
    case = await place.started(place.sessions["pat"])
    review = await place.open_review(case)
    pages = [await place.desk.review(place.sessions[name], review) for name in (*ASKED, "chief", "sue")]
    return Scene(place, case, review, pages[0].shown_digest)


def _status(error: RequestError) -> str:
    problem = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    return f"{problem.status} {error.facts.get('cause', '')}".strip()


async def _at_once(scene: Scene, do: Do) -> str:
    try:
        await do(scene)
    except RequestError as error:
        return _status(error)
    except (AuditError, psycopg.Error, ValueError) as error:
        cause = error.__cause__ if isinstance(error.__cause__, psycopg.Error) else error
        return type(cause).__name__
    return scene.seen or "done"


@pytest.mark.parametrize(("name", "do", "now", "later"), BY_PEOPLE, ids=[row[0] for row in BY_PEOPLE])
async def test_what_people_do_is_refused_and_leaves_the_case_sound(
    place: Deployment, name: str, do: Do, now: str, later: str | None
) -> None:
    scene = await _scene(place)
    assert await _at_once(scene, do) == now
    assert scene.place.database.verify(scene.case).verdict is Verdict.PASSED
    cause = now.partition(" ")[2]
    if now[:1] == "4" and cause and do is not _edit_after_approval:
        assert place.refusals(scene.case)[-1] == cause


@pytest.mark.parametrize(("name", "do", "now", "later"), BY_THE_WORKER, ids=[row[0] for row in BY_THE_WORKER])
async def test_what_goes_past_the_service_is_refused_or_found(
    place: Deployment, name: str, do: Do, now: str, later: str | None
) -> None:
    scene = await _scene(place)
    assert await _at_once(scene, do) == now
    report = place.database.verify(scene.case)
    found = [f"{finding.check}: {finding.message}" for finding in report.findings]
    if later is None:
        assert found == []
        return
    assert any(sentence.startswith("authority: ") and later in sentence for sentence in found), found
    if not scene.case.endswith("-outside"):
        # Nothing is decided any more in a case that was led past its gate.
        with pytest.raises(RequestError) as refused:
            await scene.decide("ada")
        assert _status(refused.value) == "409 damaged"
