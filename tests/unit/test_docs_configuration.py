"""docs/configuration.md lists every key as the parser knows it, and its examples are read as they are printed."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from countersign.service.config import keys
from countersign.service.config.durations import parse_duration
from countersign.service.config.load import parse_config
from countersign.service.config.reading import REQUIRED, Key
from unit.configs import FILE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()
_BLOCK = re.compile(r"^<!-- keys: ([a-z]+) -->\n\n((?:\|.*\n)+)", re.MULTILINE)
SHOWN = dict(_BLOCK.findall(PAGE))
TABLES: dict[str, tuple[Key, ...]] = {
    name.lower(): value
    for name, value in vars(keys).items()
    if name.isupper() and isinstance(value, tuple) and all(isinstance(one, Key) for one in value)
}
PROGRAMS = dict(re.findall(r"^<!-- example: ([a-z-]+) -->\n\n```toml\n(.*?)```$", PAGE, re.MULTILINE | re.DOTALL))


def row(key: Key) -> str:
    return f"| `{key.name}` | {key.form} | {default(key)} | {key.meaning} |\n"


def default(key: Key) -> str:
    if key.said:
        return key.said
    if key.default is REQUIRED:
        return "**required**"
    if key.default is None or key.default == []:
        return ""
    return str(key.default).lower() if isinstance(key.default, bool) else str(key.default)


def test_the_page_has_the_tables_that_there_are() -> None:
    assert set(SHOWN) == set(TABLES) != set()


@pytest.mark.parametrize("name", TABLES)
def test_every_key_is_listed_with_form_default_and_meaning(name: str) -> None:
    head = "| key | form | default | meaning |\n|---|---|---|---|\n"
    assert SHOWN[name] == head + "".join(map(row, TABLES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_a_default_in_words_is_the_one_that_is_taken(name: str) -> None:
    for key in TABLES[name]:
        if isinstance(key.default, timedelta):
            assert timedelta(seconds=parse_duration(key.said)) == key.default


def test_the_examples_are_read() -> None:
    assert len(PROGRAMS) == 3
    read = [parse_config(text, FILE) for text in PROGRAMS.values()]
    assert all(config.workflows for config in read)
