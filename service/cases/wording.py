"""What lists say of a review in words: its workflow's title and its gate's question, of the policy that it is under."""

from __future__ import annotations

from dataclasses import replace

from countersign.audit.standing import Directory

from .rows import ReviewRow


def worded(directory: Directory, row: ReviewRow) -> ReviewRow:
    """Return the row with title and question; as it was where the policy is not known, or was erased."""
    registered = directory.policies.get((row.workflow, row.version))
    if registered is None or registered.policy is None:
        return row
    policy = registered.policy
    known = row.gate is None or any(gate.name == row.gate for gate in policy.gates)
    return replace(row, title=policy.title, question=policy.gate(row.gate).question if known else None)
