"""A verification for people: how far it is, and its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

import click

from countersign.audit.verify import Report

_FINDINGS = 20


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def describe(report: Report) -> str:
    """Return the report for people: the verdict first, then the first damage, then what was looked at."""
    counts = report.counts
    lines = [f"verdict: {report.verdict.value}"]
    lines += [f"  {finding.message} [{finding.check}]" for finding in report.findings[:_FINDINGS]]
    more = len(report.findings) - _FINDINGS + report.omitted
    if more > 0:
        lines.append(f"  ... and {more} more findings (--json shows them)")
    lines.append(
        f"checked: {_many(counts.trails, 'trail')}, {_many(counts.entries, 'entry', 'entries')}, "
        f"{_many(counts.payloads, 'payload')}, {_many(counts.rows, 'row')} of LangGraph's tables"
    )
    lines += [f"{item['status']}: {item['what']} ({item['detail']})" for item in report.trust]
    return "\n".join(lines)


class Bar:
    """A progress bar, from the moment that the number of entries is known."""

    def __init__(self, stream: TextIO, stack: ExitStack) -> None:
        self._stream = stream
        self._stack = stack
        self._update: Callable[[int], None] = lambda _: None

    def start(self, total: int) -> None:
        """Show the bar."""
        bar = click.progressbar(length=total, label="entries checked", show_pos=True, file=self._stream)
        self._update = self._stack.enter_context(bar).update

    def advance(self, count: int) -> None:
        """Move it on."""
        self._update(count)


@contextmanager
def shown(stream: TextIO, *, wanted: bool) -> Iterator[Bar | None]:
    """Yield what shows progress on `stream`, or None where nobody looks at it: it is no terminal."""
    with ExitStack() as stack:
        yield Bar(stream, stack) if wanted and stream.isatty() else None
