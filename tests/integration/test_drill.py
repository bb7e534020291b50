"""Whatever happens at the same instant, and whoever is killed: one decision counts, and its effect is one.

Two servers with a worker each on one database, over HTTP. `make drill` gives COUNTERSIGN_DRILL = 1,000 rounds in
place of the 50 here.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest

from conftest import Database
from countersign.audit.append import trail_lock
from countersign.audit.verify import Verdict
from integration.drill_flow import HURRIED, ORDERS
from integration.drilling import DECISIONS, MANY, Answer, Site, at_once, kill_worker, two_servers
from serving import PATIENCE, home_folder, own_home

pytestmark = pytest.mark.long

ROUNDS = int(os.environ.get("COUNTERSIGN_DRILL", "50"))
SEED = int(os.environ.get("COUNTERSIGN_DRILL_SEED", "0")) or secrets.randbits(32)


def rounds(percent: int) -> int:
    """Return a share of the rounds."""
    return max(1, ROUNDS * percent // 100)


@pytest.fixture(scope="module")
def site(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with home_folder() as home:
        database = own_home(shared_database, home)
        with two_servers(database, tmp_path_factory.mktemp("drill")) as site:
            yield site
            check_all(site)
        report = database.verify()
        assert report.verdict is Verdict.PASSED, [finding.message for finding in report.findings]
        (replayed,) = [line["detail"] for line in report.trust if line["what"] == "authority"]
        assert replayed == f"{len(site.cases)} governed cases replayed against their policies"


def check_all(site: Site) -> None:
    """Every case that was accepted is at its end, and whatever was said to be signed is in its trail."""
    rows = site.database.query("SELECT id, status FROM countersign.cases")
    assert dict(rows) == dict.fromkeys(site.cases, "completed")
    assert len(rows) == len(site.cases)
    done = [effect["case"] for effect in site.receiver.effects.values()]
    assert sorted(done) == sorted(site.cases)
    signed = site.database.query(
        "SELECT trail, seq, b #>> '{actor,id}', b #>> '{detail,decision}' FROM audit.entries "
        "CROSS JOIN LATERAL (SELECT convert_from(body, 'UTF8')::json AS b) AS read WHERE kind = 'review.signed'"
    )
    for answer in site.decided:
        told = (answer.said["case"], answer.said["seq"], site.ids[answer.name], answer.sent["decision"])
        assert told in signed, site.story(answer.said["case"], [answer])


def check_end(site: Site, case: str, answers: list[Answer] | None = None) -> None:
    """The case is at its end, with one decision and one effect, which is the one decided."""
    ended = site.ended(case)
    trail = site.trail(case)
    decided = [entry for entry in trail if entry["kind"] == "review.decided"]
    effects = site.receiver.of(case)
    story = site.story(case, answers or [])
    assert ended["status"] == "completed", story
    assert len(decided) == 1, story
    outcome, dose = decided[0]["detail"]["outcome"], ended["state"]["dose_mg"]
    assert effects == [{"case": case, "decision": outcome, "dose_mg": dose}], story
    assert ended["state"]["given"] == f"{outcome}: {dose}", story


def of_kind(site: Site, case: str, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in site.trail(case) if entry["kind"] == kind]


def won(site: Site, case: str, answers: list[Answer]) -> Answer:
    """Return the one answer that is a success; all others name it."""
    good = [answer for answer in answers if answer.status == 201]
    story = site.story(case, answers)
    assert len(good) == 1, story
    (winner,) = good
    named = {
        "actor": site.ids[winner.name],
        "decision": winner.sent["decision"],
        "seq": winner.said["decided"],
    }
    for answer in answers:
        if answer is not winner:
            assert (answer.status, answer.facts.get("winner")) == (409, named), story
    return winner


@pytest.mark.parametrize("number", range(2, 9))
def test_of_several_who_decide_at_once_one_does(site: Site, number: int) -> None:
    for turn in range(rounds(5)):
        case, review = site.start(server=turn)
        names = MANY[:number]
        digests = [site.shown(name, review, place) for place, name in enumerate(names)]

        def decide(place: int, names: Any = names, review: str = review, digests: Any = digests) -> Answer:
            return site.decide(names[place], place, review, digests[place], DECISIONS[place % 3])

        answers = at_once(*(lambda place=place: decide(place) for place in range(number)))
        winner = won(site, case, answers)
        check_end(site, case, answers)
        (decided,) = of_kind(site, case, "review.decided")
        assert (decided["seq"], decided["detail"]["outcome"]) == (winner.said["decided"], winner.sent["decision"])
        assert len(of_kind(site, case, "review.signed")) == 1
        refused = of_kind(site, case, "review.refused")
        assert {entry["detail"]["cause"] for entry in refused} <= {"closed"}
        assert len(refused) == number - 1


_AT_THE_LOCK = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32 | objid::bigint) = %s
"""


