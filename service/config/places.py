"""On which line of a TOML file a key stands. tomllib says what a file means, and forgets where it said so."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from contextlib import suppress

KeyPath = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t]*")
_BETWEEN = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\r\n]*")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL),
    re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)


def locate(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, on which each key of `text` begins; elements of arrays are counted from 0.

    A table that has several headers has the first one's line. `text` must be TOML that tomllib accepts; nothing is
    guaranteed about any other.
    """
    return _Scanner(text).scan()


def doubled(text: str) -> tuple[KeyPath, int, int] | None:
    """Return the key or table of `text` that is said twice first, and the lines of both; None where none is found.

    For TOML that tomllib refuses for that reason: what stands before the second can be read.
    """
    scanner = _Scanner(text)
    with suppress(ValueError, IndexError):  # what follows need not be TOML
        scanner.scan()
    return scanner.doubled


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._counted = 0
        self._line = 1
        self._lines: dict[KeyPath, int] = {}
        self._said: dict[KeyPath, int] = {}  # keys with a value, and headers of tables: on which line
        self.doubled: tuple[KeyPath, int, int] | None = None
        self._tables: dict[KeyPath, int] = {}  # arrays of tables: how many there are so far

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._pass(_BETWEEN) and self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _header(self) -> KeyPath:
        brackets = 2 if self._text.startswith("[[", self._at) else 1
        self._at += brackets
        *above, last = self._key()
        path: KeyPath = ()
        for part in above:
            path = self._latest((*path, part))
        path = (*path, last)
        if brackets > 1:
            self._note(path)
            self._tables[path] = self._tables.get(path, 0) + 1
        path = self._latest(path)
        self._say(path)
        self._at += brackets
        return path

    def _latest(self, path: KeyPath) -> KeyPath:
        """Return the table that `path` means at this point: of an array of tables the last one."""
        self._note(path)
        if path in self._tables:
            path = (*path, self._tables[path] - 1)
            self._note(path)
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part in self._key():
            path = (*path, part)
            self._note(path)
        self._say(path)
        self._at += 1  # =
        self._pass(_SPACE)
        self._value(path)

    def _key(self) -> list[str]:
        """Return the parts of a dotted key, and go on behind the space that follows it."""
        parts: list[str] = []
        while True:
            self._pass(_SPACE)
            if bare := _BARE_KEY.match(self._text, self._at):
                parts.append(bare[0])
                self._at = bare.end()
            else:
                parts.append(tomllib.loads(f"key = {self._string()}")["key"])
            self._pass(_SPACE)
            if not self._text.startswith(".", self._at):
                return parts
            self._at += 1

    def _string(self) -> str:
        for form in _STRINGS:
            if found := form.match(self._text, self._at):
                self._at = found.end()
                return found[0]
        raise ValueError(f"no string at character {self._at}")

    def _value(self, path: KeyPath) -> None:
        first = self._text[self._at]
        if first == "[":
            self._list("]", lambda index: self._element((*path, index)))
        elif first == "{":
            self._list("}", lambda _: self._pair(path))
        elif first in "\"'":
            self._string()
        else:
            self._pass(_BARE_VALUE)

    def _element(self, path: KeyPath) -> None:
        self._note(path)
        self._value(path)

    def _list(self, end: str, item: Callable[[int], None]) -> None:
        """Pass the items of an array or an inline table, and what closes it."""
        self._at += 1
        index = 0
        while self._pass(_BETWEEN) and not self._text.startswith(end, self._at):
            item(index)
            index += 1
            self._pass(_BETWEEN)
            if self._text.startswith(",", self._at):
                self._at += 1
        self._at += 1

    def _pass(self, form: re.Pattern[str]) -> bool:
        if found := form.match(self._text, self._at):
            self._at = found.end()
        return True

    def _say(self, path: KeyPath) -> None:
        """Take it that a value or the header of a table stands here."""
        if path in self._said and self.doubled is None:
            self.doubled = (path, self._said[path], self._line)
        self._said.setdefault(path, self._line)

    def _note(self, path: KeyPath) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self._lines.setdefault(path, self._line)
