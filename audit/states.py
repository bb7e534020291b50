"""The state at a checkpoint as a review shows it, for whoever verifies: from checked rows, and no graph code loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import Connection

from .canonical import Json
from .errors import AppendError, VerificationError
from .ledger import Ledger
from .load import check_loaded, load_statement
from .serde import strict_serializer
from .shown import shown_state
from .steps import Steps, run
from .values import tag_fields


class CheckedStates:
    """Reads states with LangGraph's strict serializer, as the service does for its views."""

    def at(self, conn: Connection[Any], ledger: Ledger, ns: str, checkpoint: str) -> Mapping[str, Json] | None:
        """Return the fields as they are shown; None where the rows are not there, or not what the ledger binds."""
        try:
            values = run(conn, _values_steps(ledger, ns, checkpoint))
            return None if values is None else shown_state(tag_fields(values, strict_serializer(None))).fields
        except (VerificationError, AppendError):
            return None


def _values_steps(ledger: Ledger, ns: str, checkpoint: str) -> Steps[dict[str, Any] | None]:
    rows = yield load_statement(ledger.trail, ns, checkpoint)
    loaded = check_loaded(rows[0], ledger, ns, checkpoint)
    if loaded is None:
        return None
    serde = strict_serializer(None)
    inline = loaded.value["checkpoint"].get("channel_values") or {}
    blobs = [(name.decode(), kind.decode(), data) for name, kind, data in loaded.value["channel_values"]]
    return {**inline, **{name: serde.loads_typed((kind, data)) for name, kind, data in blobs if kind != "empty"}}
