"""What a bundle proves to somebody who has nothing but a key, and every way to make it say something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from countersign.audit.bundle import REQUIRED
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import ConfigurationError, MalformedError
from countersign.audit.logproof import LogProof
from countersign.audit.note import Note
from countersign.audit.treehead import LogTrust
from countersign.audit.verify import EXIT_CODES, Report
from countersign.audit.verify_bundle import verify_bundle
from unit.bundle_attacks import ATTACKS, Attack
from unit.bundles import (
    ANOTHER,
    ERASED,
    TRAIL,
    TRUST,
    WITNESSED_TWICE,
    Files,
    Log,
    introducing_log,
    packed,
    relisted,
    small_log,
    written,
)
from unit.forging import COSIGNED, FILES, GOOD, LOG_SIGNED, LOGGED, files, retiring, signed_by
from unit.heads import LOG, WITNESS, log_key, witness_key
from unit.samples import DEPLOYMENT, key_of_seed


def of(report: Report) -> tuple[str, int]:
    return report.verdict.value, EXIT_CODES[report.verdict]


def found(report: Report) -> list[str]:
    return [f"{finding.check} {finding.trail or '-'} {finding.seq or '-'}" for finding in report.findings]


def status(report: Report, what: str) -> Any:
    return next(item["status"] for item in report.trust if item["what"] == what)


def test_an_honest_bundle_passes_and_says_what_was_looked_at() -> None:
    report = verify_bundle(GOOD, TRUST)
    assert (of(report), report.findings) == (("passed", 0), [])
    assert report.counts.as_json() == {
        "trails": 3,
        "entries": 13,
        "rows": 0,
        "payloads": 4,
        "erased": 1,
        "sealed": 13,
        "lost": 0,
    }
    assert report.as_json()["tree_head"] == {"size": 15, "root": LOGGED.head.root.hex()}
    assert [(item["what"], item["status"]) for item in report.trust] == [
        ("log key", "checked"),
        ("witnesses", "checked"),
        ("other branches", "not checked"),
        ("rows", "not checked"),
        ("date", "not checked"),
        ("README.txt", "not checked"),
    ]


def test_it_is_read_from_a_file_as_well(tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(GOOD)
    assert verify_bundle(path, TRUST).as_json() == verify_bundle(GOOD, TRUST).as_json()


@pytest.mark.parametrize("compression", [0, 8])
def test_it_may_be_packed_again(compression: int) -> None:
    assert of(verify_bundle(packed(FILES, compression), TRUST)) == ("passed", 0)


def test_the_bundle_of_another_trail_of_the_same_log_passes_too() -> None:
    log = small_log()
    log.export(ANOTHER)
    assert of(verify_bundle(written(log.contents(ANOTHER)), TRUST)) == ("passed", 0)


def test_a_later_export_shows_the_earlier_one() -> None:
    log = small_log()
    log.export()
    assert of(verify_bundle(written(log.contents(erased=ERASED)), TRUST)) == ("passed", 0)


def test_a_bundle_whose_head_is_newer_than_its_trail_passes() -> None:
    log = small_log()
    for _ in range(40):
        log.add(EntryDraft(ANOTHER, "run.started"))
    assert of(verify_bundle(written(log.contents(erased=ERASED)), TRUST)) == ("passed", 0)


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_an_attack_is_found_where_it_was_made(attack: Attack) -> None:
    report = verify_bundle(attack.bundle, TRUST)
    code = {"passed": 0, "failed": 1, "indeterminate": 3}[attack.verdict]
    assert of(report) == (attack.verdict, code), report.findings
    assert "; ".join(found(report)) == attack.found


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_without_a_key_no_attack_passes_and_neither_does_what_is_honest(attack: Attack) -> None:
    """The head is not believed; what follows from the bundle's own bytes is found all the same."""
    assert of(verify_bundle(attack.bundle, None))[0] != "passed"


