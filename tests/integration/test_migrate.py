"""Preparing a database: repeatable, without superuser rights, and repairing itself after a crash."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg.errors import LockNotAvailable

from conftest import DEPLOYMENT, GRAPH, Database, on_database
from countersign.audit import ConfigurationError, attach
from countersign.audit import migrate as migration
from countersign.audit.keyfolder import LOG, KeyFolder
from countersign.audit.memory import Memory
from countersign.audit.migrate import Migrated, migrate, migration_sql
from countersign.audit.outside import log_trust, read_outside
from countersign.audit.tables import EVIDENCE_SCHEMA, metadata
from countersign.audit.verify_database import verify_database
from countersign.service.embedded import EmbeddedDatabase
from graphs import NEW_ORDER, order_graph, thread
from integration.faults import assert_honest

ORIGIN = "test.invalid/migrate"


@dataclass(frozen=True)
class Fresh:
    """An empty database, and a home without keys."""

    server: EmbeddedDatabase
    name: str
    home: Path

    @property
    def owner_url(self) -> str:
        return on_database(self.server.owner_url, self.name)

    @property
    def folder(self) -> KeyFolder:
        return KeyFolder.of(self.home, ORIGIN)

    @property
    def pending(self) -> Path:
        return self.folder.path.with_name(self.folder.path.name + ".pending")

    def migrate(self, origin: str | None = ORIGIN) -> Migrated:
        return migrate(self.owner_url, self.home, origin)

    def as_admin(self, sql: str) -> None:
        with psycopg.connect(on_database(self.server.admin_url, self.name)) as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute(sql.encode())

    def schema(self) -> str:
        """Return the whole schema with owners and rights, as pg_dump writes it."""
        dump = subprocess.run(
            [self.server.psql.with_name("pg_dump"), "--schema-only", self.owner_url],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        # Each run fences its output with a random word.
        return "\n".join(line for line in dump.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))

    def files(self) -> dict[Path, bytes]:
        """Return what lies in the key folder, the log's memory included."""
        return {path: path.read_bytes() for path in self.folder.path.rglob("*") if path.is_file()}

    def keys(self) -> list[tuple[int, str]]:
        with psycopg.connect(self.owner_url) as conn:
            return conn.execute("SELECT seq, kind FROM audit.entries ORDER BY seq").fetchall()

    def verdict(self) -> str:
        with psycopg.connect(self.owner_url, autocommit=True) as conn:
            outside = read_outside(log_trust(self.folder.trust()), Memory.of(self.folder))
            return verify_database(conn, self.folder.trust(), outside=outside).verdict


@contextmanager
def empty_database(server: EmbeddedDatabase, home: Path) -> Iterator[Fresh]:
    name = f"m_{uuid.uuid4().hex}"
    with psycopg.connect(server.admin_url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} OWNER countersign_owner".encode())
        try:
            yield Fresh(server, name, home)
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def fresh(server: EmbeddedDatabase, tmp_path: Path) -> Iterator[Fresh]:
    with empty_database(server, tmp_path / "home") as fresh:
        yield fresh


def test_the_owner_of_the_database_prepares_it_once(fresh: Fresh) -> None:
    first = fresh.migrate()
    schema, files = fresh.schema(), fresh.files()
    again = fresh.migrate()

    assert (first.origin, first.schema_changed, first.keys_created) == (ORIGIN, True, True)
    assert (again.origin, again.schema_changed, again.keys_created) == (ORIGIN, False, False)
    assert fresh.schema() == schema
    assert fresh.files() == files
    assert fresh.keys() == [(seq, "key.introduced") for seq in (1, 2, 3)]
    assert fresh.verdict() == "passed"


def test_the_owner_is_no_superuser(fresh: Fresh) -> None:
    with psycopg.connect(fresh.owner_url) as conn:
        assert conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)


