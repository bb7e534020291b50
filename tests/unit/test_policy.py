"""Policies: good ones are read and written back, bad ones refused with the place that is wrong."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.canonical import Json
from countersign.audit.errors import MalformedError, NotFoundError
from countersign.audit.policy import fill, parse_policy
from unit.governing import decision, gate, policy, question_gate

DOLLAR: list[Json] = [decision("approved", releases=True, write={"notes": "$$5"})]
GOOD: list[tuple[str, dict[str, Json]]] = [
    ("one gate", policy()),
    ("no gate at all", policy(gates=[])),
    ("stages", policy(gate(stages=[{"role": "pharmacist", "count": 2}, {"role": "chief", "count": 1}]))),
    ("a question", policy(question_gate())),
    ("two gates before a node", policy(gate(), gate("second"))),
    ("before, after and in a node", policy(gate(), gate("b", "after"), question_gate(node="review"))),
    ("attested", policy(gate(accept="attested", separation=[]))),
    (
        "no times",
        policy(gate(times={"remind": None, "escalate": None, "expire": None}, escalate_to=None, on_expiry=None)),
    ),
    ("stops at the end of the time", policy(gate(on_expiry="stop"))),
    ("no edit", policy(gate(edit=None))),
    ("a schema that refers to itself", policy(gate(edit={"meaning": "m", "values": {"$ref": "#/$defs/a"}}))),
    ("a text that begins with a dollar", policy(gate(decisions=DOLLAR, on_expiry="stop"))),
]  # fmt: skip


@pytest.mark.parametrize("document", [document for _, document in GOOD], ids=[name for name, _ in GOOD])
def test_a_policy_is_read_and_written_back(document: dict[str, Json]) -> None:
    found = parse_policy(document)
    assert found.as_json() == document
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - it goes to workers of a verification


G = "gates.0"
D = "gates.0.decisions.0"
GONE: Any = object()
BAD: list[tuple[str, str, Any, str]] = [
    ("another spec", "spec", "countersign/policy/2", "spec is 'countersign/policy/2'"),
    ("no title", "title", GONE, "The policy lacks title"),
    ("an unknown member", "owner", "me", "The policy has members that mean nothing here: owner"),
    ("a float", "retention.days", 1.5, "cannot be written down"),
    ("an empty name", "workflow", "", "workflow is not a text"),
    ("all workflows", "workflow", "*", "workflow is *"),
    ("a name with space around it", "fallback", " x", "fallback is not a name"),
    ("a name that is too long", "fallback", "x" * 256, "fallback is not a name"),
    ("no days", "retention.days", 0, "retention.days is not a number from 1"),
    ("true for a number", "retention.days", True, "retention.days is not a number from 1"),
    ("an act without its list", "acts.start", "prescriber", "acts.start is not a list"),
    ("a role twice", "acts.start", ["a", "a"], "acts.start[1] is 'a' again"),
    ("an unknown act", "acts.burn", [], "acts has members that mean nothing here: burn"),
    ("a way around a gate", "acts.redirect.to", ["review"], "acts.redirect.to[0] is review, which stands behind"),
    ("a list for gates", "gates", {}, "gates is not a list"),
    ("another when", f"{G}.when", "during", "gates[0].when is 'during'"),
    ("no node", f"{G}.node", None, "gates[0].node is not a text"),
    ("no stage", f"{G}.stages", [], "gates[0].stages is empty"),
    ("nobody in a stage", f"{G}.stages.0.count", 0, "gates[0].stages[0].count is not a number"),
    ("another accept", f"{G}.accept", "any", "gates[0].accept is 'any'"),
    ("another separation", f"{G}.separation", ["owner"], "gates[0].separation[0] is 'owner'"),
    ("no decision", f"{G}.decisions", [], "gates[0].decisions has none that releases"),
    ("none that releases", f"{D}.releases", False, "gates[0].decisions has none that releases"),
    ("a decision twice", f"{D}.name", "rejected", "gates[0].decisions[1].name is 'rejected' again"),
    ("a decision to edit", f"{D}.name", "edit", "gates[0].decisions[0].name is 'edit', which means something of its"),
    ("a decision to stop", f"{D}.name", "stop", "gates[0].decisions[0].name is 'stop'"),
    ("no meaning", "gates.0.decisions.1.meaning", "", "gates[0].decisions[1].meaning is not a text"),
    ("a flag that is none", f"{D}.reason", 1, "gates[0].decisions[0].reason is neither true nor false"),
    ("a write that is no state", f"{D}.write", "$decision", "gates[0].decisions[0].write is not an object"),
    ("an unknown placeholder", f"{D}.write", {"a": "$who"}, "write has '$who', which stands for nothing; write $$who"),
    ("a placeholder without values", f"{D}.write", {"a": ["$values"]}, "has '$values', and this decision takes no"),
    ("a placeholder without a member", f"{D}.write", {"a": "$values."}, "has '$values.', which names no member"),
    ("a schema that is a flag", f"{D}.values", True, "gates[0].decisions[0].values is not a JSON schema"),
    (
        "a schema elsewhere",
        f"{D}.values",
        {"items": [{"$ref": "https://a.invalid/s.json"}]},
        "gates[0].decisions[0].values.items[0].$ref is 'https://a.invalid/s.json', another document",
    ),
    ("an edit by a schema elsewhere", f"{G}.edit.values", {"$dynamicRef": "s"}, "gates[0].edit.values.$dynamicRef"),
    ("an escalation to nobody", f"{G}.escalate_to", None, "gates[0].escalate_to and times.escalate go together"),
    ("an expiry without its outcome", f"{G}.on_expiry", None, "gates[0].on_expiry and times.expire go together"),
    ("an outcome without expiry", f"{G}.times.expire", None, "gates[0].on_expiry and times.expire go together"),
    ("an expiry that approves", f"{G}.on_expiry", "approved", "on_expiry is 'approved', which releases"),
    ("an expiry to nowhere", f"{G}.on_expiry", "lost", "on_expiry is 'lost', which is neither a decision"),
    ("a reminder behind expiry", f"{G}.times.remind", 3600, "times.remind is not before times.expire"),
    ("an escalation behind expiry", f"{G}.times.escalate", 9999, "times.escalate is not before times.expire"),
    ("a time of no seconds", f"{G}.times.remind", 0, "gates[0].times.remind is not a number"),
]  # fmt: skip


def changed(path: str, value: Any) -> Any:
    document: Any = copy.deepcopy(policy())
    *ways, last = [int(way) if way.isdigit() else way for way in path.split(".")]
    place = document
    for way in ways:
        place = place[way]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize(("path", "value", "sentence"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_policy_is_refused_with_its_place(path: str, value: Any, sentence: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_policy(changed(path, value))
    assert sentence in caught.value.message


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        ([gate(), gate()], "gates[1].name is 'pharmacist' again"),
        ([question_gate(), question_gate(name="b")], "gates[1].node is 'ask' again: a question has one gate"),
    ],
)
def test_gates_have_to_be_told_apart(gates: list[dict[str, Json]], sentence: str) -> None:
    with pytest.raises(MalformedError, match=sentence.replace("[", r"\[")):
        parse_policy(policy(*gates))


def test_an_expiry_cannot_give_values() -> None:
    rules: list[Json] = [decision("approved", releases=True), decision("rejected", releases=False, values={})]
    with pytest.raises(MalformedError, match="needs values that nobody gives then"):
        parse_policy(policy(gate(decisions=rules)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_whatever_is_no_policy_is_refused_as_malformed(document: Json) -> None:
    with pytest.raises(MalformedError):
        parse_policy(document)


@given(st.sampled_from([row[1] for row in BAD if row[1] != "owner"]), json_values)
def test_whatever_stands_in_a_place_a_policy_is_read_or_refused(path: str, value: Json) -> None:
    try:
        document = changed(path, value)
    except (KeyError, IndexError, TypeError):
        return
    try:
        assert parse_policy(document).as_json() == document
    except MalformedError as error:
        assert error.message  # noqa: PT017 - either is right, and nothing else is


def test_gates_are_found_by_name_and_place() -> None:
    found = parse_policy(policy(gate(), gate("second"), question_gate()))
    assert [one.name for one in found.gates_at("before", "review")] == ["pharmacist", "second"]
    assert [one.name for one in found.gates_at("interrupt", "ask")] == ["asked"]
    assert found.gates_at("after", "review") == ()
    assert found.gate("second").node == "review"
    with pytest.raises(NotFoundError):
        found.gate("third")
    with pytest.raises(NotFoundError):
        found.gate("second").decision("waved")


@pytest.mark.parametrize("when", ["before", "after", "interrupt"])
def test_the_gate_without_a_name_is_the_fallback_roles(when: str) -> None:
    found = parse_policy(policy()).gate(None, when)
    assert (found.name, [(one.role, one.count) for one in found.stages]) == (None, [("supervisor", 1)])
    assert set(found.separation) == {"starter", "editor"}
    assert [(rule.name, rule.releases, rule.reason) for rule in found.decisions] == [
        ("proceed", True, False),
        ("stop", False, True),
    ]
    assert found.decision("proceed").write == ("$values.resume" if when == "interrupt" else None)


FILLED: list[tuple[Json, Json]] = [
    ("$decision", "approved"),
    ("$reason", "as ordered"),
    ("$values", {"dose": 3, "who": "$decision"}),
    ("$values.dose", 3),
    ("$values.who", "$decision"),
    ("$$decision", "$decision"),
    ("$$$5", "$$5"),
    ("in $decision", "in $decision"),
    (None, None),
    (True, True),
    ({"a": ["$decision", {"$float": "0.5"}]}, {"a": ["approved", {"$float": "0.5"}]}),
    ({"$decision": 1}, {"$decision": 1}),
]


@pytest.mark.parametrize(("template", "expected"), FILLED)
def test_a_template_is_filled(template: Json, expected: Json) -> None:
    values: dict[str, Json] = {"dose": 3, "who": "$decision"}
    assert fill(template, decision="approved", reason="as ordered", values=values) == expected


def test_a_member_that_is_missing_is_refused() -> None:
    with pytest.raises(MalformedError, match="'dose'"):
        fill({"dose": "$values.dose"}, decision="approved", reason="", values={})