def test_without_a_key_a_bundle_is_indeterminate_and_its_head_is_not_shown_as_believed() -> None:
    report = verify_bundle(GOOD, None)
    assert (of(report), report.counts.sealed, report.as_json()["tree_head"]) == (("indeterminate", 3), 0, None)
    assert status(report, "log key") == "not checked"


# What the manifest says


@pytest.mark.parametrize("name", REQUIRED)
def test_every_file_has_to_be_there(name: str) -> None:
    less = {other: data for other, data in FILES.items() if other != name}
    for bundle in (packed(less), packed(relisted(less))):
        report = verify_bundle(bundle, TRUST)
        assert (of(report), report.findings[0].check, report.findings[0].table) == (("failed", 1), "file", name)


@pytest.mark.parametrize("name", REQUIRED)
def test_every_file_has_to_be_the_one_that_is_listed(name: str) -> None:
    report = verify_bundle(packed(FILES | {name: FILES[name] + b"\n"}), TRUST)
    assert (of(report), report.findings[0].check, report.findings[0].table) == (("failed", 1), "file", name)


def test_no_other_file_may_be_there_but_seals_of_the_manifest() -> None:
    more = FILES | {"manifest.json.p7s": b"seal", "manifest.json.tsr": b"time"}
    report = verify_bundle(packed(more), TRUST)
    assert of(report) == ("passed", 0)
    assert [status(report, name) for name in ("manifest.json.p7s", "manifest.json.tsr")] == ["not checked"] * 2
    for name in ("x.txt", "trail.csv.p7s", "tree-head.tsr", "certs/manifest.json.p7s", "manifest.json.exe"):
        report = verify_bundle(packed(FILES | {name: b"put in"}), TRUST)
        assert (of(report), report.findings[0].table) == (("failed", 1), name)


def test_what_is_listed_and_not_looked_at_is_said() -> None:
    more = {"report.pdf": b"%PDF", "trail.csv": b"seq", "certs/ca.pem": b"-", "tree-head.tsr": b"0"}
    report = verify_bundle(packed(relisted(FILES | more)), TRUST)
    assert of(report) == ("passed", 0)
    assert {name: status(report, name) for name in more} == dict.fromkeys(more, "not checked")


REFUSED: list[tuple[str, Files, str]] = [
    ("no manifest", {name: data for name, data in FILES.items() if name != "manifest.json"}, "without manifest.json"),
    ("a later spec", relisted(FILES, spec="countersign/bundle/2"), "unknown spec: 'countersign/bundle/2'"),
    ("no spec", relisted(FILES, spec=None), "unknown spec"),
    ("a list", FILES | {"manifest.json": b"[]"}, "unknown spec"),
    ("white space", FILES | {"manifest.json": b" " + FILES["manifest.json"]}, "canonical"),
    ("no JSON", FILES | {"manifest.json": b"{"}, "JSON"),
    ("another member", relisted(FILES, more=1), "exactly the members"),
    ("a number as trail", relisted(FILES, trail=1), "trail is not a string"),
    ("less than no entries", relisted(FILES, entries=-1), "entries is not a count"),
    ("true entries", relisted(FILES, entries=True), "entries is not a count"),
    ("a trail of ours", relisted(FILES, trail="@keys"), "must not begin with @"),
    ("a local time", relisted(FILES, created_at="2025-03-01T12:30:15Z"), "Not a time"),
    ("no log", relisted(FILES, origin="a b"), "origin"),
    ("a path that leads elsewhere", relisted(FILES | {"../x": b""}), "a name that no bundle has"),
]


@pytest.mark.parametrize(("bundle", "reason"), [item[1:] for item in REFUSED], ids=[item[0] for item in REFUSED])
def test_what_is_no_bundle_of_this_spec_is_refused_with_the_reason(bundle: Files, reason: str) -> None:
    named = {name: data for name, data in bundle.items() if not name.startswith(".")}
    with pytest.raises(MalformedError, match=reason):
        verify_bundle(packed(named), TRUST)


