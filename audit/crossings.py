"""Which gates stand at a checkpoint of a case, and which of them are released there. Pure.

Only gates of the root graph have names. A node `before` which a gate stands, and every node behind one `after` which a
gate stands, may run from a checkpoint only when that very checkpoint is released: not one with another state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from .body import Body
from .chain import Checked
from .gates import Gate, Policy

_START = "__start__"


@dataclass(slots=True)
class _Checkpoint:
    """One of the root graph's checkpoints. `behind`: that whose writers it is the outcome of."""

    parent: str | None
    behind: str | None
    looped: bool = False
    """Whether it says that it came of nodes that ran."""
    released: set[str] = field(default_factory=set)


class Crossings:
    """The checkpoints of a case, from the entries that tell of them. Without a policy no gate is known."""

    def __init__(self, policy: Policy | None) -> None:
        self.policy = policy
        self.tip: str | None = None
        """The root graph's latest checkpoint."""
        self._known: dict[str, _Checkpoint] = {}
        self._wrote: dict[str, set[str]] = {}
        self._early: dict[str, list[tuple[int, str]]] = {}
        self._told: set[tuple[str, str]] = set()

    def knows(self, checkpoint: str) -> bool:
        """Tell whether an entry told of this checkpoint of the root graph."""
        return checkpoint in self._known

    def stands_at(self, checkpoint: str) -> bool:
        """Tell whether it is the latest one, or that before it: what led to the latest may be told behind it."""
        return checkpoint == self.tip or (self.tip is not None and self._known[self.tip].parent == checkpoint)

    def saved(self, body: Body) -> list[str]:
        """Take over a checkpoint that a step of the root graph came to. Returns a sentence for each gate crossed."""
        place = body.checkpoint
        if place is None:
            return []
        unwritten = self.unwritten()
        self._add(place.id, place.parent, place.parent)
        self._known[place.id].looped = body.detail.get("source") == "loop"
        return unwritten + [
            said
            for seq, node in self._early.pop(place.id, [])
            for said in self._crossed(place.id, node, f"entry {seq}")
        ]

    def edited(self, body: Body, *, decided: bool, ended: bool) -> None:
        """Take over the checkpoint of an edit. `decided`: it is what a decision on the one before writes, which stays
        released. `ended`: nothing is due at it any more.
        """
        place = body.checkpoint
        if place is None:
            return
        before = self._known.get(place.parent or "")
        self._add(place.id, place.parent, before.behind if before and not ended else None)
        if before and decided:
            self._known[place.id].released |= before.released

    def wrote(self, body: Body, node: str) -> list[str]:
        """Take over that a node of the root graph ran from a checkpoint. Returns a sentence for each gate crossed."""
        place = body.checkpoint
        if place is None:
            return []
        self._wrote.setdefault(place.id, set()).add(node)
        if node == _START:
            return []
        if place.id not in self._known:
            self._early.setdefault(place.id, []).append((body.seq, node))
            return []
        return self._crossed(place.id, node, "it")

    def ran_within(self, node: str) -> list[str]:
        """Take over that a subgraph in this node of the root graph is at work, at the latest checkpoint."""
        return self._crossed(self.tip, node, "it") if self.tip is not None else []

    def unwritten(self) -> list[str]:
        """Return a sentence if no node wrote what the latest checkpoint says that nodes came to: which gates stood in
        its way cannot be told. Once for each checkpoint.
        """
        found = self._known.get(self.tip or "")
        if found is None or not found.looped or found.behind in self._wrote:
            return []
        found.looped = False
        return [f"comes behind checkpoint {self.tip}, to which no node wrote anything: it was put there past the graph"]

    def completed(self) -> list[str]:
        """Return a sentence for each gate that stands at the latest checkpoint: a run says that it is at its end."""
        return self.unwritten() + [
            f"says that the graph came to its end although the gate {gate.name!r} was not released"
            for gate in self.due(())
        ]

    def release(self, checkpoint: str, gate: str | None) -> None:
        """Take over that a gate was decided at this checkpoint."""
        if gate is not None and checkpoint in self._known:
            self._known[checkpoint].released.add(gate)

    def revoke(self) -> None:
        """Take back what was released: it was by the policy of another version."""
        for found in self._known.values():
            found.released.clear()

    def due(self, nodes: Collection[str], checkpoint: str | None = None) -> tuple[Gate, ...]:
        """Return the gates that stand at a checkpoint, the latest without one, where `nodes` run next, and are not
        released, in the order in which they are taken.
        """
        at = checkpoint or self.tip
        return tuple(self._standing(at, nodes)) if at is not None else ()

    def _add(self, checkpoint: str, parent: str | None, behind: str | None) -> None:
        self._known.setdefault(checkpoint, _Checkpoint(parent, behind))
        self.tip = checkpoint

    def _standing(self, checkpoint: str, nodes: Collection[str]) -> Iterable[Gate]:
        found = self._known.get(checkpoint)
        if found is None or self.policy is None:
            return
        writers = self._wrote.get(found.behind or "", set())
        for gate in self.policy.gates:
            where = {"before": nodes, "after": writers}.get(gate.when, ())
            if gate.node in where and gate.name not in found.released:
                yield gate

    def _crossed(self, checkpoint: str, node: str, who: str) -> list[str]:
        said = []
        for gate in self._standing(checkpoint, (node,)):
            if (checkpoint, str(gate.name)) not in self._told:
                self._told.add((checkpoint, str(gate.name)))
                said.append(
                    f"shows that the gate {gate.name!r} was crossed without sufficient sign-off: {who} has node "
                    f"{node!r} run from checkpoint {checkpoint}, at which nothing that suffices was decided"
                )
        return said


def node_of(checked: Checked) -> str:
    """Return the node whose task wrote what an entry tells of; for one in a subgraph, the node the subgraph is in."""
    body = checked.body
    if body.checkpoint is not None and body.checkpoint.ns:
        return body.checkpoint.ns.split("|")[0].split(":")[0]
    return str(body.detail.get("node") or str(body.detail.get("path", "")).split(", ")[-1])
