"""The tables `[workflows.<name>]`: each a graph's address and a policy document, canonical JSON."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from countersign.audit.canonical import Json
from countersign.audit.errors import MalformedError
from countersign.audit.gates import SPEC
from countersign.audit.policy import Policy, parse_policy

from .forms import check_name
from .gates import read_gates, roles_of
from .keys import ROLES, WORKFLOW
from .model import GraphAddress, LanggraphProject, Retention, WorkflowConfig
from .places import KeyPath
from .reading import Item, read_table

_STEP = re.compile(r"\.?([a-z_]+)|\[([0-9]+)\]")
_ACTS = ("start", "correct", "stop", "move", "retry")
_HOW_GRAPH = 'Add graph = "module.name:graph" or graph = "./file.py:graph".'


def read_workflows(
    item: Item, retention: Mapping[str, Retention], folder: Path, project: LanggraphProject | None
) -> dict[str, WorkflowConfig]:
    """Return the workflows of the file by name. Raises ConfigurationError on the first that cannot be meant."""
    found = {}
    for name, member in item.members():
        check_name(member, name)
        found[name] = _workflow(member, name, retention, folder, project)
    if not found:
        item.fail("There is no workflow.", "Add a table [workflows.NAME].")
    _check_files(item, found)
    return found


def _check_files(item: Item, found: dict[str, WorkflowConfig]) -> None:
    """Refuse two files of one name: their modules could not have it both, nor their state types."""
    files: dict[str, Path] = {}
    for workflow in found.values():
        if not workflow.graph.is_file:
            continue
        file = Path(os.path.normpath(workflow.graph.folder / workflow.graph.where))
        if files.setdefault(file.stem, file) != file:
            item.fail(
                f"Another workflow's graph is in another file named {file.name}.",
                f'Name one by its module, as in graph = "folder.{file.stem}:{workflow.graph.attribute}".',
                workflow.name,
                "graph",
            )


def _workflow(
    item: Item, name: str, retention: Mapping[str, Retention], folder: Path, project: LanggraphProject | None
) -> WorkflowConfig:
    found = read_table(item, WORKFLOW)
    graph, home = _graph(item, name, found["graph"], folder, project)
    kept = retention.get(found["retention"])
    if kept is None:
        there = ", ".join(retention) or "none"
        remedy = f"Add [retention.{found['retention']}] with days = ..., or name one there is: {there}."
        item.fail(f"There is no class of retention {found['retention']!r}.", remedy, "retention")
    gates = read_gates(item.at("gates") if "gates" in item.value else None)
    roles = read_table(item.at("roles"), ROLES)
    document: dict[str, Json] = {
        "spec": SPEC,
        "workflow": name,
        "title": found["title"] or name,
        "fallback": roles["fallback"],
        "retention": {"class": kept.name, "days": kept.days},
        "acts": _acts(roles, gates),
        "gates": [*gates],
    }
    return WorkflowConfig(
        name=name,
        graph=graph,
        policy_document=document,
        policy=_policy(item, document),
        image=found["image"],
        project=Path(os.path.normpath(folder / found["project"])) if found["project"] else home,
        files=tuple(found["files"]),
        path=item.path,
    )


def _policy(item: Item, document: dict[str, Json]) -> Policy:
    """Return what the verifier will read in a document; its word is the last one."""
    try:
        return parse_policy(document)
    except MalformedError as error:
        path = _place(item, document, error.message)
        # The complaint begins with its place in the document; here the key of the file says that.
        said = error.message if path == item.path else f"It {error.message.partition(' ')[2]}"
        raise item.source.error(path, said, "Mend that.") from error


def _place(item: Item, document: dict[str, Any], message: str) -> KeyPath:
    """Return the key of the file that a complaint about the policy document speaks of, as far as it has one."""
    path: list[str | int] = []
    for name, index in _STEP.findall(message.split(" ", maxsplit=1)[0]):
        path.append(int(index) if index else name)
    match path:
        case ["gates", int(gate), "decisions", int(decision), *rest]:
            name = document["gates"][gate]["decisions"][decision]["name"]
            return (*item.path, "gates", gate, "decisions", name, *rest)
        case ["acts", *rest]:
            return (*item.path, "roles", *rest)
        case ["gates", *_]:
            return (*item.path, *path)
    return item.path


def _graph(
    item: Item, name: str, given: tuple[str, str] | None, folder: Path, project: LanggraphProject | None
) -> tuple[GraphAddress, Path]:
    """Return where the graph is, and the folder of the project that it belongs to."""
    if given is not None:
        return GraphAddress(*given, folder), folder
    if project is None:
        item.fail("It names no graph.", _HOW_GRAPH)
    if name not in project.graphs:
        item.fail(
            "It names no graph, and langgraph.json lists none of this name.",
            f"{_HOW_GRAPH} langgraph.json has: {', '.join(project.graphs)}.",
        )
    return project.graphs[name], project.file.parent


def _acts(roles: dict[str, Any], gates: list[dict[str, Json]]) -> dict[str, Json]:
    acts: dict[str, Any] = {act: roles[act] if roles[act] is not None else [roles["fallback"]] for act in _ACTS}
    acts["redirect"] = roles["redirect"] or {"roles": [], "to": []}
    signers = [role for gate in gates for role in roles_of(gate)]
    others = [role for act in _ACTS for role in acts[act]]
    everyone = [*roles["read"], *others, *acts["redirect"]["roles"], *signers, roles["fallback"]]
    acts["read"] = sorted(set(everyone))
    return acts
