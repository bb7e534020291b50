"""What the worker did in a case, held against its mandates and gates: one pure replay of a case's trail.

The worker uses it to know what to do next, the service to know where a case stands, and verification to find that a
run was made that nobody allowed. It judges what the graph key signed; whether the mandates themselves were rightly
given is for `governed` to say, which feeds it each with its verdict. Sentences go on from "Entry 7 of trail x".
"""

from __future__ import annotations

from collections.abc import Collection

from .allowed import edit_allowed, run_allowed
from .body import Body
from .chain import Checked
from .crossings import Crossings, node_of
from .entry import CheckpointRef, Workflow
from .gates import Gate, Policy
from .kinds import Kind
from .mandates import (
    ASKING,
    KINDS,
    STATIC,
    WITHIN,
    Act,
    Mandate,
    Pause,
    Question,
    Run,
    Status,
    Todo,
    mandate_in,
    named_mandate,
    next_act,
)
from .subjects import Subjects
from .tasks import Tasks

__all__ = ["CaseRuns", "Status"]
_RESUME = "__resume__"
_EDIT_PATH = "~__interrupt__"
_ACTS = frozenset({Kind.RUN_STARTED, Kind.RUN_RESUMED, Kind.RUN_FORKED, Kind.STATE_UPDATED})
_SAVES = frozenset({Kind.CHECKPOINT_SAVED, Kind.WRITES_SAVED})
_ENDS = frozenset({Kind.RUN_COMPLETED, Kind.RUN_PAUSED, Kind.RUN_FAILED, Kind.RUN_REFUSED})
_RAISES = frozenset({Kind.INTERRUPT_RAISED})
_FAILURES = frozenset({Kind.RUN_FAILED, Kind.RUN_REFUSED})
_SUBJECTS = frozenset({Kind.REVIEW_OPENED, Kind.REVIEW_REOPENED})


