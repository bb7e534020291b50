"""What a request may come to besides its answer. One table elsewhere turns each into a problem document (RFC 9457).

Every one says in a sentence what was the matter; `remedy` says what the caller can do, and `facts` are members for
programs: ids and words of the policy, never content, and never what somebody typed.
"""

from __future__ import annotations

from collections.abc import Mapping

from countersign.audit.canonical import Json
from countersign.audit.errors import AuditError


class RequestError(AuditError):
    """A request that is not carried out. Nothing of it was done, unless `facts` says so."""

    def __init__(self, message: str, *, remedy: str = "", facts: Mapping[str, Json] | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.facts: dict[str, Json] = dict(facts or {})


class UnauthenticatedError(RequestError):
    """Nobody, or nobody that is known: the same for an unknown name, a wrong password and a session that ended."""


class ForbiddenError(RequestError):
    """The caller may not do this, and why: `facts["cause"]` names the rule."""


class AbsentError(RequestError):
    """There is no such thing, or none that the caller may know of."""


class ConflictError(RequestError):
    """What was asked for does not fit what is there now: somebody was faster, or the page was stale."""


class InvalidError(RequestError):
    """The request is not one: `facts["place"]` names the member that is wrong."""


class UnavailableError(RequestError):
    """It cannot be done just now; the same request may succeed later."""
