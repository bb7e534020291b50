"""A LangGraph project's own langgraph.json: graphs, folders to import from, variables. Nothing is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from countersign.audit.errors import ConfigurationError

from .forms import address
from .model import GraphAddress, LanggraphProject
from .reading import Item, Source

_LARGEST = 1 << 20


def parse_project(data: bytes, file: Path) -> LanggraphProject:
    """Return what the contents of langgraph.json say, as far as it is needed; its other keys are for LangGraph.

    Raises ConfigurationError, with the line where JSON is broken and the key where it means nothing.
    """
    item = Item(Source(file.name, {}), (), _document(data, file))
    graphs = _graphs(item, file.parent)
    variables, env_file = _environment(item, file.parent)
    return LanggraphProject(file, graphs, _folders(item, file.parent), variables, env_file)


def _document(data: bytes, file: Path) -> Any:
    if len(data) > _LARGEST:
        _fail(file, 1, "it is larger than a mebibyte")
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        _fail(file, error.lineno, error.msg)
    except UnicodeDecodeError:
        _fail(file, 1, "it is no UTF-8 text")
    except (RecursionError, ValueError):
        _fail(file, 1, "it is nested too deeply, or has a number too large")


def _fail(file: Path, line: int, reason: str) -> NoReturn:
    raise ConfigurationError(f"{file.name}, line {line}: no JSON: {reason}.", remedy="Mend that.")


def _graphs(item: Item, folder: Path) -> dict[str, GraphAddress]:
    item.of(dict)
    if "graphs" not in item.value:
        item.fail("It has no `graphs`.", 'Add "graphs": {"name": "./file.py:graph"}.')
    found = {}
    for name, member in item.at("graphs").members():
        if isinstance(member.value, dict):
            if "path" not in member.value:
                member.fail("It has no `path`.", 'Add "path": "./file.py:graph".')
            member = member.at("path")  # noqa: PLW2901 - the same graph, said at more length
        found[name] = GraphAddress(*address(member), folder)
    return found


def _folders(item: Item, folder: Path) -> tuple[Path, ...]:
    """Return the local folders among the dependencies: what LangGraph's own server installs, or imports from."""
    found = [folder]
    for element in item.at("dependencies").elements() if "dependencies" in item.value else ():
        name = element.of(str)
        if name == "." or name.startswith(("./", "../", "/")):
            found.append((folder / name).resolve())
    return tuple(dict.fromkeys(found))


def _environment(item: Item, folder: Path) -> tuple[Mapping[str, str], Path | None]:
    if "env" not in item.value:
        return {}, None
    given = item.at("env")
    if isinstance(given.value, str):
        return {}, folder / given.value
    return {name: member.of(str) for name, member in given.members()}, None
