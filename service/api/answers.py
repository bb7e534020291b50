"""A request that carries an `Idempotency-Key` is carried out once, however often it is sent.

The first request with a key runs; its answer is kept for a day, and every later one with the same key, path and body is
given that answer. Another request under a key that was used is refused (422). While the first still runs, others wait
a little and are then told to come again (409, Retry-After). A server that was killed in between is noticed by the lock
that its connection held; the request is then carried out by another, unless it was done already: that is kept in the
transaction of the act (`identity/once.py`), and the answer is made of it. Nobody commits under a key that was taken
over, so that what had not been done by then never is.

Kept is no credential: answers that hold one are not kept, only that they were given, and what is compared of a request
is an HMAC, since a body may hold a password.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, LiteralString, NamedTuple, TypeVar

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.handlers import HTTPRouteHandler
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from countersign.audit.entry import Signer

from ..clock import Clock
from ..errors import ConflictError, InvalidError
from ..identity.caller import Sent

HEADER = "idempotency-key"
SECRET = "answer_holds_credential"  # noqa: S105 - the name of an option
"""The member of a route's `opt` that says so."""
NAME, OUTCOME = "idempotency_name", "idempotency_outcome"
"""What is said in the state of such a request: bytes that only this caller's key gives, and what it has done."""
KEPT_FOR = timedelta(days=1)
_LONGEST = 200
_PATIENCE, _PAUSE = 10.0, 0.05  # seconds that a retry waits for the first request, and between two looks
_TRANSIENT = (401, 429)
T = TypeVar("T")
_Pool = AsyncConnectionPool[AsyncConnection[Any]]

_TAKE: LiteralString = """
INSERT INTO countersign.answers (principal, key, request, headers, made_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (principal, key) DO NOTHING RETURNING true
"""
_LOOK: LiteralString = """
SELECT request, status, headers, body, made_at FROM countersign.answers WHERE principal = %s AND key = %s
"""
_ALIVE: LiteralString = "SELECT NOT pg_try_advisory_xact_lock_shared(%s)"
# Waits for the transaction of whoever is at it, if there still is one, and sees what it has noted.
_TAKE_OVER: LiteralString = """
UPDATE countersign.answers SET headers = %s, made_at = %s, status = NULL, request = %s,
    body = CASE WHEN %s THEN NULL ELSE body END
WHERE principal = %s AND key = %s AND status IS NOT DISTINCT FROM %s AND headers = %s RETURNING body
"""
_KEEP: LiteralString = """
UPDATE countersign.answers SET status = %s, headers = %s, body = %s
WHERE principal = %s AND key = %s AND status IS NULL AND headers = %s
"""
_FORGET: LiteralString = """
DELETE FROM countersign.answers
WHERE principal = %s AND key = %s AND status IS NULL AND headers = %s AND body IS NULL RETURNING true
"""
_LEAVE: LiteralString = """
UPDATE countersign.answers SET headers = %s WHERE principal = %s AND key = %s AND status IS NULL AND headers = %s
"""
_NOBODY = bytes(8)
"""In place of the number of a server that is at it: no server has this one."""
_CLEAN: LiteralString = "DELETE FROM countersign.answers WHERE made_at < %s"


class Kept(NamedTuple):
    """What is known of a key: the request it belongs to, and the answer.

    While that is awaited, `status` is None, `headers` names the server that is at it, and `body` is what was done.
    """

    request: bytes
    status: int | None
    headers: bytes
    body: bytes | None
    made_at: datetime


class Begun(NamedTuple):
    """A request that the caller has to answer, and what was done of it before, as JSON."""

    outcome: bytes | None = None


