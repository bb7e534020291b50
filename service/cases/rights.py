"""Who may do what, asked of the Directory at the moment of the act. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from countersign.audit.entry import Actor
from countersign.audit.policy import Policy
from countersign.audit.standing import Directory, Registered, Standing
from countersign.service.errors import AbsentError, ForbiddenError, UnauthenticatedError
from countersign.service.identity.caller import Caller

AUDITOR = "auditor"
ACTS = ("start", "correct", "redirect", "stop", "move", "retry")


@dataclass(frozen=True, slots=True)
class Acting:
    """Somebody who may act, in the role in which they do."""

    actor: Actor
    standing: Standing


def standing_of(directory: Directory, caller: Caller) -> Standing:
    """Return the caller's standing. Raises UnauthenticatedError where there is none, or it is not active any more."""
    standing = directory.latest(caller.id)
    if standing is None or not standing.active:
        raise UnauthenticatedError(
            "The caller is not active any more.", remedy="Ask an administrator.", facts={"cause": "inactive"}
        )
    return standing


def acting(
    directory: Directory, caller: Caller, roles: Iterable[str], workflow: str, at: datetime, what: str
) -> Acting:
    """Return who acts, in the first of `roles` that they hold. Raises ForbiddenError when they hold none."""
    standing = standing_of(directory, caller)
    held = standing.roles(workflow, at)
    wanted = list(roles)
    role = next((role for role in wanted if role in held), None)
    if role is None:
        raise ForbiddenError(
            f"This needs the role {' or '.join(wanted) or 'of nobody: the policy allows it to none'}: {what}.",
            remedy="Ask somebody who has it, or an administrator for a grant.",
            facts={"cause": "role", "roles": [*wanted]},
        )
    return Acting(caller.actor(role), standing)


def roles_named(policy: Policy) -> frozenset[str]:
    """Return every role that a policy names."""
    acts = policy.acts
    names = {policy.fallback, *acts.read, *acts.start, *acts.correct, *acts.redirect, *acts.stop, *acts.move}
    names |= {*acts.retry}
    for gate in policy.gates:
        names |= {stage.role for stage in gate.stages}
        if gate.escalate_to is not None:
            names.add(gate.escalate_to)
    return frozenset(names)


def may_read(standing: Standing, policy: Policy | None, workflow: str, at: datetime) -> bool:
    """Tell whether somebody may read a case: with any role that its policy names, or as an auditor."""
    held = standing.roles(workflow, at)
    return AUDITOR in held or (policy is not None and bool(held & roles_named(policy)))


def check_may_read(
    directory: Directory, caller: Caller, policy: Policy | None, workflow: str, at: datetime, what: str
) -> Standing:
    """Return the caller's standing. Raises AbsentError unless they may read: what exists is told to nobody else."""
    standing = standing_of(directory, caller)
    if not may_read(standing, policy, workflow, at):
        raise AbsentError(f"There is no {what}, or none that you may read.")
    return standing


def readable(directory: Directory, caller: Caller, at: datetime) -> list[str] | None:
    """Return the workflows whose cases the caller may read; None for all."""
    standing = standing_of(directory, caller)
    if standing.holds(AUDITOR, "*", at):
        return None
    versions = directory.policies.values()
    return sorted({one.name for one in versions if may_read(standing, one.policy, one.name, at)})


def newest(directory: Directory, workflow: str) -> Registered:
    """Return the version of a workflow that was registered last. Raises AbsentError when there is none."""
    versions = [registered for (name, _), registered in directory.policies.items() if name == workflow]
    if not versions:
        raise AbsentError(f"There is no workflow {workflow!r}.", remedy="GET /api/workflows lists those there are.")
    return max(versions, key=lambda registered: registered.place.seq)


def registered_as(directory: Directory, workflow: str, version: str) -> Registered:
    """Return a version of a workflow. Raises AbsentError when it was never registered."""
    found = directory.policies.get((workflow, version))
    if found is None:
        raise AbsentError(f"There is no version {version!r} of the workflow {workflow!r}.")
    return found


def policy_of(registered: Registered) -> Policy:
    """Return the policy of a version. Raises AbsentError where it was erased."""
    if registered.policy is None:
        raise AbsentError(f"The policy of {registered.name!r} in version {registered.version} was erased.")
    return registered.policy