def test_keys_are_for_their_owner_alone(fresh: Fresh) -> None:
    fresh.migrate()
    modes = {path.name: path.stat().st_mode & 0o777 for path in (fresh.folder.path, *fresh.folder.path.iterdir())}

    assert modes == {
        fresh.folder.path.name: 0o700,
        f"{DEPLOYMENT}.pem": 0o600,
        f"{GRAPH}.pem": 0o600,
        f"{LOG}.pem": 0o600,
        "trust.json": 0o644,
        "log": 0o755,
    }


def test_without_a_name_a_log_gets_one_of_its_own(fresh: Fresh) -> None:
    done = fresh.migrate(None)

    assert done.origin.startswith("countersign.invalid/")
    assert fresh.migrate(None).origin == done.origin


def test_what_an_administrator_runs_with_psql_makes_the_same_schema(server: EmbeddedDatabase, tmp_path: Path) -> None:
    with empty_database(server, tmp_path / "by-psql") as by_psql, empty_database(server, tmp_path / "plain") as plain:
        done = subprocess.run(
            [server.psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", by_psql.owner_url],
            input=migration_sql(),
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        schema = by_psql.schema()
        after = by_psql.migrate()
        plain.migrate()

        assert (after.schema_changed, after.keys_created) == (False, True)
        assert by_psql.schema() == schema == plain.schema()
        assert by_psql.verdict() == "passed"


def test_two_migrations_at_once_make_one_deployment(fresh: Fresh) -> None:
    with ThreadPoolExecutor() as threads:
        done = list(threads.map(lambda _: fresh.migrate(), range(2)))

    assert sorted((item.schema_changed, item.keys_created) for item in done) == [(False, False), (True, True)]
    assert fresh.keys() == [(seq, "key.introduced") for seq in (1, 2, 3)]
    assert fresh.verdict() == "passed"


@pytest.mark.parametrize("table", ["countersign.alembic_version", "audit.entries", "checkpoint_migrations"])
def test_a_lock_that_is_held_is_told_and_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(migration, "LOCK_TIMEOUT", "20ms")
    with psycopg.connect(database.admin_url) as conn:
        conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        with pytest.raises(ConfigurationError, match="lock was not obtained in time") as refused:
            migrate(database.owner_url, database.home)

    assert refused.value.remedy
    assert isinstance(refused.value.__cause__, LockNotAvailable)
    assert not migrate(database.owner_url, database.home).schema_changed


def test_the_tables_of_sqlalchemy_are_those_of_the_migrations(database: Database) -> None:
    engine = sa.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.owner_url), poolclass=sa.pool.NullPool
    )

    def only_evidence(name: str | None, kind: str, parents: object) -> bool:
        return name == EVIDENCE_SCHEMA if kind == "schema" else True

    def comparable(_: object, name: str | None, kind: str, reflected: bool, other: object) -> bool:  # noqa: FBT001
        return (kind, name) != ("index", "entries_by_person")  # of an expression, which Alembic cannot compare

    options = {
        "include_schemas": True,
        "include_name": only_evidence,
        "include_object": comparable,
        "compare_type": True,
    }
    with engine.connect() as conn:
        context = MigrationContext.configure(conn, opts=options)
        assert compare_metadata(context, metadata) == []
        other = sa.MetaData(schema=EVIDENCE_SCHEMA)
        sa.Table("more", other, sa.Column("id", sa.Integer))
        assert {change[0] for change in compare_metadata(context, other)} >= {"add_table", "remove_table"}


def test_a_crash_between_the_key_files_and_the_commit_is_repaired(fresh: Fresh) -> None:
    fresh.migrate("test.invalid/other")
    fresh.as_admin("TRUNCATE audit.entries, audit.payloads, audit.heads, countersign.unsealed")
    KeyFolder(fresh.pending).create(ORIGIN)
    made = (fresh.pending / f"{DEPLOYMENT}.pem").read_bytes()
    done = fresh.migrate()

    assert done.keys_created
    assert (fresh.folder.path / f"{DEPLOYMENT}.pem").read_bytes() == made
    assert not fresh.pending.exists()
    assert fresh.verdict() == "passed"


