"""Whatever is changed in a bundle: it is found, or it meant nothing; and no error but ours comes out.

Each time other changes are tried: a third as many in the suite as in `make drill`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.audit.errors import MalformedError
from countersign.audit.treehead import LogTrust
from countersign.audit.verify_bundle import verify_bundle
from drills import share
from unit.bundles import TRUST, packed, relisted
from unit.forging import FILES, GOOD
from unit.heads import log_key

HONEST = verify_bundle(GOOD, TRUST).as_json()
UNSIGNED = {"README.txt"}
NAMES = sorted(FILES)


def judged(bundle: bytes, trust: LogTrust | None = TRUST) -> dict[str, Any] | None:
    """Return the report, or None where there is no bundle to be judged; any error but ours is a failure."""
    try:
        return verify_bundle(bundle, trust).as_json()
    except MalformedError:
        return None


def passes(bundle: bytes) -> bool:
    """Tell whether a bundle passes. If it does, it says what the honest one says."""
    report = judged(bundle)
    if report is None or report["verdict"] != "passed":
        return False
    assert report == HONEST
    return True


@st.composite
def with_a_changed_byte(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from([name for name in NAMES if FILES[name]]))
    data = FILES[name]
    at = draw(st.integers(0, len(data) - 1))
    byte = draw(st.integers(0, 255).filter(lambda byte: byte != data[at]))
    return name, data[:at] + bytes([byte]) + data[at + 1 :]


@settings(max_examples=share(400))
@given(with_a_changed_byte())
def test_a_changed_byte_is_found(change: tuple[str, bytes]) -> None:
    name, data = change
    assert not passes(packed(FILES | {name: data})) or name == "manifest.json"


@settings(max_examples=share(600))
@given(with_a_changed_byte())
def test_a_changed_byte_is_found_though_the_manifest_lists_it(change: tuple[str, bytes]) -> None:
    name, data = change
    if name != "manifest.json":
        assert not passes(packed(relisted(FILES | {name: data}))) or name in UNSIGNED


@settings(max_examples=share(300))
@given(with_a_changed_byte())
def test_a_changed_byte_is_no_other_error_without_key_or_witness(change: tuple[str, bytes]) -> None:
    name, data = change
    bundle = packed(relisted(FILES | {name: data}) if name != "manifest.json" else FILES | {name: data})
    for trust in (None, LogTrust((log_key(),))):
        report = judged(bundle, trust)
        assert trust is not None or report is None or report["verdict"] != "passed"


@settings(max_examples=share(300))
@given(st.data())
def test_a_part_put_in_another_place_is_found(draw: st.DataObject) -> None:
    """Bytes that are well formed somewhere are more dangerous than random ones."""
    name, source = draw.draw(st.sampled_from(NAMES)), draw.draw(st.sampled_from(NAMES))
    data, other = FILES[name], FILES[source]
    begin, end = sorted((draw.draw(st.integers(0, len(data))), draw.draw(st.integers(0, len(data)))))
    first, last = sorted((draw.draw(st.integers(0, len(other))), draw.draw(st.integers(0, len(other)))))
    changed = data[:begin] + other[first:last] + data[end:]
    files = FILES | {name: changed}
    if name != "manifest.json":
        files = relisted(files)
    assert not passes(packed(files)) or changed == data or name in UNSIGNED | {"manifest.json"}


LINES = [name for name in NAMES if name.endswith(".jsonl") and FILES[name]]
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4) | st.floats(allow_nan=False)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner))


@settings(max_examples=share(300))
@given(st.sampled_from([*LINES, "manifest.json"]), st.data())
def test_a_member_of_another_type_is_found(name: str, draw: st.DataObject) -> None:
    lines = FILES[name].splitlines()
    number = draw.draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[number])
    member = draw.draw(st.sampled_from(sorted(value)))
    good, value[member] = value[member], draw.draw(anything)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    lines[number] = text.encode("utf-8", "surrogatepass")
    changed = b"\n".join(lines) + b"\n" * (name != "manifest.json")
    files = FILES | {name: changed}
    if name != "manifest.json":
        files = relisted(files)
    assert not passes(packed(files)) or value[member] == good


@settings(max_examples=share(300))
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_changed_byte_of_the_zip_is_found_or_means_nothing(at: int, byte: int) -> None:
    passes(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=8))
def test_a_part_of_the_zip_replaced_is_found_or_means_nothing(one: int, other: int, part: bytes) -> None:
    begin, end = sorted((one, other))
    passes(GOOD[:begin] + part + GOOD[end:])


@pytest.mark.parametrize("length", range(0, len(GOOD), 97))
def test_a_bundle_that_is_cut_is_none(length: int) -> None:
    assert judged(GOOD[:length]) is None
