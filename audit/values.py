"""Values of the state: as LangGraph stores them, as entries show them, and what an edit changed. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointTuple
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.types import Interrupt

from .call import Call
from .canonical import Json, tagged
from .differences import MISSING
from .entry import MAX_LIST
from .errors import AppendError

INTERNAL = ("__", "branch:")
"""How names of channels begin that are LangGraph's own, and no fields of anybody's state."""


def interrupts_in(value: Any) -> list[Interrupt]:
    """Return the questions in a value written to LangGraph's interrupt channel."""
    items = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in items if isinstance(item, Interrupt)]


def listed(name: str, items: Sequence[str]) -> tuple[dict[str, Json], dict[str, Json]]:
    """Return the members of detail and payload for a list: beyond 100, a count here and the items there."""
    whole: dict[str, Json] = {name: list(items)}
    return (whole, {}) if len(items) <= MAX_LIST else ({f"{name}_count": len(items)}, whole)


def dump(value: Any, serde: SerializerProtocol, what: str) -> tuple[str, bytes]:
    """Return `value` as LangGraph stores it. Raises AppendError with the remedy when it cannot be stored strictly."""
    try:
        return serde.dumps_typed(value)
    except Exception as error:
        raise _not_serializable(value, what, error) from error


def tag(value: Any, serde: SerializerProtocol, what: str) -> Json:
    """Return `value` as tagged JSON. Raises AppendError with the remedy when it cannot be serialized."""
    try:
        return tagged(value, serde.dumps_typed)
    except Exception as error:
        raise _not_serializable(value, what, error) from error


def tag_fields(values: Mapping[str, Any], serde: SerializerProtocol) -> dict[str, Json]:
    """Return the fields of a state as tagged JSON, LangGraph's own channels left out. Raises AppendError as `tag` does.

    One for whoever shows a state and for whoever verifies what was shown.
    """
    return {
        name: tag(value, serde, f"field {name!r}") for name, value in values.items() if not name.startswith(INTERNAL)
    }


def _not_serializable(value: Any, what: str, error: Exception) -> AppendError:
    return AppendError(
        f"State cannot be recorded: {what} is a {type(value).__module__}.{type(value).__qualname__} that cannot be "
        f"serialized ({error}).",
        remedy="Keep state to JSON values, dataclasses, pydantic models or messages, and handles such as files or "
        "connections out of it.",
    )


def split(
    checkpoint: Checkpoint, new_versions: ChannelVersions, serde: SerializerProtocol
) -> tuple[dict[str, Any], list[tuple[str, str, str, bytes | None]]]:
    """Divide the channel values as LangGraph does: primitives inline, everything else new as blobs."""
    inline: dict[str, Any] = {}
    blobs: list[tuple[str, str, str, bytes | None]] = []
    for channel, value in checkpoint["channel_values"].items():
        if value is None or isinstance(value, (str, int, float, bool)):
            inline[channel] = value
            continue
        if isinstance(value, _DeltaSnapshot):
            inline[channel] = True
        if channel in new_versions:
            blobs.append((channel, str(new_versions[channel]), *dump(value, serde, f"channel {channel!r}")))
    return inline, blobs


def changes(
    before: CheckpointTuple | None,
    checkpoint: Checkpoint,
    new_versions: ChannelVersions,
    serde: SerializerProtocol,
    call: Call | None,
) -> list[dict[str, Json]]:
    """Return what an edit changed, sorted by channel: `channel`, and `old` and `new` where it had or has a value.

    `before` is the checkpoint that the edit started from. Raises AppendError as `tag` does.
    """
    old: dict[str, Any] = dict(before.checkpoint["channel_values"]) if before else {}
    new: dict[str, Any] = dict(checkpoint["channel_values"])
    for channel, follower in (call.followed if call else {}).items():
        if channel in new_versions:
            old[channel], new[channel] = follower.step(new.get(channel))
    found: list[dict[str, Json]] = []
    for channel in sorted(new_versions):
        if channel.startswith(INTERNAL):
            continue
        change: dict[str, Json] = {"channel": channel}
        if (value := old.get(channel, MISSING)) is not MISSING:
            change["old"] = tag(value, serde, f"channel {channel!r}")
        if (value := new.get(channel, MISSING)) is not MISSING:
            change["new"] = tag(value, serde, f"channel {channel!r}")
        found.append(change)
    return found
