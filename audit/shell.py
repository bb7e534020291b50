"""What both savers do around a connection: options, and what they refuse."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from .errors import AppendError, ConfigurationError
from .trouble import explain

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
OPTIONS: dict[str, Any] = {"autocommit": True, "prepare_threshold": 2, "row_factory": dict_row, "connect_timeout": 10}
C = TypeVar("C", bound=Connection[Any] | AsyncConnection[Any])


def idle(conn: C) -> C:
    """Return `conn` if a transaction of our own can begin on it."""
    if not conn.autocommit:
        raise ConfigurationError(
            "The saver's connection is not in autocommit mode, so it would leave transactions open.",
            remedy="Connect with autocommit=True, as LangGraph's documentation has it, or pass a pool.",
        )
    if conn.info.transaction_status == TransactionStatus.INTRANS:
        raise AppendError(
            "The saver's connection is inside a transaction that is not the saver's.",
            remedy="Give the saver a connection or a pool of its own, in autocommit mode.",
        )
    return conn


def no_pipeline(pipe: Any) -> None:
    """Refuse pipeline mode."""
    if pipe:
        raise ConfigurationError(
            "An audited saver takes no pipeline: entry and rows need a transaction of their own.",
            remedy="Leave it out, and pass a connection or a pool alone.",
        )


def unreachable(error: psycopg.Error) -> ConfigurationError:
    """Return the error for a database that cannot be connected to."""
    what, remedy = explain(error)
    return ConfigurationError(what, remedy=remedy)


def refuse(what: str, *_: object) -> NoReturn:
    """Refuse to delete, prune or copy."""
    raise AppendError(
        f"{what} is refused: evidence is only ever added to.",
        remedy="Keep the thread; lawful erasure of its content will be an entry of its own.",
    )
