"""The policy of a workflow: who must sign where, what may be decided, and what is written then (docs/formats.md).

Pure. JSON schemas in it are opaque values here: the service validates with them what people send. What is checked is
that a policy can be kept: every word of it is one that the rules know, and no document outside of it is referred to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .canonical import Json
from .errors import MalformedError, NotFoundError

SPEC = "countersign/policy/1"
EDIT = "edit"
STOP = "stop"
PROCEED = "proceed"
ANYTHING = "*"
"""In a grant: for all workflows."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How many people of which role sign next to each other."""

    role: str
    count: int


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """A decision that may be signed. With `releases` it takes all stages; without, one signature of the current one."""

    name: str
    meaning: str
    releases: bool
    reason: bool
    """Whether a reason must be given."""
    write: Json
    """A template for `fill`: state fields at a static gate, the answer at a question; None writes nothing."""
    values: Mapping[str, Json] | None
    """The JSON schema of values that have to be given; None where none may be."""

    def as_json(self) -> dict[str, Json]:
        """Return the member of a gate's `decisions`."""
        return {
            "name": self.name,
            "meaning": self.meaning,
            "releases": self.releases,
            "reason": self.reason,
            "write": self.write,
            "values": dict(self.values) if self.values is not None else None,
        }


@dataclass(frozen=True, slots=True)
class EditRule:
    """What signing an edit means, and the JSON schema of the fields that may be edited."""

    meaning: str
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Gate:
    """A named place at which people must sign: before or after a node, or at a node's question.

    `name` is None for the implicit one at a pause for which the policy names none.
    """

    name: str | None
    when: str
    node: str | None
    question: str
    stages: tuple[Stage, ...]
    accept: str
    """`signed`, or `attested`: then an API key's word counts as well."""
    separation: tuple[str, ...]
    """Who may not sign: `starter`, `editor`."""
    decisions: tuple[DecisionRule, ...]
    edit: EditRule | None = None
    remind: int | None = None
    """Seconds after which to remind; `escalate` and `expire` likewise."""
    escalate: int | None = None
    expire: int | None = None
    escalate_to: str | None = None
    on_expiry: str | None = None

    def decision(self, name: str) -> DecisionRule:
        """Return the rule for a decision of this gate. Raises NotFoundError when it has none of that name."""
        for rule in self.decisions:
            if rule.name == name:
                return rule
        names = ", ".join(rule.name for rule in self.decisions)
        raise NotFoundError(
            f"The gate {self.name or 'of the fallback role'!r} has no decision {name!r}.", remedy=f"It has {names}."
        )

    def as_json(self) -> dict[str, Json]:
        """Return the member of the policy's `gates`."""
        edit: Json = {"meaning": self.edit.meaning, "values": dict(self.edit.values)} if self.edit else None
        return {
            "name": self.name,
            "when": self.when,
            "node": self.node,
            "question": self.question,
            "stages": [{"role": stage.role, "count": stage.count} for stage in self.stages],
            "accept": self.accept,
            "separation": [*self.separation],
            "decisions": [rule.as_json() for rule in self.decisions],
            "edit": edit,
            "times": {"remind": self.remind, "escalate": self.escalate, "expire": self.expire},
            "escalate_to": self.escalate_to,
            "on_expiry": self.on_expiry,
        }


