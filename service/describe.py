"""A verification for people: how far it is, and its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

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
    for case in report.cases:
        lines += _signed(case)
    return "\n".join(lines)


def _signed(case: Mapping[str, Any]) -> Iterator[str]:
    """Yield who signed what in a case, and what it came to."""
    workflow = case["workflow"] or {"name": "no workflow", "version": "none"}
    count = _many(len(case["signatures"]), "signature")
    yield f"signatures: {count} in case {case['trail']} of {workflow['name']}, version {workflow['version']}"
    for one in case["signatures"]:
        unnamed = "an API key" if one["attested"] else "the name was erased"
        who = one["printed_name"] or f"{one['signer']} ({unnamed})"
        how = "attested" if one["attested"] else "signed"
        where = "" if one["review"] is None else f" at {_gate(one['gate'])}, stage {one['stage']}"
        yield _line(f"  {one['seq']}  {one['at']}  {who} as {one['role']} {how}{where}: {one['decision']}")
        yield _line(f"      meaning: {one['meaning'] or 'was erased'}")
        if one["reason"]:
            yield _line(f"      reason: {one['reason']}")
        if one["values"]:
            yield _line(f"      values: {json.dumps(one['values'], ensure_ascii=False, sort_keys=True)}")
        if one["counts"]:
            rests = f"entry {one['counted_by']} rests on it" if one["counted_by"] else "nothing was decided yet"
            yield f"      counts: {rests}"
        else:
            yield _line(f"      does not count: {one['why_not']}")
    for review in case["reviews"]:
        where = f"  review at {_gate(review['gate'])}, opened by entry {review['opened']}: {review['status']}"
        yield _line(f"{where}{_decided(review)}")
    yield f"  outcome: the case is {case['status']}"


def _decided(review: Mapping[str, Any]) -> str:
    if not review["decided"]:
        return ""
    against = "" if review["allowed"] else ", AGAINST THE POLICY"
    return f", {review['outcome']} by {review['by']} (entry {review['decided']}){against}"


def _gate(name: str | None) -> str:
    return f"the gate {name}" if name is not None else "a pause that no gate names"


def _line(text: str) -> str:
    """Return what people typed so that it stays in its line, and does nothing to a terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


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
