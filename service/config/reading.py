"""A value of countersign.toml and where it stands; how tables are read. Errors name file, line, key and remedy.

The tables of keys (`Key`) say what there is: the parser reads by them and docs/configuration.md is held against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from countersign.audit.errors import ConfigurationError

from .places import KeyPath

_KINDS = {str: "a text", bool: "true or false", int: "a whole number", dict: "a table", list: "a list"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file's name, as it is shown, and the line of every key in it."""

    name: str
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """Return the line of the key, or of the nearest table around it that the file does name."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: KeyPath, sentence: str, remedy: str) -> ConfigurationError:
        """Return the error that says `sentence` of the key at `path`."""
        key = f"{spell(path)}: " if path else ""
        return ConfigurationError(f"{self.name}, line {self.line(path)}: {key}{sentence}", remedy=remedy)


def spell(path: KeyPath) -> str:
    """Return a key as people write it: `workflows.orders.gates[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True)
class Item:
    """A value of the file, and its place."""

    source: Source
    path: KeyPath
    value: Any

    def fail(self, sentence: str, remedy: str, *below: str | int) -> NoReturn:
        """Raise ConfigurationError about this value, or about what stands at `below` in it."""
        raise self.source.error((*self.path, *below), sentence, remedy)

    def at(self, key: str | int) -> Item:
        """Return the value of a member or element that is there."""
        return Item(self.source, (*self.path, key), self.value[key])

    def members(self) -> Iterator[tuple[str, Item]]:
        """Yield what is in a table, by name, in the order of the file. Raises ConfigurationError on anything else."""
        for key in self.of(dict):
            yield key, self.at(key)

    def elements(self) -> Iterator[Item]:
        """Yield what is in a list. Raises ConfigurationError on anything else."""
        for index in range(len(self.of(list))):
            yield self.at(index)

    def of(self, kind: type) -> Any:
        """Return the value, which is a `kind`. Raises ConfigurationError on anything else."""
        # A bool is an int to Python, and to nobody else.
        if type(self.value) is not kind:
            given = _KINDS.get(type(self.value), f"a {type(self.value).__name__}")
            self.fail(f"It is {given}, where {_KINDS[kind]} is expected.", f"Write {_KINDS[kind]}.")
        return self.value


class Required:
    """Stands as the default of a key that has none."""


REQUIRED = Required()


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table: its form in words, what it means, how it is read, and its default (a value, not TOML)."""

    name: str
    form: str
    meaning: str
    read: Callable[[Item], Any]
    default: Any = REQUIRED
    said: str = ""


def read_table(item: Item, keys: Sequence[Key]) -> dict[str, Any]:
    """Return the value of every key of a table, defaults filled in.

    Raises ConfigurationError on a key that is not among `keys`, with the nearest one, and on a missing one.
    """
    known = {key.name: key for key in keys}
    for name, member in item.members():
        if name not in known:
            refuse_unknown(member, name, list(known))
    found: dict[str, Any] = {}
    for key in keys:
        if key.name in item.value:
            found[key.name] = key.read(item.at(key.name))
        elif key.default is REQUIRED:
            item.fail(f"{key.name!r} is missing: {key.meaning}", f"Add {key.name} = ..., {key.form}.")
        else:
            found[key.name] = key.default
    return found


def refuse_unknown(item: Item, name: str, known: Sequence[str]) -> NoReturn:
    """Raise ConfigurationError on a name that is none of those known, with the nearest one."""
    near = get_close_matches(name, known, 1)
    offer = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
    item.fail(f"There is no such key as {name[:100]!r}.", offer)
