"""What `verify` says of a log: how far it reads, what it is held against, and who vouches for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conftest import Database
from countersign.audit.alarm import ALARM
from countersign.audit.attestations import add_cosignatures_steps
from countersign.audit.entry import EntryDraft
from countersign.audit.errors import ConfigurationError
from countersign.audit.keyfolder import LOG
from countersign.audit.memory import Memory
from countersign.audit.note import Algorithm, Note, Signature, VerifierKey, cosign, parse_note, sign
from countersign.audit.outside import Outside, log_trust, read_head, read_outside
from countersign.audit.steps import run
from countersign.audit.treehead import LogTrust, TreeHead
from countersign.audit.verify import Report
from countersign.service.cli import main
from integration.restoring import Backup, adopt_log, restore_log
from integration.sealing import Log, own_log
from tamper.tools import append_forged
from unit.samples import key_of_seed

SECONDS = 1_700_000_000
SIGNERS = (key_of_seed(21), key_of_seed(22))
WITNESSES = tuple(
    VerifierKey(f"witness.example/{number}", Algorithm.COSIGNATURE, key.public) for number, key in enumerate(SIGNERS)
)


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    """A log with three trails under three heads, and one more entry that waits."""
    log = own_log(database, tmp_path / "home")
    for trail in ("case-a", "case-b", "case-c"):
        log.append(trail, 3)
        log.seal()
    return log


def verified(log: Log, **how: Any) -> Report:
    return log.database.verify(**how)


def said(report: Report) -> dict[str, str]:
    return {str(item["what"]): str(item["status"]) for item in report.trust}


def details(report: Report) -> dict[str, str]:
    return {str(item["what"]): str(item["detail"]) for item in report.trust}


def at(log: Log, size: int) -> TreeHead:
    ((note,),) = log.database.query("SELECT note FROM audit.heads WHERE tree_size = %s", (size,))
    path = log.home / f"head-{size}"
    path.write_bytes(bytes(note))
    return read_head(path, log.trust).head


def outside(log: Log, *files: Path, memory: bool = True, witnesses: int = 0, quorum: int = 0) -> Outside:
    keys = log_trust(log.database.trust, WITNESSES[:witnesses], quorum)
    return read_outside(keys, Memory.of(log.folder) if memory else None, files)


def test_what_is_new_since_a_head_is_read_and_nothing_else(log: Log) -> None:
    since = at(log, 9)
    log.append("case-d", 2)
    report = verified(log, since=since)
    assert (report.verdict, report.findings) == ("passed", [])
    # @keys, the trail behind the head, and the one that is not sealed yet
    assert (report.counts.entries, report.counts.sealed, report.unsealed) == (3 + 3 + 2, 3 + 3, 2)
    assert said(report)["older entries"] == "not checked"
    assert report.tree_head == at(log, 12)


def test_what_is_older_is_not_looked_at_and_a_whole_verification_finds_it(log: Log) -> None:
    log.database.as_admin("UPDATE audit.entries SET kind = 'review.closed' WHERE trail = 'case-a' AND seq = 2")
    assert verified(log, since=at(log, 9)).verdict == "passed"
    assert [(found.trail, found.seq) for found in verified(log).findings] == [("case-a", 2)]


def test_a_trail_that_went_on_is_read_whole(log: Log) -> None:
    since = at(log, 12)
    log.append("case-a")
    log.database.as_admin("UPDATE audit.entries SET kind = 'review.closed' WHERE trail = 'case-a' AND seq = 2")
    assert [(found.trail, found.seq) for found in verified(log, since=since).findings] == [("case-a", 2)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_another_history_than_the_one_verified_before_is_found(log: Log, jobs: int) -> None:
    real = at(log, 9)
    other = TreeHead(real.origin, real.size, bytes(32))
    report = verified(log, since=other, jobs=jobs)
    assert [found.check for found in report.findings] == ["head"]
    assert "--since" in report.findings[0].message


def test_a_head_of_leaves_that_were_lost_since_is_gone_on_from(log: Log, tmp_path: Path) -> None:
    backup = Backup(log)
    heads = []
    for _ in range(3):
        log.append("case-c")
        heads.append(log.seal().head)
    backup.bring_back()
    restore_log(log)
    log.append("case-c")
    log.seal()
    for since in (at(log, 9), at(log, 12), *heads):
        report = verified(log, since=since)
        assert (report.verdict, report.findings) == ("passed", [])
        assert (report.counts.lost, said(report)["restore"]) == (3, "recorded")
    other = TreeHead(heads[1].origin, heads[1].size, bytes(32))
    assert [found.check for found in verified(log, since=other).findings] == ["head"]


def test_what_one_trail_leaves_out_is_said_and_no_head_is_kept_for_it(log: Log, tmp_path: Path) -> None:
    assert said(verified(log, trail="case-a"))["other trails"] == "not checked"
    refused = invoke(log, "verify", "--trail", "case-a", "--save-head", tmp_path / "kept")
    assert (refused.exit_code, (tmp_path / "kept").exists()) == (2, False)


def test_a_memory_made_anew_and_a_standing_alarm_are_told(log: Log) -> None:
    shutil.rmtree(log.memory.path)
    adopt_log(log, at(log, 9))
    log.seal()
    report = verified(log)
    assert report.verdict == "passed"
    (told,) = [item["detail"] for item in report.trust if item["status"] == "recorded"]
    assert str(told).startswith(
        "entry 1 of @system says that it was begun anew with the head of size 12, held against 1 "
    )
    (log.folder.path / ALARM).write_bytes(b"{}")
    alarmed = invoke(log, "verify", "--json")
    assert (alarmed.exit_code, json.loads(alarmed.stdout)["findings"][0]["check"]) == (1, "witness")


def forked(log: Log, size: int) -> Path:
    """A head of another tree, signed with the log's own key."""
    key = log.trust.logs[0]
    head = TreeHead(key.name, size, b"\1" * 32)
    path = log.home / "forked"
    path.write_bytes(Note(head.text, (sign(head.text, key, log.folder.key(LOG)),)).encode())
    return path