@dataclass(frozen=True, slots=True)
class Acts:
    """The roles that may do what is no decision in a review. `to`: the nodes at which a case may be made to go on."""

    start: tuple[str, ...]
    correct: tuple[str, ...]
    redirect: tuple[str, ...]
    to: tuple[str, ...]
    stop: tuple[str, ...]
    move: tuple[str, ...]
    retry: tuple[str, ...]
    read: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long evidence is kept, in days, and the class that the organisation gives it."""

    name: str
    days: int


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one version of a workflow."""

    workflow: str
    title: str
    fallback: str
    """The role that decides at a pause for which no gate is named."""
    retention: Retention
    acts: Acts
    gates: tuple[Gate, ...]

    def as_json(self) -> dict[str, Json]:
        """Return the document that `parse_policy` reads."""
        acts = self.acts
        return {
            "spec": SPEC,
            "workflow": self.workflow,
            "title": self.title,
            "fallback": self.fallback,
            "retention": {"class": self.retention.name, "days": self.retention.days},
            "acts": {
                "start": [*acts.start],
                "correct": [*acts.correct],
                "redirect": {"roles": [*acts.redirect], "to": [*acts.to]},
                "stop": [*acts.stop],
                "move": [*acts.move],
                "retry": [*acts.retry],
                "read": [*acts.read],
            },
            "gates": [gate.as_json() for gate in self.gates],
        }

    def gate(self, name: str | None, when: str = "before") -> Gate:
        """Return the gate of this name; for None the implicit one, at a pause that came `when`.

        Raises NotFoundError when there is none of that name.
        """
        if name is None:
            return fallback_gate(self.fallback, when)
        for gate in self.gates:
            if gate.name == name:
                return gate
        raise NotFoundError(f"The policy of {self.workflow!r} has no gate {name!r}.")

    def gates_at(self, when: str, node: str) -> tuple[Gate, ...]:
        """Return the gates `before` or `after` a node, or at its `interrupt`, in the order in which they are taken."""
        return tuple(gate for gate in self.gates if (gate.when, gate.node) == (when, node))


def fallback_gate(role: str, when: str) -> Gate:
    """Return the gate at a pause that no gate of the policy names: one person of the fallback role, who goes on or
    stops.

    At a question the answer is what they give as the value `resume`.
    """
    asks = when == "interrupt"
    answer: dict[str, Json] = {"type": "object", "required": ["resume"], "additionalProperties": False}
    answer["properties"] = {"resume": True}
    return Gate(
        name=None,
        when=when,
        node=None,
        question="The workflow waits at a place for which its policy has no rule. May it go on?",
        stages=(Stage(role, 1),),
        accept="signed",
        separation=("starter", "editor"),
        decisions=(
            DecisionRule(
                PROCEED,
                "I have looked at this case and answer for its going on.",
                releases=True,
                reason=False,
                write="$values.resume" if asks else None,
                values=answer if asks else None,
            ),
            DecisionRule(
                STOP,
                "I have looked at this case and stop it.",
                releases=False,
                reason=True,
                write=None,
                values=None,
            ),
        ),
    )


def fill(template: Json, *, decision: str, reason: str, values: Mapping[str, Json]) -> Json:
    """Return what a decision writes: the template with `$decision`, `$reason`, `$values` and `$values.<member>` put in.

    Only whole strings are replaced, `$$x` is the text `$x`, and nothing that is put in is looked at again. Raises
    MalformedError for a member that the values do not have.
    """
    if isinstance(template, list):
        return [fill(item, decision=decision, reason=reason, values=values) for item in template]
    if isinstance(template, dict):
        return {key: fill(item, decision=decision, reason=reason, values=values) for key, item in template.items()}
    if not isinstance(template, str) or not template.startswith("$"):
        return template
    if template.startswith("$$"):
        return template[1:]
    known: dict[str, Json] = {"$decision": decision, "$reason": reason, "$values": dict(values)}
    if template in known:
        return known[template]
    member = template.removeprefix("$values.")
    if member not in values:
        raise MalformedError(f"The values have no member {member!r}, which is to be written.")
    return values[member]


def placeholders(template: Json) -> Iterator[str]:
    """Yield the strings of a template that stand for something else."""
    if isinstance(template, list):
        for item in template:
            yield from placeholders(item)
    elif isinstance(template, dict):
        for item in template.values():
            yield from placeholders(item)
    elif isinstance(template, str) and template.startswith("$") and not template.startswith("$$"):
        yield template
