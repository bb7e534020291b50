"""What a case's trail allows its worker, and what remains to be done of it. Pure.

A mandate is an entry of the deployment key that allows one act. Whatever is done under it names it as its actor, so the
trail says by itself how far a mandate was carried out, whoever crashed when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from countersign.audit.canonical import Json
from countersign.audit.chain import Checked
from countersign.audit.entry import Actor, CheckpointRef, Workflow
from countersign.audit.kinds import Kind

VIA = "mandate"
MANDATES = (Kind.CASE_OPENED, Kind.CASE_CORRECTED, Kind.CASE_REDIRECTED, Kind.CASE_RETRIED, Kind.REVIEW_DECIDED)
_BEGINS = (Kind.RUN_STARTED, Kind.RUN_RESUMED)
_ENDS = (Kind.RUN_COMPLETED, Kind.RUN_FAILED, Kind.RUN_REFUSED, Kind.RUN_PAUSED)


@dataclass(frozen=True, slots=True)
class Edit:
    """Change the state; with `as_node`, as that node, which then has nothing to say of it."""

    values: Json
    as_node: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Run the graph from its start, with the input of the case."""


@dataclass(frozen=True, slots=True)
class GoOn:
    """Run the graph on from where it stands."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Run the graph on with the answer to one of its questions."""

    interrupt: str
    value: Json


@dataclass(frozen=True, slots=True)
class Goto:
    """Run the graph on at another node."""

    node: str


@dataclass(frozen=True, slots=True)
class Stand:
    """Record where the graph stands, `before` or `after` nodes, since the state under that pause is another now."""

    when: str


@dataclass(frozen=True, slots=True)
class Recover:
    """Find out how a run ended of which no entry says so, and then do what is left: `act`."""

    run: str
    act: Start | GoOn | Answer | Goto


Step = Edit | Start | GoOn | Answer | Goto | Stand | Recover


def actor_of(mandate: int) -> Actor:
    """Return who acts under a mandate: the entry itself."""
    return Actor(f"entry:{mandate}", VIA)


def payload(entry: Checked) -> Mapping[str, Json]:
    """Return an entry's payload; nothing where it has none."""
    return entry.payload if isinstance(entry.payload, dict) else {}


def is_static(entry: Checked) -> bool:
    """Tell whether an entry says that the graph stands before or after nodes."""
    return entry.body.kind == Kind.INTERRUPT_RAISED and entry.body.detail["when"] != "dynamic"


