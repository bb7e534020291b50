"""Signed notes: whatever is changed in one, it opens no more, and nothing but our own errors comes out of it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from countersign.audit.entry import Signer
from countersign.audit.errors import ConfigurationError, MalformedError, VerificationError
from countersign.audit.keys import FileKey, PublicKey
from countersign.audit.note import (
    MAX_NOTE,
    Algorithm,
    Note,
    Signature,
    Verified,
    VerifierKey,
    cosign,
    cosigned,
    decode_base64,
    encode_base64,
    open_note,
    parse_note,
    parse_signatures,
    sign,
)
from countersign.audit.treehead import open_tree_head
from unit import heads
from unit.heads import HEAD, LOG, OTHER, SECONDS, TRUST, WITNESS, WITNESSES, log_key, note_of, witness_key
from unit.samples import ORIGIN

GOOD = note_of().encode()

letters = "aB/.-=\x7f\xe9\u2014\u200b\U0001f600"
names = st.text(letters, min_size=1, max_size=12)
texts = st.text(letters + "\n\n\n +\xa0", max_size=60).map(lambda text: text + "\n")
signatures = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=100))


def opens(data: bytes) -> bool:
    """Tell whether `data` is a tree head that log and witness signed; any error but our own is a failure."""
    try:
        open_tree_head(parse_note(data), TRUST)
    except (MalformedError, VerificationError):
        return False
    return True


# --- form


@given(texts, st.lists(signatures, min_size=1, max_size=4))
@example("\n", [Signature("x", b"\0\0\0\0", b"\0")])
@example("a\n\n\u2014 x AAAAAAA=\n", [Signature("x", b"\0\0\0\0", b"\0")])
@example("a\n\n\n", [Signature("x", b"\0\0\0\0", b"\0")])
def test_a_note_is_read_as_it_was_written(text: str, lines: list[Signature]) -> None:
    note = Note(text, tuple(lines))
    assert parse_note(note.encode()) == note
    assert parse_signatures("".join(line.line for line in lines)) == note.signatures


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(GOOD)
@example(GOOD[:-1])
def test_any_bytes_are_the_one_encoding_of_a_note_or_malformed(data: bytes) -> None:
    try:
        note = parse_note(data)
    except MalformedError:
        return
    assert note.encode() == data


@pytest.mark.parametrize("text", ["", "a", "a\n\tb\n", "a\r\n", "\0\n", "\x1f\n", "\ud800\n"])
def test_this_text_is_no_text_of_a_note(text: str) -> None:
    with pytest.raises(MalformedError, match="cannot be signed"):
        Note(text, (heads.signed(),))
    with pytest.raises(MalformedError, match="cannot be signed"):
        sign(text, log_key(), LOG)
    with pytest.raises(MalformedError, match="cannot be signed"):
        cosign(text, witness_key(), WITNESS, SECONDS)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "a\u00a0", "\u2003", "a\u2028b", "a+b", "a\nb", "\x00", "a\x85", "\ud800"]
)
def test_no_key_has_this_name(name: str) -> None:
    with pytest.raises(MalformedError, match="name of a key"):
        log_key(name=name)
    with pytest.raises(MalformedError, match="name of a key"):
        Signature(name, b"abcd", b"?")


@pytest.mark.parametrize("count", [0, 101])
def test_a_note_has_one_to_a_hundred_signatures(count: int) -> None:
    with pytest.raises(MalformedError, match=f"1 to 100 signatures, not {count}"):
        Note(HEAD.text, (heads.signed(),) * count)


def test_a_note_that_is_too_large_is_not_even_looked_at() -> None:
    padding = "x" * (MAX_NOTE - len(note_of("\n").encode()))
    assert parse_note(note_of(f"{padding}\n").encode()).text == f"{padding}\n"
    with pytest.raises(MalformedError, match="1000001 bytes"):
        parse_note(note_of(f"{padding}x\n").encode())


@given(st.binary(max_size=8))
def test_bytes_have_one_base64(data: bytes) -> None:
    text = encode_base64(data)
    assert decode_base64(text) == data
    for other in (text + "=", text + "\n", " " + text, text[:-1], text.rstrip("=") + "===", text + "\u00e9"):
        if other != text:
            with pytest.raises(MalformedError):
                decode_base64(other)


@given(st.text("ABQgw/+-_= \n", max_size=9))
def test_any_text_is_the_base64_of_its_bytes_or_malformed(text: str) -> None:
    try:
        data = decode_base64(text)
    except MalformedError:
        return
    assert encode_base64(data) == text


# --- keys


@given(names, st.sampled_from(Algorithm), st.sampled_from([LOG, WITNESS, OTHER]))
def test_a_verifier_key_is_read_as_it_was_written(name: str, algorithm: Algorithm, signer: FileKey) -> None:
    key = VerifierKey(name, algorithm, signer.public)
    assert VerifierKey.parse(key.text) == key


@given(st.integers(0, len(log_key().text) - 1), st.integers(0, 127))
def test_a_verifier_key_with_another_character_is_no_key(at: int, code: int) -> None:
    text = log_key().text
    changed = text[:at] + chr(code) + text[at + 1 :]
    if changed != text:
        with pytest.raises(MalformedError):
            VerifierKey.parse(changed)


@given(st.text(max_size=60) | st.text(max_size=60).map(lambda text: f"x+00000000+{text}"))
def test_no_other_text_is_a_verifier_key(text: str) -> None:
    with pytest.raises(MalformedError):
        VerifierKey.parse(text)


def test_one_key_has_another_id_for_every_use_and_name() -> None:
    keys = [
        VerifierKey(name, algorithm, signer.public)
        for name in ("a", "b")
        for algorithm in Algorithm
        for signer in (LOG, WITNESS)
    ]
    assert len({key.key_id for key in keys}) == len(keys)


# --- opening


def test_a_note_opens_for_whoever_knows_a_key_and_says_which() -> None:
    note = parse_note(GOOD)
    assert open_note(note, required=[log_key()]) == [Verified(log_key(), None)]
    assert open_note(note, required=[witness_key()]) == [Verified(witness_key(), SECONDS)]
    both = [Verified(log_key(), None), Verified(witness_key(), SECONDS)]
    assert open_note(note, required=[log_key()], known=WITNESSES) == both
    assert open_note(note, required=[log_key(OTHER), log_key()], known=WITNESSES) == both
    assert open_note(Note(note.text, note.signatures[::-1]), required=[log_key()], known=WITNESSES) == both[::-1]


@pytest.mark.parametrize("required", [[], [log_key(OTHER)], [log_key(name="x")], [witness_key(LOG, ORIGIN)]])
def test_a_note_that_no_required_key_signed_does_not_open(required: list[VerifierKey]) -> None:
    with pytest.raises(VerificationError, match="not signed by") as caught:
        open_note(parse_note(GOOD), required=required, known=WITNESSES)
    assert caught.value.check == "note"


def test_every_byte_of_a_note_counts() -> None:
    assert opens(GOOD)
    for at, good in enumerate(GOOD):
        for byte in {good ^ 1, good ^ 0x80, 0, 0x0A, 0x20, 0x2B, 0x41, 0xFF} - {good}:
            assert not opens(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]), at
        assert not opens(GOOD[:at] + GOOD[at + 1 :]), at
        assert not opens(GOOD[:at]), at


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=6))
def test_a_note_of_which_a_part_is_replaced_never_opens(one: int, other: int, part: bytes) -> None:
    begin, end = sorted((one, other))
    changed = GOOD[:begin] + part + GOOD[end:]
    assert opens(changed) == (changed == GOOD)


@given(st.sampled_from([log_key(), witness_key()]), st.binary(min_size=1, max_size=80), st.booleans())
def test_a_forged_line_of_a_known_key_spoils_the_note(key: VerifierKey, data: bytes, first: bool) -> None:  # noqa: FBT001
    forged, note = Signature(key.name, key.key_id, data), note_of()
    rest = tuple(signature for signature in note.signatures if signature.key_id != key.key_id)
    for lines in ((forged, *rest), (*rest, forged), (forged, *note.signatures), (*note.signatures, forged)):
        assert not opens(Note(note.text, lines).encode())


@given(st.lists(signatures, max_size=5))
def test_lines_of_unknown_keys_change_nothing(lines: list[Signature]) -> None:
    note = note_of()
    assert opens(Note(note.text, (*lines, *note.signatures, *lines)).encode())


def test_a_line_that_stands_twice_in_one_object_is_refused_as_well() -> None:
    with pytest.raises(VerificationError, match="two signatures"):
        open_note(Note(HEAD.text, (heads.signed(),) * 2), required=[log_key()])


def test_two_keys_made_to_resemble_each_other_are_refused_at_once() -> None:
    genuine, made = log_key(), log_key(OTHER)
    object.__setattr__(made, "key_id", genuine.key_id)
    with pytest.raises(ConfigurationError, match="made to resemble"):
        open_note(parse_note(GOOD), required=[genuine], known=[made])


def test_everybody_can_sign_under_a_key_of_small_order_so_it_is_never_read() -> None:
    """Under the neutral point R = it and S = 0 verify for every text."""
    neutral = b"\x01" + bytes(31)
    for algorithm in Algorithm:
        with pytest.raises(MalformedError, match="small order"):
            VerifierKey(ORIGIN, algorithm, PublicKey.from_raw(neutral))


# --- signing


class WrongSigner:
    """A key file that was mixed up, or a module that computes wrongly."""

    keyid = LOG.keyid

    def sign(self, message: bytes) -> bytes:
        return LOG.sign(message + b"?")


@pytest.mark.parametrize("signer", [OTHER, WrongSigner()], ids=["another key", "wrong signatures"])
def test_a_signature_that_does_not_verify_is_not_given_away(signer: Signer) -> None:
    with pytest.raises(ConfigurationError, match="does not verify under its key"):
        sign(HEAD.text, log_key(), signer)
    with pytest.raises(ConfigurationError, match="does not verify under its key"):
        cosign(HEAD.text, witness_key(), signer, SECONDS)


def test_a_key_is_used_for_what_it_is_for() -> None:
    with pytest.raises(ValueError, match="does not sign for a log"):
        sign(HEAD.text, witness_key(), WITNESS)
    with pytest.raises(ValueError, match="needs a key for cosignatures"):
        cosign(HEAD.text, log_key(), LOG, SECONDS)


@pytest.mark.parametrize("seconds", [0, 1, SECONDS, 2**63 - 1])
def test_a_cosignature_says_when(seconds: int) -> None:
    signature = heads.cosigned(seconds=seconds)
    assert signature.data[:8] == seconds.to_bytes(8, "big")
    assert WITNESS.public.verifies(signature.data[8:], b"cosignature/v1\ntime %d\n" % seconds + HEAD.text.encode())
    note = Note(HEAD.text, (heads.signed(), signature))
    assert open_note(note, required=WITNESSES) == [Verified(witness_key(), seconds)]


@pytest.mark.parametrize("seconds", [-1, 2**63])
def test_there_is_no_such_time(seconds: int) -> None:
    with pytest.raises(ValueError, match="0 to 2"):
        heads.cosigned(seconds=seconds)
    assert cosigned("x\n", 7) == b"cosignature/v1\ntime 7\nx\n"
