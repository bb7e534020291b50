"""Ed25519 keys under which a signature would prove nothing are refused; the curve is worked out here by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.audit.errors import MalformedError
from countersign.audit.keys import PublicKey
from unit.samples import GRAPH, key_of_seed

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
SIGN = 1 << 255
Point = tuple[int, int]
NEUTRAL: Point = (0, 1)
# RFC 8032's curve has a point of order 8 with this y; libsodium and others list its multiples the same way.
ORDER_8_Y = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7


def x_of(y: int) -> int | None:
    """Return the even square root x of (y^2-1)/(dy^2+1) mod p, or None where there is none (RFC 8032, 5.1.3)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if root * root % P != square:
        root = root * pow(2, (P - 1) // 4, P) % P
    if root * root % P != square:
        return None
    return P - root if root & 1 else root


def add(a: Point, b: Point) -> Point:
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P
    return x, y


def encoded(point: Point) -> bytes:
    return (point[1] | (SIGN if point[0] & 1 else 0)).to_bytes(32, "little")


def torsion() -> list[Point]:
    x = x_of(ORDER_8_Y)
    assert x is not None
    points = [NEUTRAL]
    for _ in range(7):
        points.append(add(points[-1], (x, ORDER_8_Y)))
    return points


def times_eight(point: Point) -> Point:
    for _ in range(3):
        point = add(point, point)
    return point


SMALL_ORDER = torsion()


def test_the_eight_points_of_small_order_are_eight_and_vanish_when_multiplied_by_eight() -> None:
    assert len(set(SMALL_ORDER)) == 8
    assert {times_eight(point) for point in SMALL_ORDER} == {NEUTRAL}


@pytest.mark.parametrize("point", SMALL_ORDER, ids=[encoded(point).hex() for point in SMALL_ORDER])
def test_a_key_of_small_order_is_refused(point: Point) -> None:
    with pytest.raises(MalformedError, match="small order"):
        PublicKey.from_raw(encoded(point))


@pytest.mark.parametrize("y", [1, P - 1])
def test_a_zero_with_a_sign_is_refused(y: int) -> None:
    with pytest.raises(MalformedError):
        PublicKey.from_raw((y | SIGN).to_bytes(32, "little"))


@pytest.mark.parametrize("sign", [0, SIGN])
@pytest.mark.parametrize("y", range(P, 2**255))
def test_an_encoding_that_is_not_reduced_is_refused(y: int, sign: int) -> None:
    with pytest.raises(MalformedError, match="canonical"):
        PublicKey.from_raw((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_of_another_length_is_refused_with_its_length(size: int) -> None:
    with pytest.raises(MalformedError, match=f"32 bytes, not {size}"):
        PublicKey.from_raw(GRAPH.public.raw[:1] * size)


@given(st.integers(0, 255))
def test_a_generated_key_is_accepted_and_is_of_large_order(number: int) -> None:
    raw = key_of_seed(number).public.raw
    assert PublicKey.from_raw(raw).raw == raw
    y = int.from_bytes(raw, "little") & (SIGN - 1)
    x = x_of(y)
    assert x is not None
    assert times_eight((x, y)) != NEUTRAL


@given(st.binary(min_size=32, max_size=32))
def test_any_32_bytes_are_a_key_or_malformed(raw: bytes) -> None:
    try:
        key = PublicKey.from_raw(raw)
    except MalformedError:
        return
    assert key.raw == raw


def test_a_key_verifies_its_own_signature_of_this_message_only() -> None:
    signature = GRAPH.sign(b"message")
    assert GRAPH.public.verifies(signature, b"message")
    assert not GRAPH.public.verifies(signature, b"Message")
    assert not key_of_seed(9).public.verifies(signature, b"message")


@pytest.mark.parametrize("size", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_does_not_verify_and_does_not_raise(size: int) -> None:
    assert GRAPH.public.verifies((GRAPH.sign(b"m") * 2)[:size], b"m") is False


def test_a_signature_with_an_unreduced_scalar_does_not_verify() -> None:
    signature = GRAPH.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not GRAPH.public.verifies(signature[:32] + scalar.to_bytes(32, "little"), b"m")