@dataclass(frozen=True, slots=True)
class Trail:
    """The checked entries of one case, which begin with `case.opened`."""

    entries: Sequence[Checked]

    @property
    def opened(self) -> Checked:
        """The entry with which the case begins."""
        return self.entries[0]

    @property
    def is_governed(self) -> bool:
        """Whether this is a case at all, and not a thread that somebody ran by hand."""
        return bool(self.entries) and self.opened.body.kind == Kind.CASE_OPENED

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more may be done."""
        return any(entry.body.kind == Kind.CASE_STOPPED for entry in self.entries)

    @property
    def workflow(self) -> Workflow | None:
        """The version under which the case goes on: the one it was opened or last moved with."""
        acts = (Kind.CASE_OPENED, Kind.CASE_MOVED)
        return next(entry.body.workflow for entry in reversed(self.entries) if entry.body.kind in acts)

    @property
    def has_state(self) -> bool:
        """Whether LangGraph saved anything that there is to go on from."""
        saved = (Kind.CHECKPOINT_SAVED, Kind.STATE_UPDATED)
        return any(entry.body.kind in saved and self._at(entry).ns == "" for entry in self.entries)

    @property
    def config(self) -> Mapping[str, Json]:
        """What the caller said of the runs of this case."""
        found = payload(self.opened).get("config")
        return found if isinstance(found, dict) else {}

    def at(self, seq: int) -> Checked | None:
        """Return entry `seq`, if there is one."""
        return self.entries[seq - 1] if 0 < seq <= len(self.entries) else None

    def behind(self, seq: int) -> Sequence[Checked]:
        """Return the entries that come after entry `seq`."""
        return self.entries[seq:]

    def outstanding(self) -> Iterator[tuple[Checked, Step]]:
        """Yield each mandate of which something may remain, in order, with the next step."""
        if not self.is_governed or self.is_stopped:
            return
        for entry in self.entries:
            if entry.body.kind in MANDATES and (step := self.next_step(entry)) is not None:
                yield entry, step

    def next_step(self, mandate: Checked) -> Step | None:
        """Return what is to be done next under a mandate, None if nothing is."""
        seq = mandate.body.seq
        acts = [entry for entry in self.behind(seq) if entry.body.actor == actor_of(seq)]
        begun = [entry for entry in acts if entry.body.kind in _BEGINS]
        if any(entry.body.kind in (Kind.RUN_FAILED, Kind.RUN_REFUSED) for entry in acts):
            return None
        if begun:
            return self._after_a_run(mandate, begun)
        if self._was_passed_by(mandate):
            return None
        edit = _edit_of(mandate)
        edited = next((entry for entry in acts if entry.body.kind == Kind.STATE_UPDATED), None)
        if edit is not None and edited is None:
            return edit
        if any(map(is_static, self.behind(edited.body.seq if edited else seq))):
            return None
        return self._first_run(mandate, edited)

    def _was_passed_by(self, mandate: Checked) -> bool:
        """Tell whether the case went on under a later mandate. An answer is still due: questions stand side by side."""
        if mandate.body.kind == Kind.REVIEW_DECIDED and "resume" in _write(mandate):
            return False
        seq = mandate.body.seq
        acted = {entry.body.actor for entry in self.behind(seq) if entry.body.actor.via == VIA}
        return any(actor_of(later) in acted for later in self._later(seq))

    def _later(self, seq: int) -> list[int]:
        return [entry.body.seq for entry in self.behind(seq) if entry.body.kind in MANDATES]

    def _first_run(self, mandate: Checked, edited: Checked | None) -> Step | None:
        kind = mandate.body.kind
        if kind == Kind.CASE_CORRECTED:
            return self._after_a_correction(mandate)
        if kind == Kind.REVIEW_DECIDED and not mandate.body.detail["resume"]:
            return Stand(self._when(mandate)) if edited else None
        return self._act(mandate)

    def _act(self, mandate: Checked) -> Start | GoOn | Answer | Goto:
        kind = mandate.body.kind
        if not self.has_state:
            return Start()
        if kind == Kind.CASE_REDIRECTED:
            return Goto(str(mandate.body.detail["to"]))
        if kind == Kind.REVIEW_DECIDED and "resume" in (write := _write(mandate)):
            return Answer(self._question(mandate), write["resume"])
        return GoOn()

    def _after_a_correction(self, mandate: Checked) -> Step | None:
        """Return what a correction leads to: a pause stays one, a question is asked again, anything else waits."""
        for entry in reversed(self.entries[: mandate.body.seq]):
            if is_static(entry):
                return Stand(str(entry.body.detail["when"]))
            if entry.body.kind in (Kind.INTERRUPT_RAISED, Kind.RUN_PAUSED):
                return GoOn()
            if entry.body.kind in _ENDS:
                return None
        return None

    def _after_a_run(self, mandate: Checked, begun: Sequence[Checked]) -> Step | None:
        last = begun[-1]
        run = str(last.body.run)
        for entry in self.behind(last.body.seq):
            if is_static(entry) or (entry.body.run == run and entry.body.kind in _ENDS):
                return None
        act = self._act(mandate)
        answered = isinstance(act, Answer) and self._was_answered(act, begun[0])
        directed = isinstance(act, Goto) and self._was_directed(begun[0])
        if answered or directed:
            act = GoOn()
        if not isinstance(act, Answer) and self._later(mandate.body.seq):
            return None  # whatever is done next goes on from where this run stands
        return Recover(run, act)

    def _was_answered(self, answer: Answer, begun: Checked) -> bool:
        """Tell whether the task that asked wrote anything since: then it had its answer.

        LangGraph gives all questions of one task the same id, so the id alone does not say which one is open.
        """
        asked = self._asked(answer.interrupt, begun.body.seq)
        task = asked.body.detail.get("task") if asked else None
        return any(
            entry.body.kind in (Kind.WRITES_SAVED, Kind.INTERRUPT_RAISED) and entry.body.detail.get("task") == task
            for entry in self.behind(begun.body.seq)
        )

    def _was_directed(self, begun: Checked) -> bool:
        """Tell whether LangGraph saved where a run was told to go on."""
        return any(
            entry.body.kind == Kind.WRITES_SAVED and not entry.body.detail["path"]
            for entry in self.behind(begun.body.seq)
        )

    def _asked(self, interrupt: str, before: int) -> Checked | None:
        return next(
            (
                entry
                for entry in reversed(self.entries[: before - 1])
                if entry.body.kind == Kind.INTERRUPT_RAISED and entry.body.detail.get("interrupt") == interrupt
            ),
            None,
        )

    def _question(self, decided: Checked) -> str:
        """Return the id of the question that a decision answers: the one its review was last opened for."""
        opened = self.review(decided)
        place = opened.body.checkpoint
        if "interrupt" in opened.body.detail:
            return str(opened.body.detail["interrupt"])
        first = self.review(decided, reopened=False)
        nodes = cast("Sequence[str]", first.body.detail["nodes"])
        for entry in reversed(self.entries[: opened.body.seq]):
            body = entry.body
            dynamic = body.kind == Kind.INTERRUPT_RAISED and not is_static(entry)
            if dynamic and body.checkpoint == place and body.detail.get("node") in nodes:
                return str(body.detail["interrupt"])
        return str(first.body.detail["interrupt"])

    def _when(self, decided: Checked) -> str:
        return str(self.review(decided, reopened=False).body.detail["when"])

    def review(self, decided: Checked, *, reopened: bool = True) -> Checked:
        """Return the entry with which the review of a decision was opened, or last reopened. It is there: LookupError.

        The server, which has the deployment key, decides no review that it did not open.
        """
        kinds = (Kind.REVIEW_OPENED, Kind.REVIEW_REOPENED) if reopened else (Kind.REVIEW_OPENED,)
        for entry in reversed(self.entries[: decided.body.seq]):
            if entry.body.kind in kinds and entry.body.detail["review"] == decided.body.detail["review"]:
                return entry
        raise LookupError(f"entry {decided.body.seq} decides a review that was never opened")

    def released(self, checkpoint: str) -> set[str]:
        """Return the nodes that decisions allow to be begun at a checkpoint of the root graph."""
        found: set[str] = set()
        for entry in self.entries:
            if entry.body.kind == Kind.REVIEW_DECIDED and entry.body.detail["resume"] and self._when(entry) == "before":
                place = self.review(entry).body.checkpoint
                edited = [
                    self._at(act).id
                    for act in self.behind(entry.body.seq)
                    if act.body.kind == Kind.STATE_UPDATED and act.body.actor == actor_of(entry.body.seq)
                ]
                if place and not place.ns and checkpoint in (place.id, *edited):
                    found |= self._nodes(place)
        return found

    def _nodes(self, place: CheckpointRef) -> set[str]:
        """Return the nodes before which the graph stood at a checkpoint."""
        found: set[str] = set()
        for entry in self.entries:
            if is_static(entry) and entry.body.detail["when"] == "before" and entry.body.checkpoint == place:
                found |= {*map(str, cast("Sequence[Any]", entry.body.detail.get("next") or payload(entry).get("next")))}
        return found

    def _at(self, entry: Checked) -> CheckpointRef:
        return entry.body.checkpoint or CheckpointRef("")


def _write(decided: Checked) -> Mapping[str, Json]:
    found = payload(decided).get("write")
    return found if isinstance(found, dict) else {}


def _edit_of(mandate: Checked) -> Edit | None:
    kind = mandate.body.kind
    if kind == Kind.CASE_CORRECTED:
        return Edit(payload(mandate)["values"])
    if kind == Kind.CASE_REDIRECTED:
        return Edit(None, "__end__")
    if kind == Kind.REVIEW_DECIDED and (update := _write(mandate).get("update")) is not None:
        return Edit(update)
    return None
