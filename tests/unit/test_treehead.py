"""Tree heads, and who has to vouch for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from countersign.audit.errors import ConfigurationError, MalformedError, VerificationError
from countersign.audit.merkle import EMPTY_ROOT, MAX_TREE_SIZE
from countersign.audit.note import Note, Verified, VerifierKey, cosign, sign
from countersign.audit.treehead import LogTrust, TreeHead, open_tree_head, parse_count, parse_hash
from unit.heads import (
    HEAD,
    LOG,
    OTHER,
    SECONDS,
    TRUST,
    WITNESS,
    WITNESSES,
    cosigned,
    log_key,
    note_of,
    signed,
    witness_key,
)
from unit.samples import ORIGIN

origins = st.text("aB/.-=\xe9\u2014\u200b\U0001f600", min_size=1, max_size=20)


@given(origins, st.integers(1, MAX_TREE_SIZE), st.binary(min_size=32, max_size=32))
def test_a_tree_head_is_read_as_it_was_written(origin: str, size: int, root: bytes) -> None:
    head = TreeHead(origin, size, root)
    assert head.text.count("\n") == 3
    assert TreeHead.parse(head.text) == head


@given(st.text(max_size=40) | st.text(max_size=40).map(lambda text: f"a\n{text}\n") | st.just(HEAD.text))
@example(HEAD.text + "extension\n")
@example(HEAD.text + "\n")
@example(HEAD.text[:-1])
def test_any_text_is_the_one_text_of_a_tree_head_or_malformed(text: str) -> None:
    try:
        head = TreeHead.parse(text)
    except MalformedError:
        return
    assert head.text == text


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [
        ("", 1, bytes(32)),
        ("a b", 1, bytes(32)),
        ("a\nb", 1, bytes(32)),
        ("a", -1, bytes(32)),
        ("a", 2**63, bytes(32)),
        ("a", 1, bytes(31)),
        ("a", 1, b""),
        ("a", 0, bytes(32)),
    ],
)
def test_there_is_no_such_tree_head(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(MalformedError):
        TreeHead(origin, size, root)


def test_the_empty_tree_has_a_head() -> None:
    assert TreeHead.parse(f"a\n0\n{'47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='}\n") == TreeHead("a", 0, EMPTY_ROOT)


@pytest.mark.parametrize("text", ["", "00", "01", "-0", "+1", " 1", "1\n", "1_0", "\u0661", "1e1", "11", "9" * 5000])
def test_this_is_no_number_to_ten(text: str) -> None:
    with pytest.raises(MalformedError, match="0 to 10 "):
        parse_count(text, 10)


def test_numbers_and_hashes_have_one_spelling() -> None:
    assert [parse_count(str(number), 10) for number in range(11)] == list(range(11))
    assert parse_hash("A" * 43 + "=") == bytes(32)
    for text in ("", "A" * 44, "A" * 42 + "B=", "A" * 43):
        with pytest.raises(MalformedError):
            parse_hash(text)


# --- trust

log, successor = log_key(), log_key(OTHER)
Keys = tuple[VerifierKey, ...]


@pytest.mark.parametrize(
    ("logs", "witnesses", "quorum", "reason"),
    [
        ((), (), 0, "of one log"),
        ((log, log_key(OTHER, "another.invalid")), (), 0, "of one log"),
        ((witness_key(LOG, ORIGIN),), (), 0, "is a witness's"),
        ((log,), (log_key(OTHER),), 0, "not for cosignatures"),
        ((log,), (witness_key(LOG),), 0, "trusted twice"),
        ((log, successor), (witness_key(OTHER),), 0, "trusted twice"),
        ((log, log), (), 0, "trusted twice"),
        ((log,), (witness_key(), witness_key(name="again.invalid")), 0, "trusted twice"),
        ((log,), (witness_key(),) * 2, 2, "trusted twice"),
        ((log,), (), 1, "quorum of 1"),
        ((log,), WITNESSES, 3, "quorum of 3"),
        ((log,), WITNESSES, -1, "quorum of -1"),
    ],
)
def test_these_keys_cannot_be_trusted(logs: Keys, witnesses: Keys, quorum: int, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        LogTrust(logs, witnesses, quorum)
    assert caught.value.remedy


def test_a_tree_head_opens_with_its_cosignatures() -> None:
    opened = open_tree_head(note_of(), TRUST)
    assert opened.head == HEAD
    assert opened.signatures == (Verified(log, None), Verified(witness_key(), SECONDS))
    assert open_tree_head(note_of(), LogTrust((log,))).signatures == (Verified(log, None),)
    assert TRUST.origin == ORIGIN


def test_around_a_rotation_either_log_key_suffices_and_a_wrong_one_still_spoils() -> None:
    trust = LogTrust((log, successor))
    new = sign(HEAD.text, successor, OTHER)
    for lines in ((signed(),), (new,), (signed(), new), (new, signed())):
        assert open_tree_head(Note(HEAD.text, lines), trust).head == HEAD
    with pytest.raises(VerificationError, match="does not match"):
        open_tree_head(Note(HEAD.text, (signed(), replace(new, data=signed().data))), trust)


@pytest.mark.parametrize("quorum", [0, 1, 2])
def test_a_quorum_counts_witnesses_and_not_what_else_is_signed(quorum: int) -> None:
    trust = LogTrust((log,), WITNESSES, quorum)
    second = cosign(HEAD.text, WITNESSES[1], OTHER, SECONDS)
    stranger = cosign(HEAD.text, witness_key(name="stranger.invalid"), WITNESS, SECONDS)
    for count, lines in [(0, ()), (0, (stranger,)), (1, (cosigned(),)), (2, (second, cosigned()))]:
        note = Note(HEAD.text, (signed(), *lines))
        if count >= quorum:
            assert len(open_tree_head(note, trust).signatures) == 1 + count
            continue
        with pytest.raises(VerificationError, match=f"has {count} cosignatures") as caught:
            open_tree_head(note, trust)
        assert caught.value.check == "quorum"


def test_a_head_of_another_log_and_a_text_that_is_none_are_refused_though_signed() -> None:
    with pytest.raises(VerificationError, match=r"of the log 'another\.invalid'") as caught:
        open_tree_head(note_of(TreeHead("another.invalid", 7, HEAD.root).text), TRUST)
    assert caught.value.check == "origin"
    with pytest.raises(MalformedError, match="three lines"):
        open_tree_head(note_of("Some other statement.\n"), TRUST)
