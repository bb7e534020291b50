"""The demonstration's cases: what people start and sign, over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .demo_server import Office, RefusedError
from .demo_words import note, say

_ORDER, _THERAPY = "medication-order", "chemotherapy"
_WHO = {"pharmacist-2": "a second pharmacist"}


@dataclass
class Told:
    """The cases that the story goes on with, by their ids, and the open review of the one that waits."""

    rejected: str = ""
    revised: str = ""
    waiting: str = ""
    review: str = ""
    _numbers: dict[str, str] = field(default_factory=dict)

    def name(self, case: str) -> str:
        """Return the number under which people know a case."""
        return self._numbers[case]

    def keep(self, case: dict[str, Any]) -> str:
        """Remember the number of a case, and return its id."""
        self._numbers[case["id"]] = case["case_number"]
        return str(case["id"])

    def refused(self, served: Office, seen: dict[str, Any]) -> bool:
        """Let the pharmacist open the waiting review, and sign what they saw of it; return whether neither is done."""
        acts: list[tuple[str, Callable[[], object]]] = [
            ("opens the review", lambda: served.shown("pharmacist", self.review)),
            ("signs what was shown before", lambda: served.sign("pharmacist", seen, "approved")),
        ]
        done = 0
        for what, act in acts:
            try:
                act()
            except RefusedError as error:
                note(f"the pharmacist {what}: refused. {error.message}")
            else:
                done += 1
                note(f"the pharmacist {what}: done")
        now = served.case("prescriber", self.waiting)
        note(f"the case: {now['status'].replace('_', ' ')}; nothing ran")
        return done == 0 and [review["id"] for review in now["reviews"]] == [self.review]


def tell(served: Office) -> Told:
    """Run the cases, and return those that the story goes on with."""
    told = Told()
    batch = uuid.uuid4().hex[:6]
    say("Four medication orders; each waits for a pharmacist, who signs with their password")
    _order(served, told, f"order-{batch}-1", ("P-101", "warfarin"), [("approved", "INR stable, standard monitoring")])
    told.rejected = _order(
        served, told, f"order-{batch}-2", ("P-102", "methotrexate"), [("rejected", "pregnancy not excluded")]
    )
    revisions = [
        ("needs_revision", "renal function: reduce by 50%"),
        ("needs_revision", "still high: reduce by 25%"),
        ("approved", "as adjusted"),
    ]
    told.revised = _order(served, told, f"order-{batch}-3", ("P-103", "vancomycin"), revisions)
    told.waiting = _order(served, told, f"order-{batch}-4", ("P-104", "heparin"), [])
    told.review = served.case("prescriber", told.waiting)["reviews"][0]["id"]
    _therapy(served, told, f"therapy-{batch}-5")
    return told


def _order(served: Office, told: Told, number: str, given: tuple[str, str], decisions: list[tuple[str, str]]) -> str:
    patient, drug = given
    case = served.start("prescriber", _ORDER, number, {"patient": patient, "drug": drug})
    for decision, reason in decisions:
        page = served.shown("pharmacist", case["reviews"][0]["id"])
        dose = page["view"]["state"]["dose_mg"]
        note(f"{number}: {dose} mg {drug} proposed; the pharmacist signs {decision}: {reason}")
        case = served.sign("pharmacist", page, decision, reason)
    note(f"{number}: {case['state'].get('order') or f'{drug} for {patient} waits for its pharmacist'}")
    return told.keep(case)


def _therapy(served: Office, told: Told, number: str) -> None:
    say("A chemotherapy: a physician answers what it asks; a physician and two pharmacists sign, in this order")
    case = served.start("prescriber", _THERAPY, number, {"patient": "P-105", "protocol": "FOLFOX"})
    told.keep(case)
    page = served.shown("physician", case["reviews"][0]["id"])
    note(f"{number}: {page['view']['question']} The physician signs: 6, at 80 %")
    case = served.sign("physician", page, "planned", values={"cycles": 6, "dose_percent": 80})
    review = case["reviews"][0]["id"]
    try:
        served.sign("pharmacist", served.shown("pharmacist", review), "released")
        note(f"{number}: the pharmacist signs first")
    except RefusedError as error:
        note(f"{number}: the pharmacist signs first: refused. {error.message}")
    for who in ("physician", "pharmacist", "pharmacist-2"):
        case = served.sign(who, served.shown(who, review), "released")
        note(f"{number}: {_WHO.get(who, f'the {who}')} signs released; {case['status'].replace('_', ' ')}")
    note(f"{number}: {case['state']['order']}")
