"""The form of a bundle: what is written is read again, the same contents are the same bytes, other tools can use it."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import textwrap
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope

from countersign.audit import archive, bundle
from countersign.audit.archive import open_archive
from countersign.audit.bundle import (
    KEYS,
    SYSTEM,
    Place,
    Series,
    parse_envelope,
    read_manifest,
    read_places,
    write_bundle,
)
from countersign.audit.bundle import TRAIL as OF_TRAIL
from countersign.audit.canonical import canonical
from countersign.audit.entry import EntryDraft, envelope
from countersign.audit.errors import ConfigurationError, MalformedError, VerificationError
from countersign.audit.note import encode_base64
from countersign.audit.verify_bundle import verify_bundle
from countersign.reports.readme import readme_text
from unit.bundles import ERASED, TRAIL, TRUST, Log, packed, relisted, run_unpacked, small_log, unpacked, values, written
from unit.forging import CASE, FILES, GOOD, LOGGED
from unit.heads import log_key
from unit.samples import DEPLOYMENT, GRAPH, ORIGIN, WHEN
from unit.stamping import Stamp
from unit.test_envelope import their_key
from unit.test_timetoken import ROOT, TSA

CONTENTS = LOGGED.contents(erased=ERASED)


def read(data: bytes, series: Series, trail: str) -> list[Place]:
    strays: list[VerificationError] = []
    with open_archive(data) as opened:
        places = list(read_places(opened, series, trail, strays.append))
    assert strays == []
    return places


def test_what_was_written_is_read_again() -> None:
    assert read(GOOD, OF_TRAIL, TRAIL) == CONTENTS.entries
    assert read(GOOD, KEYS, "@keys") == CONTENTS.keys
    assert read(GOOD, SYSTEM, "@system") == CONTENTS.system
    with open_archive(GOOD) as opened:
        manifest = read_manifest(opened)
        assert {name: opened.digest(name) for name in opened.names if name != "manifest.json"} == manifest.files
    assert (manifest.origin, manifest.trail, manifest.entries, manifest.created_at) == (ORIGIN, TRAIL, 7, WHEN)


def test_the_same_contents_are_the_same_bytes_whenever_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2099, 1, 1, 0, 0, 0, 0, 1, 0))
    assert written(small_log().contents(erased=ERASED)) == GOOD
    with zipfile.ZipFile(BytesIO(GOOD)) as packed:
        assert {(info.date_time, info.compress_type, info.external_attr) for info in packed.infolist()} == {
            ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, 0o100644 << 16)
        }
        assert packed.namelist()[0] == "README.txt"
        assert packed.namelist()[-1] == "manifest.json"


def test_the_lines_look_like_this() -> None:
    entry = CASE[0]
    assert entry.salt is not None
    assert entry.data is not None
    assert FILES["trail.jsonl"].split(b"\n")[0] == canonical(envelope(entry))
    assert values(FILES, "payloads.jsonl")[0] == {
        "seq": 1,
        "salt": entry.salt.hex(),
        "data": {"input": {"name": "J\u00f6rg", "dose": 5}},
    }
    assert values(FILES, "payloads.jsonl")[2] == {"seq": 3, "erased": 6}
    index, hashes = LOGGED.inclusion(entry)
    assert values(FILES, "proofs.jsonl")[0] == {
        "seq": 1,
        "leaf_index": index,
        "hashes": [encode_base64(value) for value in hashes],
    }
    assert FILES["tree-head"] == LOGGED.note.encode()
    assert FILES["exported.tlog-proof"] == LOGGED.proof(CASE[-1]).encode()


@given(
    st.dictionaries(st.text(max_size=20), st.recursive(st.none() | st.booleans() | st.text(), st.lists), max_size=3),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=255).filter(lambda t: t[0] != "@"),
)
def test_any_payload_and_any_trail_go_through_a_bundle(payload: dict[str, Any], trail: str) -> None:
    log = Log()
    log.begin()
    log.add(EntryDraft(trail, "run.started", payload={"input": payload}))
    log.export(trail)
    data = written(log.contents(trail))
    assert read(data, OF_TRAIL, trail) == log.places(trail)
    assert verify_bundle(data, TRUST).verdict == "passed"


UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("no entries", {"entries": []}, "no entries"),
    ("no proof of the last entry", {"entries": [Place(CASE[0], None)]}, "has no inclusion proof"),
    ("no proof of another entry", {"system": [Place(CASE[0], None)]}, "has no inclusion proof"),
    ("a file twice", {"others": {"tree-head": b""}}, "twice"),
    ("a manifest", {"others": {"manifest.json": b""}}, "written, not given"),
    ("too many files", {"others": {f"certs/{number}.pem": b"" for number in range(1000)}}, "too many files"),
]


@pytest.mark.parametrize(("changes", "reason"), [item[1:] for item in UNFIT], ids=[item[0] for item in UNFIT])
def test_what_no_bundle_can_hold_is_not_written(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        write_bundle(BytesIO(), LOGGED.contents(**({"erased": ERASED} | changes)))


def test_a_bundle_is_never_larger_than_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_MANIFEST", 4_000)
    least = next(size for size in range(15_000, 25_000, 50) if _fits(monkeypatch, size))
    monkeypatch.setattr(archive, "MAX_TOTAL", least)
    assert verify_bundle(GOOD, TRUST).verdict == "passed"


def _fits(monkeypatch: pytest.MonkeyPatch, size: int) -> bool:
    monkeypatch.setattr(bundle, "MAX_TOTAL", size)
    try:
        return written(CONTENTS) == GOOD
    except ConfigurationError:
        return False


def test_a_name_that_leads_elsewhere_is_not_written() -> None:
    with pytest.raises(MalformedError, match="a name that no bundle has"):
        write_bundle(BytesIO(), LOGGED.contents(erased=ERASED, others={"../x": b""}))


ENVELOPE: dict[str, Any] = json.loads(canonical(envelope(CASE[0])))
SIGNED = ENVELOPE["signatures"][0]
NOT_ENVELOPES: list[tuple[str, Any]] = [
    ("a list", []),
    ("nothing", {}),
    ("another member", ENVELOPE | {"more": 1}),
    ("another type", ENVELOPE | {"payloadType": "application/json"}),
    ("no signature", ENVELOPE | {"signatures": []}),
    ("two signatures", ENVELOPE | {"signatures": [SIGNED, SIGNED]}),
    ("no key", ENVELOPE | {"signatures": [{"sig": SIGNED["sig"]}]}),
    ("a short key", ENVELOPE | {"signatures": [SIGNED | {"keyid": "00"}]}),
    ("an upper-case key", ENVELOPE | {"signatures": [SIGNED | {"keyid": "AB" * 32}]}),
    ("no base64", ENVELOPE | {"signatures": [SIGNED | {"sig": "?"}]}),
    ("base64 for the web", ENVELOPE | {"payload": "-_-_"}),
    ("no body", ENVELOPE | {"payload": base64.b64encode(b"{}").decode()}),
]


@pytest.mark.parametrize("value", [item[1] for item in NOT_ENVELOPES], ids=[item[0] for item in NOT_ENVELOPES])
def test_this_is_no_envelope_of_an_entry(value: Any) -> None:
    with pytest.raises(MalformedError):
        parse_envelope(canonical(value))


SPOILED: list[tuple[str, str, Callable[[bytes], bytes], str]] = [
    ("white space", "trail.jsonl", lambda data: data.replace(b":", b": ", 1), "Line 1 of trail.jsonl cannot be read"),
    ("an empty line", "trail.jsonl", lambda data: data.replace(b"\n", b"\n\n", 1), "Line 2 of trail.jsonl is empty"),
    ("no last newline", "trail.jsonl", lambda data: data[:-1], "last line of trail.jsonl"),
    ("carriage returns", "proofs.jsonl", lambda data: data.replace(b"\n", b"\r\n"), "Line 1 of proofs.jsonl"),
    ("a mark in front", "keys.jsonl", lambda data: b"\xef\xbb\xbf" + data, "Line 1 of keys.jsonl"),
    ("a key twice", "proofs.jsonl", lambda data: data.replace(b'"seq":1', b'"seq":1,"seq":1'), "stands twice"),
    ("a float", "payloads.jsonl", lambda data: data.replace(b'"dose":5', b'"dose":5.5'), "a float"),
    ("a short salt", "payloads.jsonl", lambda data: data.replace(b'"salt":"01', b'"salt":"', 1), "32 bytes"),
    ("half a mark", "payloads.jsonl", lambda data: data.replace(b'"erased":6', b'"erased":"6"'), "erased is not"),
    ("a hash too short", "proofs.jsonl", lambda data: data.replace(b'["', b'["AAAA","', 1), "A hash of 3 bytes"),
    ("a number as a hash", "proofs.jsonl", lambda data: data.replace(b'["', b'[1,"', 1), "not a string"),
    ("less than the first leaf", "keys-proofs.jsonl", lambda data: data.replace(b'x":0', b'x":-1'), "not a count"),
]


@pytest.mark.parametrize(
    ("name", "spoil", "reason"), [item[1:] for item in SPOILED], ids=[f"{item[0]}" for item in SPOILED]
)
def test_a_line_that_is_no_canonical_line_is_a_finding(name: str, spoil: Callable[[bytes], bytes], reason: str) -> None:
    files = FILES | {name: spoil(FILES[name])}
    assert files != FILES
    report = verify_bundle(packed(relisted(files)), TRUST)
    assert report.verdict == "failed"
    assert [(finding.check, finding.table) for finding in report.findings[:1]] == [("file", name)]
    assert reason in report.findings[0].message


# Other people's tools


@pytest.mark.parametrize("name", ["trail.jsonl", "keys.jsonl", "system.jsonl"])
def test_another_implementation_of_dsse_verifies_every_line(name: str) -> None:
    keys = {key.keyid.hex(): their_key(key) for key in (DEPLOYMENT, GRAPH)}
    lines = values(FILES, name)
    assert lines
    for line in lines:
        keyid = line["signatures"][0]["keyid"]
        assert list(Envelope.from_dict(line).verify(list(keys.values()), 1)) == [keyid]


def readme_script(text: str) -> str:
    """Return the lines that README.txt says to run one after the other, as printed, with the log's key put in."""
    blocks = re.findall("(?:^    .*\n)+", text, re.MULTILINE)
    first = blocks.index("    t=$(mktemp -d)\n")
    last = blocks.index("    rm -r $t\n")
    script = textwrap.dedent("".join(blocks[first : last + 1])).replace("vkey='KEY'", f"vkey='{log_key().text}'")
    assert log_key().text in script
    return f"set -e\n{script}"


