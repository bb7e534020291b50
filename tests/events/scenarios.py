"""The rows of the event table: what is done with which graph. What is recorded of it stands in docs/events.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.errors import GraphRecursionError
from langgraph.types import Command, StateSnapshot, StateUpdate

from events import systems
from events.systems import NEW


@dataclass(frozen=True)
class Seen:
    """What a caller sees of a thread before the next step."""

    state: StateSnapshot
    history: Sequence[StateSnapshot]

    @property
    def questions(self) -> list[str]:
        """Return the ids of the open questions, by value."""
        return [item.id for item in sorted(self.state.interrupts, key=lambda item: str(item.value))]

    def at(self, node: str) -> StateSnapshot:
        """Return the oldest state in which `node` was due."""
        return [found for found in self.history if node in found.next][-1]


Given = Any | Callable[[Seen], Any]


@dataclass(frozen=True)
class Run:
    """A run; `given` and `at` (a state to start from) may be functions of what is seen."""

    label: str
    given: Given
    at: Callable[[Seen], StateSnapshot] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    raises: type[BaseException] | None = None
    way: str | None = None
    """`cancel` or `abandon`, instead of the way the row is tried in."""


@dataclass(frozen=True)
class Edit:
    """An edit from outside: the supersteps of `bulk_update_state`; `update_state` is one with one update."""

    label: str
    steps: Sequence[Sequence[StateUpdate]]
    at: Callable[[Seen], StateSnapshot] | None = None


Step = Run | Edit


@dataclass(frozen=True)
class Scenario:
    """One row."""

    name: str
    build: Callable[[], Any]
    steps: Sequence[Step]
    only: str | None = None
    """The saver that it exists for, `sync` or `async`; both without."""
    at_once: bool = False
    """Whether tasks run side by side, and so commit in any order."""
    aside: Sequence[str] = ()
    """Entries that may commit behind the question that their run ends at: state, which shows no tasks of the functional
    API, tells of a pause by then."""
    mended: Callable[[], Any] | None = None
    """The graph of those who finish the thread, where its own never comes to an end."""

    @property
    def input(self) -> Any:
        """The input that the row's first run begins with, or a new order where that is no input."""
        given = next((step.given for step in self.steps if isinstance(step, Run)), None)
        return NEW if given is None or isinstance(given, Command) or callable(given) else given


def _edit(label: str, values: Any, as_node: str | None = None, **at: Any) -> Edit:
    return Edit(label, [[StateUpdate(values, as_node)]], **at)


def _answer(index: int) -> Callable[[Seen], Any]:
    return lambda seen: Command(resume={seen.questions[index]: "yes"})


def _all_answers(seen: Seen) -> Any:
    return Command(resume=dict.fromkeys(seen.questions, "yes"))


START = Run("start", NEW)
RESUME = Run("resume", None)
YES = Run('answer "yes"', Command(resume="yes"))

