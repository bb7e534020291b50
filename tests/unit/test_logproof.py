"""A proof that an entry is in the log, as a file."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from countersign.audit.errors import MalformedError, VerificationError
from countersign.audit.logproof import MAX_PROOF, LogProof, parse_log_proof, verify_log_proof
from countersign.audit.note import encode_base64
from unit.heads import BODIES, HEAD, TRUST, note_of, proof_of

NOTE = note_of()
PROOF = LogProof(5, tuple(proof_of(5)), NOTE)
GOOD = PROOF.encode()
hashes = st.binary(min_size=32, max_size=32)


def verifies(data: bytes, body: bytes = BODIES[5]) -> bool:
    """Tell whether the file proves `body`; any error but our own is a failure."""
    try:
        verify_log_proof(parse_log_proof(data), body, TRUST)
    except (MalformedError, VerificationError):
        return False
    return True


def test_a_proof_looks_like_this() -> None:
    lines = ["c2sp.org/tlog-proof@v1", "extra AAE=", "index 5", *map(encode_base64, proof_of(5)), ""]
    proof = LogProof(5, PROOF.hashes, NOTE, b"\0\1")
    assert proof.encode() == "".join(f"{line}\n" for line in lines).encode() + NOTE.encode()


@pytest.mark.parametrize("leaf_index", range(len(BODIES)))
def test_every_entry_can_be_proven_and_no_other_with_the_same_file(leaf_index: int) -> None:
    data = LogProof(leaf_index, tuple(proof_of(leaf_index)), NOTE).encode()
    opened = verify_log_proof(parse_log_proof(data), BODIES[leaf_index], TRUST)
    assert opened.head == HEAD
    assert [body for body in (*BODIES, b"", b"forged") if verifies(data, body)] == [BODIES[leaf_index]]


@given(st.integers(0, 2**63 - 2), st.lists(hashes, max_size=63), st.none() | st.binary(min_size=1, max_size=30))
def test_a_proof_is_read_as_it_was_written(leaf_index: int, path: list[bytes], extra: bytes | None) -> None:
    proof = LogProof(leaf_index, tuple(path), NOTE, extra)
    assert parse_log_proof(proof.encode()) == proof


@given(
    st.binary(max_size=60) | st.text("index 0=\nA", max_size=40).map(lambda t: b"c2sp.org/tlog-proof@v1\n" + t.encode())
)
@example(GOOD)
def test_any_bytes_are_the_one_encoding_of_a_proof_or_malformed(data: bytes) -> None:
    for candidate in (data, data + b"\n" + NOTE.encode()):
        try:
            proof = parse_log_proof(candidate)
        except MalformedError:
            continue
        assert proof.encode() == candidate


def test_every_byte_of_a_proof_counts() -> None:
    assert verifies(GOOD)
    for at, good in enumerate(GOOD):
        for byte in {good ^ 1, good ^ 0x80, 0, 0x0A, 0x20, 0x30, 0x41, 0xFF} - {good}:
            assert not verifies(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]), at
        assert not verifies(GOOD[:at] + GOOD[at + 1 :]), at
        assert not verifies(GOOD[:at]), at


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=6))
def test_a_proof_of_which_a_part_is_replaced_proves_nothing(one: int, other: int, part: bytes) -> None:
    begin, end = sorted((one, other))
    changed = GOOD[:begin] + part + GOOD[end:]
    if not changed.startswith(b"c2sp.org/tlog-proof@v1\nextra "):  # extra data is vouched for by nobody
        assert verifies(changed) == (changed == GOOD)


def test_extra_data_is_carried_and_vouched_for_by_nobody() -> None:
    proof = LogProof(5, PROOF.hashes, NOTE, b"anything")
    assert parse_log_proof(proof.encode()).extra == b"anything"
    assert verifies(proof.encode())


@pytest.mark.parametrize(
    ("leaf_index", "path", "extra", "reason"),
    [
        (-1, (), None, "no leaf -1"),
        (2**63 - 1, (), None, "no leaf"),
        (0, (bytes(32),) * 64, None, "at most 63"),
        (0, (bytes(31),), None, "of 32 bytes"),
        (0, (bytes(33),), None, "of 32 bytes"),
        (0, (), b"", "empty"),
    ],
)
def test_there_is_no_such_proof(leaf_index: int, path: tuple[bytes, ...], extra: bytes | None, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        LogProof(leaf_index, path, NOTE, extra)


def test_a_proof_that_is_too_large_is_not_even_looked_at() -> None:
    with pytest.raises(MalformedError, match="2000001 bytes"):
        parse_log_proof(GOOD.ljust(MAX_PROOF + 1, b"\n"))
