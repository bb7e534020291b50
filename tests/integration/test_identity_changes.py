"""Each change of who is who is a row and an entry of @system, by who may, or is neither."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conftest import Database
from countersign.audit.append import Appender
from countersign.audit.errors import AppendError
from countersign.service.errors import ConflictError, ForbiddenError
from countersign.service.identity.caller import Caller
from countersign.service.identity.records import GrantWanted
from peopled import ADMIN, AUDITOR, FIRST, OPERATOR, OWN, Peopled, peopled, refusal

SCHEMA = json.loads(resources.files("countersign.audit").joinpath("schemas/detail.json").read_text())
NEW = "another password"


@pytest.fixture
async def alone(database: Database) -> AsyncIterator[Peopled]:
    """Yield people of whom there are none yet."""
    async with peopled(database) as here:
        yield here


async def everything_once(here: Peopled, by: Caller) -> str:
    """Do each thing once, and return the id of the user to whom most of it was done."""
    people, soon = here.people, here.clock() + timedelta(days=1)
    user, first = await people.create_user(by, "All.Of-It", "All Of It", grants=[GrantWanted("chief", "orders")])
    await people.set_password("all.of-it", first, OWN)
    await people.reset_password(by, user.id, FIRST)
    grant = await people.give_grant(by, user.id, "pharmacist", "orders", soon, soon + timedelta(days=1))
    await people.revoke_grant(by, grant.id)
    await people.deactivate(by, user.id, "left the ward")
    await people.reactivate(by, user.id, "came back")
    _, key = await people.create_api_key(by, "for the ward", ["cases:start"], soon, ["starter"], "orders")
    await people.revoke_api_key(by, key.id)
    return user.id


async def test_every_change_is_an_entry_with_the_detail_that_its_schema_describes(alone: Peopled) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    before = len(alone.entries())
    user = await everything_once(alone, boss)
    entries = alone.entries()[before:]
    checked = Draft202012Validator(SCHEMA)

    assert [entry.kind for entry in entries] == [
        "user.created", "credential.enrolled", "grant.given",
        "credential.revoked", "credential.enrolled",
        "credential.revoked", "credential.enrolled",
        "grant.given", "grant.revoked", "user.deactivated", "user.reactivated",
        "api-key.created", "api-key.revoked",
    ]  # fmt: skip
    for entry in entries:
        assert list(checked.iter_errors({"kind": entry.kind, "detail": dict(entry.detail)})) == []
    own = [entry.detail["own"] for entry in entries if entry.kind == "credential.enrolled"]
    assert own == [False, True, False]
    by_themselves = [entry.actor.as_json() for entry in entries[3:5]]
    assert by_themselves == [{"id": user, "via": "password"}] * 2
    by_the_boss = {"id": boss.id, "role": "administrator", "via": "session+password"}
    assert [entry.actor.as_json() for entry in entries[:3] + entries[5:]] == [by_the_boss] * 11
    assert alone.database.verify().verdict == "passed"


async def test_every_entry_names_the_one_before_it_about_the_same(alone: Peopled) -> None:
    await everything_once(alone, await alone.signed_in("boss", ADMIN))
    places = alone.database.query(
        "SELECT seq, encode(sha256('\\x00'::bytea || body), 'hex') FROM audit.entries "
        "WHERE trail = '@system' ORDER BY seq"
    )
    last: dict[Any, Any] = {}
    for entry, (seq, leaf_hash) in zip(alone.entries(), places, strict=True):
        subject = entry.detail.get("user") or entry.detail["key"]
        assert entry.detail["before"] == last.get(subject)
        last[subject] = {"seq": seq, "leaf_hash": leaf_hash}
    assert len(last) == 3


async def test_the_directory_says_what_the_rows_say(alone: Peopled) -> None:
    await everything_once(alone, await alone.signed_in("boss", ADMIN))
    async with alone.pool.connection() as conn:
        directory = await alone.people.directory.current(conn)
    users = alone.database.query("SELECT id, active FROM countersign.users")
    grants = alone.database.query("SELECT user_id, id FROM countersign.grants WHERE revoked_at IS NULL")
    secrets = alone.database.query("SELECT user_id, id, own FROM countersign.credentials WHERE revoked_at IS NULL")
    keys = alone.database.query("SELECT id, made_by, revoked_at IS NULL FROM countersign.api_keys")

    standings = {user: directory.latest(user) for user, _ in users}
    found = [standing for standing in standings.values() if standing is not None]
    assert {(one.subject, one.active) for one in found} == {*users}
    assert {(one.subject, grant) for one in found for grant in one.grants} == {*grants}
    assert {(one.subject, name, known.own) for one in found for name, known in one.credentials.items()} == {*secrets}
    for key, made_by, active in keys:
        standing = directory.latest(key)
        assert standing is not None
        assert (standing.made_by, standing.active, sorted(standing.scopes)) == (made_by, active, ["cases:start"])


async def test_no_secret_and_no_name_stands_in_a_body(alone: Peopled, caplog: pytest.LogCaptureFixture) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    await everything_once(alone, boss)
    user, made = await alone.people.create_user(boss, "surely.unique", "Surely Unique")
    key_token, _ = await alone.api_key("uniquely named", ["cases:start"])
    await alone.people.set_password("surely.unique", made, NEW)
    token, _ = await alone.people.sign_in("surely.unique", NEW)
    bodies = "\n".join(str(body) for (body,) in alone.database.query("SELECT body FROM audit.entries"))
    payloads = "\n".join(str(data) for (data,) in alone.database.query("SELECT data FROM audit.payloads"))
    secrets = [FIRST, OWN, NEW, made, token, key_token, "$argon2id$", token[4:], key_token[4:]]
    names = ["surely.unique", "Surely Unique", "uniquely named", "left the ward", "for the ward"]

    assert user.id in bodies
    assert [word for word in (*secrets, *names) if word in bodies] == []
    assert [word for word in secrets if word in payloads or word in caplog.text] == []
    assert [word for word in names if word not in payloads] == []
    assert [word for word in secrets if word in alone.everything() and word != "$argon2id$"] == []


async def test_what_was_done_is_not_done_again(alone: Peopled) -> None:
    user = await alone.user("twice", GrantWanted("chief", "orders"))
    (grant,) = await alone.people.list_grants(OPERATOR, user.id)
    _, key = await alone.api_key("key", ["cases:read"])
    people = alone.people
    for act, of in ((people.revoke_grant, grant.id), (people.revoke_api_key, key.id), (people.deactivate, user.id)):
        await act(OPERATOR, of)
        before = len(alone.entries())
        assert isinstance(await refusal(act(OPERATOR, of)), ConflictError)
        assert len(alone.entries()) == before
    assert isinstance(await refusal(alone.people.give_grant(OPERATOR, user.id, "chief", "*")), ConflictError)
    assert isinstance(await refusal(alone.people.create_user(OPERATOR, "TWICE", "Twice")), ConflictError)


async def test_an_entry_that_is_not_appended_leaves_no_row(alone: Peopled, monkeypatch: pytest.MonkeyPatch) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    user = await alone.user("user", GrantWanted("chief", "*"))
    (grant,) = await alone.people.list_grants(OPERATOR, user.id)
    _, key = await alone.api_key("key", ["cases:read"])
    rows = alone.everything()

    def fail(*_: Any) -> Any:
        raise AppendError("The entry was not appended.")

    monkeypatch.setattr(Appender, "insert_steps", fail)
    for act in (
        alone.people.create_user(boss, "fresh", "Fresh", FIRST),
        alone.people.reset_password(boss, user.id, NEW),
        alone.people.deactivate(boss, user.id),
        alone.people.give_grant(boss, user.id, "chief", "*"),
        alone.people.create_api_key(boss, "key", ["cases:read"], alone.clock() + timedelta(days=1)),
        alone.people.revoke_grant(boss, grant.id),
        alone.people.revoke_api_key(boss, key.id),
        alone.people.set_password("user", OWN, NEW),
    ):
        with pytest.raises(AppendError):
            await act
    assert alone.everything() == rows


# The last administrator.


async def test_the_last_active_administrator_stays_one(alone: Peopled) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    (grant,) = await alone.people.list_grants(OPERATOR, boss.id)
    gone = await alone.user("gone", ADMIN)
    await alone.people.deactivate(boss, gone.id)
    later = alone.clock() + timedelta(days=1)
    await alone.user("later", GrantWanted("administrator", "*", later))
    await alone.user("auditor", AUDITOR)
    for by in (boss, OPERATOR):
        for act in (alone.people.deactivate(by, boss.id), alone.people.revoke_grant(by, grant.id)):
            refused = await refusal(act)
            assert (type(refused), refused.message) == (ConflictError, "This is the last active administrator.")

    await alone.people.reactivate(boss, gone.id)
    await alone.people.deactivate(OPERATOR, boss.id)
    assert isinstance(await refusal(alone.people.deactivate(OPERATOR, gone.id)), ConflictError)


async def test_an_administrator_of_two_grants_may_lose_one(alone: Peopled) -> None:
    boss = await alone.user("boss", ADMIN, ADMIN)
    one, two = await alone.people.list_grants(OPERATOR, boss.id)
    await alone.people.revoke_grant(OPERATOR, one.id)
    assert isinstance(await refusal(alone.people.revoke_grant(OPERATOR, two.id)), ConflictError)


async def test_an_administrator_only_by_a_row_is_none(alone: Peopled) -> None:
    boss = await alone.signed_in("boss", ADMIN)
    forger = await alone.signed_in("forger")
    alone.database.as_admin(
        "INSERT INTO countersign.grants VALUES ('g-forged', %s, 'administrator', '*', now() - interval '1 day')",
        (forger.id,),
    )
    assert isinstance(await refusal(alone.people.deactivate(forger, boss.id)), ForbiddenError)
    assert isinstance(await refusal(alone.people.deactivate(OPERATOR, boss.id)), ConflictError)