def test_older_heads_are_compared_too_when_only_what_is_new_is_read(log: Log) -> None:
    since = at(log, 12)
    good = verified(log, since=since, outside=outside(log, log.home / "head-12"))
    assert good.verdict == "passed"
    report = verified(log, since=since, outside=outside(log, forked(log, 7)))
    assert [(found.check, "two histories" in found.message) for found in report.findings] == [("head", True)]


def test_an_older_head_that_was_forked_for_a_witness_counts_for_nothing(log: Log) -> None:
    since = at(log, 12)
    note = forked(log, 6).read_bytes()
    log.database.as_admin("UPDATE audit.heads SET note = %s WHERE tree_size = 6", (note,))
    text = parse_note(note).text
    with log.connected() as conn:
        run(conn, add_cosignatures_steps(6, [cosign(text, WITNESSES[0], SIGNERS[0], SECONDS)]))
    report = verified(log, since=since, outside=outside(log, witnesses=1, quorum=1))
    assert [found.check for found in report.findings] == ["head"]


def test_what_was_struck_from_the_list_of_the_unsealed_is_read_since_a_head_too(log: Log) -> None:
    since = at(log, 12)
    log.append("case-d")
    log.database.as_admin("DELETE FROM countersign.unsealed")
    log.database.as_admin("UPDATE audit.entries SET signature = %s WHERE trail = 'case-d'", (bytes(64),))
    report = verified(log, since=since)
    assert [(found.check, found.trail) for found in report.findings] == [("signature", "case-d")]


def test_a_head_of_nothing_vouches_for_nothing_and_an_older_one_not_for_what_came_later(log: Log) -> None:
    at(log, 0)
    nothing = verified(log, outside=outside(log, log.home / "head-0", memory=False))
    assert (nothing.verdict, said(nothing)["end of the log"]) == ("indeterminate", "missing")
    at(log, 9)
    older = verified(log, outside=outside(log, log.home / "head-9", memory=False))
    assert (older.verdict, details(older)["end of the log"][:8]) == ("passed", "3 leaves")


