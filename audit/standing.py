"""Who could do what, and which policies hold: replayed from the entries of `@system` (docs/formats.md).

Pure. Every entry about a user or an API key names the one before it about the same, so what somebody could do at a
moment follows from their own chain alone: the whole of `@system` need not be there, only the chains that are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, TypeVar

from .body import Body
from .canonical import Json, canonical, parse_hex32, parse_time
from .chain import Checked
from .clocks import backwards
from .errors import MalformedError, NotFoundError, VerificationError
from .gates import ANYTHING, Policy
from .kinds import Kind
from .policy import parse_policy

T = TypeVar("T")
USER = "user"
API_KEY = "api-key"
PARTS = ("policy", "graph", "code", "packages")
_VERSION_DIGITS = 32
_OF_USERS = frozenset(
    {
        Kind.USER_CREATED, Kind.USER_DEACTIVATED, Kind.USER_REACTIVATED, Kind.CREDENTIAL_ENROLLED,
        Kind.CREDENTIAL_REVOKED, Kind.GRANT_GIVEN, Kind.GRANT_REVOKED,
    }
)  # fmt: skip
_OF_KEYS = frozenset({Kind.API_KEY_CREATED, Kind.API_KEY_REVOKED})
KINDS = (*sorted(_OF_USERS | _OF_KEYS), Kind.WORKFLOW_REGISTERED)
"""The kinds that a Directory takes over."""
_CREATE = frozenset({Kind.USER_CREATED, Kind.API_KEY_CREATED})


class Place(NamedTuple):
    """Where an entry of `@system` stands, as others name it: its `seq`, and its leaf hash in hex."""

    seq: int
    leaf_hash: str

    def as_json(self) -> dict[str, Json]:
        """Return the member of a detail."""
        return {"seq": self.seq, "leaf_hash": self.leaf_hash}


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for one workflow, or for all (`*`), from a moment on and, where there is one, until another."""

    role: str
    workflow: str
    begins: datetime
    ends: datetime | None
    own: bool = False
    """Whether whoever has it gave it to themselves."""

    def covers(self, workflow: str, at: datetime) -> bool:
        """Tell whether it holds for a workflow at a moment."""
        return self.workflow in (workflow, ANYTHING) and self.begins <= at and (self.ends is None or at < self.ends)


@dataclass(frozen=True, slots=True)
class Credential:
    """A means by which a user proves who they are. `own`: chosen by the user, so that it may sign."""

    method: str
    own: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user or an API key could do behind one entry about them, `place`; `since` is when that was written."""

    subject: str
    kind: str
    place: Place
    since: datetime
    made_by: str
    """Who made it: for an API key, whose it is."""
    active: bool = True
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    """Those that are not revoked."""
    grants: Mapping[str, Grant] = field(default_factory=dict)
    """Those that are not revoked, also before and behind their time."""
    scopes: frozenset[str] = frozenset()
    """Of an API key: what it may be used for."""
    printed_name: str | None = None
    """Of a user: the name that stands beside signatures. None where it was erased."""
    leaf: int | None = None
    """Which leaf of the log the entry is. None where that is not known, or tells no order."""

    def holds(self, role: str, workflow: str, at: datetime) -> bool:
        """Tell whether the subject has a role for a workflow at a moment, and is active."""
        return role in self.roles(workflow, at)

    def roles(self, workflow: str, at: datetime) -> frozenset[str]:
        """Return all roles that the subject has for a workflow at a moment; none when it is not active."""
        if not self.active:
            return frozenset()
        return frozenset(grant.role for grant in self.grants.values() if grant.covers(workflow, at))

    def holds_by_others(self, role: str, workflow: str, at: datetime) -> bool:
        """Tell whether the subject has a role by a grant that somebody else gave: only such a one lets them sign."""
        return self.active and any(
            grant.role == role and grant.covers(workflow, at) and not grant.own for grant in self.grants.values()
        )

    def may_sign_with(self, credential: str) -> bool:
        """Tell whether a credential is one of theirs, not revoked, that they chose themselves."""
        found = self.credentials.get(credential)
        return found is not None and found.own


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a workflow, as `workflow.registered` at `place` has it. `policy` is None where it was erased."""

    place: Place
    name: str
    version: str
    policy: Policy | None


