"""Database work as plain generators: they yield statements and are sent rows; they never touch a connection.

So the thinking exists once, and sync and async callers differ only in the two loops below. A generator never commits,
begins or rolls back: whose transaction it is stays with whoever runs it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg import AsyncConnection, AsyncCursor, AsyncRawCursor, Connection, Cursor, RawCursor
from psycopg.pq import Format
from psycopg.rows import tuple_row

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


class Statement(NamedTuple):
    """One SQL statement with its parameters; text from outside is only ever a parameter."""

    sql: LiteralString
    params: Sequence[Any] = ()
    numbered: bool = False
    """Whether the parameters are written $1, $2 …: then psycopg need not look for them in a long text."""


Steps = Generator[Statement, Rows, T]


async def arun(conn: AsyncConnection[Any], steps: Steps[T]) -> T:
    """Run `steps` on the caller's connection, in whatever transaction it is."""
    try:
        statement = next(steps)
        while True:
            async with _acursor(conn, statement) as cursor:
                await cursor.execute(statement.sql, statement.params)
                rows = await cursor.fetchall() if _has_rows(cursor) else []
            statement = steps.send(rows)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def run(conn: Connection[Any], steps: Steps[T]) -> T:
    """Run `steps` on the caller's connection, in whatever transaction it is."""
    try:
        statement = next(steps)
        while True:
            with _cursor(conn, statement) as cursor:
                cursor.execute(statement.sql, statement.params)
                rows = cursor.fetchall() if _has_rows(cursor) else []
            statement = steps.send(rows)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


def _acursor(conn: AsyncConnection[Any], statement: Statement) -> AsyncCursor[Any]:
    if not statement.numbered:
        return conn.cursor(row_factory=tuple_row, binary=True)
    cursor = AsyncRawCursor(conn, row_factory=tuple_row)
    cursor.format = Format.BINARY
    return cursor


def _cursor(conn: Connection[Any], statement: Statement) -> Cursor[Any]:
    if not statement.numbered:
        return conn.cursor(row_factory=tuple_row, binary=True)
    cursor = RawCursor(conn, row_factory=tuple_row)
    cursor.format = Format.BINARY
    return cursor


def _has_rows(cursor: AsyncCursor[Any] | Cursor[Any]) -> bool:
    """Tell whether the last statement returned rows; asking for `description` would build one of every column."""
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0
