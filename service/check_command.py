"""The command `countersign check`: what would be recorded of a graph, and what to change before it is attached."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from countersign.audit.errors import ConfigurationError
from countersign.audit.inspection import Inspection, Node, Part, Remark, inspect_graph

_FORM = "Say MODULE:NAME or path/to/file.py:NAME, as in: countersign check orders.graph:graph"


def check_graph(target: str, *, as_json: bool) -> bool:
    """Print what was found of the graph that `target` names, and return whether nothing has to be changed.

    Raises ConfigurationError, a sentence with its remedy, when there is no such graph. What the imported code prints
    goes to the error output.
    """
    with redirect_stdout(sys.stderr):
        found = inspect_graph(_load(target))
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(_lines(found)))
    return found.ready


def _load(target: str) -> Any:
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise ConfigurationError(f"{target!r} names no graph.", remedy=_FORM)
    module = _module(where)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{where} has no {name!r}.", remedy=_offer(module))
        found = getattr(found, part)
    if isinstance(found, (Pregel, StateGraph, type)) or not callable(found):
        return found
    return _made(target, found)


def _module(where: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return _file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and (where == error.name or where.startswith(error.name + ".")):
            raise ConfigurationError(
                f"There is no module {where!r}.", remedy=f"It is looked for as from this folder, {folder}. {_FORM}"
            ) from error
        raise _failed(f"Importing {where}", error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failed(f"Importing {where}", error) from error


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigurationError(f"There is no file {path}.", remedy=_FORM)
    # The folder of a script is importable for it, as when Python runs it.
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules else f"checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is no Python file.", remedy=_FORM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _made(target: str, factory: Any) -> Any:
    """Return what a function without arguments returns."""
    try:
        inspect.signature(factory).bind()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"{target} takes arguments ({error}).",
            remedy="Name the compiled graph, its builder, or a function that needs none.",
        ) from error
    try:
        made = factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failed(f"Calling {target}", error) from error
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigurationError(
            f"{target} is a coroutine function.", remedy="Name a plain function that returns the graph or its builder."
        )
    return made


def _failed(what: str, error: BaseException) -> ConfigurationError:
    frames = traceback.extract_tb(error.__traceback__)
    # The innermost place in the reader's own code is the last one that is not in here or in the import system.
    own = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen")]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    said = " ".join(str(error).split())
    return ConfigurationError(
        f"{what} failed: {type(error).__name__}{f': {said}' if said else ''}{where}.",
        remedy="Mend that, or name a module that only builds the graph: check runs nothing, but it has to import.",
    )


def _offer(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, (Pregel, StateGraph))]
    return f"Graphs there: {', '.join(sorted(names))}." if names else "There is no graph at its top level."


def _lines(found: Inspection) -> Iterator[str]:
    yield f"graph: {found.name}"
    for part in found.parts:
        yield from _part_lines(part)
    must = [remark for remark in found.remarks if remark.must]
    know = [remark for remark in found.remarks if not remark.must]
    if must:
        yield "to change:"
    for remark in must:
        yield from _remark_lines(remark)
    if know:
        yield "to know:"
    for remark in know:
        yield from _remark_lines(remark)
    yield "verdict: nothing to change" if found.ready else f"verdict: {len(must)} to change"


def _part_lines(part: Part) -> Iterator[str]:
    if part.path:
        yield f"subgraph in {part.path}: checkpoints {part.checkpoints}"
    if part.channels:
        yield "state, and how it is shown:"
    wide = max((len(channel.name) for channel in part.channels), default=0)
    for channel in part.channels:
        yield f"  {channel.name:<{wide}}  {channel.type}: {channel.shown}"
    yield "nodes:"
    for node in part.nodes:
        said = _said(node)
        yield f"  {node.name}" + (f": {', '.join(said)}" if said else "")


def _said(node: Node) -> list[str]:
    return [
        *(f"pauses {when} it" for when in node.pauses),
        *(["may ask"] if node.may_ask else []),
        *([f"may go to {' or '.join(node.goes_to)}"] if node.goes_to else []),
        *(["awaited only"] if node.awaited_only else []),
        *([f"up to {node.attempts} attempts"] if node.attempts else []),
    ]


def _remark_lines(remark: Remark) -> Iterator[str]:
    yield f"  {f'{remark.where}: ' if remark.where else ''}{remark.message}"
    if remark.remedy:
        yield f"    {remark.remedy}"