def run_readme(folder: Path, files: dict[str, bytes], text: str) -> subprocess.CompletedProcess[str]:
    """Run those lines where the bundle is unpacked."""
    script = readme_script(text)
    if "tree-head.tsr" in files:
        files = {**files, "tsa-ca.pem": ROOT.certificate.public_bytes(Encoding.PEM)}
    else:
        script = "\n".join(line for line in script.splitlines() if "tree-head.tsr" not in line)
    return run_unpacked(folder, files, script)


def readme_bundle(token: bytes | None = None) -> dict[str, bytes]:
    contents = small_log().contents(erased=ERASED, readme=readme_text(ORIGIN, TRAIL))
    files = unpacked(written(contents))
    return relisted(files | {"tree-head.tsr": token}) if token else files


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
@pytest.mark.parametrize("token", [None, Stamp(TSA, LOGGED.head.text).response()], ids=["bare", "with a time token"])
def test_the_lines_in_the_readme_run_as_printed(token: bytes | None, tmp_path: Path) -> None:
    done = run_readme(tmp_path, readme_bundle(token), readme_text(ORIGIN, TRAIL))
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    listed = [name for name in readme_bundle(token) if name != "manifest.json"]
    assert {f"{name}: OK" for name in listed} <= set(said)
    assert said.count("Signature Verified Successfully") == 2
    assert f"{CASE[0].leaf_hash.hex()}  -" in said
    assert ("Verification: OK" in done.stdout) == (token is not None)


SPOILED_FOR_README: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a file that is not the one listed": ("README.txt", lambda data: data + b"\n"),
    "a body": ("trail.jsonl", lambda data: data.replace(b'"payload":"eyJ', b'"payload":"eyK', 1)),
    "a key that nobody introduced": ("keys.jsonl", lambda data: data.split(b"\n")[0] + b"\n"),
    "a head": ("tree-head", lambda data: data.replace(b"\n", b"\n1", 1)),
}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
@pytest.mark.parametrize(("name", "spoil"), SPOILED_FOR_README.values(), ids=SPOILED_FOR_README)
def test_the_lines_in_the_readme_find_what_was_changed(
    name: str, spoil: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    files = readme_bundle()
    changed = files | {name: spoil(files[name])}
    assert changed != files
    if name != "README.txt":
        changed = relisted(changed)  # so that the digests say nothing
    done = run_readme(tmp_path, changed, readme_text(ORIGIN, TRAIL))
    assert done.returncode != 0