@pytest.mark.parametrize(
    "left", [(), ("deployment.pem",), ("deployment.pem", "graph.pem"), ("deployment.pem", "graph.pem", "log.pem")]
)
def test_a_crash_while_the_key_files_are_made_is_repaired(fresh: Fresh, left: tuple[str, ...]) -> None:
    KeyFolder(fresh.pending).create(ORIGIN)
    for path in fresh.pending.iterdir():
        if path.name not in left:
            path.unlink()
    done = fresh.migrate()

    assert done.keys_created
    assert fresh.verdict() == "passed"


@pytest.mark.parametrize("origin", [ORIGIN, None])
def test_a_crash_between_commit_and_rename_is_repaired(fresh: Fresh, origin: str | None) -> None:
    fresh.migrate()
    fresh.folder.path.rename(fresh.pending)
    done = fresh.migrate(origin)

    assert not done.keys_created
    assert done.keys == fresh.folder.path
    assert not fresh.pending.exists()
    assert fresh.verdict() == "passed"


def test_a_crash_between_schema_and_langgraphs_tables_is_repaired(fresh: Fresh) -> None:
    fresh.migrate()
    fresh.as_admin("DROP TABLE checkpoint_writes; DELETE FROM checkpoint_migrations WHERE v >= 3")
    assert fresh.migrate().schema_changed
    assert fresh.verdict() == "passed"
    assert not fresh.migrate().schema_changed


def test_rights_that_were_taken_are_given_again(fresh: Fresh) -> None:
    fresh.migrate()
    before = fresh.schema()
    fresh.as_admin("REVOKE ALL ON checkpoints, checkpoint_blobs, checkpoint_writes FROM countersign_app")

    assert fresh.migrate().schema_changed
    assert sorted(fresh.schema().splitlines()) == sorted(before.splitlines())


@pytest.mark.parametrize(
    ("tables", "what"),
    [("audit.entries", "signed heads but no @keys"), ("audit.entries, audit.heads", "emptied")],
    ids=["but for its heads", "whole"],
)
def test_an_emptied_database_gets_no_second_keys(fresh: Fresh, tables: str, what: str) -> None:
    fresh.migrate()
    fresh.as_admin(f"TRUNCATE {tables}")
    with pytest.raises(ConfigurationError, match=what) as refused:
        fresh.migrate()

    assert refused.value.remedy
    assert fresh.keys() == []


def test_entries_without_keys_get_no_new_keys(database: Database, tmp_path: Path) -> None:
    database.as_admin("UPDATE audit.payloads SET trail = 'a' WHERE trail = '@keys'")
    database.as_admin("UPDATE audit.entries SET trail = 'a' WHERE trail = '@keys'")
    with pytest.raises(ConfigurationError, match="has entries or signed heads but no @keys") as refused:
        migrate(database.owner_url, tmp_path / "home", "test.invalid/new")

    assert "countersign verify" in refused.value.remedy
    assert not (tmp_path / "home").exists()


def test_another_origin_is_refused(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"belongs to test\.invalid/suite") as refused:
        migrate(database.owner_url, database.home, "test.invalid/other")

    assert "COUNTERSIGN_ORIGIN" in refused.value.remedy


@pytest.mark.parametrize("origin", ["two words", "a+b", "x" * 256, "a\nb"])
def test_a_name_that_no_log_can_have_is_refused(fresh: Fresh, origin: str) -> None:
    with pytest.raises(ConfigurationError, match="origin") as refused:
        fresh.migrate(origin)

    assert "COUNTERSIGN_ORIGIN" in refused.value.remedy
    assert fresh.keys() == []
    assert fresh.migrate().keys_created


def test_keys_that_are_elsewhere_are_asked_for(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="keys are not here") as refused:
        migrate(database.owner_url, tmp_path)

    assert "COUNTERSIGN_HOME" in refused.value.remedy


def test_a_home_that_cannot_be_written_is_told(fresh: Fresh) -> None:
    fresh.home.write_text("in the way")
    with pytest.raises(ConfigurationError, match="key folder") as refused:
        fresh.migrate()

    assert "COUNTERSIGN_HOME" in refused.value.remedy
    assert fresh.keys() == []
    fresh.home.unlink()
    assert fresh.migrate().keys_created


