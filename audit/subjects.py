"""What each review of a case is about: the pause, or the question, at which people were asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .body import Body
from .canonical import Json
from .entry import CheckpointRef
from .kinds import Kind
from .mandates import Question, Subject


class Subjects:
    """The subjects of one case's reviews, by the review's id."""

    def __init__(self) -> None:
        self._of: dict[str, Subject] = {}

    def of(self, review: Json) -> Subject | None:
        """Return what a review is about; None where none of that name was opened."""
        return self._of.get(str(review))

    def feed(self, body: Body, questions: Mapping[str, Question]) -> None:
        """Take over a `review.opened` or `review.reopened`; `questions` are those that are open, by id."""
        review, place, interrupt = str(body.detail.get("review")), body.checkpoint, body.detail.get("interrupt")
        if place is None:
            return
        if body.kind == Kind.REVIEW_REOPENED and (was := self._of.get(review)) is not None:
            now = self._asked_now(was, place, interrupt, questions)
            self._of[review] = Subject(was.gate, was.when, place, now, was.node)
        elif body.kind == Kind.REVIEW_OPENED:
            gate = body.detail.get("gate")
            self._of[review] = Subject(
                gate if isinstance(gate, str) else None,
                str(body.detail.get("when")),
                place,
                interrupt if isinstance(interrupt, str) else None,
                question.node if (question := questions.get(str(interrupt))) else "",
            )

    def _asked_now(
        self, was: Subject, place: CheckpointRef, named: Json, questions: Mapping[str, Question]
    ) -> str | None:
        """Return the question that a review is about when it is opened again: its node asks with another id then."""
        if was.interrupt is None or isinstance(named, str):
            return named if isinstance(named, str) else None
        taken = {one.interrupt for one in self._of.values()}
        found = (
            one.id
            for one in questions.values()
            if (one.checkpoint.id, one.checkpoint.ns, one.node) == (place.id, place.ns, was.node)
        )
        return next((id_ for id_ in found if id_ not in taken), None)
