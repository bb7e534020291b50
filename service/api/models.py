"""The common forms of what is asked and answered: what a member means, and an example of it, for the OpenAPI document.

A request with a member that is not in its form is refused: a misspelt one must not be passed over in silence.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct, convert

from ..errors import InvalidError

CASE = "7d0c2f6e-5a52-4a3b-9b6c-0f2f3c1a9d10"
REVIEW = "r-5f0c1c1e8a534d5c9a5e6f2a4c3b7d10"
USER = "u-0123456789abcdef0123"
DIGEST = "989ebfe0ecad729655592de9a0cef3f98d6d984533ce1a54b9e7a0442431482b"


class Asked(Struct, forbid_unknown_fields=True, kw_only=True):
    """A request's body."""


class Told(Struct, kw_only=True):
    """An answer's body."""


T = TypeVar("T", bound=Told)


def told(kind: type[T], record: object, **more: Any) -> T:
    """Return an answer made of a record's attributes, and of what is told besides."""
    if not more:
        return convert(record, kind, from_attributes=True)
    known = {name: getattr(record, name) for name in kind.__struct_fields__ if name not in more}
    return convert({**known, **more}, kind)


def text(description: str, example: str, longest: int = 200, shortest: int = 1) -> Meta:
    """Return what is said of a member that is text."""
    return Meta(min_length=shortest, max_length=longest, description=description, examples=[example])


UserId = Annotated[str, Meta(description="A user's id.", pattern="^u-[0-9a-f]{20}$", examples=[USER])]
GrantId = Annotated[
    str, Meta(description="A grant's id.", pattern="^g-[0-9a-f]{20}$", examples=["g-0123456789abcdef0123"])
]
KeyId = Annotated[
    str, Meta(description="An API key's id.", pattern="^k-[0-9a-f]{20}$", examples=["k-0123456789abcdef0123"])
]
CaseId = Annotated[str, Meta(description="A case's id.", examples=[CASE])]
ReviewId = Annotated[str, Meta(description="A review's id.", examples=[REVIEW])]
WorkflowName = Annotated[str, text("A workflow's name.", "medication-order", 100)]
RoleName = Annotated[str, text("A role's name.", "pharmacist", 100)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256, in hex.", examples=[DIGEST])]
Seq = Annotated[int, Meta(ge=1, le=2**53 - 1, description="The place of an entry in its trail.", examples=[7])]
Moment = Annotated[datetime, Meta(tz=True, description="A moment, RFC 3339.", examples=["2026-03-02T12:01:00Z"])]
MomentText = Annotated[
    str,
    Meta(
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$",
        description="A moment, RFC 3339.",
        examples=["2026-03-02T12:01:00Z"],
    ),
]
Reason = Annotated[str, text("Why, in the caller's words. Kept as content of the case.", "INR is stable.", 4_000)]
Next = Annotated[str | None, Meta(description="The cursor of the next page; null where this is the last.")]
AnyJson = Annotated[Any, Meta(description="Any JSON value.")]


def moment(given: str, place: str) -> datetime:
    """Return a moment in UTC. Raises InvalidError for a date that no calendar has."""
    try:
        return datetime.fromisoformat(given).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError("No calendar has this date.", remedy="Write RFC 3339.", facts={"place": place}) from error
