"""The governed case on the page: its policy, a view, a statement and what the decision writes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from countersign.audit.canonical import Json, canonical
from countersign.audit.gates import Policy
from countersign.audit.policy import parse_policy
from countersign.audit.standing import part_digest, version_of
from countersign.audit.statement import Statement, reason_digest, shown_digest
from countersign.audit.tally import Signature, tally

WORKFLOW = "medication-order"
CASE = "0b6f3a52-7a3e-4e0f-9c55-2f1f6f1f8a11"
REVIEW = "r-5d2b0c1f6a7e48d39b1c2a3f4e5d6c7b"
CHECKPOINT = "1f11638e-5a2c-6b1e-8001-3c1d5e7f9a0b"
SHOWN_SALT, REASON_SALT, NONCE = (bytes(range(start, start + 32)) for start in (192, 128, 64))
_REASON = "INR is 2.1, dose confirmed"


def document() -> dict[str, Json]:
    """Return the policy of the example."""
    write: Json = {"decision": "$decision", "notes": "$reason"}
    approve = "I have checked this order and approve it."
    reject = "I have checked this order and reject it."
    dose: Json = {"properties": {"dose": {"type": "integer"}}, "type": "object"}
    return {
        "spec": "countersign/policy/1",
        "workflow": WORKFLOW,
        "title": "Medication order",
        "fallback": "supervisor",
        "retention": {"class": "clinical", "days": 3650},
        "acts": {
            "start": ["prescriber"],
            "correct": ["pharmacist"],
            "redirect": {"roles": ["supervisor"], "to": ["analyze"]},
            "stop": ["supervisor"],
            "move": ["supervisor"],
            "retry": ["supervisor"],
            "read": ["prescriber", "pharmacist", "supervisor"],
        },
        "gates": [
            {
                "name": "pharmacist",
                "when": "before",
                "node": "order",
                "question": "May this order be given?",
                "stages": [{"role": "pharmacist", "count": 1}],
                "accept": "signed",
                "separation": ["starter", "editor"],
                "decisions": [
                    _decision("approved", approve, write, releases=True),
                    _decision("rejected", reject, write, releases=False),
                ],
                "edit": {"meaning": "I have changed this order.", "values": dose},
                "times": {"remind": 14400, "escalate": 28800, "expire": 86400},
                "escalate_to": "chief-pharmacist",
                "on_expiry": "rejected",
            }
        ],
    }


def _decision(name: str, meaning: str, write: Json, *, releases: bool) -> dict[str, Json]:
    return {
        "name": name,
        "meaning": meaning,
        "releases": releases,
        "reason": not releases,
        "write": write,
        "values": None,
    }


def computed(origin: str, issued_at: datetime) -> dict[str, str]:
    """Return the examples of the section on governed cases, by name."""
    policy = parse_policy(document())
    documents: dict[str, Json] = {
        "policy": policy.as_json(),
        "graph": {"nodes": ["analyze", "order"]},
        "code": {"image": "sha256:" + "11" * 32},
        "packages": {"langgraph": "1.2.22"},
    }
    parts: dict[str, Json] = {name: part_digest(part) for name, part in documents.items()}
    version = version_of(WORKFLOW, parts)
    view = _view(origin, version)
    statement = Statement(
        origin=origin,
        trail=CASE,
        review=REVIEW,
        shown_digest=shown_digest(SHOWN_SALT, view),
        decision="approved",
        meaning=policy.gates[0].decisions[0].meaning,
        reason_digest=reason_digest(REASON_SALT, _REASON, {}),
        signer="u-6f1d2c3b4a5968778695",
        role="pharmacist",
        nonce=NONCE,
        issued_at=issued_at,
    )
    return {
        "policy": json.dumps(documents["policy"], indent=2),
        "policy-version": canonical({"name": WORKFLOW, "parts": parts}).decode() + f"\n{version}",
        "view": canonical(view).decode(),
        "view-digest": f"salt    {SHOWN_SALT.hex()}\ndigest  {shown_digest(SHOWN_SALT, view).hex()}",
        "reason": canonical({"text": _REASON, "values": {}}).decode(),
        "reason-digest": f"salt    {REASON_SALT.hex()}\ndigest  {statement.reason_digest.hex()}",
        "statement": statement.encode().decode(),
        "decided": canonical({"write": {"update": _written(policy)}}).decode(),
    }


def _view(origin: str, version: str) -> dict[str, Any]:
    return {
        "spec": "countersign/view/1",
        "origin": origin,
        "case": CASE,
        "workflow": {"name": WORKFLOW, "version": version},
        "review": REVIEW,
        "round": 1,
        "gate": "pharmacist",
        "question": "May this order be given?",
        "asked": None,
        "when": "before",
        "nodes": ["order"],
        "checkpoint": {"id": CHECKPOINT, "ns": ""},
        "state": {"dose": 5, "drug": "warfarin"},
    }


def _written(policy: Policy) -> Json:
    signature = Signature(9, "u-6f1d2c3b4a5968778695", "pharmacist", "approved", 1, reason=_REASON)
    return tally(policy.gates[0], [signature], escalated=False).write
