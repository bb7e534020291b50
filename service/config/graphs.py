"""Graphs from their addresses. Importing one runs its author's code: never in a process that holds keys or secrets."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from langgraph.graph import StateGraph
from langgraph.pregel import Pregel

from countersign.audit.errors import ConfigurationError

from .model import Config, GraphAddress, WorkflowConfig

FORM = "Say MODULE:NAME or path/to/file.py:NAME, as in: countersign check orders.graph:graph"
_OURS = "COUNTERSIGN_"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What an address led to: a graph or a builder (or whatever stood there), its module, and what came in with it.

    `appeared` are the names of the modules that were imported for it, as far as this process had none of them before.
    """

    graph: Any
    module: ModuleType
    appeared: frozenset[str]


def split_address(target: str) -> tuple[str, str]:
    """Return module or file, and name. Raises ConfigurationError when `target` does not have both."""
    where, _, name = target.rpartition(":")
    if not where or not name:
        raise ConfigurationError(f"{target!r} names no graph.", remedy=FORM)
    return where, name


def load_graph(address: GraphAddress, folders: tuple[Path, ...] = ()) -> Loaded:
    """Import what `address` names, a file relative to its folder or a module as from there, and return it.

    A function that needs no arguments is called. Raises ConfigurationError, a sentence with its remedy and the place in
    the author's code, when there is no such thing or its code fails. The folder and `folders` stay importable.
    """
    before = frozenset(sys.modules)
    for folder in reversed((address.folder, *folders)):
        _importable(folder)
    module = _module(address)
    appeared = frozenset(sys.modules) - before
    found: Any = module
    for part in address.attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{address.where} has no {address.attribute!r}.", remedy=_offer(module))
        found = getattr(found, part)
    if not isinstance(found, (Pregel, StateGraph, type)) and callable(found):
        found = _made(str(address), found)
    return Loaded(found, module, appeared)


def load_workflow(config: Config, workflow: WorkflowConfig) -> Loaded:
    """Import the graph of a workflow: `load_graph` with the folders that the configuration names, compiled.

    Raises ConfigurationError as `load_graph` does, with the line of the workflow, and when it is no graph.
    """
    try:
        loaded = load_graph(workflow.graph, folders_of(config))
        return Loaded(compiled(loaded.graph), loaded.module, loaded.appeared)
    except ConfigurationError as error:
        raise config.error((*workflow.path, "graph"), error.message, error.remedy) from error


def folders_of(config: Config) -> tuple[Path, ...]:
    """Return the folders that a LangGraph project wants importable."""
    return config.langgraph.folders if config.langgraph else ()


def compiled(graph: Any) -> Any:
    """Return a compiled graph. Raises ConfigurationError when `graph` is neither one nor a builder that compiles."""
    if isinstance(graph, StateGraph):
        try:
            return graph.compile()
        except Exception as error:
            raise ConfigurationError(
                f"The graph does not compile: {type(error).__name__}: {error}", remedy="Mend that first."
            ) from error
    if not isinstance(graph, Pregel):
        raise ConfigurationError(
            f"A {type(graph).__module__}.{type(graph).__qualname__} is no LangGraph graph.",
            remedy="Name a compiled graph, a StateGraph, or a function without arguments that returns one.",
        )
    return graph


def graph_environment(config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for a process that runs graph code: none of ours, no secret that the file refers to.

    What langgraph.json sets is added. Raises ConfigurationError when the file of variables it names cannot be read.
    """
    secret = {one.name for one in config.references if one.kind == "env"}
    found = {name: value for name, value in environ.items() if name not in secret and not name.startswith(_OURS)}
    project = config.langgraph
    if project is None:
        return found
    return found | dict(project.variables) | (_variables(project.env_file) if project.env_file else {})


def _variables(file: Path) -> dict[str, str]:
    """Return the lines NAME=VALUE of a file, also behind `export`; quotes around a value are not part of it."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{file.name}, which langgraph.json names as `env`, cannot be read.", remedy="Put it there, as UTF-8."
        ) from error
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip() and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _module(address: GraphAddress) -> ModuleType:
    where = address.where
    try:
        return _file(address) if address.is_file else importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name and (where == error.name or where.startswith(error.name + ".")):
            raise ConfigurationError(
                f"There is no module {where!r}.",
                remedy=f"It is looked for as from this folder, {address.folder}. {FORM}",
            ) from error
        raise _failed(f"Importing {where}", error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _failed(f"Importing {where}", error) from error


def _file(address: GraphAddress) -> ModuleType:
    path = Path(os.path.normpath(address.folder / address.where))
    if not path.is_file():
        raise ConfigurationError(
            f"There is no file {address.where}.",
            remedy=f"It is looked for as from {address.folder}: put it there, or say where it is.",
        )
    name = path.stem
    if name in sys.modules:
        # Two graphs of one file are of one module: their state types are the same classes.
        if getattr(sys.modules[name], "__file__", None) == str(path):
            return sys.modules[name]
        name = f"checked_{name}"
    # The folder of a script is importable for it, as when Python runs it.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{address.where} is no Python file.", remedy=FORM)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # half a module must not be taken for it the next time
        raise
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
        remedy="Mend that, or name a module that only builds the graph: no node runs here, but it has to be imported.",
    )


def _offer(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, (Pregel, StateGraph))]
    return f"Graphs there: {', '.join(sorted(names))}." if names else "There is no graph at its top level."
