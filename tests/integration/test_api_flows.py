"""Whole cases over HTTP, with a real server process and real workers: start, wait, look, sign, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from conftest import Database
from countersign.audit.verify import Verdict
from serving import PASSWORD, PATIENCE, Server, home_folder, make_people, own_home, sample, served
from streaming import Stream

ORDERS, THERAPY = "medication-order", "chemotherapy"
ORDER = {"patient": "P-101", "drug": "warfarin"}
PEOPLE = {
    "pat": [("prescriber", "*")],
    "ada": [("pharmacist", "*")],
    "bo": [("pharmacist", "*")],
    "phil": [("physician", THERAPY)],
    "sue": [("supervisor", "*")],
    "nobody": [],
    "root": [("administrator", "*")],
    "audrey": [("auditor", "*")],
}
# Reviews expire at once, so that no test waits for the time; a case of it is stopped by whoever starts it too late.
EXPIRING = """
[workflows.hurried]
graph = "./orders.py:medication_order"
title = "Hurried"
retention = "clinical"
[workflows.hurried.roles]
start = ["prescriber"]
fallback = "supervisor"
[[workflows.hurried.gates]]
name = "pharmacist"
before = "review"
question = "Quickly?"
role = "pharmacist"
expire_after = "1s"
on_expiry = "rejected"
[workflows.hurried.gates.decisions.approved]
meaning = "Yes."
releases = true
write = { decision = "$decision", notes = "$reason" }
[workflows.hurried.gates.decisions.rejected]
meaning = "No."
write = { decision = "$decision", notes = "$reason" }
"""


@pytest.fixture(scope="module")
def site(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = sample(tmp_path_factory.mktemp("config"))
    with (folder / "countersign.toml").open("a") as file:
        file.write(EXPIRING)
    with home_folder() as home:
        database = own_home(shared_database, home)
        make_people(database, PEOPLE)
        with served(database, folder) as site:
            yield site
        report = database.verify()
        assert report.verdict is Verdict.PASSED, [finding.message for finding in report.findings]
        assert report.counts.sealed == report.counts.entries


def the_review(case: dict[str, Any]) -> str:
    (review,) = case["reviews"]
    return str(review["id"])


def kinds(site: Server, case: str) -> list[str]:
    entries = site.of("pat").get(f"/api/cases/{case}/trail").json()["items"]
    return [entry["kind"] for entry in entries if entry["kind"].startswith(("case.", "review."))]


def test_one_call_starts_an_order_and_says_for_whom_it_waits_and_what_was_found(site: Server) -> None:
    case = site.start("pat", ORDERS, ORDER)
    assert case["status"] == "awaiting_review"
    assert case["state"]["dose_mg"] == 5
    assert case["state"]["flags"] == ["narrow therapeutic index", "check INR"]
    done = site.decide("ada", the_review(case), "approved", "INR is stable")
    assert done.status_code == 201, done.text
    assert (done.json()["outcome"], done.json()["now"]["status"]) == ("approved", "completed")
    assert done.json()["now"]["state"]["order"] == "GIVE 5 mg warfarin to P-101"
    assert kinds(site, case["id"]) == [
        "case.opened", "review.opened", "review.viewed", "review.signed", "review.decided",
    ]  # fmt: skip


def test_without_waiting_the_answer_says_where_the_case_is(site: Server) -> None:
    said = site.of("pat").post("/api/cases", json={"workflow": ORDERS, "input": ORDER})
    assert said.status_code == 202
    found = site.of("pat").get(said.headers["location"], headers={"prefer": f"wait={PATIENCE}"})
    assert found.json()["status"] == "awaiting_review"
    again = site.of("pat").get(said.headers["location"], headers={"if-none-match": found.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_rejected_order_is_not_given_and_needs_a_reason(site: Server) -> None:
    review = the_review(site.start("pat", ORDERS, ORDER))
    bare = site.decide("ada", review, "rejected")
    assert (bare.status_code, bare.json()["facts"]["cause"]) == (422, "reason")
    done = site.decide("ada", review, "rejected", "pregnancy not excluded")
    assert done.json()["now"]["state"]["order"] == "DO NOT GIVE warfarin to P-101: pregnancy not excluded"


def test_a_revision_comes_back_as_another_review_that_shows_what_changed(site: Server) -> None:
    case = site.start("pat", ORDERS, {"patient": "P-103", "drug": "vancomycin"})
    once = site.decide("ada", the_review(case), "needs_revision", "renal function: reduce by 50%")
    twice = site.decide("ada", the_review(once.json()["now"]), "needs_revision", "still high: reduce by 25%")
    review = the_review(twice.json()["now"])
    view = site.shown("ada", review)["view"]
    assert {"field": "dose_mg", "old": 1000, "new": 750} in view["changes"]
    assert [decision["decision"] for decision in view["decisions"]] == ["needs_revision", "needs_revision"]
    done = site.decide("ada", review, "approved")
    assert done.json()["now"]["state"]["order"] == "GIVE 750 mg vancomycin to P-103"


def test_a_therapy_is_answered_then_released_by_two_professions_in_order(site: Server) -> None:
    case = site.start("pat", THERAPY, {"patient": "P-104", "protocol": "FOLFOX"})
    question = the_review(case)
    values = {"cycles": 6, "dose_percent": 80}
    asked = site.decide("phil", question, "planned", values=values)
    assert asked.status_code == 201, asked.text
    release = the_review(asked.json()["now"])
    early = site.decide("ada", release, "released")
    assert (early.status_code, early.json()["facts"]["cause"]) == (403, "stage")
    first = site.decide("phil", release, "released")
    assert first.json()["outcome"] is None
    second = site.decide("ada", release, "released")
    assert second.json()["outcome"] is None
    again = site.decide("ada", release, "released")
    assert (again.status_code, again.json()["facts"]["cause"]) == (409, "signed-already")
    last = site.decide("bo", release, "released")
    assert last.json()["outcome"] == "released"
    assert last.json()["now"]["state"]["order"] == "PREPARE 6 cycles of FOLFOX at 80 % for P-104"


def test_a_review_that_nobody_decides_expires_once_and_never_to_the_better(site: Server) -> None:
    case = site.start("pat", "hurried", ORDER)
    ended = site.of("pat").get(f"/api/cases/{case['id']}").json()
    with httpx.Client(base_url=site.url, headers=site.of("pat").headers, timeout=PATIENCE) as client:
        for _ in range(PATIENCE):
            ended = client.get(f"/api/cases/{case['id']}", headers={"prefer": "wait=2"}).json()
            if ended["status"] == "completed":
                break
            _wait_for_an_event(site, case["id"])
    assert ended["state"]["order"].startswith("DO NOT GIVE warfarin")
    assert kinds(site, case["id"]) == ["case.opened", "review.opened", "review.expired", "review.decided"]


def test_a_statement_is_fixed_once_and_signed_once(site: Server) -> None:
    review = the_review(site.start("pat", ORDERS, ORDER))
    ada = site.of("ada")
    asked = {"decision": "approved", "shown_digest": site.shown("ada", review)["shown_digest"]}
    made = ada.post(f"/api/reviews/{review}/signings", json=asked)
    assert made.status_code == 201, made.text
    assert made.json()["statement"]["shown_digest"] == asked["shown_digest"]
    wrong = ada.post(made.headers["location"], json={"credential": {"username": "ada", "password": "not mine at all"}})
    assert (wrong.status_code, wrong.json()["facts"]["cause"]) == (403, "credential")
    elsewhere = site.of("bo").post(made.headers["location"], json={"credential": {"password": "x"}})
    assert elsewhere.status_code in (403, 404, 409)
    own = {"credential": {"username": "ada", "password": PASSWORD}}
    done = ada.post(made.headers["location"], json=own)
    assert done.status_code == 201, done.text
    again = ada.post(made.headers["location"], json=own)
    assert again.status_code == 409


def test_a_stale_page_is_told_what_has_changed(site: Server) -> None:
    review = the_review(site.start("pat", ORDERS, ORDER))
    seen = site.shown("ada", review)["shown_digest"]
    edited = site.decide("ada", review, "edit", "as agreed", edits={"dose_mg": 4})
    assert edited.status_code == 201, edited.text
    stale = site.decide("bo", review, "approved", shown_digest=seen)
    assert (stale.status_code, stale.json()["facts"]["cause"]) == (409, "digest")
    assert "dose_mg" in json.dumps(stale.json()["facts"])
    barred = site.decide("ada", review, "approved")
    assert (barred.status_code, barred.json()["facts"]["cause"]) == (403, "editor")
    done = site.decide("bo", review, "approved")
    assert done.json()["now"]["state"]["order"] == "GIVE 4 mg warfarin to P-101"


def test_of_many_who_decide_at_once_one_does_and_the_others_are_told_who(site: Server) -> None:
    review = the_review(site.start("pat", ORDERS, ORDER))
    said = [("ada", "approved"), ("bo", "rejected"), ("ada", "rejected"), ("bo", "approved")]
    for name in ("ada", "bo"):
        site.shown(name, review)
    with ThreadPoolExecutor(len(said)) as threads:
        answers = list(threads.map(lambda one: site.decide(one[0], review, one[1], "so I say"), said))
    good = [answer for answer in answers if answer.status_code == 201]
    assert len(good) == 1, [answer.text for answer in answers]
    others = [answer for answer in answers if answer.status_code != 201]
    assert {answer.status_code for answer in others} == {409}
    outcome = good[0].json()["outcome"]
    assert all(outcome in answer.text for answer in others), [answer.text for answer in others]


def test_a_retry_with_its_key_starts_no_second_case(site: Server) -> None:
    body = {"workflow": ORDERS, "input": ORDER, "case_number": "2026-0042"}
    headers = {"idempotency-key": "retry-1", "prefer": f"wait={PATIENCE}"}

    def start(_: int) -> httpx.Response:
        return httpx.post(
            f"{site.url}/api/cases", json=body, headers={**site.of("pat").headers, **headers}, timeout=PATIENCE
        )

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(start, range(4)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    found = site.of("pat").get("/api/cases", params={"case_number": "2026-0042"}).json()["items"]
    assert len(found) == 1
    other = site.of("pat").post("/api/cases", json={**body, "case_number": "other"}, headers=headers)
    assert (other.status_code, other.json()["facts"]["place"]) == (422, "idempotency-key")


def test_events_tell_of_a_case_to_whoever_may_read_it_and_end_with_the_session(site: Server) -> None:
    listening = _sign_in(site, "ada")
    stranger = _sign_in(site, "nobody")
    with Stream(site, listening) as heard, Stream(site, stranger) as overheard:
        case = site.start("pat", ORDERS, ORDER)
        heard.until(lambda event, data: event == "case" and json.loads(data)["status"] == "awaiting_review")
        told = [json.loads(data)["id"] for event, data in heard.events if event == "case"]
        assert case["id"] in told
        out = httpx.delete(f"{site.url}/api/sessions/current", headers=listening, timeout=PATIENCE)
        assert out.status_code == 204
        heard.until(lambda event, data: (event, data) == ("end", "session"))
        assert heard.ended.wait(PATIENCE)
        ids = make_ids(site)
        gone = site.of("root").post(f"/api/users/{ids['nobody']}/deactivate", json={})
        assert gone.status_code == 204, gone.text
        overheard.until(lambda event, data: (event, data) == ("end", "session"))
        assert not [event for event, _ in overheard.events if event == "case"]


def test_lists_are_of_what_the_caller_may_read(site: Server) -> None:
    site.start("pat", ORDERS, ORDER)
    mine = site.of("ada").get("/api/reviews", params={"mine": "true", "limit": 100}).json()["items"]
    assert mine
    assert {review["role"] for review in mine} == {"pharmacist"}
    assert site.of("root").get("/api/cases").json()["items"] == []
    entries = site.of("audrey").get("/api/entries", params={"kind": "review.signed", "limit": 5}).json()
    assert {entry["kind"] for entry in entries["items"]} == {"review.signed"}
    workflows = site.of("pat").get("/api/workflows").json()["items"]
    assert {workflow["name"] for workflow in workflows} >= {ORDERS, THERAPY}


def test_a_case_is_stopped_corrected_and_remarked_on(site: Server) -> None:
    case = site.start("pat", ORDERS, ORDER)
    path = f"/api/cases/{case['id']}"
    corrected = site.of("ada").post(
        f"{path}/state", json={"values": {"dose_mg": 3}, "reason": "by telephone"}, headers={"prefer": "wait=60"}
    )
    assert corrected.status_code == 202, corrected.text
    assert corrected.json()["case"]["state"]["dose_mg"] == 3
    assert site.of("pat").get(f"{path}/state", params={"seq": 8}).json()["state"]["dose_mg"] == 5
    noted = site.of("sue").post(f"{path}/annotations", json={"text": "Seen.", "refers": 1})
    assert noted.status_code == 201, noted.text
    forbidden = site.of("pat").post(f"{path}/stop", json={"reason": "enough"})
    assert (forbidden.status_code, forbidden.json()["facts"]["cause"]) == (403, "role")
    stopped = site.of("sue").post(f"{path}/stop", json={"reason": "enough"})
    assert stopped.json()["case"]["status"] == "stopped"
    assert stopped.json()["case"]["reviews"] == []


def test_every_list_comes_whole_in_pages(site: Server) -> None:
    for _ in range(3):
        site.start("pat", ORDERS, ORDER)
    for name, path, params in (
        ("pat", "/api/cases", {"workflow": ORDERS}),
        ("ada", "/api/reviews", {"mine": "true"}),
        ("ada", "/api/reviews", {"status": "open"}),
        ("audrey", "/api/entries", {"kind": "case.opened"}),
    ):
        whole = _pages(site, name, path, params, 100)
        assert len(whole) >= 3
        assert _pages(site, name, path, params, 2) == whole
        assert len({json.dumps(item, sort_keys=True) for item in whole}) == len(whole)


def _pages(site: Server, name: str, path: str, params: dict[str, str], limit: int) -> list[Any]:
    items: list[Any] = []
    asked: dict[str, Any] = {**params, "limit": limit}
    while True:
        page = site.of(name).get(path, params=asked)
        assert page.status_code == 200, page.text
        items += page.json()["items"]
        if page.json()["next"] is None:
            return items
        asked["cursor"] = page.json()["next"]


BAD: list[tuple[str, str, Any, int]] = [
    ("pat", "/api/cases", {"workflow": "none", "input": {}}, 404),
    ("pat", "/api/cases", {"workflow": ORDERS}, 400),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": []}, 400),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {}, "inptu": {}}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {**ORDER, "dorse_mg": 4}}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {}, "case_number": "a\x00b"}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {}, "case_number": "\u202egnp"}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {"drug": "a\x00b"}}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {"a\x00b": 1}}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {"drug": [2**64]}}, 422),
    ("pat", "/api/cases", {"workflow": ORDERS, "input": {}, "config": 7}, 400),
    ("pat", "/api/cases/00000000-0000-4000-8000-000000000000/stop", {"reason": "x"}, 404),
    ("pat", "/api/cases/none/stop", {"reason": "x"}, 404),
    ("sue", "/api/cases/{case}/stop", {"reason": " "}, 422),
    ("sue", "/api/cases/{case}/stop", {"reason": "x" * 4_001}, 400),
    ("sue", "/api/cases/{case}/redirect", {"to": "issue", "reason": "faster"}, 422),
    ("sue", "/api/cases/{case}/retry", {"reason": "again"}, 409),
    ("sue", "/api/cases/{case}/move", {"version": "none", "reason": "newer"}, 404),
    ("ada", "/api/cases/{case}/state", {"values": {}, "reason": "x"}, 422),
    ("ada", "/api/cases/{case}/state", {"values": {"dorse_mg": 4}, "reason": "x"}, 422),
    ("ada", "/api/cases/{case}/state", {"values": {"dose_mg": -(2**63) - 1}, "reason": "x"}, 422),
    ("ada", "/api/cases/{case}/annotations", {"text": "x", "refers": 10_000}, 422),
    ("ada", "/api/cases/{case}/annotations", {"text": "x", "refers": 0}, 400),
    ("ada", "/api/reviews/{review}/decisions", {"decision": "approved", "shown_digest": "0"}, 400),
    ("ada", "/api/reviews/{review}/signings", {"decision": "maybe", "shown_digest": "{shown}"}, 422),
    ("ada", "/api/reviews/{review}/signings", {"decision": "approved", "shown_digest": "0" * 64}, 409),
    ("ada", "/api/reviews/{review}/signings", {"decision": "edit", "shown_digest": "{shown}", "reason": "x",
                                               "edits": {"dose_mg": -1}}, 422),
    ("ada", "/api/reviews/{review}/withdrawal", {"signed": 1, "reason": "mistaken"}, 409),
    ("ada", "/api/reviews/r-1/claim", {}, 400),
]  # fmt: skip


def test_what_cannot_be_is_refused_with_its_place_and_changes_nothing(site: Server) -> None:
    case = site.start("pat", ORDERS, ORDER)
    review = the_review(case)
    shown = site.shown("ada", review)["shown_digest"]
    for name, path, body, status in BAD:
        sent = json.loads(json.dumps(body).replace("{shown}", shown))
        said = site.of(name).post(path.format(case=case["id"], review=review), json=sent)
        assert said.status_code == status, (path, body, said.text)
        assert said.headers["content-type"] == "application/problem+json"
    for data, kind, status in (
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b'{"workflow": "\\ud800", "input": {}}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"workflow": "' + b"x" * 2_000_000, "application/json", 413),
    ):
        said = site.of("pat").post("/api/cases", content=data, headers={"content-type": kind})
        assert said.status_code == status, (data[:40], said.text)
    now = site.of("pat").get(f"/api/cases/{case['id']}").json()
    assert (now["status"], now["state"]) == ("awaiting_review", case["state"])


def test_a_field_that_the_state_does_not_have_is_named_with_those_it_has(site: Server) -> None:
    case = site.start("pat", ORDERS, ORDER)["id"]
    for name, path, body, place in (
        ("pat", "/api/cases", {"workflow": ORDERS, "input": {**ORDER, "dorse_mg": 4}}, "input.dorse_mg"),
        ("ada", f"/api/cases/{case}/state", {"values": {"dorse_mg": 4}, "reason": "less"}, "values.dorse_mg"),
    ):
        said = site.of(name).post(path, json=body).json()
        assert (said["status"], said["facts"]["place"]) == (422, place)
        assert said["facts"]["known"] == [
            "decision", "dose_mg", "drug", "flags", "history", "notes", "order", "patient",
        ]  # fmt: skip
        assert said["remedy"].endswith("Did you mean dose_mg?")


def test_an_inbox_says_which_case_and_what_is_asked(site: Server) -> None:
    body = {"workflow": ORDERS, "input": ORDER, "case_number": "bed 7"}
    case = site.of("pat").post("/api/cases", json=body, headers={"prefer": f"wait={PATIENCE}"}).json()
    site.start("pat", ORDERS, ORDER)
    (mine,) = site.of("ada").get("/api/reviews", params={"mine": "true", "case": case["id"]}).json()["items"]
    assert (mine["case"], mine["case_number"], mine["title"]) == (case["id"], "bed 7", "Medication order")
    page = site.shown("ada", mine["id"])
    assert mine["question"] == page["question"] == page["view"]["question"]
    assert case["reviews"][0]["question"] == mine["question"]
    assert site.of("pat").get("/api/reviews", params={"mine": "true", "case": case["id"]}).json()["items"] == []
    asleep = site.of("ada").get("/api/reviews", params={"mine": "true", "status": "closed"})
    assert (asleep.status_code, asleep.json()["facts"]["place"]) == (422, "status")


def test_a_history_says_what_was_signed(site: Server) -> None:
    case = site.start("pat", ORDERS, ORDER)
    site.decide("ada", the_review(case), "approved", "INR is stable")
    lines = site.of("pat").get(f"/api/cases/{case['id']}/history").json()["items"]
    signed = {line["kind"]: line["signed"] for line in lines if line["signed"] is not None}
    assert signed.keys() == {"review.signed"}
    said = signed["review.signed"]
    assert (said["decision"], said["printed_name"], said["reason"]) == ("approved", "Ada", "INR is stable")
    assert (bool(said["meaning"]), said["values"]) == (True, {})


@pytest.mark.parametrize("name", ["workflow", "case_number", "started_by"])
def test_a_filter_that_the_database_cannot_be_sent_is_refused(site: Server, name: str) -> None:
    said = site.of("pat").get("/api/cases", params={name: "a\x00b"})
    assert said.status_code == 400, said.text


def _sign_in(site: Server, name: str) -> dict[str, str]:
    said = httpx.post(f"{site.url}/api/sessions", json={"username": name, "password": PASSWORD}, timeout=PATIENCE)
    return {"authorization": f"Bearer {said.json()['token']}"}


def make_ids(site: Server) -> dict[str, str]:
    users = site.of("root").get("/api/users", params={"limit": 100}).json()["items"]
    return {user["username"]: user["id"] for user in users}


def _wait_for_an_event(site: Server, case: str) -> None:
    """Return when something of the case changed, or the server has looked around."""
    with httpx.stream("GET", f"{site.url}/api/events", headers=site.of("pat").headers, timeout=PATIENCE) as stream:
        for line in stream.iter_lines():
            if case in line or line.startswith(": still"):
                return
