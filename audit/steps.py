"""Database work as plain generators: they yield statements and are sent rows; they never touch a connection.

So the thinking exists once, and sync and async callers differ only in the two loops below. A generator never commits,
begins or rolls back: whose transaction it is stays with whoever runs it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """One SQL statement with its parameters; text from outside is only ever a parameter."""

    sql: LiteralString
    params: Sequence[Any] = ()


Steps = Generator[Statement, Rows, T]


async def arun(conn: AsyncConnection[Any], steps: Steps[T]) -> T:
    """Run `steps` on the caller's connection, in whatever transaction it is."""
    async with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        try:
            statement = next(steps)
            while True:
                await cursor.execute(statement.sql, statement.params)
                statement = steps.send(await cursor.fetchall() if _has_rows(cursor) else [])
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def run(conn: Connection[Any], steps: Steps[T]) -> T:
    """Run `steps` on the caller's connection, in whatever transaction it is."""
    with conn.cursor(row_factory=tuple_row, binary=True) as cursor:
        try:
            statement = next(steps)
            while True:
                cursor.execute(statement.sql, statement.params)
                statement = steps.send(cursor.fetchall() if _has_rows(cursor) else [])
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]


def _has_rows(cursor: AsyncCursor[Any] | Cursor[Any]) -> bool:
    """Tell whether the last statement returned rows; asking for `description` would build one of every column."""
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0
