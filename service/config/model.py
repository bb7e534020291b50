"""What countersign.toml says, as frozen values. Nothing here reads a file, a variable or a clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from countersign.audit.canonical import Json
from countersign.audit.errors import ConfigurationError
from countersign.audit.policy import Policy

from .places import KeyPath
from .reading import Source, spell

FILE_NAME = "countersign.toml"
SHORTEST_RETENTION_DAYS = 183
"""Below it stands a warning: rules for logs of automated decisions ask for six months at least."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a secret is: `env:NAME`, a variable, or `file:PATH`, a file whose one line is the secret.

    A path is relative to the folder of countersign.toml. The secret itself is never kept here.
    """

    kind: str
    name: str
    source: Source = field(repr=False, compare=False)
    path: KeyPath = field(compare=False)

    def resolve(self, environ: Mapping[str, str], folder: Path) -> str:
        """Return the secret. Raises ConfigurationError, which names the key, when it is not there or empty."""
        if self.kind == "env":
            found = environ.get(self.name, "")
            if not found:
                raise self._error(f"The variable {self.name} is not set.", f"Set {self.name}, or name another.")
            return found
        try:
            found = (folder / self.name).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise self._error(
                f"The file {self.name} cannot be read: {reason}.", "Mend that, or name another."
            ) from None
        if not found or "\n" in found:
            raise self._error(
                f"The file {self.name} does not hold one line.", "Put the secret there, and nothing else."
            )
        return found

    def _error(self, sentence: str, remedy: str) -> ConfigurationError:
        return self.source.error(self.path, sentence, remedy)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Sessions:
    """How long somebody stays signed in: without doing anything, and at all."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """How runs are watched and repeated (docs/configuration.md says what each means)."""

    run_limit: timedelta
    attempts: int
    first_wait: timedelta
    longest_wait: timedelta
    lost_after: timedelta
    sweep_every: timedelta
    grace: timedelta


@dataclass(frozen=True, slots=True)
class Service:
    """The table `[service]`. The databases are None where the environment names them, or the embedded one serves."""

    host: str
    port: int
    public_url: str
    database: Reference | None
    worker_database: Reference | None
    workers: int
    try_out: bool
    sessions: Sessions
    engine: EngineTimes


@dataclass(frozen=True, slots=True)
class Retention:
    """A class of retention: how many days a case is kept after its end."""

    name: str
    days: int


@dataclass(frozen=True, slots=True)
class GraphAddress:
    """Where a graph is: a module's name or a Python file (relative to `folder` if so written), and the name in it."""

    where: str
    attribute: str
    folder: Path

    @property
    def is_file(self) -> bool:
        """Whether it names a file, not a module."""
        return self.where.endswith(".py")

    def __str__(self) -> str:
        return f"{self.where}:{self.attribute}"


@dataclass(frozen=True, slots=True)
class WorkflowConfig:
    """One table `[workflows.<name>]`: which graph, and its policy ("countersign/policy/1").

    `image` is the declared digest that stands for the code; `project` the folder whose sources do otherwise, and
    `files` what else in it belongs to the code, as glob patterns. `path` is the key of the table in the file.
    """

    name: str
    graph: GraphAddress
    policy_document: Mapping[str, Json]
    policy: Policy
    image: str | None
    project: Path
    files: tuple[str, ...]
    path: KeyPath

    @property
    def title(self) -> str:
        """What people read in place of the name."""
        return str(self.policy_document["title"])


@dataclass(frozen=True, slots=True)
class LanggraphProject:
    """What was read of a LangGraph project's langgraph.json: its graphs, folders to import from, and its variables.

    `variables` are those written there; `env_file` is the file that it names instead, whose contents are not kept here.
    """

    file: Path
    graphs: Mapping[str, GraphAddress]
    folders: tuple[Path, ...]
    variables: Mapping[str, str] = field(repr=False)
    env_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """All of countersign.toml. Two of the same text and folder are equal. `warnings` are sentences that name a line."""

    file: Path
    service: Service
    retention: Mapping[str, Retention]
    workflows: Mapping[str, WorkflowConfig]
    langgraph: LanggraphProject | None
    warnings: tuple[str, ...]
    source: Source = field(repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """The folder of the file, from which every path in it is meant."""
        return self.file.parent

    def workflow(self, name: str) -> WorkflowConfig:
        """Return the workflow of that name. Raises ConfigurationError with the names there are."""
        if name not in self.workflows:
            raise ConfigurationError(
                f"{self.source.name} has no workflow {name[:100]!r}.", remedy=f"There are: {', '.join(self.workflows)}."
            )
        return self.workflows[name]

    @property
    def references(self) -> tuple[Reference, ...]:
        """Where the secrets are that the file speaks of."""
        return tuple(one for one in (self.service.database, self.service.worker_database) if one is not None)

    def secret(self, reference: Reference, environ: Mapping[str, str]) -> str:
        """Return what a reference of this file stands for. Raises ConfigurationError as `Reference.resolve` does."""
        return reference.resolve(environ, self.folder)

    def error(self, path: KeyPath, sentence: str, remedy: str) -> ConfigurationError:
        """Return an error about the key at `path`, with its line."""
        return self.source.error(path, sentence, remedy)

    def warning(self, path: KeyPath, sentence: str) -> str:
        """Return a warning about the key at `path`, with its line."""
        return f"{self.source.name}, line {self.source.line(path)}: {spell(path)}: {sentence}"
