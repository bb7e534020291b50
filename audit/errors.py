"""Every error this package raises on purpose, each with the place and the remedy.

Callers may rely on the class and on the fields; the sentence is for people and may change.
"""

from __future__ import annotations


class AuditError(Exception):
    """Base of all of them.

    `remedy` says what the reader can do about it; `trail` and `seq` (from 1) name the place where there is one.
    """

    def __init__(self, message: str, *, remedy: str = "", trail: str | None = None, seq: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.trail = trail
        self.seq = seq

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class MalformedError(AuditError):
    """Bytes that came from outside are not what they claim to be. Nothing was taken from them."""


class AppendError(AuditError):
    """An entry could not be appended. Nothing was written, and the run must stop."""


class NotFoundError(AuditError):
    """What was asked for does not exist."""


class ConfigurationError(AuditError):
    """The set-up (key files, database, options, graph) does not allow what was asked. Nothing was started."""


class VerificationError(AuditError):
    """Evidence does not verify. What it covers must not be loaded, shown or acted upon.

    `check` is the stable name of the check that failed; `table`, `column` and `leaf_index` (from 0) name the damaged
    place where known.
    """

    def __init__(
        self,
        message: str,
        *,
        check: str,
        trail: str | None = None,
        seq: int | None = None,
        table: str | None = None,
        column: str | None = None,
        leaf_index: int | None = None,
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy, trail=trail, seq=seq)
        self.check = check
        self.table = table
        self.column = column
        self.leaf_index = leaf_index
