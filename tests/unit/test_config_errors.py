"""What a countersign.toml that cannot be meant is answered with: the file, the line, the key, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.errors import ConfigurationError
from countersign.service.config.load import load_config, parse_config
from countersign.service.config.model import Config
from unit.configs import ASKING, FILE, PLAIN, changed, marked_line

# What is replaced in a text that is good, with #! in the line that is named then; the key, what the sentence says, what
# the remedy says.
BAD: list[dict[str, Any]] = json.loads((Path(__file__).parent / "config_errors.json").read_text())


def bad_text(case: dict[str, Any]) -> str:
    text: str = case.get("text", "")
    if "base" in case:
        text = {"plain": PLAIN, "asking": ASKING}[case["base"]]
        for old, new in case["replace"]:
            text = changed(old, new, text)
    return text


@pytest.mark.parametrize("case", BAD, ids=[case["desc"] for case in BAD])
def test_a_file_that_cannot_be_meant_is_answered_with_line_key_and_remedy(case: dict[str, Any]) -> None:
    text = bad_text(case)
    with pytest.raises(ConfigurationError) as refused:
        parse_config(text, FILE)
    place = f"countersign.toml, line {marked_line(text)}: {case['key'] and case['key'] + ': '}"
    assert refused.value.message.startswith(place)
    assert case["sentence"] in refused.value.message.removeprefix(place)
    assert case["remedy"] in refused.value.remedy
    assert refused.value.remedy


def test_a_secret_that_stands_in_the_file_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_config(f'{PLAIN}[service]\ndatabase = "postgresql://u:geheim@h/d"\n', FILE)
    assert "geheim" not in str(refused.value)


def test_lines_are_counted_alike_with_line_ends_of_windows() -> None:
    (case,) = (case for case in BAD if case["desc"] == "days that are true")
    text = bad_text(case)
    with pytest.raises(ConfigurationError, match=f"line {marked_line(text)}: {case['key']}"):
        parse_config(text.replace("\n", "\r\n"), FILE)


# A file's bytes, and what is said of it.
UNREADABLE: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b"# one\n# \xff\n", "countersign.toml, line 2: no UTF-8 text"),
    "too large": (b"#" * (1 << 20) + b"\n", "larger than a mebibyte"),
    "nested without end": (b"x = " + b"[" * 50_000, "no TOML"),
    "a number without end": (b"x = " + b"9" * 10_000, "no TOML"),
}


@pytest.mark.parametrize(("data", "said"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_is_none_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "countersign.toml").write_bytes(data)
    with pytest.raises(ConfigurationError, match=said):
        load_config(tmp_path)


def test_a_file_that_is_not_there_is_told_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file") as refused:
        load_config(tmp_path)
    assert "countersign init" in refused.value.remedy


SNIPPETS = st.sampled_from(
    [*PLAIN.splitlines(), *(line for case in BAD for line in bad_text(case).splitlines()), "[", "]]", '"""', "x = {"]
)


def _is_config_or_refused(text: str) -> None:
    try:
        found: object = parse_config(text, FILE)
    except ConfigurationError as error:
        found = error
    assert isinstance(found, Config) or (isinstance(found, ConfigurationError) and found.remedy)


@given(st.text())
def test_any_text_is_a_configuration_or_refused(text: str) -> None:
    _is_config_or_refused(text)


@given(st.lists(SNIPPETS, max_size=30).map("\n".join))
def test_any_lines_are_a_configuration_or_refused(text: str) -> None:
    _is_config_or_refused(text)


@given(st.integers(0, len(PLAIN)), st.integers(0, 40), st.text(max_size=5))
def test_a_file_with_a_piece_replaced_is_a_configuration_or_refused(start: int, length: int, piece: str) -> None:
    _is_config_or_refused(PLAIN[:start] + piece + PLAIN[start + length :])
