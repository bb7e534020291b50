"""Who asks: what a token told, and nothing of what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field

from countersign.audit.entry import Actor

SESSION = "session+password"
API_KEY = "api-key"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that came with an Idempotency-Key, and the number of the server that carries it out."""

    key: str
    server: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose token was good a moment ago.

    Roles are not in it: they come from the Directory, at the moment of the act and under the lock of @system. `id` is
    that of a user or of an API key; `session` and `credential` are None for a key. `scopes` limit a key alone.
    `sent` is the request of this moment, where a retry of it has to be known.
    """

    id: str
    via: str
    session: str | None = None
    credential: str | None = None
    is_api_key: bool = False
    scopes: frozenset[str] = frozenset()
    sent: Sent | None = field(default=None, compare=False)

    def allows(self, scope: str) -> bool:
        """Tell whether what came with the token covers `scope`: always for a person, whom roles alone limit."""
        return not self.is_api_key or scope in self.scopes

    def actor(self, role: str | None = None) -> Actor:
        """Return who an entry says did it, in the role in which it was done."""
        return Actor(self.id, self.via, role)
