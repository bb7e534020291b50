"""On which line a key of a TOML file is said to stand, compared with what tomllib and another writer make of it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from countersign.service.config.places import KeyPath, locate

WRITTEN = {
    "nothing": ("", {}),
    "comments and blank lines": ("# one\n\n  # two [x] = 1\nkey = 1 # three\n", {("key",): 4}),
    "tables": ("[a]\nb = 1\n[a.c]\nd = 2\n", {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", "d"): 4}),
    "a table above that has no header": ("[a.b]\nc = 1\n", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 2}),
    "a table above that comes later": ("[a.b]\n[a]\n", {("a",): 1, ("a", "b"): 1}),
    "dotted keys": (
        "a.b = 1\n[t]\nc . 'd e'=2",
        {("a",): 1, ("a", "b"): 1, ("t",): 2, ("t", "c"): 3, ("t", "c", "d e"): 3},
    ),
    "quoted keys": ('"a\\u0062".\'c.d\' = 1\n["#]"]\n', {("ab",): 1, ("ab", "c.d"): 1, ("#]",): 2}),
    "arrays of tables": (
        "[[a]]\nx = 1\n[[a.b]]\n[[a.b]]\ny = 1\n[[a]]\n[a.c]\n[[a.b]]\n",
        {
            ("a",): 1, ("a", 0): 1, ("a", 0, "x"): 2, ("a", 0, "b"): 3, ("a", 0, "b", 0): 3, ("a", 0, "b", 1): 4,
            ("a", 0, "b", 1, "y"): 5, ("a", 1): 6, ("a", 1, "c"): 7, ("a", 1, "b"): 8, ("a", 1, "b", 0): 8,
        },
    ),
    "arrays over lines": (
        "a = [ # ]\n  1, '#', # [\n\n  [2],\n]\nb = []\n",
        {("a",): 1, ("a", 0): 2, ("a", 1): 2, ("a", 2): 4, ("a", 2, 0): 4, ("b",): 6},
    ),
    "inline tables": (
        "a = { b.c = [1,\n2], d = {}, 'e' = '}' }\nf = 1",
        {
            ("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1, ("a", "b", "c", 0): 1, ("a", "b", "c", 1): 2, ("a", "d"): 2,
            ("a", "e"): 2, ("f",): 3,
        },
    ),
    "texts over lines": (
        'a = """\n[x]\n\\"""\n"" """""\nb = \'\'\'\n[y] \\\n\'\' \'\'\'\'\'\nc = "\\"#"\nd = \'\\\'\n',
        {("a",): 1, ("b",): 5, ("c",): 8, ("d",): 9},
    ),
    "dates": (
        "a = 1979-05-27 07:32:00Z # x\nb = [1979-05-27, 07:32:00]\n",
        {("a",): 1, ("b",): 2, ("b", 0): 2, ("b", 1): 2},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), WRITTEN.values(), ids=WRITTEN.keys())
def test_every_key_has_its_line(text: str, lines: dict[KeyPath, int]) -> None:
    assert set(lines) == set(_paths(tomllib.loads(text), ()))
    assert locate(text) == lines


TEXTS = st.text(
    st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\x7f") | st.sampled_from("\n\t\"'\\#[]{}=,.")
).filter(lambda text: "\r" not in text)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | TEXTS
    | st.dates()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_the_lines_name_just_the_keys_that_another_writer_wrote(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    read = tomllib.loads(text)
    lines = locate(text)
    assert set(lines) == set(_paths(read, ()))
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


@given(st.lists(st.sampled_from(["\n", "# c\n", '"""\n\n"""', "'''\n'''", "[\n\n]", "[1,\n2]", "7"]), max_size=12))
def test_a_key_stands_on_the_line_where_its_name_is(values: list[str]) -> None:
    text = "".join(
        f"key_{number} = {value}\n" if not value.endswith("\n") else value for number, value in enumerate(values)
    )
    for path, line in locate(text).items():
        if len(path) == 1:
            assert text.split("\n")[line - 1].startswith(f"{path[0]} ")


def _paths(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _paths(inner, (*path, index))
