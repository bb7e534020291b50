"""The wheel, as users get it: what is in it, and that it works where their own folders have the same names as ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import uuid
import venv
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from conftest import on_database
from countersign.service.embedded import EmbeddedDatabase

ROOT = Path(__file__).resolve().parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OURS = ("audit", "service", "reports", "alembic")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and a folder of a user whose own packages are called like ours."""

    environment: Path
    working: Path

    def run(
        self, *words: str | Path, cwd: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with nothing of this process's settings for Python or for us."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "COUNTERSIGN", "PG", "VIRTUAL_ENV"))
        }
        program, *rest = words
        return subprocess.run(
            [self.environment / "bin" / program, *rest],
            cwd=cwd or self.working,
            env={**kept, **(settings or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def says(self, *words: str | Path, cwd: Path | None = None, settings: Mapping[str, str] | None = None) -> str:
        """Return what a program that must succeed prints."""
        done = self.run(*words, cwd=cwd, settings=settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel built from a copy of the files that git has or would take, so that the work tree stays clean."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in _files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    command: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source]
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    environment, working = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("working")
    venv.create(environment, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)}))
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install"]
    options = ["--quiet", "--no-index", "--no-deps", "--ignore-installed", "--disable-pip-version-check"]
    done = subprocess.run([*pip, *options, wheel], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # The dependencies are those of this run: their folders are added, without what .pth files in them would add, which
    # is the work tree. Written after pip ran, which would otherwise find and replace the work tree's installation.
    folders = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (site / "dependencies.pth").write_text("".join(folder + "\n" for folder in folders))
    (working / "audit").mkdir()
    (working / "audit" / "__init__.py").write_text("whose = 'the user'\n")
    (working / "service").mkdir()
    (working / "service" / "jobs.py").write_text("")
    return Installed(environment, working)


@pytest.fixture
def address(server: EmbeddedDatabase) -> Iterator[str]:
    """Yield the address of an empty database, as its owner."""
    name = f"p_{uuid.uuid4().hex}"
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} OWNER countersign_owner")
        yield on_database(server.owner_url, name)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_wheel_holds_every_module_the_types_the_schemas_and_the_migrations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "countersign/audit/py.typed",
        "countersign/audit/schemas/detail.json",
        "countersign/migrations/env.py",
        "countersign/migrations/versions/0001_evidence.py",
    } <= names
    for folder, package in [*((name, name) for name in OURS[:3]), ("alembic", "migrations")]:
        modules = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.py")}
        assert {f"countersign/{package}/{module}" for module in modules} <= names


def test_the_wheel_takes_no_name_but_its_own(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert top == {"countersign", f"countersign-{VERSION}.dist-info"}


def test_the_wheel_says_its_licence_and_carries_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"countersign-{VERSION}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        licence = archive.read(f"{info}/licenses/LICENSE")
    assert re.search("^License-Expression: Apache-2.0$", metadata, re.MULTILINE)
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_what_is_imported_is_the_wheel(installed: Installed) -> None:
    where = installed.says("python", "-c", "import countersign.audit as a; print(a.__file__)")
    assert Path(where).is_relative_to(installed.environment)


def test_the_command_knows_its_version(installed: Installed) -> None:
    assert VERSION in installed.says("countersign", "--version")


def test_the_migrations_can_be_printed(installed: Installed) -> None:
    sql = installed.says("countersign", "migrate", "--sql")
    assert "CREATE TABLE audit.entries" in sql
    assert "CREATE TABLE IF NOT EXISTS checkpoints" in sql


def test_a_new_database_is_prepared_and_verified(installed: Installed, address: str, tmp_path: Path) -> None:
    settings = {"COUNTERSIGN_DATABASE_URL": address, "COUNTERSIGN_HOME": str(tmp_path / "home")}
    assert "New keys" in installed.says("countersign", "migrate", settings=settings)
    assert "prepared already" in installed.says("countersign", "migrate", settings=settings)
    assert "verdict: passed" in installed.says("countersign", "verify", settings=settings)
    (trust,) = (tmp_path / "home").glob("*/trust.json")
    assert installed.says("countersign", "verify", "--json", "--trust", trust, settings=settings).startswith("{")


def test_the_schemas_can_be_read_from_the_package(installed: Installed) -> None:
    program = "import importlib.resources as r; print((r.files('countersign.audit') / 'schemas/detail.json').is_file())"
    assert installed.says("python", "-c", program) == "True"


def test_a_users_own_packages_stay_theirs(installed: Installed) -> None:
    assert installed.says("python", "-c", "import countersign.audit, audit; print(audit.whose)") == "the user"
    assert "jobs" in installed.says("python", "-c", "import countersign.service, service.jobs as j; print(j.__name__)")


@pytest.mark.parametrize("package", OURS[:3])
def test_no_bare_name_of_ours_can_be_imported_elsewhere(installed: Installed, package: str, tmp_path: Path) -> None:
    done = installed.run("python", "-c", f"import {package}", cwd=tmp_path)
    assert "ModuleNotFoundError" in done.stderr


def test_alembic_is_the_library_also_where_our_folder_of_that_name_lies(installed: Installed) -> None:
    program = "import alembic, alembic.command; print(alembic.__version__)"
    expected = installed.says("python", "-c", program)
    assert installed.says("python", "-c", program, cwd=ROOT) == expected
    here = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert here.stdout.strip() == expected


def test_every_pin_has_a_hash_and_none_names_an_index() -> None:
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    # The only option a line may carry is the hash.
    assert not re.search(r"://|@ |^\s*-(?!-hash=sha256:)", lock, re.MULTILINE)
    logical = lock.replace("\\\n", " ").splitlines()
    pins = [line for line in logical if line.strip() and not line.startswith("#")]
    assert pins
    assert [pin for pin in pins if not re.match(r"[a-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^ ]+ .*--hash=sha256:", pin)] == []


def test_the_lock_file_covers_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *(item for extra in project["project"]["optional-dependencies"].values() for item in extra),
        *project["dependency-groups"]["dev"],
    ]
    names = {re.split(r"[\[<>=!~; ]", item, maxsplit=1)[0].lower() for item in wanted} - {"countersign"}
    pinned = set(
        re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==", (ROOT / "requirements" / "dev.lock").read_text(), re.MULTILINE)
    )
    assert names - pinned == set()


def test_the_licence_is_apache_2() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"


def _files() -> list[Path]:
    """Return the files that make up the project: those git has or would take; without git, all in our folders."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        listed = ["pyproject.toml", "README.md", "LICENSE"]
        listed += [str(path.relative_to(ROOT)) for folder in OURS for path in (ROOT / folder).rglob("*")]
    return [Path(name) for name in listed if name and (ROOT / name).is_file() and "__pycache__" not in name]
