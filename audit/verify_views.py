"""What signers were shown, held against the checkpoints in a database, row by row what was bound (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from psycopg import Connection

from .canonical import Json
from .errors import VerificationError
from .ledger import Ledger
from .shown import Views, differing, marks, said_otherwise
from .verify import Report


class States(Protocol):
    """Who can read the state at a checkpoint. It goes to other processes as it is."""

    def at(self, conn: Connection[Any], ledger: Ledger, ns: str, checkpoint: str) -> Mapping[str, Json] | None:
        """Return the fields as they are shown, from rows that are what the ledger binds; None if that cannot be."""


def check_views(conn: Connection[Any], states: States, ledger: Ledger, views: Views, report: Report) -> None:
    """Report each view of a case that shows another state than its checkpoint has.

    `ledger` ends where the case's trail does. What cannot be read is left out of the count of those held against it:
    rows that are not what was bound are told as that.
    """
    for (checkpoint, ns), shown in views.shown.items():
        state = states.at(conn, ledger, ns, checkpoint)
        if state is None:
            continue
        held = marks(state)
        for view in shown:
            report.views.held += view.count
            if fields := differing(view.marks, held):
                report.add(
                    VerificationError(
                        f"Entry {view.seq} of trail {ledger.trail!r} {said_otherwise(fields, checkpoint)}.",
                        check="authority",
                        trail=ledger.trail,
                        seq=view.seq,
                        table="entries",
                    )
                )