class Answers:
    """Keeps answers in `countersign.answers`. `instance` is the number that this server's own connection has locked."""

    def __init__(self, pool: _Pool, signer: Signer, instance: int, clock: Clock) -> None:
        # Every server of this deployment has the key, and nobody else: so all of them derive the same secret.
        self._secret = hashlib.sha256(signer.sign(b"countersign/answers/1")).digest()
        self._pool = pool
        self.mine = instance.to_bytes(8)
        """The number of this server, as it stands beside what it is at."""
        self._at = set[tuple[str, str]]()
        self._clock = clock

    def digest(self, *parts: bytes) -> bytes:
        """Return an HMAC of `parts`, which cannot be guessed at without the deployment's key."""
        framed = b"".join(len(part).to_bytes(8) + part for part in parts)
        return hmac.digest(self._secret, framed, "sha256")

    async def take(self, principal: str, key: str, request: bytes) -> Kept | Begun:
        """Return the answer that was given under this key; Begun where the caller has to make it.

        Another server may have begun it, and been ended before it had answered: then what it had committed comes along.

        Raises InvalidError where the key belongs to another request, ConflictError where the first one still runs.
        """
        async with asyncio.timeout(None) as patience:
            patience.reschedule(asyncio.get_running_loop().time() + _PATIENCE)
            try:
                while True:
                    found = await self._try(principal, key, request)
                    if found is not None:
                        if isinstance(found, Begun):
                            self._at.add((principal, key))
                        return found
                    await asyncio.sleep(_PAUSE)
            except TimeoutError:
                pass
        raise ConflictError(
            "The first request with this Idempotency-Key is still being carried out.",
            remedy="Send it again in a second.",
            facts={"cause": "in-progress"},
        )

    async def _try(self, principal: str, key: str, request: bytes) -> Kept | Begun | None:
        """Return what `take` does; None where the first still runs."""
        now = self._clock()
        async with self._pool.connection() as conn:
            taken = await conn.execute(_TAKE, (principal, key, request, self.mine, now))
            if await taken.fetchone():
                return Begun()
            row = await (await conn.execute(_LOOK, (principal, key))).fetchone()
            if row is None:
                return None
            kept = Kept(*row)
            old = kept.made_at < now - KEPT_FOR
            if not old and not hmac.compare_digest(kept.request, request):
                raise InvalidError(
                    "This Idempotency-Key was used for another request.",
                    remedy="Choose a new key for every request, and the same only for a retry.",
                    facts={"place": HEADER},
                )
            if kept.status is not None and not old:
                return kept
            if kept.status is None and await self._is_at_it(conn, principal, key, kept.headers):
                return None
            where = (self.mine, now, request, old, principal, key, kept.status, kept.headers)
            taken_over = await (await conn.execute(_TAKE_OVER, where)).fetchone()
            return Begun(taken_over[0]) if taken_over else None

    async def _is_at_it(self, conn: AsyncConnection[Any], principal: str, key: str, owner: bytes) -> bool:
        if owner == self.mine:
            return (principal, key) in self._at
        row = await (await conn.execute(_ALIVE, (int.from_bytes(owner),))).fetchone()
        return bool(row and row[0])

    async def keep(self, principal: str, key: str, status: int, headers: bytes, body: bytes) -> None:
        """Keep the answer."""
        async with self._pool.connection() as conn:
            await conn.execute(_KEEP, (status, headers, body, principal, key, self.mine))

    async def forget(self, principal: str, key: str) -> None:
        """Let the next request with this key run, whatever it is, unless something was done."""
        async with self._pool.connection() as conn:
            forgotten = await conn.execute(_FORGET, (principal, key, self.mine))
            if await forgotten.fetchone() is None:
                await conn.execute(_LEAVE, (_NOBODY, principal, key, self.mine))

    async def leave(self, principal: str, key: str) -> None:
        """Let the next request with this key look what was done of it: this one failed, before or behind its commit."""
        async with self._pool.connection() as conn:
            await conn.execute(_LEAVE, (_NOBODY, principal, key, self.mine))

    def over(self, principal: str, key: str) -> None:
        """Take the request as ended, also where that could not be kept."""
        self._at.discard((principal, key))

    async def clean(self) -> None:
        """Remove answers that are old enough."""
        async with self._pool.connection() as conn:
            await conn.execute(_CLEAN, (self._clock() - KEPT_FOR,))