class Directory:
    """Everybody's standing and all policies, as far as `@system` was read. Feed it the entries in order of `seq`."""

    def __init__(self) -> None:
        self.policies: dict[tuple[str, str], Registered] = {}
        """The first registration of each version, by name and version."""
        self._registered: dict[Place, Registered] = {}
        self._history: dict[str, list[Standing]] = {}
        self._out_of_turn: list[range] = []
        self._latest: datetime | None = None

    def feed(self, checked: Checked, leaf: int | None = None) -> list[VerificationError]:
        """Take over the next checked entry of `@system`, and return what is wrong with it (check `authority`).

        `leaf`: which leaf of the log it is, where that is known. Entries of other kinds are passed over. What is wrong
        changes nobody's standing for the better: an entry that cannot be judged is left aside.
        """
        kind = checked.body.kind
        if kind == Kind.LOG_RESTORED:
            self._restored(checked.body, leaf)
            return []
        if kind not in KINDS:
            return []
        said = [_failed(checked.body, sentence) for sentence in self._backwards(checked.body)]
        try:
            if kind == Kind.WORKFLOW_REGISTERED:
                self._register(checked)
            elif kind in _OF_USERS:
                self._apply(checked, _text(checked.body, "user"), USER, leaf)
            elif kind in _OF_KEYS:
                self._apply(checked, _text(checked.body, "key"), API_KEY, leaf)
        except MalformedError as error:
            said.append(_failed(checked.body, error.message.rstrip(".")))
        return said

    def leaf_of(self, standing: Standing) -> int | None:
        """Return which leaf the entry of a standing is, where that tells what came before it.

        It does not of what a restore sealed: with `log.restored` go all waiting entries of `@system` before it,
        whatever else waited.
        """
        leaf = standing.leaf
        return None if leaf is None or any(leaf in among for among in self._out_of_turn) else leaf

    def latest(self, subject: str) -> Standing | None:
        """Return the subject's standing behind the last entry about it; None when there is none."""
        history = self._history.get(subject)
        return history[-1] if history else None

    def at(self, subject: str, place: Place) -> Standing:
        """Return the subject's standing behind the entry at `place`. Raises NotFoundError when none was read there."""
        for standing in self._history.get(subject, ()):
            if standing.place == place:
                return standing
        raise NotFoundError(f"There is no entry {place.seq} of @system with that leaf hash about {subject!r}.")

    def after(self, standing: Standing) -> Standing | None:
        """Return the standing that followed this one; None when it is the last that was read."""
        history = self._history[standing.subject]
        number = history.index(standing) + 1
        return history[number] if number < len(history) else None

    def registered(self, place: Place) -> Registered:
        """Return the version that is registered at `place`. Raises NotFoundError when none was read there."""
        if place not in self._registered:
            raise NotFoundError(f"There is no workflow.registered at entry {place.seq} of @system with that leaf hash.")
        return self._registered[place]

    def _restored(self, body: Body, leaf: int | None) -> None:
        begin = body.detail.get("to")
        if leaf is not None and type(begin) is int:
            self._out_of_turn.append(range(begin, leaf))

    def _backwards(self, body: Body) -> list[str]:
        """Return a sentence if the entry is dated before one that stands before it: clocks do not go back like that."""
        sentence = backwards(self._latest, body.occurred_at, "@system")
        self._latest = max(self._latest or body.occurred_at, body.occurred_at)
        return sentence

    def _register(self, checked: Checked) -> None:
        body = checked.body
        name, version, parts = _text(body, "name"), _text(body, "version"), body.detail.get("parts")
        if not isinstance(parts, dict) or parts.keys() != {*PARTS}:
            raise MalformedError(f"does not name the parts {', '.join(PARTS)}")
        if version != version_of(name, parts):
            raise MalformedError(f"says version {version}, which its name and parts do not come to")
        policy = None
        if checked.payload is not None:
            policy = _checked_policy(checked.payload, name, parts)
        found = Registered(_place(checked), name, version, policy)
        self._registered[found.place] = found
        self.policies.setdefault((name, version), found)

    def _apply(self, checked: Checked, subject: str, kind: str, leaf: int | None) -> None:
        body = checked.body
        history = self._history.get(subject, [])
        before = history[-1] if history else None
        named = body.detail.get("before")
        if named != (before.place.as_json() if before else None):
            last = f"entry {before.place.seq}" if before else "none before it"
            raise MalformedError(f"does not name the entry before it about {subject!r} ({last}): one was left out")
        place = _place(checked)
        if body.kind in _CREATE:
            if before is not None:
                raise MalformedError(f"creates {subject!r} again")
            standing = Standing(subject, kind, place, body.occurred_at, body.actor.id, printed_name=_printed(checked))
        elif before is None:
            raise MalformedError(f"is about {subject!r}, of whom nothing was read before")
        else:
            standing = before
        changed = replace(_CHANGES[Kind(body.kind)](standing, body), place=place, since=body.occurred_at, leaf=leaf)
        self._history.setdefault(subject, []).append(changed)


class Relied:
    """What of `@system` a case rests on: the chains of all who acted in it, and the versions it names."""

    def __init__(self) -> None:
        self._subjects: set[str] = set()
        self._versions: set[tuple[str, str]] = set()

    def feed(self, body: Body) -> None:
        """Take over an entry of the case."""
        if body.workflow is not None:
            self._versions.add((body.workflow.name, body.workflow.version))
        if "standing" in body.detail:
            self._subjects.add(body.actor.id)

    def needs(self, body: Body) -> bool:
        """Tell whether the case rests on this entry of `@system`."""
        detail = body.detail
        if body.kind == Kind.WORKFLOW_REGISTERED:
            return (detail.get("name"), detail.get("version")) in self._versions
        return detail.get("user", detail.get("key")) in self._subjects


