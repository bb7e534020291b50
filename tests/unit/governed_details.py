"""The detail of the entries of governed cases, as the format has it."""

from __future__ import annotations

from typing import Any

H = "03" * 32
PLACE = {"seq": 4, "leaf_hash": H}
REVIEW = {"review": "r-1"}
ACT = {"standing": PLACE}
ABOUT = {"user": "u-1", "before": PLACE}
SIGNED = {**REVIEW, **ACT, "decision": "approved", "stage": 1, "shown_digest": H}
PERSON = {"credential": "c-1", "components": ["password", "user-id"], "session": "s-1"}
AT = "2026-03-02T12:01:00.000000Z"
GRANT = {**ABOUT, "grant": "g-1"}
KEY = {"key": "k-1", "scopes": ["cases:start"], "roles": [], "workflow": "*", "until": AT, "before": None}
PARTS = {"policy": H, "graph": H, "code": H, "packages": H}

GOVERNED: list[tuple[str, dict[str, Any]]] = [
    ("user.created", {"user": "u-1", "before": None}),
    ("user.deactivated", ABOUT),
    ("user.reactivated", ABOUT),
    ("credential.enrolled", {**ABOUT, "credential": "c-1", "method": "password", "own": True}),
    ("credential.revoked", {**ABOUT, "credential": "c-1"}),
    ("grant.given", {**GRANT, "role": "pharmacist", "workflow": "*", "from": AT}),
    ("grant.given", {**GRANT, "role": "pharmacist", "workflow": "orders", "from": AT, "until": AT}),
    ("grant.revoked", GRANT),
    ("api-key.created", KEY),
    ("api-key.revoked", {"key": "k-1", "before": PLACE}),
    ("workflow.registered", {"name": "orders", "version": "03" * 16, "parts": PARTS}),
    ("case.opened", {"registered": PLACE, **ACT}),
    ("case.moved", {"registered": PLACE, "from": "03" * 16, **ACT}),
    ("case.corrected", ACT),
    ("case.corrected", {**ACT, "signed": 9}),
    ("case.redirected", {"to": "analyze", **ACT}),
    ("case.retried", ACT),
    ("case.stopped", ACT),
    ("case.stopped", {**ACT, "cause": 9}),
    ("case.stopped", {"cause": 9}),
    ("case.annotated", ACT),
    ("case.annotated", {**ACT, **PERSON, "refers": 9, "signed": True}),
    ("review.opened", {**REVIEW, "gate": "pharmacist", "when": "before", "nodes": ["review"]}),
    ("review.opened", {**REVIEW, "gate": None, "when": "interrupt", "nodes": ["ask"], "interrupt": "1f"}),
    ("review.reopened", {**REVIEW, "cause": 9, "voided": [7]}),
    ("review.reopened", {**REVIEW, "cause": 9, "voided": [], "interrupt": "1f"}),
    ("review.closed", {**REVIEW, "cause": 9}),
    ("review.viewed", {**REVIEW, **ACT, "shown_digest": H}),
    ("review.signed", {**SIGNED, **PERSON}),
    ("review.attested", SIGNED),
    ("review.refused", {**REVIEW, "cause": "not-viewed"}),
    ("review.refused", {**REVIEW, **ACT, "cause": "role", "decision": "approved"}),
    ("review.withdrawn", {**REVIEW, **ACT, "signed": 9}),
    ("review.decided", {**REVIEW, "outcome": "approved", "by": "signatures", "signed": [9], "resume": True}),
    ("review.reminded", {**REVIEW, "due": AT}),
    ("review.escalated", {**REVIEW, "due": AT, "to": "chief"}),
    ("review.expired", {**REVIEW, "due": AT}),
    ("review.claimed", {**REVIEW, **ACT}),
    ("review.commented", {**REVIEW, **ACT}),
]
_OPTIONAL = {
    "grant.given": {"until"},
    "case.corrected": {"signed"},
    "case.stopped": {"standing", "cause"},
    "case.annotated": {*PERSON, "refers", "signed"},
    "review.opened": {"interrupt"},
    "review.reopened": {"interrupt"},
    "review.refused": {"standing", "decision"},
}

LACKING: list[tuple[str, str, dict[str, Any]]] = [
    (f"{kind} without {left} ({number})", kind, {name: value for name, value in detail.items() if name != left})
    for number, (kind, detail) in enumerate(GOVERNED)
    for left in detail
    if left not in _OPTIONAL.get(kind, ())
]
FORBIDDEN: list[tuple[str, str, dict[str, Any]]] = [
    ("an entry in front of the first about a user", "user.created", {"user": "u-1", "before": PLACE}),
    ("a version that is a name", "workflow.registered", {"name": "orders", "version": "1.4", "parts": PARTS}),
    ("a part that is not digested", "workflow.registered", {"name": "o", "version": "03" * 16, "parts": {"policy": H}}),
    ("a moment without its decimals", "review.expired", {**REVIEW, "due": "2026-03-02T12:01:00Z"}),
    (
        "a decision by nobody knows what",
        "review.decided",
        {**REVIEW, "outcome": "a", "by": "x", "signed": [], "resume": True},
    ),
    ("a stop that follows from no entry", "case.stopped", {"cause": 0}),
    ("a digest in base64", "review.viewed", {**REVIEW, **ACT, "shown_digest": "AwMDAw=="}),
    ("a cause in a sentence", "review.refused", {**REVIEW, "cause": "The password is wrong."}),
    ("a stage before the first", "review.signed", {**SIGNED, **PERSON, "stage": 0}),
    ("a pause of a sort that is none", "review.opened", {**REVIEW, "gate": "g", "when": "dynamic", "nodes": []}),
]
