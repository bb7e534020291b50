"""Trying it out on one's own machine: users with known passwords, and what to paste into a shell.

Never for anything else: whoever reads this page could sign. So it is served on a loopback address only.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from countersign.audit.home import os_user

from ..config.model import Config
from ..errors import ConflictError
from ..identity.names import ADMINISTRATOR, AUDITOR, EVERY_WORKFLOW
from ..identity.people import People
from ..identity.records import GrantWanted

_INPUTS: Mapping[str, Mapping[str, Any]] = {
    "medication-order": {"patient": "P-101", "drug": "warfarin"},
    "chemotherapy": {"patient": "P-102", "protocol": "FOLFOX"},
}
_FIELD = """field() { python3 -c 'import json, sys
found = json.load(sys.stdin)
for name in sys.argv[1:]: found = found[int(name) if name.isdigit() else name]
print(found)' "$@"; }"""


def password_of(name: str) -> str:
    """Return the password of a user of the try-out."""
    return f"try-out-{name}-password"


def people_of(config: Config) -> dict[str, list[GrantWanted]]:
    """Return who is there to try the workflows out: one for each role, and as many more as a gate asks for.

    Where signers may edit there is one more, since whoever did does not sign what became of it.
    """
    people: dict[str, list[GrantWanted]] = {
        ADMINISTRATOR: [GrantWanted(ADMINISTRATOR, EVERY_WORKFLOW)],
        AUDITOR: [GrantWanted(AUDITOR, EVERY_WORKFLOW)],
    }
    for workflow in config.workflows.values():
        for role, count in _roles(workflow.policy_document).items():
            for number in range(count):
                name = role if number == 0 else f"{role}-{number + 1}"
                people.setdefault(name, []).append(GrantWanted(role, workflow.name))
    return people


async def make_people(people: People, config: Config) -> list[str]:
    """Make those who are not there yet, each with a password that may sign, and return the names of all."""
    wanted = people_of(config)
    await asyncio.gather(*(_make_person(people, name, grants) for name, grants in wanted.items()))
    return list(wanted)


async def _make_person(people: People, name: str, grants: list[GrantWanted]) -> None:
    """Make one, or give the password that a server which was killed half-way left out."""
    try:
        _, first = await people.create_user(os_user(), name, name.replace("-", " ").title(), None, grants)
    except ConflictError:
        user = await people.find_user(os_user(), name)
        if user.password == "own":  # noqa: S105 - a word for whose it is
            return
        first = await people.reset_password(os_user(), user.id)
    await people.set_password(name, first, password_of(name))


def what_to_try(config: Config, url: str) -> Iterator[str]:
    """Yield lines that work when they are pasted into a shell, one after the other."""
    workflow = next(iter(config.workflows.values()))
    policy: Any = workflow.policy_document
    gate = next(iter(policy["gates"]), None)
    starter = policy["acts"]["start"][0]
    signer = gate["stages"][0]["role"] if gate else policy["fallback"]
    decision = _simplest(gate["decisions"]) if gate else {"name": "proceed", "values": None}
    start = {"workflow": workflow.name, "input": _INPUTS.get(workflow.name, {})}
    yield f"URL={url}"
    yield _FIELD
    if workflow.name not in _INPUTS:
        yield '# First put what your graph begins with in place of the {} behind "input":'
    yield "# Somebody starts a case, and waits until it asks for people:"
    yield from _signed_in("STARTER", starter)
    yield (
        'CASE=$(curl -s $URL/api/cases -H "Authorization: Bearer $STARTER" -H "Content-Type: application/json" '
        f"-H \"Prefer: wait=20\" -d '{json.dumps(start)}' | field id)"
    )
    yield "# Somebody else finds what waits for them, looks at exactly what they sign, and signs:"
    yield from _signed_in("SIGNER", signer)
    yield 'INBOX="$URL/api/reviews?status=open&case=$CASE"'
    yield 'REVIEW=$(curl -s "$INBOX" -H "Authorization: Bearer $SIGNER" | field items 0 id)'
    yield 'SEEN=$(curl -s $URL/api/reviews/$REVIEW -H "Authorization: Bearer $SIGNER")'
    yield 'printf "%s\\n" "$SEEN"'
    yield 'SHOWN=$(printf "%s" "$SEEN" | field shown_digest)'
    if decision["values"] is not None:
        yield '# This decision takes "values" as well: the view says which, under policy, decisions, fields.'
    credential = {"username": signer, "password": password_of(signer)}
    said = {"decision": decision["name"], "reason": "As I see it.", "credential": credential}
    body = json.dumps(said)[:-1].replace('"', '\\"') + ', \\"shown_digest\\": \\"$SHOWN\\"}'
    yield (
        'curl -s $URL/api/reviews/$REVIEW/decisions -H "Authorization: Bearer $SIGNER" '
        f'-H "Content-Type: application/json" -H "Prefer: wait=20" -d "{body}"'
    )
    yield "# What became of it, and every entry that says so:"
    yield 'curl -s $URL/api/cases/$CASE/state -H "Authorization: Bearer $STARTER"'
    yield 'curl -s $URL/api/cases/$CASE/trail -H "Authorization: Bearer $STARTER"'


def _simplest(decisions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((decision for decision in decisions if decision["values"] is None), decisions[0])


def _signed_in(variable: str, name: str) -> Iterator[str]:
    body = json.dumps({"username": name, "password": password_of(name)})
    yield (f"{variable}=$(curl -s $URL/api/sessions -H \"Content-Type: application/json\" -d '{body}' | field token)")


def _roles(policy: Mapping[str, Any]) -> dict[str, int]:
    acts = policy["acts"]
    roles = {role: 1 for act in acts.values() for role in (act["roles"] if isinstance(act, dict) else act)}
    roles.setdefault(policy["fallback"], 1)
    for gate in policy["gates"]:
        for stage in gate["stages"]:
            needed = stage["count"] + (gate["edit"] is not None)
            roles[stage["role"]] = max(roles.get(stage["role"], 1), needed)
        if gate["escalate_to"]:
            roles.setdefault(gate["escalate_to"], 1)
    return roles
