"""The version of a workflow: policy, graph structure, code and packages, each a canonical document.

Same input, same version, on every machine and in every checkout: no document holds a path outside the project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from countersign.audit.canonical import Json
from countersign.audit.standing import PARTS, part_digest, version_of

from .fit import check_fit
from .model import Config, WorkflowConfig
from .structure import Shape


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at the graph gave: three of the documents, and its shape."""

    graph: Mapping[str, Json]
    code: Mapping[str, Json]
    packages: Mapping[str, Json]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Description:
    """A version of a workflow: its name, the four documents of `workflow.registered`, and what to know of it."""

    workflow: str
    documents: Mapping[str, Json]
    shape: Shape
    warnings: tuple[str, ...]

    @property
    def parts(self) -> dict[str, str]:
        """The SHA-256 of each document, in hex."""
        return {part: part_digest(self.documents[part]) for part in PARTS}

    @property
    def version(self) -> str:
        """The version's name: 32 hex digits."""
        return version_of(self.workflow, {**self.parts})


def described(config: Config, workflow: WorkflowConfig, looked: Looked) -> Description:
    """Return the version of a workflow whose graph was looked at.

    Raises ConfigurationError, with the line, where the policy names a node or a field that the graph does not have.
    """
    warnings = check_fit(config, workflow, looked.shape)
    documents: dict[str, Json] = {
        "policy": dict(workflow.policy_document),
        "graph": dict(looked.graph),
        "code": dict(looked.code),
        "packages": dict(looked.packages),
    }
    return Description(workflow.name, documents, looked.shape, warnings)
