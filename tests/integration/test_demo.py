"""The demonstration and the README: what is promised there happens."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import Database
from countersign.audit.canonical import parse
from countersign.audit.entry import leaf_hash
from countersign.service import database as commands
from countersign.service.demo_vanish import put_back, vanish
from graphs import NEW_ORDER, order_graph, thread
from integration.sealing import Log, own_log

COUNTERSIGN = Path(sys.executable).with_name("countersign")
README = Path(__file__).parents[2] / "README.md"


def on_server(url: str, home: Path) -> commands.Database:
    return commands.Database(url, url, home)


def run_demo(database: Database, out: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "COUNTERSIGN_DATABASE_URL": database.admin_url,
        "COUNTERSIGN_HOME": str(database.home),
    }
    return subprocess.run(
        [COUNTERSIGN, "demo", "--out", out], env=environment, capture_output=True, text=True, check=False
    )


def demonstrate(database: Database, folder: Path) -> tuple[Database, Path, str]:
    database = own_log(database, folder / "home").database
    done = run_demo(database, folder / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    return database, folder / "out", done.stdout


@pytest.fixture(scope="module")
def demonstrated(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Path, str]:
    """Return one demonstration for all tests that only look at it, or put back what they change."""
    return demonstrate(shared_database, tmp_path_factory.mktemp("demonstrated"))


def test_the_demonstration_approves_rejects_revises_and_is_not_fooled(
    demonstrated: tuple[Database, Path, str],
) -> None:
    _, _, printed = demonstrated
    assert "GIVE 5 mg warfarin to P-101" in printed
    assert "DO NOT GIVE methotrexate to P-102: pregnancy not excluded" in printed
    assert "1000 mg vancomycin proposed" in printed
    assert "GIVE 750 mg vancomycin to P-103" in printed
    assert "resume: refused. Row checkpoints" in printed
    assert re.search(r"countersign verify:\n +verdict: failed\n +Row checkpoints", printed)
    assert "countersign verify: passed (the refusal stays in the trail)" in printed


def test_the_demonstration_makes_a_case_vanish_and_the_log_finds_it(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, printed = demonstrated
    assert re.search(r"verdict: failed\n +Leaves \d+ to \d+ of the log are missing", printed)
    assert "the case is put back; countersign verify: passed" in printed
    assert database.verify().verdict == "passed"


def test_a_demonstration_killed_while_a_case_was_gone_is_put_right_by_the_next(
    demonstrated: tuple[Database, Path, str], tmp_path: Path
) -> None:
    database, _, printed = demonstrated
    found = re.search(r"(order-[0-9a-f]{6}-2): with psql", printed)
    assert found
    target = on_server(database.admin_url, database.home)
    assert vanish(target, found[1])
    assert database.verify().verdict == "failed"
    assert put_back(target)
    assert not put_back(target)
    assert database.verify().verdict == "passed"


def test_a_user_without_the_power_to_cheat_is_not_asked_to(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, _ = demonstrated
    assert not vanish(on_server(database.owner_url, database.home), "order-x-2")
    assert database.verify().verdict == "passed"


def test_the_readme_shows_what_is_printed(demonstrated: tuple[Database, Path, str]) -> None:
    _, _, printed = demonstrated
    shown = re.search(r"<!-- demo output -->\n```\n(.*?)```", README.read_text(), re.DOTALL)
    assert shown
    lines = [_without_ids(line) for line in shown[1].splitlines() if line and not line.startswith("  $")]
    said = [_without_ids(line) for line in printed.splitlines()]
    assert [line for line in lines if line not in said] == []


def test_the_demonstration_seals_before_it_ends(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, printed = demonstrated
    log = Log(database)
    log.check()
    assert f"root {log.known().head.root.hex()}" in printed


def test_the_bundle_it_leaves_passes_with_the_command_that_it_prints(demonstrated: tuple[Database, Path, str]) -> None:
    _, out, printed = demonstrated
    (line,) = [line for line in printed.splitlines() if "verify-bundle" in line]
    words = shlex.split(line.removeprefix("  $ "))
    done = subprocess.run([COUNTERSIGN, *words[1:]], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert textwrap.indent(done.stdout, "  ") in printed
    with zipfile.ZipFile(out / "bundle.zip") as packed:
        assert packed.read("trail.jsonl").startswith((out / "trail.jsonl").read_bytes())


def _without_ids(line: str) -> str:
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|order-[0-9a-f]{6}", "ID", line)
    return re.sub(r"deployment key \w+ of \S+\)", "deployment key)", line)


def test_the_files_hold_the_whole_revised_trail(demonstrated: tuple[Database, Path, str]) -> None:
    _, out, _ = demonstrated
    envelopes = [json.loads(line) for line in (out / "trail.jsonl").read_bytes().splitlines()]
    bodies = [_body(envelope) for envelope in envelopes]
    assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert sum(body["kind"] == "state.updated" for body in bodies) == 3

    text = (out / "trail.csv").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"))))
    assert [row["leaf_hash"] for row in rows] == [leaf_hash(_bytes(envelope)).hex() for envelope in envelopes]
    assert {row["of"] for row in rows} == {str(len(rows))}

    assert json.loads((out / "verify.json").read_text())["verdict"] == "passed"


def test_it_can_be_repeated_in_one_database_which_then_verifies(database: Database, tmp_path: Path) -> None:
    database, _, _ = demonstrate(database, tmp_path)
    again = run_demo(database, tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    report = database.verify()
    assert report.findings == []
    assert len(database.query("SELECT FROM audit.entries WHERE kind = 'run.refused'")) == 2


def test_the_printed_lines_cheat_and_put_back(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, printed = demonstrated
    cheat, restore = _update_lines(printed)[-2:]
    _psql(database, cheat)
    assert [finding.check for finding in database.verify().findings] == ["row"]
    _psql(database, restore)
    assert database.verify().findings == []


def test_a_file_in_the_way_is_a_sentence_and_exit_code_2(database: Database, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = run_demo(database, tmp_path / "out")
    assert done.returncode == 2
    assert "is a file" in done.stderr
    assert "Traceback" not in done.stderr


async def test_the_lines_for_your_own_graph_in_the_readme_work(database: Database) -> None:
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert code
    trail, config = thread()
    scope: dict[str, Any] = {
        "url": database.app_url,
        "builder": order_graph(),
        "config": config,
        "new_order": NEW_ORDER,
    }
    os.environ["COUNTERSIGN_HOME"] = str(database.home)
    try:
        exec(f"async def lines():\n{textwrap.indent(code[1], '    ')}", scope)  # noqa: S102 - the README's own code
        await asyncio.wait_for(scope["lines"](), 60)
    finally:
        del os.environ["COUNTERSIGN_HOME"]
    assert database.kinds(trail)[-1] == "run.completed"
    assert database.verify().findings == []


def _bytes(envelope: dict[str, Any]) -> bytes:
    return base64.b64decode(envelope["payload"], validate=True)


def _body(envelope: dict[str, Any]) -> dict[str, Any]:
    body = parse(_bytes(envelope))
    assert isinstance(body, dict)
    return body


def _update_lines(printed: str) -> list[str]:
    return [shlex.split(line)[-1] for line in printed.splitlines() if "UPDATE checkpoints" in line]


def _psql(database: Database, sql: str) -> None:
    with psycopg.connect(database.admin_url) as conn:
        assert conn.execute(sql.encode()).rowcount == 1
