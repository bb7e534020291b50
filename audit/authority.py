"""The check `authority`: whether what a trail says was done is what its workflow's policy allows (docs/formats.md).

Pure. A trail that begins with `case.opened` is a governed one, and replayed entry by entry. Any other has no policy to
keep, unless it names a workflow that is registered: then somebody ran the graph around its gates.
"""

from __future__ import annotations

from .chain import Checked
from .entry import Workflow
from .errors import VerificationError
from .governed import CaseReplay
from .kinds import Kind
from .shown import Views
from .signoffs import SignOffs
from .standing import Directory
from .verify import Report


class Authority:
    """Checks one trail. Feed it the entries in order; what it finds goes to the report."""

    __slots__ = ("_directory", "_origin", "_replay", "_report", "_seen", "_signed", "_trail", "_watches")

    def __init__(
        self,
        origin: str,
        trail: str | None,
        directory: Directory,
        report: Report,
        *,
        lists: bool = False,
    ) -> None:
        self._signed = SignOffs() if lists else None
        self._origin = origin
        self._trail = trail  # None: rows that name no trail at all
        self._directory = directory
        self._report = report
        self._replay: CaseReplay | None = None
        self._watches = trail is not None and not trail.startswith("@")
        self._seen: Workflow | None = None

    def feed(self, checked: Checked | None, leaf: int | None = None) -> None:
        """Take over the next entry, which is this leaf of the log, if it is one.

        None for a damaged one, behind which nothing of the trail can be judged.
        """
        if not self._watches:
            return
        if checked is None:
            self._watches = False
        elif self._replay is not None:
            self._judge(self._replay, checked, leaf)
        elif checked.body.seq == 1 and checked.body.kind == Kind.CASE_OPENED:
            self._replay = CaseReplay(self._origin, checked.body.trail, self._directory)
            self._report.governed += 1
            self._judge(self._replay, checked, leaf)
        elif checked.body.workflow is not self._seen:
            self._seen = checked.body.workflow
            self._check_plain(checked)

    @property
    def views(self) -> Views | None:
        """What the signers of a governed case were shown; None for any other trail."""
        return self._replay.case.views if self._replay is not None else None

    def tell(self) -> None:
        """Put into the report who signed what in the case, as far as it could be judged, if that was asked for."""
        if self._signed is not None and self._replay is not None:
            self._report.cases.append(self._signed.as_json(self._replay))

    def _judge(self, replay: CaseReplay, checked: Checked, leaf: int | None) -> None:
        before, shown, told = replay.unknown, replay.case.views.count, replay.case.views.compared
        errors = replay.feed(checked, leaf)
        for error in errors:
            self._report.add(error)
        if self._signed is not None:
            self._signed.feed(checked, replay, errors)
        self._report.unjudged += replay.unknown - before
        self._report.views.shown += replay.case.views.count - shown
        self._report.views.told += replay.case.views.compared - told

    def _check_plain(self, checked: Checked) -> None:
        workflow = checked.body.workflow
        if workflow is None or (workflow.name, workflow.version) not in self._directory.policies:
            return
        self._watches = False
        self._report.add(
            VerificationError(
                f"Entry {checked.body.seq} of trail {self._trail!r} is of the registered workflow {workflow.name!r}, "
                f"version {workflow.version}, and the trail does not begin with {Kind.CASE_OPENED}: the graph was run "
                "around the policy and its gates.",
                check="authority",
                trail=self._trail,
                seq=checked.body.seq,
                table="entries",
            )
        )


def say_authority(report: Report) -> None:
    """Say how many governed cases were replayed, where there are any."""
    if not report.governed and not report.unjudged:
        return
    cases, policies = ("case", "its policy") if report.governed == 1 else ("cases", "their policies")
    said = f"{report.governed} governed {cases} replayed against {policies}"
    if report.unjudged:
        report.indeterminate = True
        report.say(
            "authority", "missing", f"{said}; {report.unjudged} things cannot be judged since a payload was erased"
        )
    else:
        report.say("authority", "checked", said)
    _say_views(report)


def _say_views(report: Report) -> None:
    """Say how far what signers were shown was held against the state."""
    views = report.views
    if views.shown == views.held:
        report.say("views", "checked", f"{views.shown} that signers were shown, against the state of their cases")
        return
    if views.held:
        report.say("views", "checked", f"{views.held} that signers were shown, against the state of their cases")
    left = views.shown - views.held
    which = f"{left} {'view' if left == 1 else 'views'} that signers were shown"
    told = f", but for {views.told} values that entries of edits tell" if views.told else ""
    report.say("views", "not checked", f"that the state in {which} was the case's is the server's word{told}")
