"""Whether somebody may do what is no decision in a review: start, correct, redirect, stop, move or retry a case. Pure.

As with `reviews.refusal`, the service asks before it appends and the replay when it reads.
"""

from __future__ import annotations

from datetime import datetime

from .caseruns import CaseRuns, Status
from .gates import Policy
from .kinds import Kind
from .reviews import Refusal
from .standing import Standing

ACTS = {
    Kind.CASE_OPENED: "start",
    Kind.CASE_CORRECTED: "correct",
    Kind.CASE_REDIRECTED: "redirect",
    Kind.CASE_STOPPED: "stop",
    Kind.CASE_MOVED: "move",
    Kind.CASE_RETRIED: "retry",
}
"""The word of the policy for each kind of entry."""
_QUIET = (Status.WAITING, Status.FAILED)


def may_act(policy: Policy, kind: Kind, role: str | None, standing: Standing, at: datetime) -> Refusal | None:
    """Return why somebody in this role may not make an entry of this kind; None if the policy lets them."""
    act = ACTS[kind]
    roles: tuple[str, ...] = getattr(policy.acts, act)
    if not standing.active:
        return Refusal("inactive", "they are not active")
    if role is None or role not in roles:
        return Refusal("role", f"the role {role!r} may not {act} a case")
    if not standing.holds(role, policy.workflow, at):
        return Refusal("role", f"they do not have the role {role!r} for {policy.workflow!r} at that moment")
    return None


def is_time_for(kind: Kind, runs: CaseRuns, policy: Policy, to: str = "") -> Refusal | None:
    """Return why an entry of this kind cannot stand where the case is; None if it can."""
    status = runs.status
    if status is Status.STOPPED:
        return Refusal("closed", "the case was stopped")
    if status is Status.COMPLETED:
        return Refusal("closed", "the case has come to its end")
    if kind in (Kind.CASE_CORRECTED, Kind.CASE_REDIRECTED) and status not in _QUIET:
        return Refusal("closed", f"the case is {status.value}: it has to wait or to have failed")
    if kind == Kind.CASE_RETRIED and status is Status.WAITING:
        return Refusal("closed", "no run of the case has failed")
    if kind == Kind.CASE_REDIRECTED and to not in policy.acts.to:
        return Refusal("decision", f"a case may not be made to go on at {to!r}")
    return None