AGAIN = b'"files":[{"path":"README.txt","sha256":"' + b"0" * 64 + b'","size":1},'
LISTED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("twice", lambda data: data.replace(b'"files":[', AGAIN)),
    ("itself", lambda data: data.replace(b"README.txt", b"manifest.json")),
    ("no digest", lambda data: data.replace(b'"sha256":"', b'"sha256":"Z')),
]


@pytest.mark.parametrize("change", [item[1] for item in LISTED], ids=[item[0] for item in LISTED])
def test_a_manifest_that_lists_badly_is_refused(change: Callable[[bytes], bytes]) -> None:
    changed = change(FILES["manifest.json"])
    assert changed != FILES["manifest.json"]
    with pytest.raises(MalformedError, match="lists"):
        verify_bundle(packed(FILES | {"manifest.json": changed}), TRUST)


# Who has to vouch


def test_fewer_witnesses_than_asked_for_are_indeterminate() -> None:
    report = verify_bundle(GOOD, WITNESSED_TWICE)
    assert (of(report), report.findings, status(report, "witnesses")) == (("indeterminate", 3), [], "missing")
    assert report.tree_head == LOGGED.head


def test_one_finding_is_more_than_a_missing_witness() -> None:
    tampered = files(payloads_jsonl=FILES["payloads.jsonl"].replace(b"dose", b"dosf"))
    assert of(verify_bundle(tampered, WITNESSED_TWICE)) == ("failed", 1)


def test_witnesses_that_nobody_asked_for_are_not_needed() -> None:
    for bundle in (GOOD, signed_by(LOG_SIGNED), signed_by(replace(COSIGNED, data=bytes(72)), LOG_SIGNED)):
        report = verify_bundle(bundle, LogTrust((log_key(),)))
        assert (of(report), status(report, "witnesses")) == (("passed", 0), "not checked")


def test_a_log_that_was_written_anew_with_its_own_keys_shows_only_to_who_asks_for_a_witness() -> None:
    """Both sides: with the keys of the operator anything can be signed, and no witness would have cosigned it."""
    log = small_log()
    anew = Log()
    anew.begin()
    anew.add(EntryDraft(TRAIL, "run.started"))
    anew.export()
    bundle = written(anew.contents(head=Note(anew.head.text, anew.note.signatures[:1])))
    assert anew.head.size < log.head.size
    assert of(verify_bundle(bundle, LogTrust((log_key(),)))) == ("passed", 0)
    assert of(verify_bundle(bundle, TRUST)) == ("indeterminate", 3)


def test_the_key_of_another_log_makes_no_sense_of_it() -> None:
    report = verify_bundle(GOOD, LogTrust((log_key(name="other.invalid/log"),)))
    assert (of(report), found(report)) == (("failed", 1), ["origin - -"])


def test_a_file_that_cannot_be_read_is_no_verdict() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        verify_bundle(Path("nowhere.zip"), TRUST)


# From the key that was given to the one that signs today

SECOND, THIRD = key_of_seed(21), key_of_seed(22)


def rotated(retire: bool = True) -> tuple[Log, dict[int, LogProof]]:  # noqa: FBT001, FBT002 - with and without
    """Return a log whose key was changed twice, and what hands over from each key to the next."""
    log, old, proofs = small_log(export=False), LOG, {}
    for new in (SECOND, THIRD):
        entry = log.add(introducing_log(new), DEPLOYMENT)
        log.signers = ((log_key(old), old), (log_key(new), new))
        proofs[entry.seq] = log.proof(entry)
        if retire:
            log.add(retiring(old.keyid), DEPLOYMENT)
        log.signers = ((log_key(new), new),)
        old = new
    log.export()
    return log, proofs


ROTATED, HANDOVERS = rotated()


