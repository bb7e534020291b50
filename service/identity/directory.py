"""The Directory of a process: who could do what, as the entries of @system tell it, read on from where it ended.

Every entry is checked as it is read, so what the Directory says rests on signatures and not on a table.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.append import Appender
from countersign.audit.chain import START, Checked, Link, check_entry
from countersign.audit.entry import SYSTEM_TRAIL, Entry
from countersign.audit.kinds import Kind
from countersign.audit.read import entries_statement, entry_of
from countersign.audit.standing import Directory
from countersign.audit.steps import Rows, Statement, Steps, arun

_log = logging.getLogger(__name__)


class DirectoryReader:
    """Keeps one Directory for a process, and brings it up to the end of @system when it is asked."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._turn = asyncio.Lock()
        self._directory = Directory()
        self._end = START
        self.fields: dict[tuple[str, str], frozenset[str]] = {}
        """By name and version of a workflow: the fields that its graph's state has, where its registration tells."""

    async def current(self, conn: AsyncConnection[Any]) -> Directory:
        """Return the Directory as of the end of @system, read on the caller's connection.

        It holds until the caller's transaction ends if that has the lock of @system, shared or not: nobody appends
        there meanwhile. To be called before the transaction itself appends to @system. Without the lock it is what was
        committed a moment ago, and may go on under the caller.

        Raises VerificationError where an entry of @system is not what was signed: then nobody may do anything. One that
        was signed and makes no sense is left aside, as it is by `verify`, which reports it.
        """
        async with self._turn:
            await self._read_on(conn)
            return self._directory

    async def _read_on(self, conn: AsyncConnection[Any]) -> None:
        entries = await _entries_from(conn, self._end)
        if self._end != START:
            # What was read last must be there still: were it gone, what never was committed would go on deciding.
            if not entries or Link(entries[0].seq, entries[0].leaf_hash) != self._end:
                self._forget()
                entries = await _entries_from(conn, START)
            else:
                del entries[0]
        if any(entry.keyid not in self._appender.ring for entry in entries):
            await arun(conn, self._appender.ring_steps())
        for entry in entries:
            checked = check_entry(entry, after=self._end, origin=self._appender.origin, ring=self._appender.ring)
            problems = self._directory.feed(checked)
            for problem in problems:
                _log.error("%s It was left aside.", problem.message)
            if checked.body.kind == Kind.WORKFLOW_REGISTERED and not problems:
                self._keep_fields(checked)
            self._end = checked.link

    def _keep_fields(self, checked: Checked) -> None:
        fields = _fields(checked.payload)
        if fields is not None:
            self.fields[str(checked.body.detail["name"]), str(checked.body.detail["version"])] = fields

    def _forget(self) -> None:
        self._directory, self._end, self.fields = Directory(), START, {}


def _fields(documents: Any) -> frozenset[str] | None:
    """Return the fields of the outermost graph, of the documents of a registration; None where it has no such state.

    A graph whose input is one value, such as a function's, has channels of LangGraph's own in place of fields.
    """
    try:
        names = [str(channel["name"]) for channel in documents["graph"]["parts"][0]["channels"]]
    except (KeyError, IndexError, TypeError):
        return None
    return frozenset(names) if names and not any(name.startswith("__") for name in names) else None


async def _entries_from(conn: AsyncConnection[Any], end: Link) -> list[Entry]:
    """Return the entries of @system from the one at `end` on, that one included."""
    statement = entries_statement(SYSTEM_TRAIL) if end == START else entries_statement(SYSTEM_TRAIL, end.seq - 1)
    return [entry_of(row) for row in await arun(conn, _rows(statement))]


def _rows(statement: Statement) -> Steps[Rows]:
    return (yield statement)