def test_a_head_that_was_kept_with_its_cosignatures_is_gone_on_from_with_witnesses(log: Log, tmp_path: Path) -> None:
    kept, keys = tmp_path / "kept", ("--witness", WITNESSES[0].text)
    cosigned(log, 12, 0)
    assert invoke(log, "verify", *keys, "--save-head", kept).exit_code == 0
    assert len(parse_note(kept.read_bytes()).signatures) == 2
    assert invoke(log, "verify", *keys, "--since", kept).exit_code == 0
    log.append("case-a")
    log.seal()
    assert invoke(log, "verify", "--save-head", kept).exit_code == 0
    assert invoke(log, "verify", *keys, "--since", kept).exit_code == 0


def test_a_machine_with_two_logs_says_that_the_database_chose(log: Log) -> None:
    assert "which log" not in said(verified(log))
    shutil.copytree(log.folder.path, log.home / "other.example%2Flog")
    alone, named = invoke(log, "verify"), invoke(log, "verify", "--trust", log.folder.path / "trust.json")
    assert ("not checked: which log" in alone.stdout, "which log" in named.stdout) == (True, False)


def test_without_tiles_that_lead_there_everything_is_read(log: Log) -> None:
    report = verified(log, since=at(log, 9), outside=outside(log, memory=False))
    assert (report.verdict, report.counts.entries) == ("indeterminate", 12)
    assert "older entries" not in said(report)


def test_new_leaves_that_were_rewritten_are_named(log: Log) -> None:
    log.database.as_admin(
        "UPDATE audit.leaves l SET leaf_hash = sha256('\\x00'::bytea || e.body) FROM audit.entries e "
        "WHERE e.trail = l.trail AND e.seq = l.seq"
    )
    assert verified(log).verdict == "passed"
    log.database.as_admin("UPDATE audit.leaves SET leaf_hash = sha256('x') WHERE trail = 'case-c' AND seq = 2")
    report = verified(log, since=at(log, 9))
    assert {(found.check, found.trail, found.seq, found.leaf_index) for found in report.findings} >= {
        ("leaf", "case-c", 2, 10)
    }


def cosigned(log: Log, size: int, *numbers: int, seconds: int = SECONDS) -> None:
    head = at(log, size)
    lines = [cosign(head.text, WITNESSES[number], SIGNERS[number], seconds + number) for number in numbers]
    with log.connected() as conn:
        run(conn, add_cosignatures_steps(size, lines))


def test_witnesses_vouch_up_to_the_newest_head_that_enough_of_them_cosigned(log: Log) -> None:
    assert said(verified(log))["witnesses"] == "not checked"
    both = outside(log, witnesses=2, quorum=2)
    cosigned(log, 12, 0)
    report = verified(log, outside=both)
    assert (report.verdict, said(report)["witnesses"]) == ("indeterminate", "missing")

    cosigned(log, 6, 0, 1)
    report = verified(log, outside=both)
    assert (report.verdict, report.findings, said(report)["witnesses"]) == ("passed", [], "checked")
    assert "size 6" in details(report)["witnesses"]
    assert "witness.example/0 at 2023-11-14 22:13:20Z" in details(report)["witnesses"]
    assert details(report)["newer than witnessed"].startswith("6 leaves")

    one = verified(log, outside=outside(log, witnesses=2, quorum=1))
    assert ("size 12" in details(one)["witnesses"], "newer than witnessed" in said(one)) == (True, False)


def test_a_head_that_was_kept_with_its_cosignatures_counts(log: Log, tmp_path: Path) -> None:
    head = at(log, 12)
    path = log.home / "head-12"
    line = cosign(head.text, WITNESSES[0], SIGNERS[0], SECONDS).line
    path.write_bytes(path.read_bytes() + line.encode())
    report = verified(log, outside=outside(log, path, memory=False, witnesses=1, quorum=1))
    assert (report.verdict, said(report)["witnesses"], said(report)["head"]) == ("passed", "checked", "checked")


def test_a_forged_cosignature_is_found_by_whoever_knows_the_witness(log: Log) -> None:
    real = cosign(at(log, 12).text, WITNESSES[0], SIGNERS[0], SECONDS)
    with log.connected() as conn:
        run(conn, add_cosignatures_steps(9, [Signature(real.name, real.key_id, real.data)]))
    assert verified(log).verdict == "passed"
    report = verified(log, outside=outside(log, witnesses=1, quorum=1))
    assert [(found.check, found.table) for found in report.findings] == [("head", "cosignatures")]


