"""`countersign verify-bundle`: a verdict for people, one for programs, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from countersign.service.cli import main
from unit.bundles import packed, relisted
from unit.forging import FILES, GOOD, LOG_SIGNED, LOGGED, files, signed_by
from unit.heads import OTHER, log_key, witness_key
from unit.samples import STRANGER

VKEY = log_key().text
WITNESS_KEY, OTHER_KEY = witness_key().text, witness_key(OTHER, "other.invalid").text
TAMPERED = files(payloads_jsonl=FILES["payloads.jsonl"].replace(b"dose", b"dosf"))


def run(path: Path, bundle: bytes, *options: str) -> Result:
    (path / "bundle.zip").write_bytes(bundle)
    return CliRunner().invoke(main, ["verify-bundle", str(path / "bundle.zip"), *options])


BOTH = ["--witness", WITNESS_KEY, "--witness", OTHER_KEY]
VERDICTS: list[tuple[str, bytes, list[str], int, str]] = [
    ("honest", GOOD, ["--vkey", VKEY], 0, "verdict: passed"),
    ("witnessed", GOOD, ["--vkey", VKEY, "--witness", WITNESS_KEY], 0, "checked: witnesses (witness.invalid"),
    ("one of two", GOOD, ["--vkey", VKEY, *BOTH, "--quorum", "1"], 0, "verdict: passed"),
    ("two of two", GOOD, ["--vkey", VKEY, *BOTH], 3, "missing: witnesses"),
    ("another witness", GOOD, ["--vkey", VKEY, "--witness", OTHER_KEY], 3, "verdict: indeterminate"),
    ("not witnessed", signed_by(LOG_SIGNED), ["--vkey", VKEY, "--witness", WITNESS_KEY], 3, "0 cosigned"),
    ("two keys", GOOD, ["--vkey", VKEY, "--vkey", log_key(STRANGER).text], 0, "verdict: passed"),
    ("no key", GOOD, [], 3, "not checked: log key (no key of the log was given: --vkey)"),
    ("another key", GOOD, ["--vkey", log_key(STRANGER).text], 1, "is not signed by"),
    ("tampered", TAMPERED, ["--vkey", VKEY], 1, "a payload whose salt or data was changed. [payload]"),
    ("tampered, no key", TAMPERED, [], 1, "verdict: failed"),
    ("no zip", b"%PDF", ["--vkey", VKEY], 2, "bundle.zip is not a bundle that can be judged: Not a zip"),
    ("a later spec", packed(relisted(FILES, spec="countersign/bundle/2")), ["--vkey", VKEY], 2, "a later one"),
    ("no key at all", GOOD, ["--vkey", "nonsense"], 2, "--vkey 'nonsense' is no verifier key"),
    ("a witness's key", GOOD, ["--vkey", WITNESS_KEY], 2, "a log's key is a witness's"),
    ("the log as witness", GOOD, ["--vkey", VKEY, "--witness", VKEY], 2, "not for cosignatures"),
    ("a witness without log", GOOD, ["--witness", WITNESS_KEY], 2, "Give the log's verifier key as well: --vkey KEY"),
    ("no such quorum", GOOD, ["--vkey", VKEY, "--quorum", "1"], 2, "0 witnesses cannot make a quorum of 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("bundle", "options", "code", "says"), [item[1:] for item in VERDICTS], ids=[item[0] for item in VERDICTS]
)
def test_the_exit_code_and_the_sentence(
    bundle: bytes, options: list[str], code: int, says: str, tmp_path: Path
) -> None:
    done = run(tmp_path, bundle, *options)
    assert (done.exit_code, done.exception is None or isinstance(done.exception, SystemExit)) == (code, True)
    assert says in (done.stderr if code == 2 else done.stdout)
    assert (done.stdout == "") == (code == 2)


@pytest.mark.parametrize(
    ("bundle", "options", "verdict"),
    [(GOOD, ["--vkey", VKEY], "passed"), (TAMPERED, ["--vkey", VKEY], "failed"), (GOOD, [], "indeterminate")],
)
def test_the_report_for_programs(bundle: bytes, options: list[str], verdict: str, tmp_path: Path) -> None:
    report = json.loads(run(tmp_path, bundle, "--json", *options).stdout)
    assert set(report) == {"verdict", "findings", "counts", "tree_head", "trust"}
    assert report["verdict"] == verdict
    assert report["counts"]["entries"] == 13
    assert report["tree_head"] == ({"size": 15, "root": LOGGED.head.root.hex()} if options else None)


def test_a_finding_names_its_leaf(tmp_path: Path) -> None:
    changed = FILES["proofs.jsonl"].replace(b'"leaf_index":6', b'"leaf_index":7')
    (finding,) = json.loads(run(tmp_path, files(proofs_jsonl=changed), "--json", "--vkey", VKEY).stdout)["findings"]
    assert {key: finding[key] for key in ("check", "trail", "seq", "leaf_index", "table", "column")} == {
        "check": "inclusion",
        "trail": "case-1",
        "seq": 2,
        "leaf_index": 7,
        "table": "entries",
        "column": None,
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["verify-bundle", str(tmp_path / "none.zip"), "--vkey", VKEY])
    assert done.exit_code == 2
    assert "none.zip cannot be read: No such file or directory." in done.stderr
