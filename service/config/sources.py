"""The identity of a workflow's code: SHA-256 of every source of its project that it imports, and what is installed.

Python is asked for nothing but names here; the bytes are read from the files. What counts is below the project's folder
and not installed there; the graph's own package counts also where it is installed.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType

from countersign.audit.canonical import Json
from countersign.audit.errors import ConfigurationError

CODE_SPEC = "countersign/code/1"
PACKAGES_SPEC = "countersign/packages/1"
_INSTALLED = ("site-packages", "dist-packages")
_OURS = "countersign"
_UNLIKE = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class _Project:
    """What belongs to the code: files below `folder`, and the graph's own package where that is installed."""

    folder: Path
    package: Path | None
    roots: tuple[Path, ...]

    def path_of(self, file: Path) -> str | None:
        """Return how a file is named in the document, or None where it does not belong to the code."""
        absolute = Path(os.path.normpath(file))
        if _is_below(absolute, self.folder) and not _is_installed(absolute.relative_to(self.folder)):
            return absolute.relative_to(self.folder).as_posix()
        if self.package is not None and (absolute == self.package or _is_below(absolute, self.package)):
            return f"installed:{absolute.relative_to(self.package.parent).as_posix()}"
        return None


@dataclass(frozen=True, slots=True)
class CodePlan:
    """What belongs to the code: files below `folder`, and the package of the graph where that is installed."""

    folder: Path
    files: tuple[str, ...]
    image: str | None
    roots: tuple[Path, ...]


def code_document(plan: CodePlan, module: ModuleType) -> dict[str, Json]:
    """Return the document of the code: an image's digest, or the path and SHA-256 of each source.

    The sources are those of `module`, of what it imports, also later inside a function, as far as import statements and
    `import_module("name")` say so, and the plan's files: the same whatever else this process has imported. Raises
    ConfigurationError when the graph's module is no file of the project, or a pattern of `files` matches none.
    """
    if plan.image is not None:
        return {"spec": CODE_SPEC, "image": plan.image}
    sources: list[Json] = [
        {"path": path, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for path, file in sorted(_sources(plan, module).items())
    ]
    return {"spec": CODE_SPEC, "sources": sources}


def check_told(plan: CodePlan, module: ModuleType, appeared: frozenset[str]) -> None:
    """Raise ConfigurationError if a module in `appeared` belongs to the project and not to its code document.

    `appeared` are the modules that loading `module` imported in a process that had imported nothing of the project.
    """
    if plan.image is not None:
        return
    project, told = _project(plan, module), _sources(plan, module)
    files = {name: _find(project, name) for name in sorted(appeared) if name.split(".")[0] != _OURS}
    paths = {path for file in files.values() if file and (path := project.path_of(file))}
    if untold := sorted(paths - told.keys()):
        raise ConfigurationError(
            f"It imports {', '.join(untold)} in a way that no import statement says.",
            remedy=f"Say that it belongs to the code: files = [{', '.join(map(repr, untold))}].",
        )


def _sources(plan: CodePlan, module: ModuleType) -> dict[str, Path]:
    project = _project(plan, module)
    found = dict(_closure(project, module))
    for pattern in plan.files:
        matched = {path: file for file in sorted(plan.folder.glob(pattern)) if (path := project.path_of(file))}
        if not any(file.is_file() for file in matched.values()):
            raise ConfigurationError(f"No file of the project is {pattern!r}.", remedy="Mend `files`, or take it away.")
        found |= {path: file for path, file in matched.items() if file.is_file()}
    return found


def packages_document(folder: Path) -> dict[str, Json]:
    """Return the document of what is installed: each `name==version` once, and Python's version without its last part.

    What is merely being developed below `folder`, or lies where a process happens to work, is not installed.
    """
    found: dict[str, str] = {}
    for one in distributions(path=[entry for entry in sys.path if entry and _counts(Path(entry), folder)]):
        told = one.metadata  # parsed anew whenever it is asked for, however long its text
        if name := _UNLIKE.sub("-", told["Name"] or "").lower():
            found.setdefault(name, told["Version"])  # the first on the path is the one that is imported
    packages: list[Json] = [*sorted(f"{name}=={version}" for name, version in found.items())]
    python = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
    return {"spec": PACKAGES_SPEC, "python": python, "packages": packages}


def _counts(entry: Path, folder: Path) -> bool:
    return _is_installed(entry) or not (entry.is_relative_to(folder) or entry == Path.cwd())


def _project(plan: CodePlan, module: ModuleType) -> _Project:
    file = _file_of(module)
    folder = Path(os.path.normpath(plan.folder))
    top = _top_folder(module, file)
    roots = tuple(dict.fromkeys([folder, file.parent, top.parent if top.is_dir() else top, *plan.roots]))
    project = _Project(folder, top if _is_installed(file) else None, roots)
    if project.path_of(file) is None:
        raise ConfigurationError(
            f"Its module {module.__name__} does not lie below the project's folder, so its code would not be told.",
            remedy='Say `project = ".."` (the folder that holds all of its sources), or `image = "sha256:..."`.',
        )
    return project


def _file_of(module: ModuleType) -> Path:
    file = getattr(module, "__file__", None)
    if not file:
        raise ConfigurationError(
            f"Its module {module.__name__} has no file.",
            remedy='Name the image that workers run: image = "sha256:...".',
        )
    return Path(os.path.normpath(file))


def _top_folder(module: ModuleType, file: Path) -> Path:
    """Return the folder of the outermost package that a module belongs to, or its file if it belongs to none."""
    depth = module.__name__.count(".")
    if depth == 0 and not hasattr(module, "__path__"):
        return file
    if hasattr(module, "__path__"):
        depth += 1  # its file is __init__.py
    return file.parents[depth - 1]


def _is_below(path: Path, folder: Path) -> bool:
    return path != folder and path.is_relative_to(folder)


def _is_installed(path: Path) -> bool:
    return any(part in _INSTALLED for part in path.parts)


def _closure(project: _Project, module: ModuleType) -> Iterator[tuple[str, Path]]:
    """Yield the path in the document and the file of each source, following import statements."""
    waiting = [module.__name__]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        if name.split(".")[0] == _OURS and name != module.__name__:
            continue  # this package itself is told by its version
        file = _find(project, name)
        path = project.path_of(file) if file else None
        if file is None or path is None:
            continue
        yield path, file
        if file.suffix == ".py":
            new = {*_imports(file, name), *_parents(name)} - seen
            seen |= new
            waiting += sorted(new)


def _find(project: _Project, name: str) -> Path | None:
    """Return the file of a module: of the one that is loaded, else where it would be found. Nothing is imported."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded:
        return Path(os.path.normpath(loaded))
    for root in project.roots:
        below = root.joinpath(*name.split("."))
        for file in (below / "__init__.py", below.with_name(f"{below.name}.py")):
            if file.is_file():
                return file
    return None


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _imports(file: Path, name: str) -> Iterator[str]:
    """Yield the names that the import statements of a file may mean, wherever in it they stand."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # a file that is never imported may be anything; its bytes count all the same
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(package, node)
            if base is not None:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            yield from _called(node)


def _called(node: ast.Call) -> Iterator[str]:
    """Yield the name in `import_module("name")`, written with or without its module."""
    name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
    first = node.args[0] if node.args else None
    if name in ("import_module", "__import__") and isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield first.value


def _base(package: str, node: ast.ImportFrom) -> str | None:
    """Return the module that `from ... import` names, or None where it reaches above the outermost package."""
    if not node.level:
        return node.module
    parts = package.split(".")
    if node.level > len(parts) or not package:
        return None
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])
