"""Which node a task of a case is, as far as its entries agree on it. Pure.

Gates stand at nodes, and the graph key signs which node wrote or asked. What an entry names as the `node` is held
against its `path`, which names one too unless a `Send` made the task, and against what was said of that task before.
"""

from __future__ import annotations

from .chain import Checked

_PULL, _PUSH = "~__pregel_pull, ", "~__pregel_push, "


class Tasks:
    """The tasks of one case, by id. Feed it the entries that tell of writes and questions."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], str] = {}

    def feed(self, checked: Checked) -> list[str]:
        """Return a sentence for what does not agree, going on from "Entry 7 of trail x"."""
        detail, place = checked.body.detail, checked.body.checkpoint
        path, node = str(detail.get("path", "")), detail.get("node")
        by_path = path.removeprefix(_PULL) if path.startswith(_PULL) else None
        said = []
        if by_path is not None and node not in (None, by_path):
            said.append(f"names the node {node!r}, and a path of the node {by_path!r}")
        if path.startswith(_PUSH) and not isinstance(node, str):
            said.append("does not name the node of a task whose path names none")
        named = str(node if node is not None else by_path)
        task = (place.id if place is not None else "", str(detail.get("task")))
        if path and self._nodes.setdefault(task, named) != named:
            said.append(f"names the node {named!r}, and an entry before of the same task {self._nodes[task]!r}")
        return said
