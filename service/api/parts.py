"""What the routes work with, opened once for a process and closed in order."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from countersign.audit.append import Appender
from countersign.audit.keyfolder import DEPLOYMENT, KeyFolder
from countersign.audit.memory import Memory
from countersign.audit.saver import AsyncAuditedPostgresSaver

from ..auditors import auditors_file
from ..cases.desk import Desk
from ..clock import Clock, now
from ..identity.changes import Limits
from ..identity.passwords import Passwords
from ..identity.people import People, open_people
from .answers import Answers
from .hub import Hub

Pool = AsyncConnectionPool[AsyncConnection[Any]]
_OPTIONS: dict[str, Any] = {"autocommit": True, "prepare_threshold": 2, "connect_timeout": 10}
"""Of each connection: no transaction but those that are begun, as the saver needs it; statements are planned once."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is set up: where its database is, as which it is known, and how often it looks around."""

    url: str
    """The database, as the role of the service."""
    home: Path
    origin: str
    https: bool = False
    """Whether callers reach it by https: then cookies are theirs alone."""
    connections: int = 16
    sweep: float = 5.0
    """Seconds between two looks for what was missed."""
    tick: float = 5.0
    """Seconds between two looks at whether the caller of a stream still may have it."""
    offered: Mapping[str, str] = field(default_factory=dict)
    """Which version of a workflow new cases get, by name; without: the one registered last."""
    clock: Clock = now
    passwords: Passwords | None = None
    """How passwords are hashed, where it is not as usual: for tests."""
    limits: Limits = field(default_factory=Limits)

    @property
    def folder(self) -> KeyFolder:
        """The keys of this deployment."""
        return KeyFolder.of(self.home, self.origin)

    @property
    def memory(self) -> Path:
        """The folder of the log."""
        return Memory.of(self.folder).path

    @property
    def auditors(self) -> Path:
        """The file of credentials that read the bodies of entries."""
        return auditors_file(self.folder)


@dataclass(frozen=True, slots=True)
class Service:
    """The open parts of one server process."""

    settings: Settings
    pool: Pool
    appender: Appender
    saver: AsyncAuditedPostgresSaver
    people: People
    desk: Desk
    hub: Hub
    answers: Answers


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """Yield the parts of a server. Raises ConfigurationError where database, keys or schema are not ready."""
    async with AsyncExitStack() as stack:
        pool: Pool = AsyncConnectionPool(
            settings.url, kwargs=_OPTIONS, min_size=2, max_size=settings.connections, open=False, close_returns=True,
            timeout=10.0,
        )  # fmt: skip
        await stack.enter_async_context(pool)
        people = await open_people(
            pool, settings.home, passwords=settings.passwords, limits=settings.limits, clock=settings.clock
        )
        saver = AsyncAuditedPostgresSaver(pool, home=settings.home)
        await saver.setup()
        instance = secrets.randbits(62)
        hub = Hub(settings.url, instance)
        await stack.enter_async_context(hub.running())
        answers = Answers(pool, settings.folder.key(DEPLOYMENT), instance, settings.clock)
        desk = Desk(pool, people, saver, offered=settings.offered, clock=settings.clock)
        yield Service(settings, pool, people.appender, saver, people, desk, hub, answers)
