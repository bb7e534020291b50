"""The command line: one sentence and an exit code that scripts can rely on, never a traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from conftest import ORIGIN, Database
from countersign.audit import attach, verify_parts, verify_workers
from countersign.audit.merkle import EMPTY_ROOT
from countersign.service.cli import main
from countersign.service.describe import shown
from graphs import NEW_ORDER, order_graph, thread

NOWHERE = "postgresql://countersign_app@/countersign?host=/nowhere&port=5432"
COUNTS = {"trails", "entries", "rows", "payloads", "erased", "sealed", "lost"}
FINDING = {"check", "trail", "seq", "leaf_index", "table", "column", "message"}


def run(*words: str, url: str | None, home: Path, **env: str) -> Result:
    settings = {"COUNTERSIGN_DATABASE_URL": url, "COUNTERSIGN_HOME": str(home), "COUNTERSIGN_ORIGIN": None}
    return CliRunner().invoke(main, words, env=settings | env)


def assert_one_sentence(result: Result) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    what, *remedy = result.stderr.splitlines()
    assert what.startswith("countersign: ")
    assert what.endswith(".") or ":" in what
    assert len(remedy) == 1
    assert remedy[0].startswith("  ")
    assert "Traceback" not in result.stderr


@pytest.fixture
async def used(database: Database) -> Database:
    async with database.saver() as saver:
        await attach(order_graph().compile(), saver).ainvoke(NEW_ORDER, thread()[1])
    return database


def edit(database: Database) -> None:
    assert database.as_admin("UPDATE checkpoint_blobs SET blob = '\\x00' WHERE channel = 'flags'") > 0


async def test_an_honest_database_passes(used: Database) -> None:
    result = run("verify", url=used.app_url, home=used.home)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("verdict: passed\n")


async def test_a_tampered_database_fails_and_says_where(used: Database) -> None:
    edit(used)
    result = run("verify", url=used.app_url, home=used.home)

    assert result.exit_code == 1
    assert result.stdout.startswith("verdict: failed\n")
    assert "checkpoint_blobs" in result.stdout


async def test_json_has_the_members_of_the_format(used: Database) -> None:
    result = run("verify", "--json", url=used.app_url, home=used.home)
    report: dict[str, Any] = json.loads(result.stdout)

    assert result.exit_code == 0
    assert report.keys() == {"verdict", "findings", "counts", "tree_head", "trust"}
    assert (report["verdict"], report["findings"]) == ("passed", [])
    assert report["tree_head"] == {"size": 0, "root": EMPTY_ROOT.hex()}
    assert report["counts"].keys() == COUNTS
    assert report["counts"]["entries"] == used.query("SELECT count(*) FROM audit.entries")[0][0]
    said = {item["what"]: item["status"] for item in report["trust"]}
    assert (said["log"], said["memory"], said["tail"]) == ("checked", "checked", "not checked")


async def test_json_of_a_tampered_database_locates_the_damage(used: Database) -> None:
    edit(used)
    result = run("verify", "--json", url=used.app_url, home=used.home)
    report: dict[str, Any] = json.loads(result.stdout)

    assert (result.exit_code, report["verdict"]) == (1, "failed")
    assert {frozenset(finding) for finding in report["findings"]} == {frozenset(FINDING)}
    assert {finding["table"] for finding in report["findings"]} == {"checkpoint_blobs"}


async def test_one_trail_is_verified_alone(used: Database) -> None:
    [[trail]] = used.query("SELECT DISTINCT trail FROM audit.entries WHERE trail <> '@keys'")
    edit(used)

    assert run("verify", "--trail", trail, url=used.app_url, home=used.home).exit_code == 1
    assert run("verify", "--trail", "@keys", url=used.app_url, home=used.home).exit_code == 0
    unknown = run("verify", "--trail", "another", url=used.app_url, home=used.home)
    assert (unknown.exit_code, "no trail 'another'" in unknown.stderr) == (2, True)


async def test_a_trust_file_stands_in_for_the_home(used: Database, tmp_path: Path) -> None:
    trust = str(used.folder.path / "trust.json")

    alone = run("verify", "--trust", trust, url=used.app_url, home=tmp_path)
    assert (alone.exit_code, "missing: end of the log" in alone.stdout) == (3, True)
    head = str(used.folder.path / "log" / "checkpoint")
    assert run("verify", "--trust", trust, "--head", head, url=used.app_url, home=tmp_path).exit_code == 0
    assert run("verify", url=used.app_url, home=tmp_path, COUNTERSIGN_HOME=str(used.home)).exit_code == 0


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_and_nowhere_else() -> None:
    terminal, file = Terminal(), io.StringIO()
    with shown(terminal, wanted=True) as bar:
        assert bar is not None
        assert terminal.getvalue() == ""
        bar.start(4_000)
        bar.advance(1_000)
        bar.advance(3_000)
    with shown(terminal, wanted=False) as none, shown(file, wanted=True) as nobody:
        assert none is nobody is None
    assert "1000/4000" in terminal.getvalue()
    assert "4000/4000" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


async def test_several_processes_print_what_one_prints(used: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(used)
    monkeypatch.setattr(verify_parts, "PART", 1)
    results = [
        run("verify", "--json", *jobs, url=used.app_url, home=used.home)
        for jobs in ((), ("--jobs", "1"), ("--jobs", "3"))
    ]

    assert {(result.exit_code, result.stderr) for result in results} == {(1, "")}
    assert len({result.stdout for result in results}) == 1


async def test_a_process_that_dies_could_not_run(used: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_parts, "PART", 1)
    monkeypatch.setattr(verify_workers, "MODULE", "countersign.audit.errors")  # imports, and ends
    result = run("verify", "--jobs", "2", url=used.app_url, home=used.home)

    assert_one_sentence(result)
    assert "--jobs 1" in result.stderr


@pytest.mark.parametrize("jobs", ["0", "-1", "x", ""])
def test_a_number_of_processes_that_is_none(tmp_path: Path, jobs: str) -> None:
    assert run("verify", "--jobs", jobs, url=NOWHERE, home=tmp_path).exit_code == 2


@pytest.mark.parametrize("command", [("verify",), ("migrate",), ("verify", "--json")])
def test_a_database_out_of_reach(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run(*command, url=NOWHERE, home=tmp_path)

    assert_one_sentence(result)
    assert "cannot be reached" in result.stderr


@pytest.mark.parametrize("command", ["verify", "migrate"])
def test_an_address_that_is_none(tmp_path: Path, command: str) -> None:
    result = run(command, url="nonsense", home=tmp_path)

    assert_one_sentence(result)
    assert "COUNTERSIGN_DATABASE_URL" in result.stderr


def test_a_database_that_was_never_prepared(database: Database) -> None:
    database.as_admin("DROP SCHEMA audit CASCADE; DROP SCHEMA countersign CASCADE")
    result = run("verify", url=database.app_url, home=database.home)

    assert_one_sentence(result)
    assert "countersign migrate" in result.stderr


def test_a_missing_trust_file(database: Database, tmp_path: Path) -> None:
    result = run("verify", url=database.app_url, home=tmp_path)

    assert_one_sentence(result)
    assert "--trust FILE" in result.stderr


BAD_TRUST = {
    "missing": None,
    "empty": b"",
    "no JSON": b"trust me",
    "another document": b'{"spec":"countersign/bundle/1"}',
    "no key": b'{"entry":["AAAA"],"log":[],"origin":"test.invalid/suite","spec":"countersign/trust/1"}',
    "a folder": b"folder",
}


@pytest.mark.parametrize("content", BAD_TRUST.values(), ids=BAD_TRUST)
def test_a_bad_trust_file(database: Database, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "trust.json"
    if content == b"folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    result = run("verify", "--trust", str(path), url=database.app_url, home=database.home)

    assert_one_sentence(result)
    assert "trust file" in result.stderr


def test_trust_in_another_key_fails(database: Database, tmp_path: Path) -> None:
    other = database.folder.key("graph").public
    path = tmp_path / "trust.json"
    document = {"spec": "countersign/trust/1", "origin": ORIGIN, "entry": [_base64(other.raw)], "log": []}
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    result = run("verify", "--trust", str(path), url=database.app_url, home=database.home)

    assert result.exit_code == 1
    assert "trust" in result.stdout


def _base64(data: bytes) -> str:
    import base64  # noqa: PLC0415 - for one line

    return base64.b64encode(data).decode()


def test_an_empty_list_of_trusted_keys_is_never_passed(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_text(f'{{"entry":[],"log":[],"origin":"{ORIGIN}","spec":"countersign/trust/1"}}')
    result = run("verify", "--trust", str(path), url=database.app_url, home=database.home)

    assert result.exit_code == 3, "no trusted key is indeterminate (format, section 9)"


def test_a_database_emptied_of_keys_is_failed(used: Database) -> None:
    used.as_admin("TRUNCATE audit.entries, audit.payloads")
    result = run("verify", url=used.app_url, home=used.home, COUNTERSIGN_ORIGIN=ORIGIN)

    assert result.exit_code == 1


def test_migrate_says_what_it_did(database: Database) -> None:
    result = run("migrate", url=database.owner_url, home=database.home)

    assert (result.exit_code, result.stdout) == (0, "The database was prepared already.\n")


def test_migrate_refuses_another_origin(database: Database) -> None:
    result = run("migrate", url=database.owner_url, home=database.home, COUNTERSIGN_ORIGIN="test.invalid/other")

    assert_one_sentence(result)
    assert ORIGIN in result.stderr


def test_migrate_prints_its_sql_without_a_database(tmp_path: Path) -> None:
    result = run("migrate", "--sql", url=NOWHERE, home=tmp_path / "none")

    assert result.exit_code == 0
    assert "CREATE TABLE audit.entries" in result.stdout
    assert not (tmp_path / "none").exists()


def test_the_installed_command_ends_with_the_same_codes(database: Database) -> None:
    command = [str(Path(sys.executable).with_name("countersign")), "verify", "--json"]
    env = os.environ | {"COUNTERSIGN_DATABASE_URL": database.app_url, "COUNTERSIGN_HOME": str(database.home)}
    honest = subprocess.run(command, env=env, capture_output=True, check=False)
    lost = subprocess.run(command, env=env | {"COUNTERSIGN_DATABASE_URL": NOWHERE}, capture_output=True, check=False)

    assert (honest.returncode, honest.stderr) == (0, b"")
    assert json.loads(honest.stdout)["verdict"] == "passed"
    assert (lost.returncode, lost.stdout) == (2, b"")
