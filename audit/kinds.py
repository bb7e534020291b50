"""Kinds of entries, and which key may vouch for which of them (docs/formats.md, section 4)."""

from __future__ import annotations

import re
from enum import StrEnum

from .errors import MalformedError

_KIND = re.compile(r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*")
_PATTERN = re.compile(r"\*|[a-z]+(-[a-z]+)*\.(\*|[a-z]+(-[a-z]+)*)")

GRAPH_KINDS = ("checkpoint.*", "writes.*", "run.*", "interrupt.*", "state.*")
"""What the graph key may sign. Graph code runs beside that key, so no decision is among them."""


class Kind(StrEnum):
    """The kinds this version writes or judges. A reader accepts any kind of the same grammar."""

    CHECKPOINT_SAVED = "checkpoint.saved"
    WRITES_SAVED = "writes.saved"
    STATE_UPDATED = "state.updated"
    RUN_STARTED = "run.started"
    RUN_RESUMED = "run.resumed"
    RUN_FORKED = "run.forked"
    RUN_PAUSED = "run.paused"
    RUN_COMPLETED = "run.completed"
    RUN_FAILED = "run.failed"
    RUN_REFUSED = "run.refused"
    INTERRUPT_RAISED = "interrupt.raised"
    KEY_INTRODUCED = "key.introduced"
    KEY_RETIRED = "key.retired"
    KEY_REVOKED = "key.revoked"
    TRAIL_ADOPTED = "trail.adopted"
    PAYLOAD_ERASED = "payload.erased"
    REPORT_EXPORTED = "report.exported"
    LOG_RESTORED = "log.restored"
    LOG_HEAD_ADOPTED = "log.head-adopted"
    USER_CREATED = "user.created"
    USER_DEACTIVATED = "user.deactivated"
    USER_REACTIVATED = "user.reactivated"
    CREDENTIAL_ENROLLED = "credential.enrolled"
    CREDENTIAL_REVOKED = "credential.revoked"
    GRANT_GIVEN = "grant.given"
    GRANT_REVOKED = "grant.revoked"
    API_KEY_CREATED = "api-key.created"
    API_KEY_REVOKED = "api-key.revoked"
    WORKFLOW_REGISTERED = "workflow.registered"
    CASE_OPENED = "case.opened"
    CASE_MOVED = "case.moved"
    CASE_CORRECTED = "case.corrected"
    CASE_REDIRECTED = "case.redirected"
    CASE_RETRIED = "case.retried"
    CASE_STOPPED = "case.stopped"
    CASE_ANNOTATED = "case.annotated"
    REVIEW_OPENED = "review.opened"
    REVIEW_REOPENED = "review.reopened"
    REVIEW_CLOSED = "review.closed"
    REVIEW_VIEWED = "review.viewed"
    REVIEW_SIGNED = "review.signed"
    REVIEW_ATTESTED = "review.attested"
    REVIEW_REFUSED = "review.refused"
    REVIEW_WITHDRAWN = "review.withdrawn"
    REVIEW_DECIDED = "review.decided"
    REVIEW_REMINDED = "review.reminded"
    REVIEW_ESCALATED = "review.escalated"
    REVIEW_EXPIRED = "review.expired"
    REVIEW_CLAIMED = "review.claimed"
    REVIEW_COMMENTED = "review.commented"


def check_kind(kind: str) -> str:
    """Return `kind` if it is `subject.action` in lower case. Raises MalformedError otherwise."""
    if not _KIND.fullmatch(kind):
        raise MalformedError(f"Not a kind of the form subject.action: {kind!r}.")
    return str(kind)


def check_pattern(pattern: str) -> str:
    """Return `pattern` if it is `*`, `subject.*` or an exact kind. Raises MalformedError otherwise."""
    if not _PATTERN.fullmatch(pattern):
        raise MalformedError(f"Not a pattern of kinds (`*`, `subject.*` or a kind): {pattern!r}.")
    return pattern


def allows(patterns: tuple[str, ...], kind: str) -> bool:
    """Tell whether one of `patterns` covers `kind`."""
    return any(p in ("*", kind) or (p.endswith(".*") and kind.startswith(p[:-1])) for p in patterns)
