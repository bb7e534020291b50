"""The value of a DeltaChannel before and after an edit, of which LangGraph's checkpoint holds only the difference."""

from __future__ import annotations

from typing import Any

from langgraph.channels import DeltaChannel
from langgraph.checkpoint.serde.types import _DeltaSnapshot

MISSING = object()
"""Stands for a channel without a value."""


class Followed:
    """One channel of a graph that is being edited, superstep by superstep."""

    def __init__(self, channel: DeltaChannel[Any], value: Any) -> None:
        """`value` is what the state shows for the channel before the edit, or MISSING."""
        self._channel = channel.copy()
        if value is not MISSING:
            self._channel.value = value
        self._writes: list[Any] = []

    def write(self, value: Any) -> None:
        """Note what the edit writes to the channel in the superstep under way."""
        self._writes.append(value)

    def step(self, stored: Any) -> tuple[Any, Any]:
        """Return the values before and after the superstep that ends; `stored` is what its checkpoint holds."""
        old = self._channel.get() if self._channel.is_available() else MISSING
        after = self._channel.copy()
        if isinstance(stored, _DeltaSnapshot):
            after.value = stored.value
        else:
            after.update(self._writes)
        self._channel, self._writes = after, []
        return old, after.get() if after.is_available() else MISSING
