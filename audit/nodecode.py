"""What a node's code mentions: best effort, from names in compiled code. Nothing is called, so it says "may"."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.pregel import Pregel
from langgraph.types import interrupt

_MOST = 500  # functions looked at for one node: it is about the node's own code, not about libraries


@dataclass(frozen=True, slots=True)
class Mentions:
    """What code mentions: whether it may call LangGraph's `interrupt`, and which classes it names.

    `blocks`: a coroutine may call another graph without awaiting it, which an async saver refuses on its own loop.
    """

    asks: bool
    classes: frozenset[type]
    blocks: bool


def functions_of(runnable: Any) -> list[Any]:
    """Return the functions that a node is made of, however LangGraph and LangChain wrapped them."""
    found = [value for name in ("func", "afunc") if (value := getattr(runnable, name, None)) is not None]
    for step in getattr(runnable, "steps", None) or ():
        found += functions_of(step)
    bound = getattr(runnable, "bound", None)
    return found or (functions_of(bound) if bound is not None else [])


def is_awaited_only(runnable: Any) -> bool:
    """Tell whether a node can only be awaited: it is a coroutine function, with no other to call in its place."""
    return getattr(runnable, "func", None) is None and getattr(runnable, "afunc", None) is not None


def mentions(functions: list[Any]) -> Mentions:
    """Return what `functions`, and those of the same package that they name, mention."""
    asks = blocks = False
    classes: set[type] = set()
    queue = [plain for function in functions for plain in _plain(function)]
    seen: set[int] = set()
    while queue and len(seen) < _MOST:
        function = queue.pop()
        if id(function) in seen:
            continue
        seen.add(id(function))
        named = {name: _resolve(function, name) for name in _names(function.__code__)}
        # By whatever name it was imported, or as an attribute of a module.
        asks = asks or any(value is interrupt for value in named.values()) or named.get("interrupt", "") is None
        blocks = blocks or _blocks(function, named)
        for value in named.values():
            if isinstance(value, type):
                classes.add(value)
            queue += [plain for plain in _plain(value) if _package(plain) == _package(function)]
    return Mentions(asks, frozenset(classes), blocks)


def _blocks(function: types.FunctionType, named: Mapping[str, Any]) -> bool:
    calls = ("invoke", "stream", "update_state", "get_state")
    graphs = any(isinstance(value, Pregel) for value in named.values())
    return inspect.iscoroutinefunction(function) and graphs and any(name in named for name in calls)


def _plain(value: Any) -> Iterator[types.FunctionType]:
    """Yield the Python functions behind a callable."""
    if isinstance(value, functools.partial):
        for inner in (value.func, *value.args):
            yield from _plain(inner)
    elif isinstance(value, types.MethodType):
        yield from _plain(value.__func__)
    elif isinstance(value, types.FunctionType):
        yield value
        if wrapped := getattr(value, "__wrapped__", None):
            yield from _plain(wrapped)
    elif callable(value) and not isinstance(value, type):
        call = getattr(type(value), "__call__", None)  # noqa: B004 - its code is wanted, not whether it is there
        if isinstance(call, types.FunctionType):
            yield call


def _names(code: types.CodeType) -> Iterator[str]:
    """Yield the names that compiled code looks up, those of functions inside it as well."""
    yield from code.co_names
    yield from code.co_freevars
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _resolve(function: types.FunctionType, name: str) -> Any:
    """Return what a name of `function` stands for: from around it, or from its module."""
    if name in function.__code__.co_freevars:
        cell = (function.__closure__ or ())[function.__code__.co_freevars.index(name)]
        try:
            return cell.cell_contents
        except ValueError:
            return None
    return function.__globals__.get(name)


def _package(function: types.FunctionType) -> str:
    return function.__module__.partition(".")[0]
