"""The Directory of a process: who could do what, as the entries of @system tell it, read on from where it ended.

Every entry is checked as it is read, so what the Directory says rests on signatures and not on a table.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from countersign.audit.append import Appender
from countersign.audit.chain import START, Checked, Link, check_entry
from countersign.audit.entry import SYSTEM_TRAIL, Entry
from countersign.audit.kinds import Kind
from countersign.audit.read import EVERYTHING, entries_statement, entry_of
from countersign.audit.standing import Directory
from countersign.audit.steps import Rows, Statement, Steps, arun

_log = logging.getLogger(__name__)


class DirectoryReader:
    """Keeps one Directory for a process, and brings it up to the end of @system when it is asked."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender
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
        end = self.end
        return await self.take(conn, end, [entry_of(row) for row in await arun(conn, _rows(_from(end)))])

    @property
    def end(self) -> Link:
        """The entry of @system up to which was read."""
        return self._end

    async def take(self, conn: AsyncConnection[Any], end: Link, entries: Sequence[Entry]) -> Directory:
        """As `current`, for whoever read `entries` of @system, the one at `end` and all behind it, with something else.

        `end` is where this Directory ended before they were read; others may have read on meanwhile.
        """
        if any(entry.keyid not in self._appender.ring for entry in entries):
            await arun(conn, self._appender.ring_steps())
        # What was read last must be there still: were it gone, what never was committed would go on deciding.
        gone = end != START and (not entries or Link(entries[0].seq, entries[0].leaf_hash) != end)
        if gone or self._end.seq < end.seq:
            self._directory, self._end, self.fields = Directory(), START, {}
            return await self.current(conn)
        for entry in entries:  # nothing is awaited here: nobody else reads on meanwhile
            if entry.seq > self._end.seq:
                self._feed(entry)
        return self._directory

    def _feed(self, entry: Entry) -> None:
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


def _fields(documents: Any) -> frozenset[str] | None:
    """Return the fields of the outermost graph, of the documents of a registration; None where it has no such state.

    A graph whose input is one value, such as a function's, has channels of LangGraph's own in place of fields.
    """
    try:
        names = [str(channel["name"]) for channel in documents["graph"]["parts"][0]["channels"]]
    except (KeyError, IndexError, TypeError):
        return None
    return frozenset(names) if names and not any(name.startswith("__") for name in names) else None


def behind(end: Link) -> int:
    """Return the `seq` behind which a trail is read that was read up to `end`: what was read last is read again."""
    return end.seq - 1 if end != START else EVERYTHING


def _from(end: Link) -> Statement:
    return entries_statement(SYSTEM_TRAIL, behind(end))


def _rows(statement: Statement) -> Steps[Rows]:
    return (yield statement)
