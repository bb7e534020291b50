"""From the text of countersign.toml to a Config, or one error that names file, line, key and remedy."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from countersign.audit.errors import ConfigurationError

from .forms import check_name, is_loopback
from .keys import ENGINE, RETENTION, SERVICE, SESSIONS, TOP
from .langgraph_project import parse_project
from .model import (
    FILE_NAME,
    SHORTEST_RETENTION_DAYS,
    Config,
    EngineTimes,
    LanggraphProject,
    Retention,
    Service,
    Sessions,
    WorkflowConfig,
)
from .places import doubled, locate
from .reading import Item, Source, read_table, spell
from .workflows import read_workflows

_LARGEST = 1 << 20
_AT_LINE = re.compile(r" \(at line ([0-9]+), column [0-9]+\)$")
_INIT = "`countersign init` writes a working sample."


def load_config(path: Path) -> Config:
    """Return what the file says, or what countersign.toml says if `path` is a folder.

    Nothing is imported and no secret is read; whether the graphs have the nodes that gates name is for
    `countersign.service.config.version`. Raises ConfigurationError with file, line, key and remedy.
    """
    file = (path / FILE_NAME if path.is_dir() else path).absolute()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.", remedy=_INIT) from error
    if len(data) > _LARGEST:
        raise ConfigurationError(f"{file.name} is larger than a mebibyte.", remedy="Is it the right file?")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file.name}, line {line}: no UTF-8 text.", remedy="Save it as UTF-8.") from error
    return parse_config(text, file)


def parse_config(text: str, file: Path) -> Config:
    """Return what `text` says as the contents of `file`, an absolute path; only a langgraph.json it names is read.

    Raises ConfigurationError as `load_config` does.
    """
    root = _root(text, file.name)
    top = read_table(root, TOP)
    service = _service(_table(root, "service"))
    project = _project(root, file.parent, top["langgraph"])
    retention = _retention(_table(root, "retention"))
    workflows = read_workflows(top["workflows"], retention, file.parent, project)
    warnings = _warnings(root, retention, workflows, project)
    return Config(file, service, retention, workflows, project, warnings, root.source)


def _root(text: str, name: str) -> Item:
    text = text.replace("\r\n", "\n")  # as tomllib reads it
    try:
        document = tomllib.loads(text)
        lines = locate(text)
    except tomllib.TOMLDecodeError as error:
        if (twice := doubled(text)) is not None and str(error).startswith(("Cannot ", "Duplicate ")):
            path, first, second = twice
            raise ConfigurationError(
                f"{name}, line {second}: {spell(path)}: it stands on line {first} already.",
                remedy="Leave one of the two.",
            ) from error
        found = _AT_LINE.search(str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        said = _AT_LINE.sub("", str(error)).removesuffix(" (at end of document)")
        raise ConfigurationError(f"{name}, line {line}: no TOML: {said}.", remedy="See https://toml.io.") from error
    except (RecursionError, ValueError) as error:
        raise ConfigurationError(
            f"{name}: no TOML that can be read: {type(error).__name__}.", remedy="Make it flatter, its numbers smaller."
        ) from error
    return Item(Source(name, lines), (), document)


def _project(root: Item, folder: Path, name: str | None) -> LanggraphProject | None:
    if name is None:
        return None
    file = Path(os.path.normpath(folder / name))
    try:
        data = file.read_bytes()
    except OSError as error:
        root.fail(f"{name} cannot be read: {error.strerror}.", "Name the file, relative to this one.", "langgraph")
    return parse_project(data, file)


def _table(root: Item, name: str) -> Item:
    """Return a table of the file; one that is not there is empty."""
    return root.at(name) if name in root.value else Item(root.source, (*root.path, name), {})


def _service(item: Item) -> Service:
    found: dict[str, Any] = read_table(item, SERVICE)
    host, port = found["listen"]
    if found["try_out"] and not is_loopback(host):
        item.fail(
            "With known passwords it may be reached from this machine alone.",
            'Listen on "127.0.0.1:8321", or take try_out away.',
            "try_out",
        )
    return Service(
        host=host,
        port=port,
        public_url=found["public_url"] or f"http://{f'[{host}]' if ':' in host else host}:{port}",
        database=found["database"],
        worker_database=found["worker_database"],
        workers=found["workers"],
        try_out=found["try_out"],
        sessions=_sessions(_table(item, "sessions")),
        engine=_engine(_table(item, "engine")),
    )


def _sessions(item: Item) -> Sessions:
    found = Sessions(**read_table(item, SESSIONS))
    if found.idle > found.absolute:
        item.fail("`idle` is longer than `absolute`.", "Make it shorter.", "idle")
    return found


def _engine(item: Item) -> EngineTimes:
    found = EngineTimes(**read_table(item, ENGINE))
    if found.first_wait > found.longest_wait:
        item.fail("`first_wait` is longer than `longest_wait`.", "Make it shorter.", "first_wait")
    return found


def _retention(item: Item) -> dict[str, Retention]:
    found = {}
    for name, member in item.members():
        check_name(member, name)
        found[name] = Retention(name, read_table(member, RETENTION)["days"])
    return found


def _warnings(
    root: Item,
    retention: dict[str, Retention],
    workflows: dict[str, WorkflowConfig],
    project: LanggraphProject | None,
) -> tuple[str, ...]:
    found = []

    def warn(path: tuple[str, ...], sentence: str) -> None:
        found.append(f"{root.source.name}, line {root.source.line(path)}: {spell(path)}: {sentence}")

    for one in retention.values():
        if one.days < SHORTEST_RETENTION_DAYS:
            warn(
                ("retention", one.name, "days"),
                f"{one.days} days are fewer than {SHORTEST_RETENTION_DAYS}, the six months that laws on automated "
                "decisions ask for at least.",
            )
    for workflow in workflows.values():
        if not workflow.policy_document["gates"]:
            warn(("workflows", workflow.name), "It has no gate: only the fallback role is asked, where it pauses.")
    for name in project.graphs if project else ():
        if name not in workflows:
            warn(("langgraph",), f"The graph {name!r} has no table [workflows.{name}], and is not served.")
    return tuple(found)