def test_a_decision_against_the_end_of_its_time(site: Site) -> None:
    """Who is first is what counts, and time decides once.

    Half of the decisions are taken in time, and kept from committing until it is over; the others are kept from being
    taken until then. Everybody goes on at once when whoever keeps the time of a server waits behind one of them.
    """
    for _ in range(0, rounds(12), 6):
        with ThreadPoolExecutor(6) as threads:
            begun = list(threads.map(lambda server: site.start(HURRIED, server), range(6)))
        digests = [site.shown(MANY[place], review) for place, (_, review) in enumerate(begun)]
        with psycopg.connect(site.database.admin_url) as conn, ThreadPoolExecutor(6) as threads:
            conn.execute("LOCK TABLE procrastinate_jobs IN EXCLUSIVE MODE")
            for case, _ in begun[3:]:
                conn.execute("SELECT pg_advisory_xact_lock(%s)", (trail_lock(case),))
            deciding = [
                threads.submit(site.decide, MANY[place], place, review, digests[place], "approved")
                for place, (_, review) in enumerate(begun)
            ]
            _let_time_come(conn, [case for case, _ in begun], deciding)
            conn.rollback()
            answers = [done.result() for done in deciding]
        for (case, _), answer in zip(begun, answers, strict=True):
            _check_time(site, case, answer)


def _let_time_come(conn: psycopg.Connection[Any], cases: Sequence[str], deciding: Sequence[Future[Answer]]) -> None:
    """Return when each decision has come to its case's lock, or was too late already, and time to one of them."""

    def there(case: str) -> int:
        found = conn.execute(_AT_THE_LOCK, (trail_lock(case),)).fetchone()
        return int(found[0]) if found else 0

    def at_the_lock() -> list[int]:
        conn.execute("SELECT pg_sleep(0.01)")
        assert time.monotonic() < until, "nobody comes to the locks of these cases any more"
        return [there(case) + one.done() for case, one in zip(cases, deciding, strict=True)]

    until = time.monotonic() + PATIENCE
    while min(at_the_lock()) < 1:
        pass
    while max(at_the_lock()) <= 1:
        pass


def _check_time(site: Site, case: str, answer: Answer) -> None:
    """The case was decided by the signature or by the end of its time, as the answer says."""
    check_end(site, case, [answer])
    story = site.story(case, [answer])
    (decided,) = of_kind(site, case, "review.decided")
    assert decided["detail"]["by"] == ("signatures" if answer.status == 201 else "expiry"), story
    assert len(of_kind(site, case, "review.signed")) == (answer.status == 201), story
    assert len(of_kind(site, case, "review.expired")) == (answer.status != 201), story
    if answer.status != 201:
        assert (answer.status, answer.facts["cause"]) == (409, "expired"), story
        assert decided["detail"]["outcome"] == "rejected"


