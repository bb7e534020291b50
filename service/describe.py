"""Reports of a verification for people."""

from __future__ import annotations

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
