"""The forms that single values of countersign.toml have, and how each is read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from .durations import HOW, parse_duration
from .model import Reference
from .reading import Item

Read = Callable[[Item], Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ENV = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_LISTEN = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_LONGEST_TEXT = 4000
_NAME_FORM = "Letters, digits, dot, dash and underscore, at most 63, a letter or digit first."
_REFERENCE = (
    'Write "env:NAME" for a variable or "file:PATH" for a file that holds it; a secret never stands in this file.'
)
SYSTEM_ROLES = ("administrator", "auditor")


def text(item: Item) -> str:
    """Read a text that people see: not blank, up to 4,000 characters."""
    found: str = item.of(str)
    if not found.strip() or len(found) > _LONGEST_TEXT:
        item.fail(f"The text has {len(found)} characters.", f"Write something, up to {_LONGEST_TEXT} characters.")
    if any(ord(letter) < ord(" ") and letter not in "\n\t" for letter in found):
        item.fail("The text has control characters.", "Leave them out.")
    return found


def name(item: Item) -> str:
    """Read a name of our own: of a role, a gate, a decision, a class."""
    found: str = item.of(str)
    check_name(item, found)
    return found


def check_name(item: Item, found: str) -> None:
    """Raise ConfigurationError unless `found`, the name of `item` or in it, can be one."""
    if not _NAME.fullmatch(found):
        item.fail(f"{found[:100]!r} cannot be a name.", _NAME_FORM)


def role(item: Item) -> str:
    """Read the name of a role in a workflow."""
    found = name(item)
    if found in SYSTEM_ROLES:
        item.fail(f"{found!r} is a role of the whole system, and decides nothing in a workflow.", "Name another role.")
    return found


def node(item: Item) -> str:
    """Read the name of a node; whether the graph has it shows when it is loaded."""
    found: str = item.of(str)
    if not 1 <= len(found) <= 255:  # noqa: PLR2004 - what entries allow
        item.fail(f"A name of {len(found)} characters is no node's.", "Write the node's name, up to 255 characters.")
    return found


def flag(item: Item) -> bool:
    """Read true or false."""
    found: bool = item.of(bool)
    return found


def number(lowest: int, highest: int) -> Read:
    """Return the reader of a whole number between two."""

    def read(item: Item) -> int:
        found: int = item.of(int)
        if not lowest <= found <= highest:
            item.fail(f"{found} is not between {lowest} and {highest}.", "Write a number between them.")
        return found

    return read


def seconds(item: Item) -> int:
    """Read a length of time, as seconds."""
    try:
        return parse_duration(item.of(str))
    except ValueError as error:
        item.fail(f"{error}.", HOW)


def duration(item: Item) -> timedelta:
    """Read a length of time."""
    return timedelta(seconds=seconds(item))


def one_of(*words: str) -> Read:
    """Return the reader of one word of several."""

    def read(item: Item) -> str:
        found: str = item.of(str)
        if found not in words:
            item.fail(f"{found[:100]!r} is none of them.", f"Write one of {', '.join(map(repr, words))}.")
        return found

    return read


def many(read: Read, *, least: int = 0) -> Read:
    """Return the reader of a list of different values."""

    def read_all(item: Item) -> list[Any]:
        found: list[Any] = []
        for element in item.elements():
            value = read(element)
            if value in found:
                element.fail(f"{value!r} stands twice.", "Name each once.")
            found.append(value)
        if len(found) < least:
            item.fail("The list is empty.", "Name at least one.")
        return found

    return read_all


def reference(item: Item) -> Reference:
    """Read where a secret is. A literal secret is refused, and not repeated in the error."""
    found: str = item.of(str)
    kind, colon, rest = found.partition(":")
    if not colon or kind not in ("env", "file") or not rest or "\x00" in rest:
        item.fail("It is neither env: nor file:, so it looks like the secret itself.", _REFERENCE)
    if kind == "env" and not _ENV.fullmatch(rest):
        item.fail("What follows env: is no name of a variable.", _REFERENCE)
    return Reference(kind, rest, item.source, item.path)


def listen(item: Item) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 address in brackets, port 0 for any free one."""
    found: str = item.of(str)
    form = _LISTEN.fullmatch(found)
    if not form or int(form[2]) > 65535:  # noqa: PLR2004 - the last port there is
        item.fail(f"{found[:100]!r} is no HOST:PORT.", 'Write it as in "127.0.0.1:8321" or "[::1]:8321".')
    return form[1].strip("[]"), int(form[2])


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host, as far as its spelling shows."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def web_address(item: Item) -> str:
    """Read the address under which browsers reach the service; without a slash at its end."""
    found: str = item.of(str)
    try:
        parts = urlsplit(found)
        good = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        good = good and "@" not in parts.netloc and parts.port != 0 and found.isascii() and " " not in found
    except ValueError:
        good = False
    if not good:
        item.fail(f"{found[:100]!r} is no web address.", 'Write it as in "https://signoff.example.org".')
    return found.rstrip("/")


def image(item: Item) -> str:
    """Read the digest of a container image."""
    found: str = item.of(str)
    if not _IMAGE.fullmatch(found):
        item.fail("It is no digest of an image.", 'Write "sha256:" and 64 lower-case hex digits; a tag can be moved.')
    return found


def pattern(item: Item) -> str:
    """Read a glob pattern for files below the project's folder."""
    found: str = item.of(str)
    if not found or found.startswith("/") or ".." in found.split("/") or "\x00" in found or "\\" in found:
        item.fail(f"{found[:100]!r} is no pattern of files below the folder.", 'Write it as in "prompts/**/*.md".')
    return found


def file_path(item: Item) -> str:
    """Read a path."""
    found: str = item.of(str)
    if not found or "\x00" in found:
        item.fail("It is no path.", "Write one, relative to the folder of this file.")
    return found


def address(item: Item) -> tuple[str, str]:
    """Read where a graph is: MODULE:NAME or path/to/file.py:NAME. Nothing is imported."""
    found: str = item.of(str)
    where, _, attribute = found.rpartition(":")
    parts = where.split(".")
    good = bool(where) and "\x00" not in where and all(part.isidentifier() for part in attribute.split("."))
    if not good or not (where.endswith(".py") or all(part.isidentifier() for part in parts)):
        item.fail(
            f"{found[:100]!r} names no graph.", 'Write "module.name:graph" or "./file.py:graph", relative to this file.'
        )
    return where, attribute


def table_of(read: Callable[[str, Item], Any], *, least: int = 0) -> Read:
    """Return the reader of a table whose keys are names of the author's own."""

    def read_all(item: Item) -> dict[str, Any]:
        found = {}
        for key, member in item.members():
            check_name(member, key)
            found[key] = read(key, member)
        if len(found) < least:
            item.fail("The table is empty.", "Name at least one.")
        return found

    return read_all


def exactly_one(item: Item, names: Sequence[str]) -> str:
    """Return the one of `names` that the table has. Raises ConfigurationError when it has none, or several."""
    found = [one for one in names if one in item.of(dict)]
    if len(found) != 1:
        said = f"It has {' and '.join(found)}." if found else f"It has none of {', '.join(names)}."
        item.fail(said, f"Write exactly one of {', '.join(names)}.")
    return found[0]
