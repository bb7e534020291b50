"""Time tokens from `openssl ts` are kept with their heads; an authority that fails delays them, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from conftest import Database
from countersign.audit.attestations import last_stamped_steps, newest_tokens_steps, token_file_steps, token_steps
from countersign.audit.steps import run
from countersign.audit.timestamp import Authority
from countersign.audit.timetoken import check_tokens, parse_authorities, verify_token
from countersign.audit.treehead import TreeHead
from countersign.service.cli import main
from countersign.service.database import Database as Target
from countersign.service.time_tokens import TimeTokens
from integration.sealing import Log, own_log
from needs import needed
from tsa import HttpTsa, OpensslTsa, Reply, authority, served

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
COUNTERSIGN = Path(sys.executable).with_name("countersign")


@pytest.fixture
def log(database: Database, tmp_path: Path) -> Log:
    log = own_log(database, tmp_path)
    log.seal()
    return log


@pytest.fixture
def tsa(tmp_path: Path) -> OpensslTsa:
    return OpensslTsa.begin(tmp_path / "tsa")


def honest(tsa: OpensslTsa) -> Callable[[bytes], Reply]:
    return lambda query: Reply(200, tsa.answer(query))


@pytest.fixture
def http(tsa: OpensslTsa) -> Iterator[HttpTsa]:
    with served(honest(tsa)) as http:
        yield http


class Told:
    """An asker for tokens, and what it said."""

    def __init__(self, log: Log, url: str, ca: bytes | None = None) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        ours = log.database
        target = Target(ours.app_url, ours.owner_url, ours.home)
        roots = parse_authorities(ca) if ca else ()
        self._tokens = TimeTokens(target, Authority(url, roots), say=self.said.append, warn=self.warned.append)

    def stamp(self, head: TreeHead) -> bool:
        return self._tokens.stamp(head, lambda _seconds: None)

    def news(self) -> list[str]:
        """Return what it warned of since the last time."""
        news, self.warned[:] = list(self.warned), []
        return news


def stored(log: Log) -> list[tuple[int, bytes]]:
    with log.connected() as conn:
        return run(conn, newest_tokens_steps(100))[::-1]


STRANGERS = [authority(f"Another {number}").certificate for number in range(6)]
KINDS: dict[str, dict[str, Any]] = {
    "P-256": {},
    "RSA": {"kind": "RSA"},
    "its certificate named by SHA-1": {"named_by": "sha1"},
    "a chain in any order": {"certs": STRANGERS},
}


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_accepts_what_is_kept_with_the_command_of_the_documentation(
    kind: str, log: Log, tmp_path: Path
) -> None:
    tsa, known = OpensslTsa.begin(tmp_path / "tsa", **KINDS[kind]), log.known()
    with served(honest(tsa)) as http:
        told = Told(log, http.url, tsa.ca.pem)
        assert told.stamp(known.head)
    assert (len(told.said), told.warned) == (1, [])
    ((size, token),) = stored(log)
    assert size == known.head.size
    stamped = verify_token(token, known.head.text, [tsa.ca.certificate])
    assert told.said[0] == f"Time token: {stamped.time:%Y-%m-%d %H:%M:%S} UTC for the tree head of size {size}"

    found = re.search(r"```sh\n(head -n 3 [^`]*)```", PAGE)
    assert found
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "tree-head").write_bytes(known.note.encode())
    (folder / "tree-head.tsr").write_bytes(token)
    (folder / "tsa-ca.pem").write_bytes(tsa.ca.pem)
    done = subprocess.run([needed("sh"), "-ec", found[1]], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Verification: OK\n"), done.stderr
    (folder / "tree-head").write_bytes(known.note.encode().replace(str(size).encode(), b"7", 1))
    done = subprocess.run([needed("sh"), "-ec", found[1]], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0


def test_a_bundle_and_a_verification_find_the_tokens(log: Log, tsa: OpensslTsa, http: HttpTsa) -> None:
    told, texts = Told(log, http.url, tsa.ca.pem), {}
    for _ in range(2):
        log.append("case")
        log.seal()
        head = log.known().head
        texts[head.size] = head.text
        assert told.stamp(head)
    log.append("case")
    log.seal()
    with log.connected() as conn:
        assert list(run(conn, token_file_steps(head.size))) == ["tree-head.tsr"]
        assert run(conn, token_file_steps(head.size))["tree-head.tsr"] == run(conn, token_steps(head.size))
        assert run(conn, token_file_steps(head.size + 1)) == {}
        assert [size for size, _ in run(conn, newest_tokens_steps(1))] == [head.size]
        last = run(conn, last_stamped_steps())
        assert last
        assert last.tree_size == head.size
    found = check_tokens(stored(log), texts, [tsa.ca.certificate])
    assert (found.failures, found.newest, found.trust["status"]) == ((), head.size, "checked")
    log.database.as_admin("UPDATE audit.tokens SET tree_size = tree_size + 1 WHERE tree_size = %s", (head.size,))
    (failure,) = check_tokens(stored(log), texts, [tsa.ca.certificate]).failures
    assert "There is no tree head of its size." in failure.message


def test_trouble_is_told_once_and_when_it_changes_and_how_far_it_set_us_back(
    log: Log, tsa: OpensslTsa, http: HttpTsa
) -> None:
    told = Told(log, http.url, tsa.ca.pem)
    log.append("case")
    log.seal()
    head = log.known().head

    def failing(reply: Reply) -> list[str]:
        http.behave = lambda _query: reply
        assert not told.stamp(head)
        assert told.said == []
        return told.news()

    why, lag, remedy = failing(Reply(500, b""))
    assert why == "countersign: The time stamping authority 127.0.0.1 gave no token. It answered with HTTP status 500."
    assert lag == f"  No tree head has a time token yet; the log has {head.size} leaves."
    assert "COUNTERSIGN_TSA_URL" in remedy
    assert failing(Reply(500, b"")) == []
    assert "no RFC 3161 time stamp response" in failing(Reply(200, b"<html>"))[0]
    assert failing(Reply(200, b"<html>")) == []
    assert "a redirect is not followed" in failing(Reply(307, b"", (("Location", "/other"),)))[0]
    assert "more than 65536 bytes" in failing(Reply(200, bytes(1 << 17)))[0]
    http.behave = honest(tsa)
    assert told.stamp(head)
    assert (len(told.said), told.news()) == (1, [])
    log.append("case", 2)
    log.seal()
    http.behave = lambda _query: Reply(500, b"")
    assert not told.stamp(log.known().head)
    assert f"  The last time token is of the tree head of size {head.size}, 2 leaves behind." in told.news()


def test_an_authority_of_somebody_else_is_not_believed(log: Log, tsa: OpensslTsa, http: HttpTsa) -> None:
    other = OpensslTsa.begin(tsa.folder.with_name("other"))
    told = Told(log, http.url, other.ca.pem)
    assert not told.stamp(log.known().head)
    assert "No authority that is trusted vouches for it" in told.news()[0]
    assert stored(log) == []
    assert Told(log, http.url).stamp(log.known().head)


def test_an_authority_that_is_down_and_a_database_that_is_gone(log: Log, tsa: OpensslTsa) -> None:
    with served(honest(tsa)) as http:
        pass
    told = Told(log, http.url)
    assert not told.stamp(log.known().head)
    assert "Connection refused" in told.news()[0]
    with psycopg.connect(log.database.owner_url, autocommit=True) as conn:
        conn.execute("REVOKE INSERT ON audit.tokens FROM countersign_app")
    with served(honest(tsa)) as http:
        told = Told(log, http.url)
        assert not told.stamp(log.known().head)
    assert "The database role may not do this" in told.news()[0]


def settings(log: Log, url: str, ca: Path | None = None) -> dict[str, str]:
    ours = {"COUNTERSIGN_DATABASE_URL": log.database.app_url, "COUNTERSIGN_HOME": str(log.home)}
    asked = {"COUNTERSIGN_TSA_URL": url, "COUNTERSIGN_TSA_CA": str(ca or "")}
    return ours | asked | {"NO_PROXY": "127.0.0.1", "PATH": os.environ["PATH"]}


def sealed(log: Log, url: str, ca: Path | None = None) -> Result:
    return CliRunner().invoke(main, ["seal"], env=settings(log, url, ca))


def test_sealing_once_asks_once_for_each_head(log: Log, tsa: OpensslTsa, http: HttpTsa) -> None:
    log.append("case")
    done = sealed(log, http.url, tsa.ca_file)
    assert (done.exit_code, done.stderr, len(http.asked)) == (0, "", 1)
    assert [line.split(" ")[:2] for line in done.stdout.splitlines()] == [["Sealed", "1"], ["Time", "token:"]]
    ((size, token),) = stored(log)
    assert verify_token(token, log.known().head.text, [tsa.ca.certificate])
    assert size == log.known().head.size
    done = sealed(log, http.url, tsa.ca_file)
    assert (done.exit_code, done.stderr, len(http.asked)) == (0, "", 1)
    assert [line.split(" ")[:2] for line in done.stdout.splitlines()] == [["Sealed", "0"]]


def test_sealing_once_is_done_though_there_is_no_token(log: Log, http: HttpTsa) -> None:
    http.behave = lambda _query: Reply(404, b"")
    log.append("case")
    done = sealed(log, http.url)
    assert done.exit_code == 0
    assert done.stdout.startswith("Sealed 1 entries")
    assert "It answered with HTTP status 404." in done.stderr
    assert "No tree head has a time token yet; the log has 4 leaves." in done.stderr
    log.check()


@pytest.mark.parametrize(
    ("url", "ca", "says"),
    [
        ("tsa.invalid", None, "is not the address of a time stamping authority"),
        ("http://tsa.invalid", Path("none.pem"), "none.pem failed: No such file"),
    ],
)
def test_settings_that_are_wrong_stop_it_at_once(url: str, ca: Path | None, says: str, log: Log) -> None:
    done = sealed(log, url, ca)
    assert (done.exit_code, done.stdout, says in done.stderr) == (2, "", True), done.stderr


def watching(log: Log, url: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [COUNTERSIGN, "seal", "--watch", *words],
        env=settings(log, url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_watching_goes_on_while_an_authority_does_not_answer(log: Log, tsa: OpensslTsa, http: HttpTsa) -> None:
    def slow(query: bytes) -> Reply:
        assert http.released.wait(60)
        return Reply(200, tsa.answer(query))

    http.behave = slow
    with watching(log, http.url, "--tsa-every", "1", "--tsa-ca", str(tsa.ca_file)) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("Sealed 0 entries")
        for _ in range(3):
            log.append("case")
            assert process.stdout.readline().startswith("Sealed 1 entries")
        assert stored(log) == []
        http.released.set()
        newest = f"for the tree head of size {log.known().head.size}\n"
        while not process.stdout.readline().endswith(newest):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, "")
    assert stored(log)[-1][0] == log.known().head.size
    log.check()


def test_watching_ends_when_it_is_told_to_though_a_token_is_awaited(log: Log, http: HttpTsa) -> None:
    http.behave = lambda _query: Reply(200 if http.released.wait(60) else 500, b"")
    with watching(log, http.url) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("Sealed 0 entries")
        log.append("case")
        assert process.stdout.readline().startswith("Sealed 1 entries")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
        assert not http.released.is_set()
    assert (process.returncode, out, err) == (0, "", "")
