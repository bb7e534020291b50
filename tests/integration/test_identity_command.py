"""The commands `countersign user`, `grant` and `api-key`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pwdlib.hashers.argon2 import Argon2Hasher

from conftest import Database
from countersign.service.cli import main
from countersign.service.identity import passwords
from countersign.service.identity.caller import Caller
from peopled import peopled

OWN = "an own password"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands hash with what pwdlib recommends; here it would only take long."""
    monkeypatch.setattr(passwords, "Argon2Hasher", lambda: Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1))


def say(database: Database, *words: str, typed: str | None = None) -> Result:
    env = {"COUNTERSIGN_DATABASE_URL": database.service_url, "COUNTERSIGN_HOME": str(database.home)}
    return CliRunner().invoke(main, words, input=typed, env=env)


def done(database: Database, *words: str, typed: str | None = None) -> list[str]:
    """Return the lines that a command which succeeds prints."""
    result = say(database, *words, typed=typed)
    assert (result.exit_code, result.exception) == (0, None), result.stderr
    return result.stdout.splitlines()


def refused(database: Database, *words: str, typed: str | None = None) -> str:
    """Return what a command says that does nothing."""
    entries = database.query("SELECT count(*) FROM audit.entries")
    result = say(database, *words, typed=typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert database.query("SELECT count(*) FROM audit.entries") == entries
    return result.stderr


def add(database: Database, name: str, *more: str) -> str:
    """Add a user and return the password that was printed."""
    lines = done(database, "user", "add", name, "--printed-name", name.title(), *more)
    return lines[1].removeprefix("First password, shown this once: ")


def enter(database: Database, name: str, password: str) -> Caller:
    """Return who signs in."""

    async def sign_in() -> Caller:
        async with peopled(database) as here:
            return await here.enter(name, password)

    return asyncio.run(sign_in())


def set_own(database: Database, folder: Path, name: str, first: str) -> None:
    (folder / "old").write_text(f"{first}\n")
    (folder / "new").write_text(OWN)
    done(
        database, "user", "set-password", name, "--old-file", str(folder / "old"), "--new-file", str(folder / "new")
    )  # fmt: skip


def test_from_a_new_user_to_a_session(shared_database: Database, tmp_path: Path) -> None:
    first = add(
        shared_database, "ada", "--role", "chief", "--workflow", "orders", "--role", "auditor", "--workflow", "*"
    )
    set_own(shared_database, tmp_path, "ada", first)
    caller = enter(shared_database, "ada", OWN)

    listed = done(shared_database, "user", "list")
    assert listed[0].split() == ["id", "username", "state", "password", "printed", "name"]
    assert [line.split() for line in listed[1:] if "ada" in line] == [[caller.id, "ada", "active", "own", "Ada"]]
    grants = [line.split()[1:4] for line in done(shared_database, "grant", "list", "ada")[1:]]
    assert sorted(grants) == sorted([[caller.id, "chief", "orders"], [caller.id, "auditor", "*"]])


def test_entries_name_the_user_of_the_operating_system(shared_database: Database) -> None:
    add(shared_database, "named")
    bodies = shared_database.query("SELECT body FROM audit.entries WHERE trail = '@system' ORDER BY seq DESC LIMIT 2")
    for (body,) in bodies:
        assert f'"actor":{{"id":"uid:{os.getuid()}","via":"os-user"}}' in body.decode()


def test_a_password_comes_from_a_prompt_a_file_or_nowhere(shared_database: Database, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a password in a file\r\nand more\n")
    words = ("--printed-name", "X")
    lines = done(shared_database, "user", "add", "filed", *words, "--password-file", str(file))
    assert [line.partition(" ")[0] for line in lines] == ["Added", "They"]
    typed = "a password that is typed\n" * 2
    shown = done(shared_database, "user", "add", "typed", *words, "--prompt", typed=typed)
    assert "a password that is typed" not in "\n".join(shown)
    standard = "a password on standard input\n"
    done(shared_database, "user", "add", "piped", *words, "--password-file", "-", typed=standard)
    made = add(shared_database, "made")
    assert len(made) == 24
    for name, password in (
        ("filed", "a password in a file"),
        ("typed", "a password that is typed"),
        ("piped", "a password on standard input"),
        ("made", made),
    ):
        set_own(shared_database, tmp_path, name, password)
        assert enter(shared_database, name, OWN).session


def test_the_two_passwords_are_asked_for(shared_database: Database) -> None:
    first = add(shared_database, "asked")
    shown = done(shared_database, "user", "set-password", "asked", typed=f"{first}\n{OWN}\n{OWN}\n")
    assert shown == ["The password is set. Sign in with it."]
    assert enter(shared_database, "asked", OWN).session


def test_deactivated_and_back(shared_database: Database, tmp_path: Path) -> None:
    first = add(shared_database, "away", "--role", "chief", "--workflow", "*")
    set_own(shared_database, tmp_path, "away", first)
    done(shared_database, "user", "deactivate", "away", "--reason", "on leave")
    assert "inactive" in "\n".join(line for line in done(shared_database, "user", "list") if "away" in line)
    assert "not active already" in refused(shared_database, "user", "deactivate", "away")
    done(shared_database, "user", "reactivate", "AWAY")
    assert enter(shared_database, "away", OWN).session
    reset = done(shared_database, "user", "reset-password", "away")[1].rpartition(" ")[2]
    set_own(shared_database, tmp_path, "away", reset)


def test_grants_are_given_for_a_time_and_taken_back(shared_database: Database) -> None:
    add(shared_database, "granted")
    (line,) = done(
        shared_database, "grant", "give", "granted", "--role", "chief", "--workflow", "orders", "--from", "2999-01-01",
        "--until", "2999-02-01T12:30:00",
    )  # fmt: skip
    grant = line.removeprefix("Gave grant ").rstrip(".")
    rows = [line.split() for line in done(shared_database, "grant", "list", "granted")[1:]]
    assert [row[:1] + row[2:] for row in rows] == [
        [grant, "chief", "orders", "2999-01-01T00:00:00Z", "2999-02-01T12:30:00Z", "-"]
    ]
    done(shared_database, "grant", "revoke", grant)
    assert done(shared_database, "grant", "list", "granted")[1].split()[-1] != "-"


def test_api_keys_are_shown_once_and_revoked(shared_database: Database) -> None:
    words = ("--scope", "cases:start", "--scope", "cases:read", "--role", "starter", "--workflow", "orders")
    told, token = done(shared_database, "api-key", "create", "ward-3", *words, "--days", "7")
    key = told.split()[3].rstrip(",")
    (row,) = [line.split() for line in done(shared_database, "api-key", "list")[1:]]
    assert row[:6] == [key, "ward-3", "cases:read", "cases:start", "starter", "orders"]
    assert token not in "\n".join(done(shared_database, "api-key", "list"))
    assert token.startswith("csk_")
    done(shared_database, "api-key", "revoke", key)
    assert "revoked already" in refused(shared_database, "api-key", "revoke", key)


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("user", "add", "x", "--printed-name", "X", "--role", "chief"), "Each --role needs its --workflow."),
    (("user", "add", "x", "--printed-name", "X", "--prompt", "--password-file", "-"), "not both"),
    (("user", "add", "x", "--printed-name", "X", "--password-file", "-"), "A password has 12 to 256 characters."),
    (("user", "add", " ", "--printed-name", "X"), "A username has 1 to 100 printable characters."),
    (("user", "add", "x", "--printed-name", " "), "A printed name has"),
    (("user", "add", "x", "--printed-name", "X", "--role", "auditor", "--workflow", "w"), "is not one of a workflow"),
    (("user", "deactivate", "nobody"), "There is no such user."),
    (("user", "reactivate", "nobody"), "There is no such user."),
    (("user", "reset-password", "nobody"), "There is no such user."),
    (("grant", "give", "nobody", "--role", "r", "--workflow", "w"), "There is no such user."),
    (("grant", "revoke", "g-0"), "There is no such grant."),
    (("grant", "list", "nobody"), "There is no such user."),
    (("api-key", "create", "k", "--scope", "cases:sign"), "Choose from: cases:start"),
    (("api-key", "create", "k", "--scope", "cases:read", "--role", "administrator"), "No API key is an administrator."),
    (("api-key", "revoke", "k-0"), "There is no such API key."),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_what_cannot_be_is_said_in_a_sentence(shared_database: Database, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(shared_database, *words, typed="short\n")


def test_a_password_file_that_is_no_text_is_refused(shared_database: Database, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"\xff\xfe\x00a password of bytes")
    said = refused(shared_database, "user", "add", "x", "--printed-name", "X", "--password-file", str(file))
    assert "The password file is not UTF-8." in said


def test_a_wrong_old_password_and_an_unknown_name_are_told_alike(shared_database: Database) -> None:
    add(shared_database, "known")
    typed = f"not the old one\n{OWN}\n{OWN}\n"
    said = [refused_after_prompts(shared_database, name, typed) for name in ("known", "unknown-one")]
    assert said[0] == said[1]
    assert "The username or the password is wrong" in said[0]


def refused_after_prompts(database: Database, name: str, typed: str) -> str:
    result = say(database, "user", "set-password", name, typed=typed)
    assert result.exit_code == 2
    return result.stderr


def test_the_last_administrator_is_kept_from_the_command_line_too(database: Database) -> None:
    add(database, "boss", "--role", "administrator", "--workflow", "*")
    assert "This is the last active administrator." in refused(database, "user", "deactivate", "boss")
    grant = done(database, "grant", "list", "boss")[1].split()[0]
    assert "This is the last active administrator." in refused(database, "grant", "revoke", grant)


def test_without_the_deployment_key_nothing_is_done(database: Database, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {"COUNTERSIGN_DATABASE_URL": database.service_url, "COUNTERSIGN_HOME": str(home)}
    result = CliRunner().invoke(main, ["user", "list"], env=env)
    assert result.exit_code == 2
    assert "are not on this machine" in result.stderr


def test_no_server_is_told_at_once(tmp_path: Path) -> None:
    env = {"COUNTERSIGN_DATABASE_URL": f"postgresql:///x?host={tmp_path}", "COUNTERSIGN_HOME": str(tmp_path)}
    result = CliRunner().invoke(main, ["user", "list"], env=env)
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
