"""What the service tells of users, grants, sessions and API keys. No secret is in any of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in while `active`. `password`: none, temporary (set for them), own."""

    id: str
    username: str
    printed_name: str
    active: bool
    created_at: datetime
    password: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for a workflow, or for all (`*`), from a moment on and perhaps until another."""

    id: str
    user: str
    role: str
    workflow: str
    valid_from: datetime
    valid_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class GrantWanted:
    """A grant that is to be given: from now on unless `valid_from` is later, until `valid_until` if that is said."""

    role: str
    workflow: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key for a program: what it may do, for which workflow, and until when. Who holds it attests, never signs."""

    id: str
    name: str
    made_by: str
    scopes: tuple[str, ...]
    roles: tuple[str, ...]
    workflow: str
    made_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it was opened: it ends at `expires_at`, or earlier when nobody uses it or somebody closes it."""

    id: str
    user: str
    credential: str
    opened_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that was just proved: its id, and which components were given, sorted."""

    id: str
    user: str
    session: str
    components: tuple[str, ...]
