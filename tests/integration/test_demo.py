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
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from conftest import Database
from countersign.audit.canonical import parse
from countersign.audit.entry import leaf_hash
from countersign.audit.errors import ConfigurationError
from countersign.service import database as commands
from countersign.service import demo_server
from countersign.service.demo import demo, put_all_back
from countersign.service.demo_dose import raised_dose
from countersign.service.demo_unsigned import unsigned
from countersign.service.demo_vanish import vanish
from graphs import NEW_ORDER, order_graph, thread
from integration.sealing import Log, own_log

COUNTERSIGN = Path(sys.executable).with_name("countersign")
README = Path(__file__).parents[2] / "README.md"


def on_server(url: str, home: Path) -> commands.Database:
    return commands.Database(url, url, home, None, url, url)


def environment(database: Database) -> dict[str, str]:
    return {
        **os.environ,
        "COUNTERSIGN_DATABASE_URL": database.admin_url,
        "COUNTERSIGN_WORKER_DATABASE_URL": database.worker_url,
        "COUNTERSIGN_HOME": str(database.home),
        "PYTHONUNBUFFERED": "1",
    }


def run_demo(database: Database, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COUNTERSIGN, "demo", "--out", out], env=environment(database), capture_output=True, text=True, check=False
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
    database, _, printed = demonstrated
    assert "GIVE 5 mg warfarin to P-101" in printed
    assert "DO NOT GIVE methotrexate to P-102: pregnancy not excluded" in printed
    assert "1000 mg vancomycin proposed" in printed
    assert "GIVE 750 mg vancomycin to P-103" in printed
    assert "the pharmacist signs first: refused." in printed
    assert "PREPARE 6 cycles of FOLFOX at 80 % for P-105" in printed
    assert re.search(r"opens the review: refused\. The state of case \S+ is not what was recorded: Row ch", printed)
    assert re.search(r"signs what was shown before: refused\. The state of case \S+ is not what was", printed)
    assert re.search(r"countersign verify:\n +verdict: failed\n +Row checkpoints", printed)
    assert "countersign verify: passed (the refusal stays in the trail)" in printed
    assert database.query(
        "SELECT count(*) FROM audit.entries WHERE kind = 'review.signed' AND trail IN "
        "(SELECT id FROM countersign.cases WHERE case_number LIKE 'order-%-4')"
    ) == [(0,)]


def test_every_signature_of_the_demonstration_is_one_of_a_person_with_their_credential(
    demonstrated: tuple[Database, Path, str],
) -> None:
    database, _, printed = demonstrated
    bodies = [
        parse(bytes(body)) for (body,) in database.query("SELECT body FROM audit.entries WHERE kind = 'review.signed'")
    ]
    assert {body["actor"]["via"] for body in bodies} == {"session+password"}  # type: ignore[index, call-overload]
    assert len(bodies) == 9
    assert printed.count(" signs ") == len(bodies) + 3  # refused, and not entries of this kind: one first, one then


def test_a_decision_that_nobody_signed_fails_whoever_holds_the_keys(demonstrated: tuple[Database, Path, str]) -> None:
    _, _, printed = demonstrated
    assert re.search(r"verdict: failed\n +Entry \d+ .* without sufficient sign-off: .*\[authority\]\n", printed)
    assert "the entry is taken out again; countersign verify: passed" in printed