SCENARIOS: Sequence[Scenario] = (
    Scenario("completion", systems.straight, [START]),
    Scenario("pause before a node", systems.paused_before, [START, RESUME]),
    Scenario("pause after a node", systems.paused_after, [START, RESUME]),
    Scenario(
        "pause that the caller chose",
        systems.straight,
        [Run("start, interrupt_before order", NEW, options={"interrupt_before": ["order"]}), RESUME],
    ),
    Scenario(
        "pause that the caller chose in place of the graph's",
        systems.paused_before,
        [Run("start, interrupt_before analyze", NEW, options={"interrupt_before": ["analyze"]}), RESUME, RESUME],
    ),
    Scenario("pause before every node", systems.paused_everywhere, [START, RESUME, RESUME]),
    Scenario("pause after the last node", systems.paused_at_the_end, [START, RESUME]),
    Scenario(
        "edit at a pause, which decides the branch",
        systems.routed,
        [START, _edit("update_state", {"decision": "yes"}), RESUME],
    ),
    Scenario("question", systems.asking, [START, YES]),
    Scenario("answer that is false", systems.asking, [START, Run("answer False", Command(resume=False))]),
    Scenario("question left open", systems.asking, [START, RESUME, YES]),
    Scenario(
        "two questions in one node",
        systems.asking_twice,
        [START, Run('answer "5"', Command(resume="5")), Run('answer "oral"', Command(resume="oral"))],
    ),
    Scenario("question in a loop", systems.asking_in_a_loop, [START, Run('answer "no"', Command(resume="no")), YES]),
    Scenario(
        "two questions at once, answered together",
        systems.side_by_side,
        [START, Run("answer both by id", _all_answers)],
        at_once=True,
    ),
    Scenario(
        "two questions at once, answered one by one",
        systems.side_by_side,
        [START, Run("answer right by id", _answer(1)), Run("answer left by id", _answer(0))],
        at_once=True,
    ),
    Scenario("question beside a node that ends", systems.one_asks, [START, YES], at_once=True),
    Scenario("question in a subgraph on its parent's saver", systems.inherited, [START, YES]),
    Scenario("question in a subgraph with a history of its own", systems.own, [START, YES]),
    Scenario("pause before a node of a subgraph", systems.paused_within, [START, RESUME]),
    Scenario("pause after a node of a subgraph", systems.paused_within_after, [START, RESUME]),
    Scenario(
        "edit of a subgraph's state",
        systems.paused_within,
        [START, _edit("update_state of inner", {"dose": 6}, at=lambda seen: seen.state.tasks[0].state), RESUME],
    ),
    Scenario(
        "fan-out with Send",
        systems.fan_out,
        [START, Run("answer a by id", _answer(0)), Run("answer b by id", _answer(0))],
        at_once=True,
    ),
    Scenario(
        "functional API",
        systems.functional,
        [Run("start", 5), Run('answer "yes"', Command(resume="yes"))],
        only="sync",
        at_once=True,
        aside=["writes.saved analyze"],
    ),
    Scenario(
        "functional API, async",
        systems.functional_async,
        [Run("start", 5), Run('answer "yes"', Command(resume="yes"))],
        only="async",
    ),
    Scenario("retry by LangGraph", systems.retried, [START]),
    Scenario("error handler", systems.handled, [START]),
    Scenario("node that answers with a Command", systems.commanded, [START, YES]),
    Scenario(
        "Command(goto) on a waiting thread",
        systems.asking,
        [START, Run("goto order", Command(goto="order")), YES],
        at_once=True,
    ),
    Scenario(
        "Command(update) on a waiting thread",
        systems.asking,
        [START, Run("update dose", Command(update={"dose": 7})), YES],
    ),
    Scenario("Command(goto) on a finished thread", systems.straight, [START, Run("goto order", Command(goto="order"))]),
    Scenario(
        "answer with an update",
        systems.asking,
        [START, Run('answer "yes", update dose', Command(resume="yes", update={"dose": 7}))],
    ),
    Scenario("edit of a thread that asks", systems.asking, [START, _edit("update_state", {"dose": 7}), RESUME, YES]),
    Scenario(
        "edit as a node", systems.asking, [START, _edit("update_state as ask", {"steps": ["told"]}, "ask"), RESUME]
    ),
    Scenario("edit that ends a thread", systems.asking, [START, _edit("update_state as __end__", None, "__end__")]),
    Scenario(
        "edits in bulk",
        systems.straight,
        [
            Edit("bulk_update_state", [[StateUpdate(NEW, "__input__")], [StateUpdate({"steps": ["told"]}, "analyze")]]),
            RESUME,
        ],
    ),
    Scenario(
        "copy of a checkpoint", systems.asking, [START, _edit("update_state as __copy__", None, "__copy__"), RESUME]
    ),
    Scenario("edit before the first run", systems.straight, [_edit("update_state", NEW), RESUME]),
    Scenario(
        "fork from an old checkpoint",
        systems.paused_before,
        [START, RESUME, Run("resume from where order was due", None, at=lambda seen: seen.at("order"))],
    ),
    Scenario(
        "fork by an edit of an old checkpoint",
        systems.straight,
        [START, _edit("update_state where order was due", {"dose": 9}, at=lambda seen: seen.at("order")), RESUME],
    ),
    Scenario(
        "fork by a new input at an old checkpoint",
        systems.straight,
        [START, Run("input where order was due", {"dose": 9}, at=lambda seen: seen.at("order"))],
    ),
    Scenario(
        "replay of an answered question",
        systems.asking,
        [START, YES, Run("resume from where ask was due", None, at=lambda seen: seen.at("ask")), YES],
    ),
    Scenario(
        "replay of the latest checkpoint",
        systems.paused_before,
        [START, Run("resume from the latest, by id", None, at=lambda seen: seen.state)],
    ),
    Scenario("new input on a waiting thread", systems.asking, [START, Run("start again", {"dose": 3})]),
    Scenario("new input on a finished thread", systems.straight, [START, Run("start again", {"dose": 3})]),
    Scenario("resume of a finished thread", systems.straight, [START, RESUME]),
    Scenario("failure", systems.failing, [Run("start", NEW, raises=RuntimeError), RESUME]),
    Scenario(
        "step limit",
        systems.straight,
        [Run("start, one step allowed", NEW, options={"recursion_limit": 1}, raises=GraphRecursionError), RESUME],
    ),
    Scenario(
        "timeout",
        lambda: systems.hanging(step_timeout=systems.PATIENCE),
        [Run("start", NEW, raises=TimeoutError)],
        mended=systems.straight,
    ),
    Scenario(
        "cancellation",
        systems.hanging,
        [Run("start", NEW, way="cancel")],
        only="async",
        mended=systems.straight,
    ),
    Scenario("abandoned stream", systems.straight, [Run("start, read one chunk", NEW, way="abandon"), RESUME]),
    Scenario(
        "DeltaChannel",
        systems.differences,
        [Run("start", {"notes": ["a"], "decision": ""}), _edit("update_state", {"notes": ["b"]}), RESUME, YES],
    ),
)
