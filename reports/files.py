"""A trail as files: DSSE envelopes for machines, CSV for spreadsheets (docs/formats.md, sections 2 and 8)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, tzinfo

from countersign.audit.canonical import canonical, format_time
from countersign.audit.chain import Checked
from countersign.audit.entry import envelope

from .trail import TrailRow, trail_rows

_HEADER = ("seq", "of", "occurred_at_utc", "occurred_at_site", "kind", "actor", "role", "via", "what", "leaf_hash")
_RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r")


def trail_jsonl(trail: Sequence[Checked]) -> bytes:
    """Return one DSSE envelope a line, by seq: the bytes and signatures themselves, nothing interpreted."""
    return b"".join(canonical(envelope(checked.entry)) + b"\n" for checked in trail)


def trail_csv(trail: Sequence[Checked], site: tzinfo | None = None) -> bytes:
    """Return RFC 4180 in UTF-8 with BOM: a header row, then one entry a row. `site` is the zone of the second time.

    A cell that a spreadsheet would run is prefixed with an apostrophe; hashes are over JSON, so no evidence changes.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_HEADER)
    for row in trail_rows(trail):
        writer.writerow([_cell(value) for value in _cells(row, site)])
    return text.getvalue().encode("utf-8-sig")


def _cells(row: TrailRow, site: tzinfo | None) -> tuple[str, ...]:
    return (
        str(row.seq),
        str(row.of),
        format_time(row.occurred_at),
        row.occurred_at.astimezone(site or UTC).isoformat(timespec="microseconds"),
        row.kind,
        row.actor,
        row.role,
        row.via,
        row.what,
        row.leaf_hash,
    )


def _cell(text: str) -> str:
    return "'" + text if text.startswith(_RUN_BY_SPREADSHEETS) else text
