"""Every column the verdict rests on, and what an administrator may put there: the table that test_table.py walks."""

from __future__ import annotations

from dataclasses import dataclass

from tamper.cases import DYNAMIC, STATIC
from tamper.tools import Place


@dataclass(frozen=True)
class Target:
    """One table, the row that is attacked, another one of the same kind, and how its columns are attacked."""

    name: str
    keys: tuple[str, ...]
    types: dict[str, str]
    row: str
    other: str

    @property
    def table(self) -> str:
        """The name that findings use."""
        return self.name.removeprefix("audit.")

    @property
    def thread(self) -> str:
        return self.keys[0]

    @property
    def content(self) -> tuple[str, ...]:
        return tuple(column for column in self.types if column not in self.keys)


_OF_STATIC = f"thread_id = '{STATIC}' AND "
TARGETS = {
    target.name: target
    for target in (
        Target(
            "audit.entries",
            ("trail", "seq"),
            {
                "trail": "text",
                "seq": "int",
                "kind": "text",
                "occurred_at": "time",
                "body": "bytes",
                "keyid": "bytes",
                "signature": "bytes",
            },
            f"trail = '{STATIC}' AND seq = 6",
            f"trail = '{STATIC}' AND seq = 9",
        ),
        Target(
            "audit.payloads",
            ("trail", "seq"),
            {"trail": "text", "seq": "int", "salt": "bytes", "data": "bytes"},
            f"trail = '{STATIC}' AND seq = 6",
            f"trail = '{STATIC}' AND seq = 9",
        ),
        Target(
            "audit.leaves",
            ("trail", "seq"),
            {"trail": "text", "seq": "int", "leaf_index": "int", "leaf_hash": "bytes"},
            f"trail = '{STATIC}' AND seq = 6",
            f"trail = '{STATIC}' AND seq = 9",
        ),
        Target(
            "checkpoints",
            ("thread_id", "checkpoint_ns", "checkpoint_id"),
            {
                "thread_id": "text",
                "checkpoint_ns": "empty text",
                "checkpoint_id": "text",
                "parent_checkpoint_id": "text",
                "type": "null text",
                "checkpoint": "document",
                "metadata": "metadata",
            },
            _OF_STATIC + "metadata ->> 'source' = 'update'",
            _OF_STATIC + "metadata ->> 'source' = 'input'",
        ),
        Target(
            "checkpoint_blobs",
            ("thread_id", "checkpoint_ns", "channel", "version"),
            {
                "thread_id": "text",
                "checkpoint_ns": "empty text",
                "channel": "text",
                "version": "text",
                "type": "text",
                "blob": "bytes",
            },
            _OF_STATIC + "channel = 'flags' AND length(blob) > 1",
            _OF_STATIC + "channel = 'flags' AND length(blob) = 1",
        ),
        Target(
            "checkpoint_writes",
            ("thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx"),
            {
                "thread_id": "text",
                "checkpoint_ns": "empty text",
                "checkpoint_id": "text",
                "task_id": "text",
                "idx": "int",
                "channel": "text",
                "type": "text",
                "blob": "bytes",
                "task_path": "text",
            },
            _OF_STATIC + "channel = 'flags' AND length(blob) > 1",
            _OF_STATIC + "channel = 'flags' AND length(blob) = 1",
        ),
    )
}

HEADS = Target(
    "audit.heads",
    ("number",),
    {"number": "int", "tree_size": "int", "note": "bytes"},
    "number = 3",
    "number = 2",
)
"""The one table with nothing of a thread in it."""
LATER = {
    "audit.cosignatures": ("tree_size", "name", "key_id", "line"),
    "audit.tokens": ("tree_size", "token"),
}
"""What others say of heads; it is in question only where the verifier brings their keys (test_witnessed.py)."""
EVERY = {**TARGETS, HEADS.name: HEADS}
COLUMNS = {name: tuple(target.types) for name, target in EVERY.items()} | LATER

_TEXT = {"appended": "{} || ' '", "emptied": "''", "replaced": "'x'", "null": "NULL"}
_JSON = {
    "key added": """{} || '{{"x": 1}}'""",
    "json null": "'null'",
    "a list": "'[]'",
    "a text": """'"{{}}"'""",
    "null": "NULL",
}
CHANGES: dict[str, dict[str, str]] = {
    "text": _TEXT,
    "empty text": {key: _TEXT[key] for key in ("appended", "replaced", "null")},
    "null text": {key: _TEXT[key] for key in ("emptied", "replaced")},
    "int": {"next": "{} + 1", "far": "{} + 1000", "zero": "{} * 0", "negative": "-1 - {}", "null": "NULL"},
    "time": {
        "a microsecond later": "{} + interval '1 microsecond'",
        "a day earlier": "{} - interval '1 day'",
        "infinity": "'infinity'",
        "minus infinity": "'-infinity'",
        "beyond Python": "'20000-01-01 00:00Z'",
        "before Christ": "'0044-03-15 00:00Z BC'",
        "null": "NULL",
    },
    "bytes": {
        "bit flipped": "set_bit({0}, 3, 1 - get_bit({0}, 3))",
        "byte appended": "{} || '\\x00'",
        "space appended": "{} || '\\x20'",
        "byte cut": "substr({0}, 1, length({0}) - 1)",
        "emptied": "''",
        "null": "NULL",
    },
    "document": _JSON
    | {
        "dose": "jsonb_set({}, '{{channel_values,dose}}', '50')",
        "5 as 5.0": "jsonb_set({}, '{{channel_values,dose}}', '5.0')",
        "5 as text": "jsonb_set({}, '{{channel_values,dose}}', '\"5\"')",
        "key removed": "{} - 'versions_seen'",
        "versions are no object": "jsonb_set({}, '{{channel_versions}}', '7')",
    },
    "metadata": _JSON
    | {
        "source": "jsonb_set({}, '{{source}}', '\"loop\"')",
        "2 as 2.0": "jsonb_set({}, '{{step}}', '2.0')",
        "key removed": "{} - 'source'",
    },
}
_NEAR_SEQ = (-7, 0, 6, 7, 1006, None)
_NEAR_TRAIL = (STATIC, DYNAMIC, STATIC + " ", "", "x", None)


def place(target: Target, column: str | None = None) -> Place:
    """Return where the first finding must point when `column` of the target row was changed, or the row as a whole."""
    moved = column in target.keys or column is None
    if target is HEADS:
        return Place((target.table,), (None,), (None,), ("head",))
    if column == "leaf_index":
        return Place((target.table,), (STATIC, None), (6, 7, None))
    if not target.name.startswith("audit."):
        return Place((target.table,), _NEAR_TRAIL if moved else (STATIC,))
    if not moved:
        return Place((target.table,), (STATIC,), (6,))
    # An entry that left its place leaves its payload there, and the payload's orphan is the first thing met.
    tables = ("entries", "payloads", "leaves") if target.table == "entries" else (target.table,)
    return Place(tables, _NEAR_TRAIL, _NEAR_SEQ)