def test_the_demonstration_makes_a_case_vanish_and_the_log_finds_it(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, printed = demonstrated
    assert re.search(r"verdict: failed\n +Leaves \d+ to \d+ of the log are missing", printed)
    assert "the case is put back; countersign verify: passed" in printed
    assert database.verify().verdict == "passed"


def _case(database: Database, number: str) -> str:
    ((case,),) = database.query(f"SELECT id FROM countersign.cases WHERE case_number LIKE 'order-%-{number}'")
    return str(case)


def _vanish(database: Database) -> str:
    assert vanish(on_server(database.admin_url, database.home), _case(database, "2"))
    return "leaf"


def _unsigned(database: Database) -> str:
    case = _case(database, "4")
    ((review,),) = database.query(f"SELECT id FROM countersign.reviews WHERE case_id = '{case}'")
    assert unsigned(on_server(database.admin_url, database.home), case, str(review))
    return "authority"


def _dose(database: Database) -> str:
    _psql(database, raised_dose(_case(database, "4")))
    return "row"


@pytest.mark.parametrize("cheat", [_vanish, _unsigned, _dose])
def test_a_demonstration_killed_in_the_middle_of_a_cheat_is_put_right_by_the_next(
    demonstrated: tuple[Database, Path, str], cheat: Callable[[Database], str]
) -> None:
    database, _, _ = demonstrated
    found = cheat(database)
    report = database.verify()
    assert (report.verdict, report.findings[0].check) == ("failed", found)
    target = on_server(database.admin_url, database.home)
    assert put_all_back(target)
    assert not put_all_back(target)
    assert database.verify().verdict == "passed"


def test_a_user_without_the_power_to_cheat_is_not_asked_to(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, _ = demonstrated
    target = on_server(database.owner_url, database.home)
    assert not vanish(target, "order-x-2")
    assert not unsigned(target, _case(database, "4"), "r-x")
    assert database.verify().verdict == "passed"


def test_the_readme_shows_what_is_printed(demonstrated: tuple[Database, Path, str]) -> None:
    _, _, printed = demonstrated
    shown = re.search(r"<!-- demo output -->\n```\n(.*?)```", README.read_text(), re.DOTALL)
    assert shown
    lines = [_without_ids(line) for line in shown[1].splitlines() if line and not line.startswith("  $")]
    said = [_without_ids(line) for line in printed.splitlines()]
    cut = {line.removesuffix(" ...") for line in lines if line.endswith(" ...")}
    assert [line for line in lines if line not in said and not line.endswith(" ...")] == []
    assert [part for part in cut if not any(line.startswith(part) for line in said)] == []


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
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=order-)[0-9a-f]{6}", "ID", line)
    line = re.sub(r"against \d+ signed tree heads", "against some signed tree heads", line)
    line = re.sub(r"Leaves \d+ to \d+", "Leaves", line)  # as they were sealed, one batch or two
    line = re.sub(r"\([0-9a-f]{8}\) signed", "(KEY) signed", line)
    line = re.sub(r"countersign\.invalid/\w+|at \d{4}-\S+Z", "SOME", line)
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


def test_the_printed_lines_cheat_and_put_back(demonstrated: tuple[Database, Path, str]) -> None:
    database, _, printed = demonstrated
    cheat, restore = _update_lines(printed)[-2:]
    _psql(database, cheat)
    assert [finding.check for finding in database.verify().findings] == ["row"]
    _psql(database, restore)
    assert database.verify().findings == []


def test_known_passwords_in_somebodys_own_database_are_spoken_of(demonstrated: tuple[Database, Path, str]) -> None:
    assert "their passwords are known: countersign user deactivate" in demonstrated[2]


def test_without_the_service_it_is_a_sentence_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_server, "NEEDED", ("json", "not_installed_here"))
    with pytest.raises(ConfigurationError, match=r"not installed \(not_installed_here\)") as refused:
        demo(tmp_path)
    assert "pip install '/path/to/this/clone[service,embedded]'" in refused.value.remedy


def test_a_file_in_the_way_is_a_sentence_and_exit_code_2(database: Database, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    done = run_demo(database, tmp_path / "out")
    assert done.returncode == 2
    assert "is a file" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_can_be_repeated_and_its_server_ends_with_it_even_if_it_is_killed(
    demonstrated: tuple[Database, Path, str], tmp_path: Path
) -> None:
    database, _, printed = demonstrated
    words: list[str | Path] = [COUNTERSIGN, "demo", "--out", tmp_path / "again"]
    with subprocess.Popen(words, env=environment(database), stdout=subprocess.PIPE, text=True) as process:
        url, said = "", list[str]()
        for line in process.stdout or ():
            said.append(_without_ids(line))
            if "the service runs at" in line:
                url = line.split(" at ")[1].split(",")[0]
            if "opens the review" in line:
                process.kill()
    told = {_without_ids(line) for line in printed.splitlines()}
    assert len([line for line in said if line.startswith("  order-") and line.strip("\n") in told]) == 10
    assert url
    with httpx.Client(trust_env=False) as client:
        for _ in range(600):
            try:
                client.get(f"{url}/healthz")
            except httpx.TransportError:
                break
            threading.Event().wait(0.1)
        else:
            pytest.fail("the server goes on without its demonstration")
    put_all_back(on_server(database.admin_url, database.home))
    assert database.verify().findings == []


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