def _deactivate(site: Site) -> Callable[[], None]:
    """Deactivate the leaver; return what puts things right again."""
    path = f"/api/users/{site.ids['leaver']}"
    said = site.send("root", 1, "POST", f"{path}/deactivate", json={"reason": "gone"})
    assert said.status_code == 204, said.text

    def back() -> None:
        again = site.send("root", 0, "POST", f"{path}/reactivate", json={"reason": "back"})
        assert again.status_code == 204, again.text
        site.enter("leaver")

    return back


def _revoke(site: Site) -> Callable[[], None]:
    user = site.ids["leaver"]
    found = site.send("root", 0, "GET", "/api/grants", params={"user": user}).json()["items"]
    (grant,) = [one["id"] for one in found if one["revoked_at"] is None]
    said = site.send("root", 1, "DELETE", f"/api/grants/{grant}")
    assert said.status_code == 204, said.text

    def back() -> None:
        given = {"user": user, "role": "pharmacist", "workflow": "*"}
        again = site.send("root", 0, "POST", "/api/grants", json=given)
        assert again.status_code == 201, again.text

    return back


def _sign_out(site: Site) -> Callable[[], None]:
    said = site.send("leaver", 1, "DELETE", "/api/sessions/current")
    assert said.status_code == 204, said.text
    return lambda: site.enter("leaver")


@pytest.mark.parametrize(
    ("end", "kind", "refusals"),
    [
        (_deactivate, "user.deactivated", {(401, "inactive"), (401, "session"), (403, "inactive")}),
        (_revoke, "grant.revoked", {(403, "role"), (404, None)}),
        (_sign_out, "session.closed", {(401, "session")}),
    ],
)
def test_a_decision_against_the_end_of_a_right(
    site: Site, end: Callable[[Site], Callable[[], None]], kind: str, refusals: set[tuple[int, str | None]]
) -> None:
    for turn in range(rounds(5)):
        case, review = site.start(server=turn)
        digest = site.shown("leaver", review)
        decide = partial(site.decide, "leaver", 0, review, digest, "approved")
        answer, back = at_once(decide, partial(end, site))
        back()
        story = site.story(case, [answer])
        signed = of_kind(site, case, "review.signed")
        if answer.status == 201:
            # It names the standing that it rests on, and what ended the right stands behind that.
            newer = site.database.query(
                "SELECT kind FROM audit.entries WHERE trail = '@system' AND seq > %s",
                (signed[0]["detail"]["standing"]["seq"],),
            )
            assert kind in {row[0] for row in newer} or kind == "session.closed", story
        else:
            assert (answer.status, answer.facts.get("cause")) in refusals, story
            assert signed == [], story
            late = site.decide("late", 1, review, site.shown("late", review), "rejected")
            assert late.status == 201, site.story(case, [answer, late])
        check_end(site, case, [answer])


@pytest.mark.parametrize("how", ["signed edit", "correction"])
def test_a_decision_against_an_edit(site: Site, how: str) -> None:
    for turn in range(rounds(6)):
        case, review = site.start(server=turn)
        digests = {name: site.shown(name, review) for name in (*MANY[:2], "boss")}

        def edit(case: str = case, review: str = review, digests: Any = digests) -> Answer:
            if how == "signed edit":
                return site.decide("boss", 1, review, digests["boss"], "edit", edits={"dose_mg": 7})
            body = {"values": {"dose_mg": 7}, "reason": "mistyped"}
            said = site.send("boss", 1, "POST", f"/api/cases/{case}/state", json=body)
            return Answer("boss", body, said.status_code, said.json())

        def decide(place: int, review: str = review, digests: Any = digests) -> Answer:
            return site.decide(MANY[place], place, review, digests[MANY[place]], DECISIONS[place])

        edited, *answers = at_once(edit, lambda: decide(0), lambda: decide(1))
        good = [answer for answer in answers if answer.status == 201]
        story = site.story(case, [edited, *answers])
        assert len(good) + (edited.status in (201, 202)) == 1, story
        if good:
            assert edited.status == 409, story
            won(site, case, answers)
            check_end(site, case, [edited, *answers])
            assert site.receiver.of(case)[0]["dose_mg"] == 10
            continue
        assert {(answer.status, answer.facts["cause"]) for answer in answers} == {(409, "digest")}, story
        found = site.resting(case)
        assert [one["round"] for one in found["reviews"]] == [2], site.story(case)
        stale = site.decide("late", 0, review, digests[MANY[0]], "approved")
        assert (stale.status, stale.facts["cause"]) == (409, "digest"), site.story(case, [stale])
        late = site.decide("late", 0, review, site.shown("late", review), "approved")
        assert late.status == 201, site.story(case, [late])
        check_end(site, case, [edited, *answers])
        assert site.receiver.of(case)[0]["dose_mg"] == 7