class CaseRuns:
    """The runs, edits, pauses and questions of one case. Feed it the checked entries of its trail in order.

    `policy` may be set anew when the case is moved to another version.
    """

    def __init__(self, policy: Policy | None = None, workflow: Workflow | None = None) -> None:
        self.crossings = Crossings(policy)
        self.workflow = workflow
        """The version that runs have to name; None: whatever they name."""
        self.mandates: dict[int, Mandate] = {}
        self.run: Run | None = None
        self.pause: Pause | None = None
        """The static pause at which the case stands."""
        self.questions: dict[str, Question] = {}
        """The questions that are open, by id."""
        self.stopped = False
        self.completed = False
        self.unknown = 0
        """How many things could not be compared since a payload was erased."""
        self._acted = 0
        self._subjects = Subjects()
        self._tasks = Tasks()
        self._runs: dict[str, Run] = {}

    @property
    def tip(self) -> str | None:
        """The root graph's latest checkpoint."""
        return self.crossings.tip

    @property
    def pending(self) -> list[Mandate]:
        """The mandates under which something may still be done, in order."""
        return [one for one in self.mandates.values() if not one.over and not one.failed and one.seq >= self._acted]

    @property
    def status(self) -> Status:
        """Where the case stands."""
        if self.stopped:
            return Status.STOPPED
        if self.completed:
            return Status.COMPLETED
        if self.pending:
            return Status.RUNNING
        failed = any(one.failed for one in self.mandates.values() if one.seq >= self._acted)
        if failed or (self.run is not None and self.run.ended in _FAILURES):
            return Status.FAILED
        return Status.WAITING if self.pause or self.questions else Status.RUNNING

    def due(self, nodes: Collection[str] | None = None) -> tuple[Gate, ...]:
        """Return the gates that stand where the case is and are not released, in the order in which they are taken.

        `nodes`: those that run next; without, those that the pause names.
        """
        if nodes is None:
            nodes = self.pause.nodes if self.pause and not self.pause.checkpoint.ns else ()
        return self.crossings.due(nodes)

    def todo(self, seq: int, nodes: Collection[str] = (), *, again: bool = False) -> Todo:
        """Return what the worker does next under the mandate at `seq`.

        `nodes` are those of the root graph that are due by its state (`snapshot.next`); `again`: a run under it that
        failed is tried once more. Before a run that was lost is resumed, what it left unsaid has to be recorded: see
        docs/events.md, "After a crash". Raises KeyError when there is no mandate there.
        """
        mandate = self.mandates[seq]
        if self.stopped or seq < self._acted:
            return Todo(Act.NOTHING)
        gated = min((gate.when for gate in self.due(nodes)), key=("before", "after").index, default=None)
        return next_act(mandate, started=self.tip is not None, gated=gated, again=again)

    def feed(self, checked: Checked, *, sound: bool = True) -> list[str]:
        """Take over the next entry, and return a sentence for each thing that it shows and nothing allows.

        `sound`: whether a mandate was rightly given; one that was not releases nothing.
        """
        kind = checked.body.kind
        if kind in KINDS:
            self._give(checked, sound=sound)
        elif kind in _SUBJECTS:
            self._subjects.feed(checked.body, self.questions)
        elif kind == Kind.CASE_STOPPED:
            self.stopped = True
        elif kind == Kind.CASE_MOVED:
            self._move()
        for kinds, take in ((_ACTS, self._act), (_SAVES, self._save), (_RAISES, self._raise), (_ENDS, self._end)):
            if kind in kinds:
                return take(checked)
        return []

    # What people gave

    def _give(self, checked: Checked, *, sound: bool) -> None:
        mandate = mandate_in(checked)
        mandate.sound = sound
        mandate.pause, mandate.when = self._waits(), self.pause.when if self.pause else "before"
        if mandate.kind == Kind.REVIEW_DECIDED:
            mandate.subject = subject = self._subjects.of(checked.body.detail.get("review"))
            if subject and sound and not subject.interrupt:
                self.crossings.release(subject.checkpoint.id, subject.gate)
            mandate.question = self.questions.get(str(subject.interrupt)) if subject else None
            mandate.over = not mandate.resume and not mandate.updates
        if mandate.kind == Kind.CASE_RETRIED and self.mandates:
            last = self._to_be_retried()
            mandate.retries, last.over = last, True
        self.mandates[mandate.seq] = mandate

    def _move(self) -> None:
        """Void what was decided by the policy of another version and is not carried out yet: its gates are due anew.

        A run that is under way is not broken off. An edit that was made stays, and its gates stand at it again.
        """
        pending = self.pending
        if any(one.doing.ran for one in pending):
            return
        self.crossings.revoke()
        for mandate in pending:
            if mandate.doing.kind == Kind.REVIEW_DECIDED and mandate.doing.updated is None:
                mandate.over = True

    def _to_be_retried(self) -> Mandate:
        """Return the mandate that failed or was lost last; what failed before a later one was acted on is past."""
        last = [*reversed(self.mandates.values())]
        failed = next((one for one in last if one.failed and one.seq >= self._acted), None)
        return failed or (self.run.mandate if self.run else None) or last[0]

    def _waits(self) -> str | None:
        if self.pause is not None:
            return WITHIN if self.pause.checkpoint.ns else STATIC
        return ASKING if self.questions else None

    # What the worker did

    def _act(self, checked: Checked) -> list[str]:
        body = checked.body
        said = self._wrong_version(body)
        number = named_mandate(body.actor)
        mandate = self.mandates.get(number or 0)
        if body.kind == Kind.RUN_FORKED:
            return [*said, "leaves the latest checkpoint aside (a fork), which nothing in a case allows"]
        if self.stopped:
            said.append("goes on with a case that was stopped")
        if mandate is None:
            who = f"{body.actor.id} ({body.actor.via})"
            said.append(f"was made by {who}, and under no entry of this case that allows it")
        elif mandate.seq < self._acted or mandate.over:
            said.append(f"acts once more under entry {mandate.seq}, which is used up")
        else:
            said += self._judged(checked, mandate)
        self._acted = max(self._acted, mandate.seq if mandate else 0)
        if body.kind == Kind.STATE_UPDATED:
            self._edited(body, mandate)
        else:
            self._opened(body, mandate)
        return said

    def _judged(self, checked: Checked, mandate: Mandate) -> list[str]:
        if checked.body.kind == Kind.STATE_UPDATED:
            found = [*edit_allowed(checked, mandate, self.tip)]
        else:
            found = [*run_allowed(checked, mandate, self.tip, self.crossings.policy)]
        self.unknown += found.count(None)
        return [sentence for sentence in found if sentence is not None]

    def _wrong_version(self, body: Body) -> list[str]:
        if self.workflow is None or body.workflow == self.workflow:
            return []
        ran = f"{body.workflow.name} {body.workflow.version}" if body.workflow else "no workflow"
        return [f"runs {ran}, and the case is one of {self.workflow.name} {self.workflow.version}"]

    def _opened(self, body: Body, mandate: Mandate | None) -> None:
        command = body.detail.get("command")
        words = tuple(map(str, command)) if isinstance(command, list) else ()
        self.run = Run(str(body.run), body.seq, mandate, words, starts=body.kind == Kind.RUN_STARTED)
        self._runs[self.run.id] = self.run
        self.pause, self.completed = None, False
        if mandate is not None:
            mandate.doing.ran, mandate.failed = True, False
            if mandate.doing.question is not None:
                self.questions.pop(mandate.doing.question.id, None)

    def _edited(self, body: Body, mandate: Mandate | None) -> None:
        if body.checkpoint is None or body.checkpoint.ns:
            return
        work = mandate.doing if mandate else None
        ended = work is not None and work.kind == Kind.CASE_REDIRECTED
        decided = work is not None and work.kind == Kind.REVIEW_DECIDED and work.sound
        self.crossings.edited(body, decided=decided, ended=ended)
        self.pause = None
        self.questions.clear()
        self._put_aside(mandate)
        if mandate is not None and work is not None:
            work.updated = body.checkpoint.id
            mandate.over = work.kind == Kind.CASE_CORRECTED and work.pause is None

    def _put_aside(self, mandate: Mandate | None) -> None:
        """An answer that a failed run did not deliver answers nothing that is asked at another checkpoint."""
        failed = self.run.mandate if self.run else None
        if failed is not None and failed is not mandate and failed.doing.answers:
            failed.doing.delivered = True

    def _save(self, checked: Checked) -> list[str]:
        body, path = checked.body, checked.body.detail.get("path")
        if body.kind == Kind.WRITES_SAVED and isinstance(path, str) and path.startswith(_EDIT_PATH):
            return [] if self._is_edit(body) else ["is part of an edit that no entry of this case allows"]
        run = self._runs.get(str(body.run))
        said = [] if run is not None else ["was saved outside of any run that was recorded"]
        if run is not None and run.ended is not None and run.ended not in _FAILURES:
            said.append(f"was saved by a run that had ended ({run.ended})")
        took = body.kind == Kind.CHECKPOINT_SAVED
        return said + (self._checkpoint(body, run, node_of(checked)) if took else self._writes(checked, run))

    def _is_edit(self, body: Body) -> bool:
        """Tell whether what is saved can be part of an edit: no node runs in one, and no run makes one."""
        mandate = self.mandates.get(named_mandate(body.actor) or 0)
        return (
            mandate is not None
            and mandate.doing.updates
            and str(body.run) not in self._runs
            and "node" not in body.detail
        )

    def _checkpoint(self, body: Body, run: Run | None, node: str) -> list[str]:
        place, source, said = body.checkpoint, body.detail.get("source"), []
        if source not in ("input", "loop"):
            said.append(f"is a checkpoint of another origin ({source}) than a run of a case has")
        if place is None or place.ns:
            return said + self.crossings.ran_within(node)
        if source == "input" and run is not None and not run.starts:
            said.append("takes in an input in a run that was begun without one")
        if place.parent != self.tip:
            said.append(f"goes on from checkpoint {place.parent}, which is not the latest")
        self.questions.clear()
        return said + self.crossings.saved(body)

    def _writes(self, checked: Checked, run: Run | None) -> list[str]:
        body, detail = checked.body, checked.body.detail
        place, work = body.checkpoint, run.mandate.doing if run and run.mandate else None
        payload = checked.payload if isinstance(checked.payload, dict) else {}
        named = detail.get("channels", payload.get("channels"))
        channels = set(map(str, named)) if isinstance(named, list) else set()
        if not detail.get("path"):
            return self._command_writes(channels, run, work)
        said = self._tasks.feed(checked)
        if work is not None and work.question is not None and _RESUME in channels:
            work.delivered = work.delivered or work.question.task == detail.get("task")
        elif _RESUME in channels:
            said.append("holds an answer that no decision gave")
        if place is None or place.ns:
            return said + self.crossings.ran_within(node_of(checked))
        said += self.crossings.wrote(body, node_of(checked))
        old = self.crossings.knows(place.id) and not self.crossings.stands_at(place.id)
        if old and not (run and run.ended in _FAILURES):
            said.append(f"writes to checkpoint {place.id}, which is not the latest")
        return said

    def _command_writes(self, channels: set[str], run: Run | None, work: Mandate | None) -> list[str]:
        """Take over what a caller's Command delivers, besides an answer."""
        if not channels:
            return []
        if _RESUME in channels:
            return ["leaves an answer for whoever asks next, which no decision gave"]
        if work is not None and run is not None and "goto" in run.command:
            work.delivered = True
            return []
        return ["delivers what no recorded Command brought"]

    def _raise(self, checked: Checked) -> list[str]:
        body, place = checked.body, checked.body.checkpoint
        run = self._runs.get(str(body.run))
        if place is None:
            return ["names no checkpoint at which the case pauses"]
        if body.detail.get("when") == "dynamic":
            question = Question(
                str(body.detail.get("interrupt")),
                body.seq,
                str(body.detail.get("task")),
                str(body.detail.get("node", "")) if place.ns else node_of(checked),
                place,
            )
            self.questions[question.id] = question
            if run is not None and run.mandate is not None:
                run.mandate.over = True
            said = self.crossings.unwritten() + self._tasks.feed(checked)
            return said if run is not None else [*said, "asks outside of any run that was recorded"]
        return self._pauses(checked, place, run)

    def _pauses(self, checked: Checked, place: CheckpointRef, run: Run | None) -> list[str]:
        body, payload = checked.body, checked.payload if isinstance(checked.payload, dict) else {}
        named = body.detail.get("next", payload.get("next"))
        nodes = tuple(map(str, named)) if isinstance(named, list) else ()
        self.pause = Pause(body.seq, str(body.detail.get("when")), nodes, place)
        said = self.crossings.unwritten()
        if not place.ns and place.id != self.tip:
            said.append(f"pauses at checkpoint {place.id}, which is not the latest")
        edit = self.mandates.get(self._acted)
        if run is None and self.run is not None and self.run.ended is None:
            run = self.run  # lost to a crash, and what is due there is recorded in its place
        if edit is not None and not (edit.over or edit.doing.ran) and edit.doing.updated == place.id:
            edit.over = True
        elif run is not None and run is self.run and run.ended in (None, Kind.INTERRUPT_RAISED):
            run.ended = Kind.INTERRUPT_RAISED
            if run.mandate is not None:
                run.mandate.over = True
        elif self.pending:
            self.pending[0].over = True  # it would go on, and a gate is due again that nobody released
        else:
            said.append("pauses although no run was under way, and no edit of the case was to be looked at anew")
        return said

    def _end(self, checked: Checked) -> list[str]:
        body = checked.body
        run = self._runs.get(str(body.run))
        if run is None:
            return self._not_begun(body)
        if body.kind in _FAILURES:
            return self._failed(run, body.kind)
        said = [] if run is self.run and run.ended is None else ["ends a run that had ended before"]
        run.ended = body.kind
        if run.mandate is not None:
            run.mandate.over = True
        if body.kind == Kind.RUN_COMPLETED:
            self.completed = True
            if self.questions:
                said.append("says that the graph came to its end although it waits for an answer")
            return said + self.crossings.completed()
        self._still_open(body, run)
        return said

    def _not_begun(self, body: Body) -> list[str]:
        """Take over that what a mandate allows could not even be begun: an edit that the graph did not take."""
        mandate = self.mandates.get(named_mandate(body.actor) or 0)
        if mandate is not None and body.kind in _FAILURES:
            mandate.failed = True
            return []
        return [] if body.kind == Kind.RUN_REFUSED else ["ends a run that nobody is recorded to have begun"]

    def _failed(self, run: Run, kind: str) -> list[str]:
        if run.ended is not None:
            return []
        run.ended = kind
        if run is self.run and run.mandate is not None:
            run.mandate.failed, run.mandate.over = True, False
        return []

    def _still_open(self, body: Body, run: Run) -> None:
        """Take up again a question that the run was to answer, and at which it says that it waits all the same."""
        named = body.detail.get("interrupts")
        question = run.mandate.doing.question if run.mandate else None
        if question is not None and isinstance(named, list) and question.id in named:
            self.questions[question.id] = question