def test_a_role_that_may_not_is_told_of_the_administrators_way(fresh: Fresh) -> None:
    with pytest.raises(ConfigurationError, match="permission denied") as refused:
        migrate(on_database(fresh.server.app_url, fresh.name), fresh.home)

    assert "countersign migrate --sql" in refused.value.remedy
    assert not fresh.home.exists()


def test_a_revision_that_nobody_knows_is_refused_in_words(database: Database) -> None:
    database.as_admin("UPDATE countersign.alembic_version SET version_num = '0000'")
    with pytest.raises(ConfigurationError) as refused:
        migrate(database.owner_url, database.home)

    assert refused.value.remedy


SCHEMAS = {
    "older": ("UPDATE countersign.alembic_version SET version_num = '0000'", "older", "countersign migrate"),
    "newer": ("UPDATE countersign.alembic_version SET version_num = '9999'", "newer", "Upgrade the package"),
    "never prepared": ("DROP SCHEMA countersign CASCADE", "never prepared", "countersign migrate"),
    "no evidence": ("DROP SCHEMA audit CASCADE", "never prepared", "countersign migrate"),
    "no table of LangGraph's": ("DROP TABLE checkpoint_blobs", "checkpoint_blobs", "countersign migrate"),
    "another column": ("ALTER TABLE checkpoints ADD COLUMN more text", "more", "nstall a version"),
    "a column less": ("ALTER TABLE checkpoint_writes DROP COLUMN task_path", "task_path", "nstall a version"),
    "no keys": ("TRUNCATE audit.entries CASCADE", "@keys is empty", "countersign migrate"),
}


@pytest.mark.parametrize(("sql", "what", "remedy"), SCHEMAS.values(), ids=SCHEMAS)
async def test_a_saver_refuses_a_database_that_is_not_ready(
    database: Database, sql: str, what: str, remedy: str
) -> None:
    database.as_admin(sql)
    with pytest.raises(ConfigurationError) as refused:
        async with database.saver():
            pass

    assert what in refused.value.message
    assert remedy in refused.value.remedy


@pytest.mark.parametrize("case", ["newer", "another column", "a column less"])
def test_migrate_refuses_what_it_does_not_know(database: Database, case: str) -> None:
    sql, what, remedy = SCHEMAS[case]
    database.as_admin(sql)
    with pytest.raises(ConfigurationError) as refused:
        migrate(database.owner_url, database.home)

    assert what in refused.value.message
    assert remedy in refused.value.remedy


def test_a_database_from_before_the_log_is_not_carried_over(database: Database) -> None:
    database.as_admin(
        """
        DROP TABLE audit.leaves, audit.heads, countersign.unsealed;
        DROP FUNCTION countersign.await_sealing CASCADE;
        UPDATE countersign.alembic_version SET version_num = '0001'
        """
    )
    with pytest.raises(ConfigurationError, match="before there was a log") as refused:
        migrate(database.owner_url, database.home)

    assert "Use a new database" in refused.value.message
    assert database.query("SELECT version_num FROM countersign.alembic_version") == [("0001",)]


async def test_a_database_in_use_may_be_migrated_again(database: Database) -> None:
    async with database.saver() as saver:
        graph = attach(order_graph().compile(interrupt_before=["order"]), saver)
        _, config = thread()
        await graph.ainvoke(NEW_ORDER, config)
        assert not migrate(database.owner_url, database.home).schema_changed
        await graph.ainvoke(None, config)
    assert_honest(database)


def test_a_backup_of_the_key_folder_is_as_good_as_the_folder(fresh: Fresh) -> None:
    fresh.migrate()
    shutil.move(fresh.folder.path, fresh.home / "backup")
    with pytest.raises(ConfigurationError):
        fresh.migrate()
    shutil.copytree(fresh.home / "backup", fresh.folder.path)

    assert not fresh.migrate().keys_created
