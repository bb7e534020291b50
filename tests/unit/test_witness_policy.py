"""The witness policy: who counts, and what is refused by line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.errors import ConfigurationError
from countersign.audit.note import VerifierKey
from countersign.audit.witness_policy import MAX_POLICY, load_policy, parse_policy
from unit.heads import LOG, log_key, witness_key
from unit.samples import key_of_seed

KEYS = {name: witness_key(key_of_seed(40 + at), f"{name}.invalid") for at, name in enumerate("ABCXYZ")}
LINES = "".join(f"witness {name} {key.text} https://{name}.invalid/\n" for name, key in KEYS.items())


def text(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def everybody(quorum: str) -> bytes:
    return LINES.encode() + quorum.encode() + b"\n"


QUORUMS = {
    "quorum none": {"": True, "A": True},
    "quorum A": {"": False, "A": True, "B": False, "AB": True},
    "group g any A B\nquorum g": {"": False, "A": True, "B": True, "C": False},
    "group g all A B\nquorum g": {"A": False, "B": False, "AB": True, "ABC": True},
    "group g 2 A B C\nquorum g": {"A": False, "AC": True, "BC": True, "AX": False, "ABC": True},
    # the example of the specification
    "group X-w 2 A B C\ngroup Y-w any X Y Z\ngroup both all X-w Y-w\nquorum both": {
        "ABC": False, "XYZ": False, "ABX": True, "BCZ": True, "AXYZ": False,
    },
    "group all 1 A\ngroup 2 all B\nquorum 2": {"A": False, "B": True},
}  # fmt: skip


@pytest.mark.parametrize(
    ("quorum", "cosigned", "met"),
    [(quorum, cosigned, met) for quorum, table in QUORUMS.items() for cosigned, met in table.items()],
)
def test_the_quorum_is_what_the_policy_says(quorum: str, cosigned: str, *, met: bool) -> None:
    policy = parse_policy(everybody(quorum), "p")
    assert policy.is_met([KEYS[name] for name in cosigned]) == met
    assert policy.is_met([KEYS[name] for name in cosigned] * 3) == met
    assert not policy.is_met([log_key()]) or policy.quorum is None


def test_blanks_comments_and_addresses_are_read() -> None:
    data = (
        b"# \xff a comment\n\n \t \n\tlog\t" + log_key().text.encode() + b"  \n"
        b"  witness \xff\xc3 " + KEYS["A"].text.encode() + b" http://[::1]:7380/a/b//\n"
        b"witness B " + KEYS["B"].text.encode() + b"\nquorum \xff\xc3\n"
    )
    policy = parse_policy(data, "p")
    assert policy.logs == (log_key(),)
    assert [witness.url for witness in policy.witnesses] == ["http://[::1]:7380/a/b", None]
    assert (policy.is_met([KEYS["A"]]), policy.is_met([KEYS["B"]])) == (True, False)


A = KEYS["A"].text
ECDSA = "x.invalid+0e3e8a2b+AgAA"
SMALL = "x.invalid+b43b2c5c+BAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
REFUSED = {
    "no quorum": (text(f"witness a {A}"), 1, "no quorum line"),
    "nothing": (b"", 0, "no quorum line"),
    "two quorums": (text("quorum none", "quorum none"), 2, "second quorum"),
    "a quorum of nobody": (text("quorum a"), 1, "'a' is no witness"),
    "a quorum defined later": (text("quorum a", f"witness a {A}"), 1, "'a' is no witness"),
    "a quorum of two names": (text("quorum none none"), 1, "one name"),
    "another keyword": (text("quorum none", "Witness a"), 2, "'Witness'"),
    "cut off": (b"quorum none\nwitness", 2, "does not end with a newline"),
    "a carriage return": (b"quorum none\r\n", 1, "control character"),
    "a NUL": (b"# \x00\nquorum none\n", 1, "control character"),
    "a DEL": (b"quorum none\n# \x7f\n", 2, "control character"),
    "a blank of Unicode's": ("quorum\u00a0none\n".encode(), 1, "none of log"),
    "a witness without key": (text("witness a", "quorum none"), 1, "a name, a key"),
    "a witness with too much": (text(f"witness a {A} https://a b"), 1, "a name, a key"),
    "a witness called none": (text(f"witness none {A}"), 1, "'none' is taken"),
    "a name twice": (text(f"witness a {A}", f"witness a {KEYS['B'].text}"), 2, "'a' is taken"),
    "a key twice": (text(f"witness a {A}", f"witness b {A}"), 2, "same public key as line 1"),
    "a key under two names": (
        text(f"witness a {A}", f"witness b {witness_key(key_of_seed(40), 'b.invalid').text}"), 2, "same public key",
    ),
    "a log that witnesses itself": (text(f"log {log_key().text}", f"witness a {witness_key(LOG).text}"), 2, "line 1"),
    "a log twice": (text(f"log {log_key().text}", f"log {log_key().text}"), 2, "same public key"),
    "a log's key for a witness": (text(f"witness a {log_key().text}"), 1, "not one of a witness"),
    "a witness's key for a log": (text(f"log {A}"), 1, "not one of a log"),
    "a log without key": (text("log"), 1, "a log has a key"),
    "a key that is none": (text("witness a b"), 1, "no key"),
    "a key of another kind": (text(f"witness a {ECDSA}"), 1, "no key that is supported"),
    "a key of small order": (text(f"witness a {SMALL}"), 1, "no key that is supported"),
    "a group without members": (text("group g any"), 1, "a group has"),
    "a group of strangers": (text("group g any a"), 1, "'a' is no witness"),
    "a group of none": (text("group g any none"), 1, "'none' is no witness"),
    "a group of itself": (text("group g any g"), 1, "'g' is no witness"),
    "a member twice": (text(f"witness a {A}", "group g any a a"), 2, "member twice"),
    "a member of two groups": (text(f"witness a {A}", "group g any a", "group h any a"), 3, "member twice"),
    "a threshold of 0": (text(f"witness a {A}", "group g 0 a"), 2, "number from 1 to 1"),
    "a threshold too high": (text(f"witness a {A}", "group g 2 a"), 2, "number from 1 to 1"),
    "a threshold with a zero in front": (text(f"witness a {A}", "group g 01 a"), 2, "number from 1 to 1"),
    "a threshold that is none": (text(f"witness a {A}", "group g most a"), 2, "number from 1 to 1"),
    "a group called as a witness": (text(f"witness a {A}", "group a any a"), 2, "'a' is taken"),
    "too many witnesses": (
        text(*(f"witness w{at} {witness_key(key_of_seed(at), 'w').text}" for at in range(65))), 65, "more than 64",
    ),
    "too long": (b"#" * (MAX_POLICY + 1), None, "more than"),
    **{
        f"the address {url}": (text(f"witness a {A} {url}"), 1, "no address")
        for url in (
            "a.invalid", "ftp://a.invalid", "https://", "https:///x", "http://a:99999", "http://a:b", "http://a:0",
            "https://me:secret@a.invalid", "https://a.invalid?x", "https://a.invalid/#x", "http://[::1", "https://\u00e9.invalid",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize(("data", "line", "what"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_of_the_format_is_refused_by_line(data: bytes, line: int | None, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse_policy(data, "the file")
    assert what in refused.value.message
    assert line is None or f"the file, line {line}: " in refused.value.message
    assert refused.value.remedy


@given(st.binary(max_size=300) | st.text("quorm ne#\n\tagip witness", max_size=80).map(str.encode))
def test_whatever_is_read_nothing_else_is_raised(data: bytes) -> None:
    try:
        policy = parse_policy(data, "p")
    except ConfigurationError:
        return
    assert policy.quorum is None or policy.witnesses


def load(folder: Path, data: bytes, log: VerifierKey | None = None) -> None:
    (folder / "policy").write_bytes(data)
    load_policy(folder / "policy", log or log_key())


def test_a_policy_to_ask_by_is_for_this_log_and_says_where_everybody_is(tmp_path: Path) -> None:
    load(tmp_path, everybody("quorum A"))
    load(tmp_path, f"log {log_key().text}\n".encode() + everybody("quorum A"))
    with pytest.raises(ConfigurationError, match="not for this log"):
        load(tmp_path, f"log {log_key(key_of_seed(9)).text}\n".encode() + everybody("quorum A"))
    with pytest.raises(ConfigurationError, match="does not say where"):
        load(tmp_path, text(f"witness a {A}", "quorum a"))
    with pytest.raises(ConfigurationError, match="key of the log itself"):
        load(tmp_path, text(f"witness a {witness_key(LOG).text} https://a.invalid", "quorum a"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_policy(tmp_path / "elsewhere", log_key())