def part_digest(document: Json) -> str:
    """Return the digest of a part of a workflow's version: SHA-256 of its canonical form, in hex."""
    return hashlib.sha256(canonical(document)).hexdigest()


def version_of(name: str, parts: Mapping[str, Json]) -> str:
    """Return the version of a workflow: the first 32 hex digits of SHA-256 over its canonical name and parts."""
    return part_digest({"name": name, "parts": dict(parts)})[:_VERSION_DIGITS]


def named_place(value: Json) -> Place:
    """Return the place that a member of a detail names. Raises MalformedError for anything else."""
    if isinstance(value, dict) and value.keys() == {"seq", "leaf_hash"}:
        seq, digest = value["seq"], value["leaf_hash"]
        if type(seq) is int and seq >= 1:
            return Place(seq, parse_hex32(digest).hex())
    raise MalformedError("It does not name an entry of @system by seq and leaf hash.")


def _checked_policy(payload: Json, name: str, parts: Mapping[str, Json]) -> Policy:
    if not isinstance(payload, dict):
        raise MalformedError("has no parts in its payload")
    for part in PARTS:
        if part not in payload or part_digest(payload[part]) != parts[part]:
            raise MalformedError(f"has another {part} in its payload than its detail commits to")
    try:
        policy = parse_policy(payload["policy"])
    except MalformedError as error:
        raise MalformedError(f"has a policy that cannot be kept: {error.message}") from error
    if policy.workflow != name:
        raise MalformedError(f"registers {name!r} with the policy of {policy.workflow!r}")
    return policy


def _deactivated(standing: Standing, _: Body) -> Standing:
    return replace(standing, active=False)


def _reactivated(standing: Standing, _: Body) -> Standing:
    return replace(standing, active=True)


def _enrolled(standing: Standing, body: Body) -> Standing:
    own = body.detail.get("own") is True
    credential = Credential(_text(body, "method"), own)
    return replace(standing, credentials={**standing.credentials, _text(body, "credential"): credential})


def _unenrolled(standing: Standing, body: Body) -> Standing:
    return replace(standing, credentials=_without(standing.credentials, _text(body, "credential")))


def _given(standing: Standing, body: Body) -> Standing:
    ends = _moment(body, "until") if "until" in body.detail else None
    own = body.actor.id == standing.subject
    grant = Grant(_text(body, "role"), _text(body, "workflow"), _moment(body, "from"), ends, own)
    return replace(standing, grants={**standing.grants, _text(body, "grant"): grant})


def _taken(standing: Standing, body: Body) -> Standing:
    return replace(standing, grants=_without(standing.grants, _text(body, "grant")))


def _made(standing: Standing, body: Body) -> Standing:
    workflow, ends = _text(body, "workflow"), _moment(body, "until")
    grants = {role: Grant(role, workflow, body.occurred_at, ends) for role in _texts(body, "roles")}
    return replace(standing, grants=grants, scopes=frozenset(_texts(body, "scopes")))


_CHANGES = {
    Kind.USER_CREATED: lambda standing, _: standing,
    Kind.USER_DEACTIVATED: _deactivated,
    Kind.USER_REACTIVATED: _reactivated,
    Kind.CREDENTIAL_ENROLLED: _enrolled,
    Kind.CREDENTIAL_REVOKED: _unenrolled,
    Kind.GRANT_GIVEN: _given,
    Kind.GRANT_REVOKED: _taken,
    Kind.API_KEY_CREATED: _made,
    Kind.API_KEY_REVOKED: _deactivated,
}


def _without(items: Mapping[str, T], name: str) -> dict[str, T]:
    if name not in items:
        raise MalformedError(f"takes away {name!r}, which is not there")
    return {key: item for key, item in items.items() if key != name}


def _printed(checked: Checked) -> str | None:
    payload = checked.payload if isinstance(checked.payload, dict) else {}
    name = payload.get("printed_name")
    return name if isinstance(name, str) else None


def _place(checked: Checked) -> Place:
    return Place(checked.link.seq, checked.link.leaf_hash.hex())


def _text(body: Body, name: str) -> str:
    value = body.detail.get(name)
    if not isinstance(value, str) or not value:
        raise MalformedError(f"does not say its {name}")
    return value


def _moment(body: Body, name: str) -> datetime:
    try:
        return parse_time(_text(body, name))
    except MalformedError as error:
        raise MalformedError(f"names no moment as its {name}") from error


def _texts(body: Body, name: str) -> list[str]:
    value = body.detail.get(name)
    if not isinstance(value, list):
        raise MalformedError(f"does not list its {name}")
    return [item for item in value if isinstance(item, str)]


def _failed(body: Body, sentence: str) -> VerificationError:
    return VerificationError(
        f"Entry {body.seq} of trail {body.trail!r} {sentence}.",
        check="authority",
        trail=body.trail,
        seq=body.seq,
        table="entries",
    )