def test_a_memory_that_is_no_tree_of_this_log_is_a_finding(log: Log) -> None:
    (Memory.of(log.folder).path / "checkpoint").write_bytes(b"nothing\n")
    report = verified(log)
    assert [found.check for found in report.findings] == ["head"]


@pytest.mark.parametrize("detail", [{}, {"database": 7, "given": []}, {"database": {"size": "x"}, "given": []}])
def test_an_adoption_that_says_nonsense_is_not_told_of(log: Log, detail: dict[str, Any]) -> None:
    append_forged(log.database, EntryDraft("@system", "log.head-adopted", detail=detail), log.folder.key("deployment"))
    assert "recorded" not in said(verified(log)).values()


def test_a_leaf_behind_all_others_is_a_finding_and_no_overflow(log: Log) -> None:
    log.database.as_admin("UPDATE audit.leaves SET leaf_index = %s WHERE leaf_index = 11", (2**63 - 1,))
    assert [found.check for found in verified(log).findings] == ["leaf"]


def test_without_a_key_of_the_log_nothing_is_said_of_it(log: Log) -> None:
    report = verified(log, outside=Outside())
    assert (report.verdict, said(report)["log"], report.tree_head) == ("indeterminate", "not checked", None)
    with pytest.raises(ConfigurationError, match="no key of the log"):
        read_outside(None, None, (log.home / "head",))


def invoke(log: Log, *args: object) -> Result:
    environment = {"COUNTERSIGN_DATABASE_URL": log.database.app_url, "COUNTERSIGN_HOME": str(log.home)}
    return CliRunner().invoke(main, list(map(str, args)), env=environment)


def test_the_command_keeps_a_head_and_goes_on_from_it(log: Log, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert invoke(log, "verify", "--save-head", kept).exit_code == 0
    assert read_head(kept, log.trust).head == at(log, 12)
    log.append("case-d")
    log.seal()
    again = invoke(log, "verify", "--since", kept, "--head", kept, "--save-head", kept)
    assert (again.exit_code, "not checked: older entries" in again.stdout) == (0, True)
    assert read_head(kept, log.trust).head == at(log, 13)

    log.database.as_admin("UPDATE audit.entries SET kind = 'review.closed' WHERE trail = 'case-d'")
    shutil.copy(kept, tmp_path / "before")
    log.append("case-d")
    assert invoke(log, "verify", "--since", kept, "--save-head", kept).exit_code == 1
    assert kept.read_bytes() == (tmp_path / "before").read_bytes()


BAD = {
    "no file": (("--head", "nowhere"), "cannot be read"),
    "no note": (("--head", __file__), "is no tree head of this log"),
    "no such since": (("--since", "nowhere"), "cannot be read"),
    "no witness's key": (("--witness", "x"), "is no verifier key"),
    "too few for the quorum": (("--witness", WITNESSES[0].text, "--quorum", 2), "cannot make a quorum"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_cannot_be_used_is_refused_in_words(log: Log, name: str) -> None:
    args, words = BAD[name]
    result = invoke(log, "verify", *args)
    assert (result.exit_code, words in result.stderr, "Traceback" in result.stderr) == (2, True, False)


def test_the_witnesses_asked_for_decide_the_exit_code(log: Log) -> None:
    args = ("verify", "--witness", WITNESSES[0].text, "--witness", WITNESSES[1].text)
    assert invoke(log, *args).exit_code == 3
    cosigned(log, 12, 0)
    assert invoke(log, *args).exit_code == 3
    assert invoke(log, *args, "--quorum", 1).exit_code == 0


def test_a_trust_of_another_log_is_refused(log: Log) -> None:
    other = VerifierKey("other.example/log", Algorithm.LOG, SIGNERS[0].public)
    trust = log.database.trust
    with pytest.raises(ConfigurationError, match=r"of other\.example"):
        log_trust(type(trust)(trust.origin, trust.entry, (other.text,)))
    assert log_trust(type(trust)(trust.origin, trust.entry)) is None
    assert isinstance(log_trust(trust), LogTrust)
