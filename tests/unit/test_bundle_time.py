"""The time token in a bundle: checked where an authority is trusted, missing then, and else only listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from countersign.audit.errors import VerificationError
from countersign.audit.tokenform import MAX_TOKEN
from countersign.audit.verify import Report
from countersign.audit.verify_bundle import verify_bundle
from countersign.service.cli import main
from unit.bundles import TRUST, packed, relisted
from unit.forging import FILES, LOGGED
from unit.heads import log_key
from unit.stamping import Stamp, refusal
from unit.test_timetoken import BOUGHT, EXPIRED, MIDDLE, ROOT, STRANGER, TSA, certs

TEXT = LOGGED.head.text
STAMP = Stamp(TSA, TEXT)
NAME = "tree-head.tsr"


def bundle(token: bytes | None, **others: bytes) -> bytes:
    files = FILES if token is None else FILES | {NAME: token}
    return packed(relisted(files | others))


def said(report: Report, what: str) -> list[tuple[object, object]]:
    return [(item["status"], item["detail"]) for item in report.trust if item["what"] == what]


def test_a_token_that_counts_is_told_with_its_time() -> None:
    report = verify_bundle(bundle(STAMP.response()), TRUST, certs(ROOT))
    assert (report.verdict.value, report.findings) == ("passed", [])
    detail = "the tree head existed at 2026-03-02T12:05:00.000000Z, by CN=Our TSA"
    assert said(report, "time") == [("checked", detail)]
    assert said(report, NAME) == []


def test_one_that_was_asked_for_and_is_not_there_is_missing() -> None:
    report = verify_bundle(bundle(None), TRUST, certs(ROOT))
    assert (report.verdict.value, report.findings) == ("indeterminate", [])
    assert said(report, "time") == [("missing", f"there is no {NAME}, a time token of the tree head")]


@pytest.mark.parametrize("token", [STAMP.response(), b"anything"])
def test_one_that_nobody_asked_for_is_listed_as_not_checked(token: bytes) -> None:
    report = verify_bundle(bundle(token), TRUST)
    assert report.verdict.value == "passed"
    assert (said(report, "time"), said(report, NAME)) == ([], [("not checked", "its digest only")])


def test_the_time_of_the_manifest_is_not_looked_at() -> None:
    files = relisted(FILES | {NAME: STAMP.response()}) | {"manifest.json.tsr": b"anything"}
    report = verify_bundle(packed(files), TRUST, certs(ROOT))
    assert report.verdict.value == "passed"
    assert said(report, "manifest.json.tsr") == [("not checked", "not even its digest: the manifest cannot list it")]


WRONG: dict[str, tuple[bytes, str, str]] = {
    "of another head": (STAMP.with_(text=TEXT.replace("15", "14")).response(), "time", "over another text"),
    "of the whole note": (STAMP.with_(text=LOGGED.note.encode().decode()).response(), "time", "over another text"),
    "by a stranger": (
        Stamp(BOUGHT, TEXT, certificates=certs(BOUGHT, STRANGER)).response(),
        "time",
        "No authority that is trusted vouches for it",
    ),
    "by an expired certificate": (Stamp(EXPIRED, TEXT).response(), "time", "certificate has expired"),
    "a refusal": (refusal(), "time", "refused: status 2"),
    "empty": (b"", "time", "0 bytes"),
    "huge": (bytes(MAX_TOKEN + 1), "file", f"has {MAX_TOKEN + 1} bytes; {MAX_TOKEN} are accepted"),
    "garbage": (b"anything", "time", "no RFC 3161 time stamp response"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_one_fails_and_the_rest_is_checked_all_the_same(case: str) -> None:
    token, check, says = WRONG[case]
    report = verify_bundle(bundle(token), TRUST, certs(ROOT))
    assert [(finding.check, finding.table) for finding in report.findings] == [(check, NAME)]
    assert says in report.findings[0].message
    assert (report.counts.entries, report.verdict.value) == (13, "failed")


def test_it_is_checked_without_a_key_of_the_log_too_and_does_not_make_up_for_one() -> None:
    report = verify_bundle(bundle(STAMP.response()), None, certs(ROOT))
    assert (report.verdict.value, [status for status, _ in said(report, "time")]) == ("indeterminate", ["checked"])
    assert verify_bundle(bundle(b"anything"), None, certs(ROOT)).verdict.value == "failed"


@pytest.mark.parametrize(
    ("pem", "token", "code", "says"),
    [
        (ROOT.pem, STAMP.response(), 0, "checked: time (the tree head existed at 2026-03-02T12:05:00.000000Z, by CN="),
        (ROOT.pem, None, 3, f"missing: time (there is no {NAME}"),
        (STRANGER.pem, STAMP.response(), 1, "[time]"),
        (MIDDLE.pem, STAMP.response(), 2, "There is no self-signed certificate in it"),
        (b"", STAMP.response(), 2, "does not hold the certificates of a time stamping authority"),
    ],
)
def test_the_command(pem: bytes, token: bytes | None, code: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(bundle(token))
    (tmp_path / "ca.pem").write_bytes(pem)
    words = ["verify-bundle", str(tmp_path / "bundle.zip"), "--vkey", log_key().text]
    done = CliRunner().invoke(main, [*words, "--tsa-ca", str(tmp_path / "ca.pem")])
    assert done.exit_code == code, done.output
    assert says in done.output
    gone = CliRunner().invoke(main, [*words, "--tsa-ca", str(tmp_path / "none.pem")])
    assert (gone.exit_code, "none.pem failed: No such file" in gone.output) == (2, True)


def test_a_wrong_time_stands_before_what_is_of_one_trail() -> None:
    report = verify_bundle(bundle(b"x"), TRUST, certs(ROOT))
    report.add(VerificationError("a payload", check="payload", trail="@keys", seq=1))
    assert [finding.check for finding in report.findings] == ["time", "payload"]
