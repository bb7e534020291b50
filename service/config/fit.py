"""Whether a policy fits its graph: the nodes and fields that it names must be there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .model import Config, WorkflowConfig
from .places import KeyPath
from .schemas import properties
from .structure import Shape


def check_fit(config: Config, workflow: WorkflowConfig, shape: Shape) -> tuple[str, ...]:
    """Return what should be known of a policy and its graph, sentences that name a line.

    Raises ConfigurationError, with line and remedy, where the policy names a node or a field that is not there.
    """
    policy: Any = workflow.policy_document
    for index, gate in enumerate(policy["gates"]):
        _check_gate(config, (*workflow.path, "gates", index), gate, shape)
    for index, node in enumerate(policy["acts"]["redirect"]["to"]):
        _check_node(config, (*workflow.path, "roles", "redirect", "to", index), node, shape)
    return tuple(config.warning(path, sentence) for path, sentence in _warnings(workflow.path, policy["gates"], shape))


def _check_gate(config: Config, path: KeyPath, gate: dict[str, Any], shape: Shape) -> None:
    _check_node(config, (*path, gate["when"]), gate["node"], shape)
    for decision in gate["decisions"]:
        if gate["when"] != "interrupt":
            for field in decision["write"] or ():
                _check_field(config, (*path, "decisions", decision["name"], "write", field), field, shape)
    if gate["edit"]:
        for field in sorted(properties(gate["edit"]["values"])):
            _check_field(config, (*path, "edit", "values", "properties", field), field, shape)


def _check_node(config: Config, path: KeyPath, node: str, shape: Shape) -> None:
    if node not in shape.nodes:
        raise config.error(path, f"The graph has no node {node!r}.", f"Its nodes: {', '.join(shape.nodes) or 'none'}.")


def _check_field(config: Config, path: KeyPath, field: str, shape: Shape) -> None:
    if field not in shape.fields:
        remedy = f"Its fields: {', '.join(shape.fields) or 'none'}."
        raise config.error(path, f"The graph's state has no field {field!r}.", remedy)


def _warnings(path: KeyPath, gates: list[dict[str, Any]], shape: Shape) -> Iterator[tuple[KeyPath, str]]:
    gated = {(gate["when"], gate["node"]) for gate in gates}
    for index, gate in enumerate(gates):
        if gate["when"] == "interrupt" and gate["node"] not in shape.asking:
            sentence = f"The code of {gate['node']!r} shows no interrupt(): this gate may never open."
            yield (*path, "gates", index, "interrupt"), sentence
    for when, node in shape.pausing:
        if (when, node) not in gated:
            sentence = (
                f"The graph was compiled to pause {when} {node!r}, and no gate names that: the fallback role decides."
            )
            yield path, sentence
    for node in shape.asking:
        if ("interrupt", node) not in gated:
            yield path, f"{node!r} may ask by interrupt(), and no gate names that: the fallback role answers."
    for remark in shape.remarks:
        yield (*path, "graph"), f"{remark} (countersign check says more.)"