def test_a_request_that_is_sent_again_and_again_is_one(site: Site) -> None:
    for turn in range(rounds(12)):
        key = secrets.token_hex(8)

        def start(server: int, key: str = key, turn: int = turn) -> tuple[int, Any]:
            body = {"workflow": ORDERS, "input": {"patient": f"P-{turn}"}}
            headers = {"idempotency-key": key, "prefer": "wait=30"}
            said = site.send("pat", server, "POST", "/api/cases", json=body, headers=headers)
            return said.status_code, said.json()

        cases = at_once(*(lambda server=server: start(server) for server in range(4)))
        assert {(status, said.get("id")) for status, said in cases} == {(202, cases[0][1]["id"])}, cases
        assert start(1) == cases[0]
        case = cases[0][1]["id"]
        site.cases.append(case)
        (review,) = (one["id"] for one in site.resting(case)["reviews"])
        digest = site.shown(MANY[0], review)

        def decide(server: int, review: str = review, digest: str = digest, key: str = key) -> Answer:
            return site.decide(MANY[0], server, review, digest, "approved", key=f"{key}-decision")

        answers = at_once(*(lambda server=server: decide(server) for server in range(4)))
        again = decide(1)
        assert {answer.status for answer in answers} == {201}, site.story(case, answers)
        assert all(answer.said == again.said for answer in answers), site.story(case, answers)
        check_end(site, case, answers)
        assert len(of_kind(site, case, "review.signed")) == 1


def test_whoever_is_killed_nothing_is_lost_and_nothing_done_twice(site: Site) -> None:
    """People go on as programs do that try again with their key; for each that begins somebody is killed with -9.

    That is three workers, then a server, at some moment; a server is there again before anybody else is killed.
    """
    chance = random.Random(SEED)  # noqa: S311 - for a drill
    over, begun = threading.Event(), threading.Semaphore(0)
    killed = {"server": 0, "worker": 0}

    def kill() -> None:
        while begun.acquire() and not over.wait(chance.uniform(0.05, 0.6)):
            member = chance.choice(site.members)
            if killed["worker"] < 3 * (killed["server"] + 1):
                killed["worker"] += kill_worker(member)
            else:
                member.kill()
                killed["server"] += 1

    def whole(turn: int) -> None:
        key = f"killed-{SEED}-{turn}"
        begun.release()
        case, review = site.start(server=turn, key=key)
        name = MANY[turn % len(MANY)]
        answers: list[Answer] = []
        while not answers or answers[-1].facts.get("cause") == "in-progress":
            digest = site.shown(name, review, turn)
            answers.append(site.decide(name, turn + 1, review, digest, DECISIONS[turn % 3], key=f"{key}-decision"))
        assert answers[-1].status == 201, f"seed {SEED}\n{site.story(case, answers)}"
        check_end(site, case, answers)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        turn = 0
        while turn < rounds(20) or min(killed.values()) == 0:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(whole, range(turn, turn + 4)))
            turn += 4
    finally:
        over.set()
        begun.release()
        killer.join()
