"""A case's trail as its worker reads it: what is allowed, what of it is done, and what stands in the way. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from countersign.audit.canonical import Json
from countersign.audit.caseruns import CaseRuns
from countersign.audit.chain import Checked
from countersign.audit.entry import CheckpointRef, Workflow
from countersign.audit.gates import Policy
from countersign.audit.kinds import Kind
from countersign.audit.mandates import Mandate, actor_of


@dataclass(frozen=True, slots=True)
class Trail:
    """The checked entries of one case."""

    entries: Sequence[Checked]

    @property
    def workflow(self) -> Workflow | None:
        """The version under which the case goes on; None for a thread that is no case."""
        if not self.entries or self.entries[0].body.kind != Kind.CASE_OPENED:
            return None
        acts = (Kind.CASE_OPENED, Kind.CASE_MOVED)
        return next(entry.body.workflow for entry in reversed(self.entries) if entry.body.kind in acts)

    @property
    def config(self) -> Mapping[str, Json]:
        """What its caller said of the runs of this case."""
        payload = self.entries[0].payload
        found = payload.get("config") if isinstance(payload, dict) else None
        return found if isinstance(found, dict) else {}

    def runs_under(self, mandate: int) -> int:
        """Return how many runs were begun under a mandate."""
        begins = (Kind.RUN_STARTED, Kind.RUN_RESUMED)
        actor = actor_of(mandate)
        return sum(entry.body.kind in begins and entry.body.actor == actor for entry in self.entries[mandate:])

    def replay(self, policy: Policy) -> CaseRuns:
        """Return where the case stands under its policy."""
        runs = CaseRuns(policy)
        for entry in self.entries:
            runs.feed(entry)
        return runs

    def stands(self, mandate: int, place: CheckpointRef | None) -> bool:
        """Tell whether a static pause was recorded behind a mandate, where the case now is."""
        return any(_is_static(entry) and entry.body.checkpoint == place for entry in self.entries[mandate:])

    def released(self, runs: CaseRuns) -> set[str]:
        """Return the nodes before which people let the case pass where it now is, also at pauses that no gate names."""
        found: set[str] = set()
        for mandate in runs.mandates.values():
            place = _passed(mandate)
            if place is not None and runs.tip in (place.id, mandate.updated):
                found |= self._paused_before(place)
        return found

    def _paused_before(self, place: CheckpointRef) -> set[str]:
        return {
            node
            for entry in self.entries
            if _is_static(entry) and entry.body.checkpoint == place and entry.body.detail["when"] == "before"
            for node in _next(entry)
        }


def held_back(runs: CaseRuns, nodes: Collection[str], stops: Collection[str], released: Collection[str]) -> str | None:
    """Return how a case has to stand still where `nodes` are due: `before`, `after`, or None if it may go on.

    LangGraph goes past every pause at which it is resumed, those that nobody looked at as well. `stops` are the nodes
    before which a run must stand still, `released` those that people let pass.
    """
    whens = {gate.when for gate in runs.due(nodes)}
    if "before" not in whens and runs.crossings.policy is not None:
        named = {gate.node for gate in runs.crossings.policy.gates if gate.when == "before"}
        if {*stops} - named - {*released}:
            return "before"
    return "before" if "before" in whens else next(iter(whens), None)


def _passed(mandate: Mandate) -> CheckpointRef | None:
    """Return the checkpoint of the static pause that a mandate lets a case pass, if it does."""
    subject = mandate.subject
    if mandate.kind != Kind.REVIEW_DECIDED or subject is None or subject.interrupt or not mandate.resume:
        return None
    return subject.checkpoint if subject.when == "before" and not subject.checkpoint.ns else None


def _is_static(entry: Checked) -> bool:
    return entry.body.kind == Kind.INTERRUPT_RAISED and entry.body.detail["when"] != "dynamic"


def _next(entry: Checked) -> set[str]:
    payload = entry.payload if isinstance(entry.payload, dict) else {}
    return {*map(str, cast("Sequence[Any]", entry.body.detail.get("next", payload.get("next", ()))))}
