"""Runs that went on with a thread side by side, told from the entries of its trail alone (docs/formats.md, section 6).

Pure. Nothing in LangGraph keeps two processes from resuming one thread at once; the saver records what each of them
did, and this says so. Damage is that a run saves something after another run of the thread began, or after the thread
was edited, while no entry of its own had said that it was over: nodes may have run twice, and one of the two went on
from a checkpoint that the other leaves aside. A run that was lost to a crash saves nothing more, and is no damage.
"""

from __future__ import annotations

from .body import Body
from .entry import SYSTEM
from .errors import VerificationError
from .kinds import Kind

_OPENINGS = frozenset((Kind.RUN_STARTED, Kind.RUN_RESUMED))
_SAVES = frozenset((Kind.CHECKPOINT_SAVED, Kind.WRITES_SAVED))
_ENDS = frozenset((Kind.RUN_COMPLETED, Kind.RUN_FAILED, Kind.RUN_PAUSED, Kind.RUN_REFUSED, Kind.INTERRUPT_RAISED))
_NOBODY = (0, "")


class Overlaps:
    """The runs of one trail that may still be at it. Keeps one number for each run that no entry of its own ended."""

    __slots__ = ("_edit", "_last", "_opening", "_under_way")

    def __init__(self) -> None:
        self._under_way: dict[str | None, int] = {}
        """By run: where it began, or went on last after another had begun: what came before that is told already."""
        self._opening: tuple[int, str] = _NOBODY
        """The `seq` and the run of the newest opening."""
        self._edit = 0
        """The `seq` of the newest edit."""
        self._last = 0
        """The higher of the two."""

    def feed(self, body: Body) -> list[VerificationError]:
        """Return what the next checked entry shows: one failure for each run or edit in whose way its own run went on.

        Takes the same time for each entry, however long the trail is.
        """
        kind, run = body.kind, body.run
        if kind in _SAVES:
            since = self._under_way.get(run)
            return [] if since is None or since >= self._last else self._went_on(body, since)
        if kind in _OPENINGS and run is not None:
            # The same id again is the run begun anew: one cannot tell its entries from those of the one before.
            self._opening = (body.seq, run)
            self._under_way[run] = self._last = body.seq
        elif kind in _ENDS and _says_over(body):
            self._under_way.pop(run, None)
        elif kind == Kind.STATE_UPDATED:
            self._edit = self._last = body.seq
        return []

    def _went_on(self, body: Body, since: int) -> list[VerificationError]:
        if body.actor != SYSTEM:
            return []  # what an edit writes, by a caller who gave it the id of a run
        self._under_way[body.run] = body.seq
        seq, other = self._opening
        found = []
        if seq > since:
            found.append(
                _failed(
                    body,
                    f"after run {other} had begun at entry {seq}: nodes may have run twice, and what one of the two "
                    "saved may lie on a branch that nobody goes on from. Compare what both did, set right by an edit "
                    "what is missing, and let a thread be resumed from one place at a time.",
                )
            )
        if self._edit > since:
            found.append(
                _failed(
                    body,
                    f"after entry {self._edit} had edited it: that edit may lie on a branch that nobody goes on from. "
                    "Look where the thread stands now, make the edit again if it is still wanted, and edit a thread "
                    "when its run is over.",
                )
            )
        return found


def _says_over(body: Body) -> bool:
    """Tell whether an entry of a kind that ends runs says that its run saves nothing more.

    A question does not, since other tasks go on beside the one that asks. What somebody else appended for a run that
    seemed lost does not either: the run may have been slow.
    """
    detail = body.detail
    return not detail.get("recovered") and not (body.kind == Kind.INTERRUPT_RAISED and detail.get("when") == "dynamic")


def _failed(body: Body, sentence: str) -> VerificationError:
    return VerificationError(
        f"Entry {body.seq} of trail {body.trail!r} shows that run {body.run} went on with the thread {sentence}",
        check="overlap",
        trail=body.trail,
        seq=body.seq,
        table="entries",
    )