class IdempotencyMiddleware(ASGIMiddleware):
    """Gives a retry the answer of the first request. Stands behind authentication: a key is its caller's own."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, most: int) -> None:
        """Bodies of more than `most` bytes are refused by the routes, and no answer to them is kept."""
        self._most = most

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Answer from what is kept, or let the route answer and keep that."""
        key = dict(scope["headers"]).get(HEADER.encode())
        if key is None or scope["type"] != ScopeType.HTTP or scope["method"] != "POST" or scope.get("user") is None:
            await next_app(scope, receive, send)
            return
        body, again = await _body(receive, self._most)
        answers: Answers = scope["litestar_app"].state.service.answers
        principal, name = scope["user"].id, _checked(key)
        path = scope["path"].encode("utf-8", "surrogateescape")
        request = answers.digest(path, scope.get("query_string", b""), body)
        kept = await answers.take(principal, name, request)
        if isinstance(kept, Kept):
            await _replay(kept, send, secret=bool(scope["route_handler"].opt.get(SECRET)))
            return
        if kept.outcome is not None and scope["route_handler"].opt.get(SECRET):
            answers.over(principal, name)
            raise _told_once(_location(scope, kept.outcome))
        scope["state"][OUTCOME] = kept.outcome
        scope["user"] = replace(scope["user"], sent=Sent(name, answers.mine))
        scope["state"][NAME] = answers.digest(b"id", principal.encode(), name.encode())
        recorder = _Recorder(send)
        try:
            await next_app(scope, again, recorder)
        finally:
            await asyncio.shield(_settle(answers, principal, name, recorder, scope))


def done_before(request: Request[Any, Any, Any], kind: type[T]) -> T | None:
    """Return what this very request has done already, where a server was ended, or failed, before it could say so."""
    outcome = request.scope["state"].get(OUTCOME)
    return None if outcome is None else msgspec.json.decode(outcome, type=kind)


async def _settle(answers: Answers, principal: str, key: str, said: _Recorder, scope: Scope) -> None:
    try:
        await _keep(answers, principal, key, said, scope)
    finally:
        answers.over(principal, key)


async def _keep(answers: Answers, principal: str, key: str, said: _Recorder, scope: Scope) -> None:
    if not said.complete or said.status >= 500:  # noqa: PLR2004 - whatever is worth a retry
        await answers.leave(principal, key)
        return
    if said.status in _TRANSIENT:
        await answers.forget(principal, key)
        return
    secret = bool(scope["route_handler"].opt.get(SECRET))
    body = b"" if secret else bytes(said.body)
    await answers.keep(principal, key, said.status, json.dumps(said.kept_headers()).encode(), body)


async def _replay(kept: Kept, send: Send, *, secret: bool) -> None:
    headers: dict[str, str] = json.loads(kept.headers)
    if secret and kept.status is not None and kept.status < 400:  # noqa: PLR2004
        raise _told_once(headers.get("location"))
    encoded = [(name.encode(), value.encode()) for name, value in {**headers, "idempotent-replayed": "true"}.items()]
    await send({"type": "http.response.start", "status": kept.status or 500, "headers": encoded})
    await send({"type": "http.response.body", "body": kept.body or b"", "more_body": False})


def _told_once(location: str | None) -> ConflictError:
    return ConflictError(
        "This was done already; its answer held a credential, which is told only once.",
        remedy="If you did not get it, revoke what was made and make another.",
        facts={"cause": "told-once", "location": location},
    )


def _location(scope: Scope, outcome: bytes) -> str | None:
    """Return where what a request made is, of which its outcome is the id."""
    handler = scope["route_handler"]
    if not isinstance(handler, HTTPRouteHandler) or handler.status_code != HTTPStatus.CREATED:
        return None
    return f"{scope['path']}/{msgspec.json.decode(outcome, type=str)}"


class _Recorder:
    """Passes an answer on, and remembers it."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], [(bytes(k), bytes(v)) for k, v in message["headers"]]
        elif message["type"] == "http.response.body":
            self.body += message["body"]
            self.complete = not message["more_body"]
        await self._send(message)

    def kept_headers(self) -> dict[str, str]:
        wanted = ("content-type", "location", "etag", "preference-applied", "content-length")
        return {
            name.decode().lower(): value.decode() for name, value in self.headers if name.decode().lower() in wanted
        }


async def _body(receive: Receive, most: int) -> tuple[bytes, Receive]:
    """Return the body, as far as it is not too large, and what gives the same messages to whoever reads it next."""
    messages: list[Any] = []
    body = bytearray()
    while len(body) <= most:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            break
        body += message["body"]
        if not message["more_body"]:
            break
    waiting = iter(messages)

    async def again() -> Any:
        for message in waiting:
            return message
        return await receive()

    return bytes(body), again


def _checked(key: bytes) -> str:
    text = key.decode("latin-1")
    if not 1 <= len(text) <= _LONGEST or not text.isascii() or not text.isprintable():
        raise InvalidError(
            f"An Idempotency-Key is 1 to {_LONGEST} printable ASCII characters.",
            remedy="Take a random UUID.",
            facts={"place": HEADER},
        )
    return text