@pytest.mark.parametrize("given", [LOG, SECOND, THIRD])
def test_a_verifier_walks_from_the_key_that_was_given_to_the_one_that_signed(given: Any) -> None:
    bundle = written(ROTATED.contents(erased=ERASED, log_keys=HANDOVERS))
    assert of(verify_bundle(bundle, LogTrust((log_key(given),), (witness_key(),), 1))) == ("passed", 0)


def test_without_the_way_the_head_is_of_a_stranger() -> None:
    for seq in HANDOVERS:
        rest = {other: proof for other, proof in HANDOVERS.items() if other != seq}
        assert found(verify_bundle(written(ROTATED.contents(erased=ERASED, log_keys=rest)), TRUST)) == ["note - -"]


def test_a_head_by_the_old_key_alone_is_not_believed_when_that_was_retired_below_it() -> None:
    log, proofs = rotated()
    log.signers = ((log_key(), LOG),)
    report = verify_bundle(written(log.contents(erased=ERASED, log_keys=proofs)), TRUST)
    assert (of(report), found(report)) == (("failed", 1), ["key - -"])


def test_a_head_by_the_old_key_is_believed_while_it_is_in_use() -> None:
    log, proofs = rotated(retire=False)
    log.signers = ((log_key(), LOG),)
    assert of(verify_bundle(written(log.contents(erased=ERASED, log_keys=proofs)), TRUST)) == ("passed", 0)


FIRST = min(HANDOVERS)


def overlap(*signatures: Any) -> LogProof:
    return replace(HANDOVERS[FIRST], note=Note(HANDOVERS[FIRST].note.text, signatures))


OLD, NEW, _ = HANDOVERS[FIRST].note.signatures
BROKEN: list[tuple[str, LogProof, str]] = [
    ("signed by the old key alone", overlap(OLD), f"note @keys {FIRST}"),
    ("signed by the new key alone", overlap(NEW), "note - -"),
    ("signed wrongly by the new key", overlap(OLD, replace(NEW, data=bytes(64))), f"note @keys {FIRST}"),
    ("signed wrongly by the old key", overlap(replace(OLD, data=bytes(64)), NEW), f"note @keys {FIRST}"),
    ("another leaf", replace(HANDOVERS[FIRST], leaf_index=3), f"note @keys {FIRST}"),
    ("another proof", replace(HANDOVERS[FIRST], hashes=()), f"note @keys {FIRST}"),
]


@pytest.mark.parametrize(("proof", "finding"), [item[1:] for item in BROKEN], ids=[item[0] for item in BROKEN])
def test_a_key_that_was_not_handed_over_to_is_not_believed(proof: LogProof, finding: str) -> None:
    report = verify_bundle(written(ROTATED.contents(erased=ERASED, log_keys=HANDOVERS | {FIRST: proof})), TRUST)
    assert (of(report), found(report)) == (("failed", 1), [finding])


def test_a_hand_over_of_no_entry_or_of_an_entry_key_or_that_is_none_is_a_finding() -> None:
    for seq, finding in ((99, "file - -"), (2, "note @keys 2")):
        contents = ROTATED.contents(erased=ERASED, log_keys=HANDOVERS | {seq: HANDOVERS[FIRST]})
        assert found(verify_bundle(written(contents), TRUST)) == [finding]
    bundle = packed(relisted(FILES | {"log-keys/3.tlog-proof": b"x"}))
    assert found(verify_bundle(bundle, TRUST)) == ["file - -"]


def test_a_log_may_not_hand_over_to_its_witness() -> None:
    log = small_log(export=False)
    entry = log.add(introducing_log(WITNESS), DEPLOYMENT)
    log.signers = ((log_key(), LOG), (log_key(WITNESS), WITNESS))
    proof = log.proof(entry)
    log.export()
    report = verify_bundle(written(log.contents(erased=ERASED, log_keys={entry.seq: proof})), TRUST)
    assert (of(report), found(report)) == (("failed", 1), [f"note @keys {entry.seq}"])
